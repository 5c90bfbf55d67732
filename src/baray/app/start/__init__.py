"""One module for each process of a home, so that a process imports only its own rooms."""
