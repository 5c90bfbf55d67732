"""Following control's snapshot: one `stat` a request and a poll, loading in a thread, one reference swapped.

Read your writes: a request that comes after control replaced the file is answered from the new snapshot. Loading that
takes long (a large Index on a slow disk) holds requests up for at most half a second; then the old snapshot answers
until the new one is there.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from baray.core import BarayError
from baray.serve.router.snapshot import Snapshot, load_snapshot

POLL_SECONDS = 0.25
MAX_WAIT_SECONDS = 0.5
_LOG = logging.getLogger("baray.router")


class Follower:
    """Holds the newest snapshot that could be loaded."""

    def __init__(self, path: Path) -> None:
        """Follow the file at `path`, which may not be there yet."""
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._poll: asyncio.Task[None] | None = None
        self._load: asyncio.Task[None] | None = None
        self._trouble = ""
        self.current: Snapshot | None = None
        """What is served; None before the first snapshot."""

    def start(self) -> None:
        """Begin to poll in the running loop."""
        self._poll = asyncio.get_running_loop().create_task(self._follow())

    async def stop(self) -> None:
        """End polling."""
        tasks = [task for task in (self._poll, self._load) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def fresh(self) -> Snapshot | None:
        """The same as `newest` gives where nobody has to wait; None where somebody has to."""
        return self.current if self._loading() is None else None

    async def newest(self) -> Snapshot | None:
        """The snapshot to answer a request from."""
        load = self._loading()
        if load is not None:
            await asyncio.wait([load], timeout=MAX_WAIT_SECONDS)
        return self.current

    def problems(self) -> dict[str, str]:
        """What does not work of the newest snapshot."""
        found = dict(self.current.problems) if self.current else {}
        return found | ({"snapshot": self._trouble} if self._trouble else {})

    async def _follow(self) -> None:
        while True:
            self._loading()
            await asyncio.sleep(POLL_SECONDS)

    def _loading(self) -> asyncio.Task[None] | None:
        """The load that is going on, begun here if the file was replaced; None when the snapshot is the file's."""
        if self._load is None or self._load.done():
            mark = _mark(self._path)
            if mark is None or mark == self._seen:
                return None
            # A file that cannot be loaded is not tried again until it is replaced.
            self._seen = mark
            self._load = asyncio.get_running_loop().create_task(self._read())
        return self._load

    async def _read(self) -> None:
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
