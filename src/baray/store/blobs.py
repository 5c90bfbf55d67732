"""Blobs on disk: bytes kept under their SHA-256, `ROOT/ab/cdef...`.

Order of durability: bytes go to a temporary file below ROOT; the file is fsynced; it is renamed to its name; the
directory is fsynced, and ROOT too where the directory may be new. When `put_*` returns, the blob is complete and
durable; a kill before that leaves a temporary file that `sweep` removes. A name is only ever given to complete bytes,
so a blob that exists is whole unless the disk damaged it, which `verify` finds.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from baray.core import Fault, NotFound, Refused, is_digest

_PIECE = 1 << 20
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class Blobs(Protocol):
    """Content-addressed bytes. Adapters: disk now, S3 later."""

    def put_bytes(self, data: bytes) -> str:
        """Keep `data`; durable when it returns. Repeating is free."""

    def put_file(self, path: Path) -> str:
        """Keep a copy of a file's bytes; durable when it returns."""

    def put_stream(self, pieces: Iterable[bytes], expected: str) -> int:
        """Keep bytes that must have digest `expected`; returns their number.

        Raises Refused `bad_digest` on other bytes, and Fault `not_stored` on a full disk; neither leaves anything.
        """

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

    def put_stream(self, pieces: Iterable[bytes], expected: str) -> int:
        """See Blobs."""
        target = self._place(expected)
        with _full_disk_told():
            handle, name = tempfile.mkstemp(dir=self._temporary)
            temporary = Path(name)
            try:
                found, size = _write_all(handle, pieces)
                _check_digest(found, expected)
                temporary.chmod(0o444)
                self._own(temporary)
                if not target.parent.exists():
                    target.parent.mkdir(exist_ok=True)
                    self._own(target.parent)
                temporary.rename(target)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
            _sync_directory(target.parent)
            if target.parent not in self._synced:
                # The folder's own name too: it may be new, made by us or by another writer an instant ago.
                _sync_directory(self._root)
                self._synced.add(target.parent)
        return size

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

    def sweep(self) -> None:
        """Remove what killed writers left behind. Only safe while nobody writes."""
        shutil.rmtree(self._temporary)
        self._temporary.mkdir()

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


def _write_all(handle: int, pieces: Iterable[bytes]) -> tuple[str, int]:
    """Write `pieces` to an open file and sync it; their digest and number of bytes."""
    hasher = hashlib.sha256()
    size = 0
    with os.fdopen(handle, "wb") as file:
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
