"""DOCX: paragraphs, tables, headers and notes, read part by part with bounded memory."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator

from lxml import etree

from baray.data.readers.base import Found, ReadOptions, Record, SourceFile, file_title, first_line, refuse
from baray.data.readers.legacy import LEGACY_FIX, FontTally
from baray.data.readers.packed import DAMAGE
from baray.data.readers.tables import row_lines
from baray.data.readers.zipped import SAFE, Element, check_archive, parse_xml, read_member, refuse_entities

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
_TITLE = "{http://purl.org/dc/elements/1.1/}title"
_BODY = "word/document.xml"
_HEADING_STYLES = frozenset(["Title", "Heading1", "Heading2"])
_DEEPEST_STYLE = 20
_UNTITLED = frozenset(["", "untitled", "document", "document1", "word document"])


def read_docx(file: SourceFile, options: ReadOptions) -> Iterator[Found]:
    """Text of a Word document. Raises `broken_file`, `too_large`, `encrypted`, `legacy_font`."""
    check_archive(file.blob, options.max_bytes)
    try:
        with zipfile.ZipFile(file.blob) as archive:
            record = _read(archive, file, options)
    except DAMAGE as error:
        raise refuse("broken_file", "The file is cut off or damaged.") from error
    yield record


def _read(archive: zipfile.ZipFile, file: SourceFile, options: ReadOptions) -> Record:
    parts = _Parts(archive, options.max_bytes)
    names = archive.namelist()
    blocks = [
        *dict.fromkeys(line for name in _named(names, "word/header") for line in parts.blocks(name)),
        *parts.blocks(_BODY),
        *(line for name in ("word/footnotes.xml", "word/endnotes.xml") if name in names for line in parts.blocks(name)),
    ]
    if parts.fonts.found():
        raise refuse("legacy_font", parts.fonts.detail(), LEGACY_FIX)
    text = "\n".join(blocks)
    title = _core_title(parts) if "docProps/core.xml" in names else ""
    return Record(index=0, text=text, title=parts.heading or title or first_line(text) or file_title(file.path))


class _Parts:
    """The parts of one document; remembers the first heading, and the fonts that were used."""

    def __init__(self, archive: zipfile.ZipFile, max_bytes: int) -> None:
        self.archive = archive
        self.max_bytes = max_bytes
        self.heading = ""
        self.fonts = FontTally()
        self._style_fonts: dict[str, str] = {}
        self._headings = _HEADING_STYLES
        self._default_style = "Normal"
        if "word/styles.xml" in archive.namelist():
            self._read_styles()

    def tree(self, name: str) -> Element:
        """Root of a small part."""
        return parse_xml(read_member(self.archive, name, self.max_bytes), name)

    def blocks(self, name: str) -> Iterator[str]:
        """Lines of a part: its paragraphs and the rows of its tables."""
        data = io.BytesIO(read_member(self.archive, name, self.max_bytes))
        tables = 0
        try:
            for event, element in etree.iterparse(data, events=("start", "end"), **SAFE):
                if element.tag == _W + "tbl":
                    tables += 1 if event == "start" else -1
                    if event == "end" and tables == 0:
                        yield from self._table(element)
                        element.clear()
                elif element.tag == _W + "p" and event == "end" and tables == 0 and not _nested(element):
                    yield from self._paragraph(element).splitlines()
                    element.clear()
            refuse_entities(element)
        except etree.XMLSyntaxError as error:
            raise refuse("broken_file", f"The part {name} is not valid XML.") from error

    def _paragraph(self, paragraph: Element) -> str:
        style = _value(paragraph.find(f"{_W}pPr/{_W}pStyle"))
        text = "".join(self._runs(paragraph, style)).strip()
        if text and not self.heading and style in self._headings:
            self.heading = first_line(text)
        return text

    def _runs(self, paragraph: Element, style: str) -> Iterator[str]:
        skipped = etree.iterwalk(paragraph, events=("start", "end"))
        for event, element in skipped:
            if event == "start" and element.tag in {_FALLBACK, _W + "del", _W + "pPr", _W + "rPr"}:
                # A text box stands twice, as a choice and as its fallback; deleted text is not text.
                skipped.skip_subtree()
            elif event == "start" and element.tag == _W + "t":
                self.fonts.add(element.text or "", self._font(element, style))
                yield element.text or ""
            elif event == "start":
                yield _BREAKS.get(element.tag, "")
            elif element.tag == _W + "p" and element is not paragraph:
                yield "\n"

    def _font(self, text: Element, style: str) -> str:
        run = text.getparent()
        own = run.find(f"{_W}rPr/{_W}rFonts")
        named = _font_name(own) if own is not None else ""
        run_style = _value(run.find(f"{_W}rPr/{_W}rStyle"))
        styles = [key for key in (run_style, style or self._default_style) if key]
        inherited = (self._style_fonts.get(key, "") for key in (*styles, ""))
        return named or next((font for font in inherited if font), "")

    def _table(self, table: Element) -> Iterator[str]:
        rows = [[self._cell(cell) for cell in row.iter(_W + "tc")] for row in table.iterchildren(_W + "tr", _W + "sdt")]
        if len(rows) == 1 or max(map(len, rows), default=0) == 1:
            # A table of one row or one column is layout: its cells are paragraphs.
            yield from (cell for row in rows for cell in row if cell)
            return
        marked = table.find(f"{_W}tr/{_W}trPr/{_W}tblHeader") is not None
        yield from row_lines(rows, header=True if marked else None)

    def _cell(self, cell: Element) -> str:
        return " ".join(line for line in (self._paragraph(one) for one in cell.iter(_W + "p")) if line)

    def _inherited(self, key: str, based_on: dict[str, str]) -> str:
        """Font of a style, or of the one that it builds on; a style may stand before its base."""
        for _ in range(_DEEPEST_STYLE):
            if self._style_fonts.get(key) or not based_on.get(key):
                break
            key = based_on[key]
        return self._style_fonts.get(key, "")

    def _read_styles(self) -> None:
        root = self.tree("word/styles.xml")
        default = root.find(f"{_W}docDefaults//{_W}rFonts")
        self._style_fonts[""] = _font_name(default) if default is not None else ""
        headings = set()
        based_on: dict[str, str] = {}
        for style in root.iter(_W + "style"):
            key, fonts = style.get(_W + "styleId", ""), style.find(f"{_W}rPr/{_W}rFonts")
            based_on[key] = _value(style.find(_W + "basedOn"))
            self._style_fonts[key] = _font_name(fonts) if fonts is not None else ""
            if style.get(_W + "default") in {"1", "true"} and style.get(_W + "type") == "paragraph":
                self._default_style = key
            name = _value(style.find(_W + "name")).lower()
            if name == "title" or name.startswith("heading"):
                headings.add(key)
        self._headings = _HEADING_STYLES | headings
        for key in based_on:
            self._style_fonts[key] = self._inherited(key, based_on)


_BREAKS = {_W + "tab": " ", _W + "br": "\n", _W + "cr": "\n", _W + "noBreakHyphen": "-"}


def _nested(paragraph: Element) -> bool:
    """Whether `paragraph` stands in a text box of another one, which will yield it."""
    return next(paragraph.iterancestors(_W + "p"), None) is not None


def _named(names: list[str], start: str) -> list[str]:
    return sorted(name for name in names if name.startswith(start) and name.endswith(".xml"))


def _value(element: Element) -> str:
    return "" if element is None else str(element.get(_W + "val", ""))


def _font_name(fonts: Element) -> str:
    # Legacy Khmer is stored in Latin code points, so the font for Latin text draws it.
    return str(fonts.get(_W + "ascii") or fonts.get(_W + "hAnsi") or "")


def _core_title(parts: _Parts) -> str:
    title = " ".join((parts.tree("docProps/core.xml").findtext(_TITLE) or "").split())
    return "" if title.lower() in _UNTITLED else title
