"""Streams that are unpacked while they are read: gzip, zstd, bzip2, xz."""

from __future__ import annotations

import bz2
import gzip
import importlib
import io
import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any, BinaryIO, TypeAlias, cast

from baray.data.readers.base import SourceFile, refuse
from baray.data.readers.packed.allowance import Allowance

Writable: TypeAlias = Any
"""Memory that bytes are put into."""

PACKINGS = frozenset(["gz", "zst", "bz2", "xz"])
_SUFFIXES = {".gz", ".zst", ".bz2", ".xz"}
_TAR = {".tgz": ".tar", ".tzst": ".tar", ".tbz": ".tar", ".tbz2": ".tar", ".txz": ".tar"}
DAMAGE = (
    EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, tarfile.TarError, ValueError, OverflowError,
    NotImplementedError, RuntimeError, struct.error,
)  # fmt: skip
"""What the libraries raise for bytes that are not what they should be."""
_BUFFER = 262_144


def unpacked(file: SourceFile, packing: str, allowance: Allowance) -> SourceFile:
    """`file` without its outer packing; every byte of it is taken from `allowance`."""
    path = PurePosixPath(file.path)
    suffix = path.suffix.lower()
    name = str(path.with_suffix("")) if suffix in _SUFFIXES else str(path.with_suffix(_TAR.get(suffix, suffix)))

    far = Reach()  # bytes that are read a second time are not unpacked a second time

    def unpack() -> BinaryIO:
        packed = file.open()
        return io.BufferedReader(Metered(_open(packed, packing), allowance, far, under=packed), _BUFFER)

    return replace(file, path=name, bytes=-1, unpack=unpack)


class Reach:
    """How far into a stream anybody has read."""

    def __init__(self) -> None:
        """Nowhere yet."""
        self.bytes = 0


class Metered(io.RawIOBase):
    """A stream whose bytes are counted, and whose damage is a refusal."""

    def __init__(
        self, stream: BinaryIO, allowance: Allowance | None, reach: Reach, *, under: BinaryIO | None = None
    ) -> None:
        """Read from `stream`, which reads from `under`; what lies beyond `reach` is taken from `allowance`.

        Without one nothing is counted: a tar archive has no more in it than its own bytes.
        """
        self._stream = stream
        self._under = under
        # Of a file that is cut off, all that lies before the cut: `read` would lose it.
        self._read: Callable[[int], bytes] = getattr(stream, "read1", stream.read)
        self._allowance = allowance
        self._reach = reach
        self._at = 0

    def readable(self) -> bool:
        """As streams say it."""
        return True

    def tell(self) -> int:
        """Bytes read so far."""
        return self._at

    def readinto(self, buffer: Writable) -> int:
        """The next bytes. Raises `broken_file`, `too_large`, `unsafe_archive`."""
        try:
            data = self._read(len(buffer))
        except DAMAGE as error:
            raise _broken() from error
        except OSError as error:
            if error.errno is not None:  # the disk's, not the file's
                raise
            raise _broken() from error
        buffer[: len(data)] = data
        self._at += len(data)
        if self._allowance is not None and self._at > self._reach.bytes:
            self._allowance.spend(self._at - self._reach.bytes)
            self._reach.bytes = self._at
        return len(data)

    def close(self) -> None:
        """Close what it reads from."""
        self._stream.close()
        if self._under is not None:
            self._under.close()
        super().close()


def _open(stream: BinaryIO, packing: str) -> BinaryIO:
    if packing == "gz":
        return cast("BinaryIO", gzip.GzipFile(fileobj=stream))
    if packing == "bz2":
        return cast("BinaryIO", bz2.BZ2File(stream))
    if packing == "xz":
        return cast("BinaryIO", lzma.LZMAFile(stream))
    arrow = importlib.import_module("pyarrow")
    return cast("BinaryIO", arrow.CompressedInputStream(arrow.PythonFile(stream, mode="r"), "zstd"))


def _broken() -> Exception:
    return refuse(
        "broken_file", "What is packed in the file is damaged or cut off.", "Pack it again, or copy it again."
    )
