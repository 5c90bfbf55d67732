"""The spool: receipts on disk before the last byte of a response, until control has them in the database.

Order of durability: a line is written (so that it outlives this process) before the response ends; a thread calls
fdatasync every 100 ms (so that it outlives the machine); a file is renamed from `.part` to `.jsonl` when it is
complete; control deletes it after its own COMMIT. The writer holds a lock (flock) on its `.part` file: a `.part` that
nobody locks belongs to a dead router, and control takes it as it is.
"""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path

from baray.core import Clock, Fault, Ids
from baray.serve.receipts import Line, encode_line

SYNC_SECONDS = 0.1
ROTATE_SECONDS = 0.4
ROTATE_BYTES = 1 << 20


class Spool:
    """One router process's open file of receipts. Appending is safe from any thread."""

    def __init__(self, directory: Path, *, clock: Clock, ids: Ids) -> None:
        """Write below `directory`, which is made if missing, and start the syncing thread."""
        self._directory = directory
        self._clock = clock
        self._ids = ids
        self._lock = threading.Lock()
        self._handle: int | None = None
        self._part = directory
        self._bytes = 0
        self._opened = 0.0
        self._dirty = False
        self._unnamed = False
        self._stop = threading.Event()
        self.problem = ""
        """Why receipts cannot be kept just now; empty when they can."""
        directory.mkdir(parents=True, exist_ok=True)
        self._thread = threading.Thread(target=self._sync_forever, name="spool-sync", daemon=True)
        self._thread.start()

    def append(self, line: Line) -> None:
        """Keep a line; when this returns, it outlives the process. Raises Fault `receipt_not_kept` (503)."""
        data = encode_line(line)
        with self._lock:
            try:
                handle = self._handle if self._handle is not None else self._open()
                self._write_whole(handle, data)
            except OSError as error:
                self.problem = f"receipts cannot be written: {error.strerror}"
                raise Fault(
                    "receipt_not_kept",
                    "The answer could not be recorded, so it is not given.",
                    fix="Free space on the disk of the home, then ask again.",
                    status=503,
                ) from error
            self._bytes += len(data)
            self._dirty = True
            self.problem = ""

    def close(self) -> None:
        """Sync and hand over what is there."""
        self._stop.set()
        self._thread.join()
        with self._lock:
            full = self._take()
        self._hand_over(full)

    def _open(self) -> int:
        """Open a file under a name that control ignores, lock it, then give it its name: no moment without a lock."""
        stem = f"{os.getpid()}-{self._ids.new('q')}"
        fresh = self._directory / f"{stem}.new"
        handle = os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._part = self._directory / f"{stem}.jsonl.part"
        fresh.rename(self._part)  # the name is made durable with the first lines, by the syncing thread
        self._unnamed = True
        self._handle, self._bytes, self._opened = handle, 0, self._clock.monotonic()
        return handle

    def _write_whole(self, handle: int, data: bytes) -> None:
        """All of `data` or nothing of it: half a line would spoil the file for the lines after it."""
        start = self._bytes
        try:
            written = 0
            while written < len(data):
                written += os.write(handle, data[written:])
        except OSError:
            os.ftruncate(handle, start)
            raise

    def _sync_forever(self) -> None:
        while not self._stop.wait(SYNC_SECONDS):
            self._sync()
            with self._lock:
                old = self._clock.monotonic() - self._opened >= ROTATE_SECONDS
                full = self._take() if old or self._bytes >= ROTATE_BYTES else None
            # Outside the lock: whoever answers meanwhile writes into the next file and does not wait for the disk.
            self._hand_over(full)

    def _sync(self) -> None:
        # Only this thread closes the file, so the handle stays good outside the lock; writers never wait for the disk.
        with self._lock:
            handle, dirty, self._dirty = self._handle, self._dirty, False
            unnamed, self._unnamed = self._unnamed, False
        if handle is not None and dirty:
            try:
                os.fdatasync(handle)
                if unnamed:
                    _sync_directory(self._directory)
            except OSError as error:
                self.problem = f"receipts cannot be made durable: {error.strerror}"

    def _take(self) -> tuple[int, Path] | None:
        """Let go of the open file; the next line opens another. The caller holds the lock."""
        if self._handle is None:
            return None
        full, self._handle, self._dirty = (self._handle, self._part), None, False
        return full

    def _hand_over(self, full: tuple[int, Path] | None) -> None:
        """Make a file durable and give it to control; its lock goes with its handle."""
        if full is None:
            return
        handle, part = full
        try:
            os.fdatasync(handle)
            part.rename(part.with_suffix(""))
        except OSError as error:
            # It stays as it is: without its lock control takes it as a dead router's.
            self.problem = f"receipts cannot be made durable: {error.strerror}"
        finally:
            os.close(handle)


def _sync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
