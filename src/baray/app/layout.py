"""Where things lie in a home."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from baray.core import Refused


@dataclass(frozen=True, slots=True)
class Layout:
    """Paths of one home."""

    home: Path
    """Its directory."""

    @property
    def database(self) -> Path:
        """Rows."""
        return self.home / "baray.db"

    @property
    def blobs(self) -> Path:
        """Bytes."""
        return self.home / "blobs"

    @property
    def runs(self) -> Path:
        """Run directories."""
        return self.home / "runs"

    @property
    def spool(self) -> Path:
        """Receipts that wait for control."""
        return self.home / "spool"

    @property
    def sockets(self) -> Path:
        """Sockets, routes and other state of running processes."""
        return self.home / "run"

    @property
    def logs(self) -> Path:
        """Logs of the processes."""
        return self.home / "log"

    @property
    def keys(self) -> Path:
        """Private keys."""
        return self.home / "keys"

    @property
    def seal_key(self) -> Path:
        """What secrets in the database are sealed with."""
        return self.keys / "seal.key"

    @property
    def endpoint(self) -> Path:
        """How a client finds the running server."""
        return self.home / "endpoint.json"

    @property
    def token(self) -> Path:
        """The embedded operator's token."""
        return self.home / "operator.token"

    @property
    def lock(self) -> Path:
        """Held by the one process tree that runs the home."""
        return self.home / "lock"

    @property
    def routes(self) -> Path:
        """The router's snapshot."""
        return self.sockets / "routes.json"

    @property
    def worker_socket(self) -> Path:
        """Where workers pull leases."""
        return self.sockets / "worker.sock"

    def make(self) -> None:
        """Create the directories. Raises Refused `bad_home` where that is not possible."""
        try:
            for path in (self.home, self.blobs, self.runs, self.spool, self.sockets, self.logs, self.keys):
                path.mkdir(parents=True, exist_ok=True)
                # Others may pass through to a Run directory of their own, and see nothing on the way.
                path.chmod(0o711 if path in (self.home, self.runs) else 0o700)
        except OSError as error:
            raise Refused(
                "bad_home", f"The home {self.home} cannot be made: {error.strerror}.", fix="Choose --home DIR."
            ) from error


def write_json(path: Path, value: Any, *, mode: int = 0o644) -> None:  # noqa: ANN401 - any JSON value
    """Replace a small JSON file atomically; a reader sees the old or the new one, whole."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(value, file, ensure_ascii=False)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)


def read_json(path: Path) -> dict[str, Any] | None:
    """A small JSON file, or None where there is none or it is not whole."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None
