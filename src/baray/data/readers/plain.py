"""Text files: decoding, TXT and Markdown."""

from __future__ import annotations

import codecs
import re

from baray.data.readers.base import Record, SourceFile, file_title, first_line, refuse

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_HEADING = re.compile(r"(?m)^ {0,3}#{1,2}[ \t]+(.+?)[ \t#]*$")
_FIX = "Save the file as UTF-8."
_ASCII = re.compile("[\x00-\x7f]+")
_MOST_REPLACED = 0.05
_MOST_HIGH = 0.15


def decode(data: bytes, *, declared: str = "") -> str:
    """Text of `data`: by byte order mark, as UTF-8, by the `declared` encoding, as Windows-1252. Raises `decode_error`.

    A few bad bytes in UTF-8 become U+FFFD rather than costing the whole Document.
    """
    return _decode(data, encoding_of(data, declared=declared))


def encoding_of(data: bytes, *, declared: str = "") -> str:
    """Name of the encoding of `data`, which may be only the beginning of a file. Raises `decode_error`."""
    for mark, name in _BOMS:
        if data.startswith(mark):
            return name
    if _mostly_zero(data[1:4096:2]):
        return "utf-16-le"
    if _mostly_zero(data[0:4096:2]):
        return "utf-16-be"
    if b"\0" in data:
        raise refuse("decode_error", "The file holds zero bytes and is not UTF-16.", _FIX)
    if _is_utf8(data):
        return "utf-8"
    if declared and _known(declared):
        return declared
    if sum(byte >= 0x80 for byte in data) <= _MOST_HIGH * len(data):
        return "cp1252"
    raise refuse("decode_error", "The file is not UTF-8, and names no other encoding.", _FIX)


def read_text(file: SourceFile) -> Record:
    """A plain text file."""
    text = decode(file.blob.read_bytes())
    return Record(index=0, text=text, title=first_line(text) or file_title(file.path))


def read_markdown(file: SourceFile) -> Record:
    """A Markdown file; its marks stay, they are readable as they are."""
    text = decode(file.blob.read_bytes())
    heading = _HEADING.search(text)
    title = heading[1].strip() if heading else first_line(text)
    return Record(index=0, text=text, title=title or file_title(file.path))


def _is_utf8(data: bytes) -> bool:
    """Whether `data` is UTF-8, perhaps with some damage: then most of what is not ASCII is valid."""
    text = data.decode("utf-8", errors="replace")
    replaced = text.count("\ufffd")
    valid = len(text) - sum(map(len, _ASCII.findall(text))) - replaced
    return replaced == 0 or (valid > 4 * replaced and replaced <= _MOST_REPLACED * len(text))


def _decode(data: bytes, encoding: str) -> str:
    try:
        text = data.decode(encoding, errors="replace")
    except (LookupError, UnicodeError) as error:
        raise refuse("decode_error", f"The bytes are not {encoding}.", _FIX) from error
    if text.count("\ufffd") > max(1, _MOST_REPLACED * len(text)):
        raise refuse("decode_error", f"Many bytes are not {encoding}.", _FIX)
    return text


def _mostly_zero(data: bytes) -> bool:
    return len(data) >= 4 and data.count(0) > 0.4 * len(data)


def _known(encoding: str) -> bool:
    try:
        return codecs.lookup(encoding).name not in {"utf-8", "rot13"}
    except LookupError:
        return False
