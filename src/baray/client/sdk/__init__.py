"""The Python SDK: the transport, what is sent of a folder, and the Client that speaks the server's API."""
