"""Which encoding bytes are in, and their text; what is broken is counted.

A byte order mark decides, then whether the bytes are UTF-8 (perhaps with a little damage), then what the file declares.
Only where none of these tells is an encoding guessed, from the bytes that are not ASCII; a weak guess is a refusal.
"""

from __future__ import annotations

import codecs
import io
import re
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType

import chardet

from baray.data.readers.base import SourceFile, refuse

_BOMS = (
    # UTF-32 first: its little-endian mark begins with that of UTF-16.
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_FIX = "Save the file as UTF-8."
_ASCII = re.compile("[\x00-\x7f]+")
_HIGH_LINE = re.compile(rb"[^\n]{0,400}[\x80-\xff][^\n]{0,400}")
_HEAD = 65536
LONGEST_LINE = 16_000_000
"""Characters of one line, or one record, of a file of rows."""
_MOST_REPLACED = 0.05
_MOST_HIGH = 0.15
_FOUR_BYTES = re.compile(rb"(?:[\x81-\xfe][0-9][\x81-\xfe][0-9])+")
_MOSTLY = 0.8
_SURE = 0.1
"""Real text of one sentence is guessed with 0.11 to 0.95, bytes without sense with 0.00 to 0.05."""
_ESCAPED = (b"\x1b$B", b"\x1b$@")
_STATEFUL = frozenset(["iso2022_jp", "hz"])
_GUESSED = (
    "windows-1250", "windows-1251", "windows-1252", "windows-1253", "windows-1254", "windows-1255", "windows-1256",
    "windows-1257", "windows-1258", "koi8-r", "iso-8859-2", "iso-8859-15", "gb18030", "big5", "shift_jis", "cp932",
    "euc-jp", "iso-2022-jp", "cp949", "euc-kr", "tis-620", "cp874", "macroman",
)  # fmt: skip
_WIDER: Mapping[str, str] = MappingProxyType(
    {
        "ascii": "cp1252", "iso8859-1": "cp1252", "gb2312": "gb18030", "gbk": "gb18030", "shift_jis": "cp932",
        "euc_kr": "cp949", "big5": "big5hkscs", "tis-620": "cp874", "iso8859-9": "cp1254", "iso8859-11": "cp874",
    }
)  # fmt: skip
"""Encodings that pages name when they mean a wider one (WHATWG, Encoding Standard)."""
_WITH_C1: Mapping[str, str] = MappingProxyType({"iso8859-2": "cp1250", "iso8859-15": "cp1252"})
"""Where bytes 80 to 9F are letters it is the second of a pair; in the first they are controls."""
_C1 = re.compile(rb"[\x80-\x9f]")
_CONTROLS = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_NO_LETTERS = frozenset(["Cc", "Cn", "Co", "Cs"])
_EVERYWHERE = frozenset(" \t\r\n.,0123456789\u3001\u3002\uff0c")
_REFUSED = frozenset(
    ["utf-8", "utf-7", "rot13", "idna", "punycode", "raw_unicode_escape", "unicode_escape", "undefined"]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """Text of some bytes."""

    text: str
    notes: tuple[str, ...]
    """One sentence if bytes were broken; they stand as U+FFFD."""


def decode(data: bytes, *, declared: str = "") -> Decoded:
    """Text of `data`. A few broken bytes become U+FFFD rather than costing the whole Document. Raises `decode_error`."""
    encoding = encoding_of(data, declared=declared)
    try:
        text = data.decode(encoding, errors="replace")
    except (LookupError, UnicodeError) as error:
        raise refuse("decode_error", f"The bytes are not {encoding}.", _FIX) from error
    broken = text.count("\ufffd") - _meant(data, encoding)
    if broken > max(1, _MOST_REPLACED * len(text)):
        raise refuse("decode_error", f"{broken} places hold bytes that are not {encoding}.", _FIX)
    return Decoded(text=text, notes=broken_note(broken, encoding))


def broken_note(broken: int, encoding: str) -> tuple[str, ...]:
    """What is said of `broken` places."""
    return (f"{broken} places hold bytes that are not {encoding}; they stand as U+FFFD.",) if broken > 0 else ()


@contextmanager
def opened_text(file: SourceFile, *, newline: str | None) -> Iterator[tuple[io.TextIOWrapper, str]]:
    """`file` as text with its encoding, which its beginning tells. Raises `decode_error`."""
    with file.open() as stream:
        head = stream.read(_HEAD)
    # A beginning that is cut off inside a letter would look like damage.
    encoding = encoding_of(head[: head.rfind(b"\n") + 1] or head if len(head) == _HEAD else head)
    with file.open() as stream, io.TextIOWrapper(stream, encoding=encoding, errors="replace", newline=newline) as text:
        yield text, encoding


def whole_lines(text: io.TextIOWrapper) -> Iterator[str]:
    """The lines of `text` with their ends. Raises `broken_file` for one that would fill the memory."""
    while line := text.readline(LONGEST_LINE):
        if len(line) == LONGEST_LINE and not line.endswith("\n"):
            raise refuse("broken_file", f"A line has more than {LONGEST_LINE} characters.", "Split it into lines.")
        yield line


def encoding_of(data: bytes, *, declared: str = "") -> str:
    """Name of the encoding of `data`, which may be only the beginning of a file. Raises `decode_error`."""
    if data.startswith(codecs.BOM_UTF8):
        return "utf-8-sig"
    if wide := wide_encoding(data):
        return wide
    if b"\0" in data:
        raise refuse("decode_error", "The file holds zero bytes and is not UTF-16.", _FIX)
    named = _known(declared)
    if named in _STATEFUL:
        return named
    if any(escape in data for escape in _ESCAPED):
        return "iso2022_jp"
    if _is_utf8(data):
        return "utf-8"
    return named or _guess(data)


def wide_encoding(data: bytes) -> str:
    """UTF-32 or UTF-16 by its mark; without one its high bytes are zeros, or those of the Khmer block (U+1780 to U+17FF).

    Empty for anything else.
    """
    for mark, name in _BOMS:
        if data.startswith(mark):
            return name
    sample = data[:4096]
    sample = sample[: len(sample) // 4 * 4] if len(sample) >= 8 else sample
    if len(sample) < 4:
        return ""
    for name, high in (("utf-32-le", (3, 2)), ("utf-32-be", (0, 1))):
        if not any(sample[high[0] :: 4]) and not any(sample[high[1] :: 4]) and len(sample) % 4 == 0 and any(sample):
            return name
    for name, high_at in (("utf-16-le", 1), ("utf-16-be", 0)):
        high_bytes = sample[high_at::2]
        if high_bytes.count(0) + high_bytes.count(0x17) > 0.4 * len(high_bytes):
            low_bytes = sample[1 - high_at :: 2]
            if low_bytes.count(0) < 0.1 * len(low_bytes):
                return name
    return _two_bytes(sample) if _CONTROLS.search(sample) else ""


def _two_bytes(sample: bytes) -> str:
    """UTF-16 of another script: in the right order of bytes it has spaces or ASCII, and no letter that there is not."""
    common = {"utf-16-le": 0, "utf-16-be": 0}
    for name in common:
        try:
            text = sample.decode(name)
        except UnicodeDecodeError:
            # The sample may end inside a pair; then its last two bytes are left off.
            text = sample[:-2].decode(name, "replace")
        if not any(unicodedata.category(one) in _NO_LETTERS and one not in "\t\r\n" for one in text):
            common[name] = sum(one in _EVERYWHERE for one in text)
    best = max(common, key=lambda name: common[name])
    return best if common[best] > min(common.values()) else ""


def _is_utf8(data: bytes) -> bool:
    """Whether `data` is UTF-8, perhaps with some damage: then most of what is not ASCII is valid."""
    text = data.decode("utf-8", errors="replace")
    replaced = text.count("\ufffd")
    valid = len(text) - sum(map(len, _ASCII.findall(text))) - replaced
    return replaced == 0 or (valid > 4 * replaced and replaced <= _MOST_REPLACED * len(text))


def _guess(data: bytes) -> str:
    """An encoding of one or two bytes a letter. Raises `decode_error` where the bytes make no sense in any."""
    # The lines that tell: a file may begin with a megabyte of ASCII.
    telling = b"\n".join(found[0] for found, _ in zip(_HIGH_LINE.finditer(data), range(2000), strict=False))
    high = sum(byte >= 0x80 for byte in telling)
    if high and sum(map(len, _FOUR_BYTES.findall(telling))) > _MOSTLY * 2 * high:
        return "gb18030"  # letters outside of the Chinese tables, Khmer among them: no other encoding looks so
    found = chardet.detect(telling[:_HEAD], include_encodings=_GUESSED)
    name = _known(str(found["encoding"] or ""))
    if name and (found["confidence"] or 0.0) >= _SURE:
        return _WITH_C1.get(name, name) if _C1.search(telling) else name
    if sum(byte >= 0x80 for byte in data) <= _MOST_HIGH * len(data):
        return "cp1252"
    raise refuse("decode_error", "The file is not UTF-8, and names no other encoding.", _FIX)


def _known(encoding: str) -> str:
    """Python's name of an encoding of texts; empty for none."""
    try:
        about = codecs.lookup(encoding) if encoding else None
    except (LookupError, ValueError):  # a name may hold a zero byte
        return ""
    if about is None or about.name in _REFUSED or not getattr(about, "_is_text_encoding", True):
        return ""
    return _WIDER.get(about.name, about.name)


def _meant(data: bytes, encoding: str) -> int:
    """How often U+FFFD stands in `data` itself."""
    try:
        return data.count("\ufffd".encode(encoding.removesuffix("-sig"))) if encoding.startswith("utf-8") else 0
    except UnicodeError:
        return 0
