"""Packed files (DOCX, XLSX): what they may unpack to is bounded before anything is unpacked."""

from __future__ import annotations

import struct
import zipfile
import zlib
from pathlib import Path

from baray.data.readers.base import refuse

_MOST_MEMBERS = 20_000
_MOST_RATIO = 400
_SMALL = 4_000_000
BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError, OverflowError, struct.error)


def check_archive(path: Path, max_bytes: int) -> None:
    """Raise `too_large` for an archive that declares more than `max_bytes`, or that packs improbably well."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except BROKEN as error:
        raise refuse("broken_file", "The file is cut off or damaged.") from error
    if any(member.flag_bits & 1 for member in members):
        raise refuse("encrypted", "The file is locked by a password.", "Save it without a password and add it again.")
    if not all(0 <= member.header_offset < path.stat().st_size for member in members):
        raise refuse("broken_file", "The file's table of contents is damaged.")
    total = sum(member.file_size for member in members)
    packed = max(1, sum(member.compress_size for member in members))
    if len(members) > _MOST_MEMBERS or total > max_bytes or (total > _SMALL and total > _MOST_RATIO * packed):
        raise refuse(
            "too_large", f"The file unpacks to {total} bytes in {len(members)} parts.", "Split it into smaller files."
        )


def read_member(archive: zipfile.ZipFile, name: str, max_bytes: int) -> bytes:
    """Bytes of one part; its declared size is not trusted. Raises `too_large` or `broken_file`."""
    try:
        with archive.open(name) as stream:
            data = stream.read(max_bytes + 1)
    except (*BROKEN, KeyError) as error:
        raise refuse("broken_file", f"The part {name} is missing or damaged.") from error
    if len(data) > max_bytes:
        raise refuse("too_large", f"The part {name} is larger than {max_bytes} bytes.", "Split the file.")
    return data
