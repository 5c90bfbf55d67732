"""Zip archives: their table of contents is looked at before the library reads it."""

from __future__ import annotations

import stat
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, cast

from baray.core import Refused
from baray.data.readers.base import SourceFile, refuse
from baray.data.readers.packed.allowance import Allowance
from baray.data.readers.packed.members import Member, Names, is_no_document, refuse_labels, shown
from baray.data.readers.packed.streams import DAMAGE, Metered, Reach

_END = b"PK\x05\x06"
_END_BYTES = 22
_LONGEST_COMMENT = 65535
_LARGEST_TABLE = 32_000_000
"""Bytes of a table of contents: over 300,000 members with names of common length."""
_UTF8_NAME = 0x800
_LOCKED = 0x1


def check_table(path: Path) -> None:
    """Raise `unsafe_archive` for a table of contents that would fill the memory."""
    with path.open("rb") as stream:
        length = stream.seek(0, 2)
        stream.seek(max(0, length - _END_BYTES - _LONGEST_COMMENT - 20))
        tail = stream.read()
    at = tail.rfind(_END)
    if at < 0 or len(tail) - at < _END_BYTES:
        raise refuse("broken_file", "The file is cut off or damaged: its table of contents cannot be read.")
    (size,) = struct.unpack_from("<I", tail, at + 12)
    # In the longer form of the format the number is all ones, and the table lies before the end of the file.
    if min(size, length) > _LARGEST_TABLE:
        raise refuse("unsafe_archive", f"The archive's table of contents has {min(size, length)} bytes.", "Split it.")


def open_zip(path: Path) -> zipfile.ZipFile:
    """The archive at `path`. Raises `broken_file`, `unsafe_archive`."""
    check_table(path)
    try:
        return zipfile.ZipFile(path)
    except DAMAGE as error:
        raise refuse("broken_file", "The file is cut off or damaged: its table of contents cannot be read.") from error


def zip_members(file: SourceFile, allowance: Allowance) -> Iterator[Member]:
    """Files of a zip archive in the order of its table. Raises `broken_file`, `labels_inside`, `unsafe_archive` first."""
    with open_zip(file.blob) as archive:
        entries = archive.infolist()
        allowance.member(len(entries))
        for entry in entries:
            refuse_labels(_name(entry))
        _refuse_overlap(entries, file.blob)
        names = Names()
        for entry in entries:
            name = _name(entry)
            if not entry.is_dir() and not is_no_document(name):
                yield _member(archive, entry, names.check, allowance)


def _member(
    archive: zipfile.ZipFile, entry: zipfile.ZipInfo, check: Callable[[str], str], allowance: Allowance
) -> Member:
    name = _name(entry)
    try:
        name = check(name)
        mode = entry.external_attr >> 16
        if mode and not stat.S_ISREG(mode) and stat.S_IFMT(mode):
            raise refuse(
                "unsafe_archive", f"The member {shown(name)} is a link or a device.", "Put the file itself there."
            )
        if entry.flag_bits & _LOCKED:
            raise refuse(
                "encrypted", f"The member {shown(name)} is locked by a password.", "Pack it without a password."
            )
        stream = Metered(_opened(archive, entry), allowance, Reach())
    except Refused as problem:
        return Member(name=shown(name), stream=None, problem=problem)
    return Member(name=name, stream=cast("BinaryIO", stream))


def _opened(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> BinaryIO:
    try:
        return cast("BinaryIO", archive.open(entry))
    except DAMAGE as error:
        what = f"The member {shown(entry.filename)} is damaged, or packed in an unknown way."
        raise refuse("broken_file", what, "Pack it again.") from error


def _refuse_overlap(entries: list[zipfile.ZipInfo], path: Path) -> None:
    """Members that share packed bytes are how a small archive unpacks to everything there is."""
    length = path.stat().st_size
    at = 0
    for entry in sorted(entries, key=lambda one: one.header_offset):
        if entry.header_offset < at or entry.header_offset + entry.compress_size > length:
            raise refuse(
                "unsafe_archive", f"The bytes of {shown(entry.filename)} are those of another member too, or missing."
            )
        at = entry.header_offset + entry.compress_size


def _name(entry: zipfile.ZipInfo) -> str:
    """Name of a member. Old programs write UTF-8 without saying so; the format's own encoding is that of DOS."""
    if entry.flag_bits & _UTF8_NAME:
        return entry.filename
    try:
        return entry.orig_filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return entry.filename
