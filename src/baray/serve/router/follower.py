"""Following control's snapshot: polls the file, loads in a thread, swaps one reference."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from baray.core import BarayError
from baray.serve.router.snapshot import Snapshot, load_snapshot

POLL_SECONDS = 0.25
_LOG = logging.getLogger("baray.router")


class Follower:
    """Holds the newest snapshot that could be loaded."""

    def __init__(self, path: Path) -> None:
        """Follow the file at `path`, which may not be there yet."""
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._task: asyncio.Task[None] | None = None
        self._trouble = ""
        self.current: Snapshot | None = None
        """What is served; None before the first snapshot."""

    def start(self) -> None:
        """Begin to poll in the running loop."""
        self._task = asyncio.get_running_loop().create_task(self._follow())

    async def stop(self) -> None:
        """End polling."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def problems(self) -> dict[str, str]:
        """What does not work of the newest snapshot."""
        found = dict(self.current.problems) if self.current else {}
        return found | ({"snapshot": self._trouble} if self._trouble else {})

    async def _follow(self) -> None:
        while True:
            mark = _mark(self._path)
            # A file that could not be loaded is not tried again until it is replaced: control replaces it often enough.
            if mark is not None and mark != self._seen:
                self._seen = mark
                await self._load()
            await asyncio.sleep(POLL_SECONDS)

    async def _load(self) -> None:
        try:
            self.current = await asyncio.to_thread(load_snapshot, self._path, self.current)
            self._trouble = ""
        except BarayError as error:
            self._trouble = error.message
        for name, trouble in self.problems().items():
            _LOG.warning("%s: %s", name, trouble)


def _mark(path: Path) -> tuple[int, int, int] | None:
    """What changes when the file is replaced."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
