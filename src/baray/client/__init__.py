"""Python SDK and the `baray` command: they speak HTTP.

Owns: the SDK's Client and its errors, the commands, finding or starting the embedded server, the narrated demo.
Does not own: what the commands do on the server; the host's commands (up, doctor, verify ...), which are loaded from
the application by name when they are called. Imports `core` and nothing else of ours.
"""

from baray.client.cli import run_command
from baray.client.sdk.client import Client
from baray.client.sdk.transport import Endpoint, Missing, Timing, Unreachable
from baray.client.sdk.upload import gather
from baray.client.settings import ClientSettings, read_settings

__all__ = [
    "Client",
    "ClientSettings",
    "Endpoint",
    "Missing",
    "Timing",
    "Unreachable",
    "gather",
    "read_settings",
    "run_command",
]
