"""Documents that are packed files (Office, OpenDocument, EPUB): what they unpack to is bounded before it is unpacked."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any, TypeAlias

from lxml import etree

from baray.data.readers.base import refuse
from baray.data.readers.packed import DAMAGE, open_zip

Element: TypeAlias = Any
"""An element of lxml, which has no types."""

_MOST_MEMBERS = 20_000
_MOST_RATIO = 400
_SMALL = 4_000_000
SAFE: dict[str, Any] = {"resolve_entities": False, "no_network": True, "load_dtd": False, "huge_tree": False}
"""How XML from strangers is parsed."""


def check_archive(path: Path, max_bytes: int) -> None:
    """Raise `too_large` for an archive that declares more than `max_bytes`, or that packs improbably well."""
    with open_zip(path) as archive:
        members = archive.infolist()
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
    except (*DAMAGE, KeyError) as error:
        raise refuse("broken_file", f"The part {name} is missing or damaged.") from error
    if len(data) > max_bytes:
        raise refuse("too_large", f"The part {name} is larger than {max_bytes} bytes.", "Split the file.")
    return data


def parse_xml(data: bytes, name: str, *, doctype: bool = False) -> Element:
    """Root of a part. Raises `broken_file` for what is no XML, or declares entities; a `doctype` may be allowed."""
    try:
        root = etree.fromstring(data, etree.XMLParser(**SAFE))
    except (etree.XMLSyntaxError, ValueError) as error:
        raise refuse("broken_file", f"The part {name} is not valid XML.") from error
    refuse_entities(root, doctype=doctype)
    return root


def refuse_entities(element: Element, *, doctype: bool = False) -> None:
    """Raise `broken_file` where the document of `element` declares entities: no program writes any."""
    about = element.getroottree().docinfo
    declared = about.internalDTD is not None and next(iter(about.internalDTD.iterentities()), None) is not None
    if declared or (about.doctype and not doctype):
        raise refuse("broken_file", "The file declares entities, which no word processor writes.")
