"""Blobs on disk: bytes kept under their SHA-256, `ROOT/ab/cdef...`.

Order of durability: bytes go to a temporary file below ROOT; the file is fsynced; it is renamed to its name; the
directory is fsynced, and ROOT too where the directory may be new. When `put_*` returns, the blob is complete and
durable; a kill before that leaves a temporary file that `sweep` removes. A name is only ever given to complete bytes,
so a blob that exists is whole unless the disk damaged it, which `verify` finds. What came of a stream that broke may stay
under a name that its sender chose, to go on from; its digest is taken anew over all bytes in the end.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from baray.core import BarayError, Fault, NotFound, Refused, is_digest

_PIECE = 1 << 20
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class Blobs(Protocol):
    """Content-addressed bytes. Adapters: disk now, S3 later."""

    def put_bytes(self, data: bytes) -> str:
        """Keep `data`; durable when it returns. Repeating is free."""

    def put_file(self, path: Path) -> str:
        """Keep a copy of a file's bytes; durable when it returns."""

    def put_stream(self, pieces: Iterable[bytes], expected: str, *, part: str = "", start: int = 0) -> int:
        """Keep bytes that must have digest `expected`; returns their number.

        Where `pieces` breaks off, what came of it stays as `part`, if that is given; a later call goes on from byte `start`.
        Raises Refused `bad_digest` on other bytes and Fault `not_stored` on a full disk, which leave nothing; Refused
        `bad_start` where fewer bytes stayed, and Fault `upload_busy` while another call writes the part, which change nothing.
        """

    def begun(self, part: str) -> int:
        """How many bytes stayed of a stream that broke off."""

    def path(self, digest: str) -> Path:
        """Where the blob can be read in place, never written. Raises NotFound."""

    def has(self, digest: str) -> bool:
        """Whether the blob is here."""


class DiskBlobs:
    """Blobs below one directory."""

    def __init__(self, root: Path) -> None:
        """Keep blobs below `root`, which is made if missing."""
        self._root = root
        self._temporary = root / "tmp"
        self._temporary.mkdir(parents=True, exist_ok=True)
        self._synced: set[Path] = set()  # folders whose own names are known to be durable

    def put_bytes(self, data: bytes) -> str:
        """See Blobs."""
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        if not self.has(digest):
            self.put_stream([data], digest)
        return digest

    def put_file(self, path: Path) -> str:
        """See Blobs. Always a copy: a later change of the user's file must not reach the blob."""
        with path.open("rb") as file:
            digest = "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
            if not self.has(digest):
                file.seek(0)
                self.put_stream(iter(lambda: file.read(_PIECE), b""), digest)
        return digest

    def put_stream(self, pieces: Iterable[bytes], expected: str, *, part: str = "", start: int = 0) -> int:
        """See Blobs."""
        target = self._place(expected)
        with _full_disk_told():
            handle, temporary = self._open_part(part, start) if part else self._open_new()
            lock = os.dup(handle)  # a part stays ours until it has its name: who comes too early would cut it off
            try:
                found, size = _write_all(handle, pieces, start)
                _check_digest(found, expected)
                temporary.chmod(0o444)
                self._own(temporary)
                if not target.parent.exists():
                    target.parent.mkdir(exist_ok=True)
                    self._own(target.parent)
                temporary.rename(target)
            except BaseException as error:
                # Of a stream that breaks its part stays; not of wrong bytes, nor where the disk is full.
                wrong = isinstance(error, BarayError) or (isinstance(error, OSError) and error.errno in _FULL)
                if wrong or not part:
                    temporary.unlink(missing_ok=True)
                raise
            finally:
                os.close(lock)
            _sync_directory(target.parent)
            if target.parent not in self._synced:
                # The folder's own name too: it may be new, made by us or by another writer an instant ago.
                _sync_directory(self._root)
                self._synced.add(target.parent)
        return size

    def begun(self, part: str) -> int:
        """See Blobs."""
        place = self._part(part)
        return place.stat().st_size if place.exists() else 0

    def path(self, digest: str) -> Path:
        """See Blobs."""
        place = self._place(digest)
        if not place.exists():
            raise NotFound("blob", digest, fix="Check the home: baray ledger verify")
        return place

    def has(self, digest: str) -> bool:
        """See Blobs."""
        return self._place(digest).exists()

    def verify(self, digest: str) -> bool:
        """Whether the bytes on disk still have their digest."""
        with self.path(digest).open("rb") as file:
            return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest() == digest

    def all(self) -> Iterator[str]:
        """Every digest that is here."""
        for folder in sorted(self._root.iterdir()):
            if len(folder.name) == 2:
                for file in sorted(folder.iterdir()):
                    yield "sha256:" + folder.name + file.name

    def forget_parts(self, before: float) -> None:
        """Remove what stayed of streams that nobody went on with since `before`, seconds since 1970."""
        for place in self._temporary.glob("part-*"):
            if place.stat().st_mtime < before:
                place.unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove what killed writers left behind. Only safe while nobody writes."""
        shutil.rmtree(self._temporary)
        self._temporary.mkdir()

    def _open_new(self) -> tuple[int, Path]:
        handle, name = tempfile.mkstemp(dir=self._temporary)
        return handle, Path(name)

    def _open_part(self, part: str, start: int) -> tuple[int, Path]:
        """A part, locked and cut off at `start`."""
        place = self._part(part)
        if place.exists() and not os.access(place, os.W_OK):
            place.unlink(missing_ok=True)  # its writer was killed on the last step
        handle = os.open(place, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _cut_off(handle, place, start)
        except BlockingIOError as error:
            os.close(handle)
            raise Fault(
                "upload_busy", "Another connection sends this file.", fix="Try again in a moment.", status=503
            ) from error
        except BaseException:
            os.close(handle)
            raise
        return handle, place

    def _part(self, part: str) -> Path:
        return self._temporary / f"part-{hashlib.sha256(part.encode()).hexdigest()}"

    def _own(self, path: Path) -> None:
        """What root's worker keeps belongs to the root folder's owner, so that control can go on below it."""
        if os.geteuid() == 0:
            owner = self._root.stat()
            os.chown(path, owner.st_uid, owner.st_gid)

    def _place(self, digest: str) -> Path:
        if not is_digest(digest):
            fix = "Send sha256: and 64 hexadecimal digits."
            raise Refused("bad_digest", f"'{digest}' is not a digest.", fix=fix)
        return self._root / digest[7:9] / digest[9:]


def _cut_off(handle: int, place: Path, start: int) -> None:
    """Cut a part off at `start`. Raises BlockingIOError where its name is another file's by now: what was a part is a blob."""
    if not place.exists() or place.stat().st_ino != os.fstat(handle).st_ino:
        raise BlockingIOError
    size = os.fstat(handle).st_size
    if start > size:
        raise Refused(
            "bad_start",
            f"There are {size} bytes of it, and these begin at {start}.",
            fix="Ask which bytes are there (POST /api/v1/blobs/missing), and go on from those.",
            status=409,
        )
    os.ftruncate(handle, start)


def _write_all(handle: int, pieces: Iterable[bytes], size: int) -> tuple[str, int]:
    """Write `pieces` after the `size` bytes of an open file and sync it; digest and number of all bytes."""
    hasher = hashlib.sha256()
    with os.fdopen(handle, "r+b") as file:
        while piece := file.read(_PIECE):
            hasher.update(piece)
        for piece in pieces:
            hasher.update(piece)
            size += len(piece)
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
    return "sha256:" + hasher.hexdigest(), size


def _check_digest(found: str, expected: str) -> None:
    if found != expected:
        raise Refused("bad_digest", f"The bytes sent have {found}, not {expected}.", fix="Send the file again.")


@contextmanager
def _full_disk_told() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        fix = "Free space on the disk of the home, then try again."
        raise Fault("not_stored", f"The blob was not stored: {error.strerror}.", fix=fix, status=507) from error


def _sync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
