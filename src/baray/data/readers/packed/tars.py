"""Tar archives, read from front to back."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from tarfile import HeaderError
from typing import BinaryIO, Self, cast

from baray.core import Refused
from baray.data.readers.base import SourceFile, refuse
from baray.data.readers.packed.allowance import Allowance
from baray.data.readers.packed.members import Member, Names, is_no_document, refuse_labels, shown
from baray.data.readers.packed.streams import DAMAGE, Metered, Reach

_MOST_ENDS = 16
_ENDS = frozenset(["EOFHeaderError", "EmptyHeaderError"])
"""The library's names, which it does not export, for a block of zeros and for no block at all."""


def tar_members(file: SourceFile, allowance: Allowance) -> Iterator[Member]:
    """Files of a tar archive in its order. Raises `labels_inside` and `unsafe_archive` before the first one.

    The archive is walked twice: what it may not hold must be known before the first of its Documents is made. Where it
    is damaged, the members before the damage are given and then `broken_file` is raised.
    """
    try:
        for entry, _ in _entries(file):
            allowance.member()
            refuse_labels(entry.name)
    except Refused as refused:
        if refused.code != "broken_file":
            raise
    names = Names()
    for entry, archive in _entries(file):
        if not entry.isdir() and not is_no_document(entry.name):
            yield _member(entry, archive, names)


def _member(entry: tarfile.TarInfo, archive: tarfile.TarFile, names: Names) -> Member:
    try:
        name = names.check(entry.name)
        if not entry.isreg() or entry.issparse():
            what = "is a link, a device, or a file with holes"
            raise refuse("unsafe_archive", f"The member {shown(entry.name)} {what}.", "Put the file itself there.")
    except Refused as problem:
        return Member(name=shown(entry.name), stream=None, problem=problem)
    inside = cast("BinaryIO", archive.extractfile(entry))
    return Member(name=name, stream=cast("BinaryIO", Metered(inside, None, Reach())))


def _entries(file: SourceFile) -> Iterator[tuple[tarfile.TarInfo, tarfile.TarFile]]:
    try:
        with (
            file.open() as stream,
            tarfile.open(
                fileobj=cast("BinaryIO", _Ending(stream)), mode="r|", errorlevel=2, tarinfo=_Header
            ) as archive,
        ):
            for entry in archive:
                yield entry, archive
                vars(archive)["members"].clear()  # else every header of the archive stays in memory
    except (*DAMAGE, RecursionError) as error:
        raise _broken() from error


class _Ending:
    """A stream that ends with an error for who reads on and on: a header may say that its member has 2**90 bytes."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._ends = 0

    def read(self, size: int) -> bytes:
        """As streams read."""
        data = self._stream.read(size)
        self._ends += not data
        if self._ends > _MOST_ENDS:
            raise EOFError("the archive ends inside of a member")
        return data


class _Header(tarfile.TarInfo):
    """A header whose damage is an error: the library takes it for the end of the archive, and the rest would be lost."""

    @classmethod
    def fromtarfile(cls, tarfile: tarfile.TarFile) -> Self:
        """The next header. Raises `broken_file` unless the archive ends here as it should."""
        try:
            return super().fromtarfile(tarfile)
        except HeaderError as error:
            if type(error).__name__ in _ENDS:
                raise
            raise _broken() from error


def _broken() -> Exception:
    return refuse("broken_file", "The archive is damaged or cut off from here on.", "Pack it again, or copy it again.")
