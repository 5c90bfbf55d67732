"""HTTP over control's unix socket, with the standard library."""

from __future__ import annotations

import http.client
import json
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from baray.core import BarayError
from baray.runs.protocol import encode


class ControlDownError(BarayError):
    """Control does not answer: what was to be told waits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What control answered."""

    status: int
    """HTTP status."""
    body: dict[str, Any]
    """JSON."""


class Control:
    """One connection to control, made when needed. Not for two threads at once."""

    def __init__(self, path: Path, timeout_seconds: float) -> None:
        """Speak to the socket at `path`."""
        self._path = path
        self._timeout = timeout_seconds
        self._connection: _UnixConnection | None = None

    def post(self, path: str, message: Any) -> Reply:  # noqa: ANN401 - a record of the protocol
        """Send a message. Raises ControlDownError if no answer came; whether it was taken is then unknown."""
        if self._connection is None:
            self._connection = _UnixConnection(self._path, self._timeout)
        try:
            self._connection.request("POST", path, encode(message), {"Content-Type": "application/json"})
            answer = self._connection.getresponse()
            return Reply(status=answer.status, body=json.loads(answer.read()))
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            raise ControlDownError("control_down", f"Control does not answer at {self._path}: {error}.") from error

    def close(self) -> None:
        """Hang up."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def interrupt(self) -> None:
        """Make a waiting `post` return; safe in a signal handler."""
        connection = self._connection
        if connection is not None and connection.sock is not None:
            try:
                connection.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                return  # control hung up in the same moment


class _UnixConnection(http.client.HTTPConnection):
    """HTTPConnection over a unix socket."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._unix_path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._unix_path))
