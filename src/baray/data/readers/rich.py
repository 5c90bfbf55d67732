"""RTF: paragraphs of a rich text file, its letters by code page or as Unicode (Rich Text Format 1.9.1)."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from baray.data.readers.base import Found, ReadOptions, Record, SourceFile, file_title, first_line, refuse
from baray.data.readers.legacy import LEGACY_FIX, FontTally

_TOKEN = re.compile(rb"\\([a-z]{1,32})(-?\d{1,10})? ?|\\'([0-9a-fA-F]{2})|\\([^a-z])|([{}])|[\r\n]+|([^\\{}\r\n]+)")
_SKIPPED = frozenset(
    b"stylesheet colortbl info pict object themedata colorschememapping latentstyles datastore listtable listoverridetable"
    b" rsidtbl generator xmlnstbl filetbl revtbl fldinst header headerl headerr headerf footer footerl footerr footerf"
    b" nonshppict objdata pntext bkmkstart bkmkend".split()
)
_BREAKS = {b"par": "\n", b"line": "\n", b"row": "\n", b"sect": "\n", b"page": "\n", b"tab": " ", b"cell": "; ",
           b"emdash": "\u2014", b"endash": "\u2013", b"bullet": "\u2022", b"lquote": "\u2018", b"rquote": "\u2019",
           b"ldblquote": "\u201c", b"rdblquote": "\u201d", b"emspace": " ", b"enspace": " "}  # fmt: skip
_SIGNS = {b"~": "\u00a0", b"_": "-", b"\\": "\\", b"{": "{", b"}": "}", b"\n": "\n", b"\r": "\n"}
_CODE_PAGES = {0: 1252, 128: 932, 129: 949, 134: 936, 136: 950, 161: 1253, 162: 1254, 163: 1258, 177: 1255, 178: 1256,
               186: 1257, 204: 1251, 222: 874, 238: 1250, 77: 10000}  # fmt: skip
"""Number of a font's character set -> Windows code page."""
_DEEPEST = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class _State:
    """What holds inside one group."""

    skipped: bool = False
    fonts: bool = False
    """Whether it is the table of fonts."""
    font: int = 0
    after_unicode: int = 1
    """Letters after one in Unicode that stand for it in old programs."""


def read_rtf(file: SourceFile, options: ReadOptions) -> Iterator[Found]:
    """Text of a rich text file. Raises `broken_file`, `legacy_font`."""
    reader = _Reader()
    for match in _TOKEN.finditer(file.read(options.max_bytes).rstrip(b"\0")):
        reader.take(match)
    raw = reader.text()
    if reader.tally.found():
        raise refuse("legacy_font", reader.tally.detail(), LEGACY_FIX)
    text = raw.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    text = "\n".join(line.strip("; ") for line in text.split("\n"))
    yield Record(index=0, text=text, title=first_line(text) or file_title(file.path))


class _Reader:
    """Takes one sign after another."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.tally = FontTally()
        self._stack: list[_State] = []
        self._now = _State()
        self._page = "cp1252"
        self._names: dict[int, str] = {}
        self._pages: dict[int, str] = {}
        self._bytes = bytearray()
        self._left_over = 0

    def text(self) -> str:
        """All that was taken."""
        self._flush()
        return "".join(self.parts)

    def take(self, match: re.Match[bytes]) -> None:
        """One control word, letter or brace."""
        word, number, octet, sign, brace, plain = match.groups()
        if octet is not None:
            self._octets(bytes([int(octet, 16)]))
            return
        if plain is not None:
            self._octets(plain)
            return
        self._flush()
        if brace is not None:
            self._group(brace)
        elif word is not None:
            self._left_over = 0
            self._word(word, int(number) if number else None)
        elif sign == b"*":
            self._now = replace(self._now, skipped=True)
        elif sign is not None:
            self._add(_SIGNS.get(sign, ""))

    def _group(self, brace: bytes) -> None:
        self._left_over = 0
        if brace == b"{":
            if len(self._stack) > _DEEPEST:
                raise refuse("broken_file", f"More than {_DEEPEST} groups lie inside one another.", "Save it as DOCX.")
            self._stack.append(self._now)
        elif self._stack:
            self._now = self._stack.pop()

    def _word(self, word: bytes, number: int | None) -> None:
        if word in _SKIPPED:
            self._now = replace(self._now, skipped=True)
        elif word == b"fonttbl":
            self._now = replace(self._now, fonts=True)
        elif word in {b"f", b"deff"} and number is not None:
            self._now = replace(self._now, font=number)
        elif word == b"ansicpg" and number:
            self._page = _page(number)
        elif word == b"fcharset" and self._now.fonts and number in _CODE_PAGES:
            self._pages[self._now.font] = _page(_CODE_PAGES[number])
        elif word == b"uc":
            self._now = replace(self._now, after_unicode=max(0, number or 0))
        elif word == b"u" and number is not None:
            self._add(chr(number & 0xFFFF))
            self._left_over = self._now.after_unicode
        elif word in _BREAKS:
            self._add(_BREAKS[word])

    def _octets(self, octets: bytes) -> None:
        skip = min(self._left_over, len(octets))
        self._left_over -= skip
        self._bytes += octets[skip:]

    def _flush(self) -> None:
        if self._bytes:
            page = self._pages.get(self._now.font, self._page)
            self._add(self._bytes.decode(page, "replace"))
            self._bytes.clear()

    def _add(self, text: str) -> None:
        if self._now.fonts:
            if text.strip(" ;"):
                self._names.setdefault(self._now.font, text.strip(" ;"))
        elif not self._now.skipped and text:
            self.tally.add(text, self._names.get(self._now.font, ""))
            self.parts.append(text)


def _page(number: int) -> str:
    name = {10000: "mac_roman", 65001: "utf-8"}.get(number, f"cp{number}")
    try:
        return codecs.lookup(name).name
    except LookupError:
        return "cp1252"
