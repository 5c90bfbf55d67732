"""OpenDocument (ISO/IEC 26300): ODT, ODS and ODP, and a text in one flat XML file."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass

from lxml import etree

from baray.data.readers.base import Found, ReadOptions, Record, SourceFile, file_title, first_line, refuse
from baray.data.readers.legacy import LEGACY_FIX, FontTally
from baray.data.readers.packed import DAMAGE
from baray.data.readers.tables import row_lines, row_records
from baray.data.readers.zipped import Element, check_archive, parse_xml, read_member

_NS = "{urn:oasis:names:tc:opendocument:xmlns:%s:1.0}"
_OFFICE, _TEXT, _TABLE, _STYLE = (_NS % name for name in ("office", "text", "table", "style"))
_PRESENTATION, _SVG, _FO = _NS % "presentation", _NS % "svg-compatible", _NS % "xsl-fo-compatible"
_TITLE = "{http://purl.org/dc/elements/1.1/}title"
_PARAGRAPHS = frozenset([_TEXT + "p", _TEXT + "h"])
_SKIPPED = frozenset(
    [_TEXT + "tracked-changes", _OFFICE + "annotation", _PRESENTATION + "notes", _TEXT + "note",
     _OFFICE + "forms", _TEXT + "ruby-text"]
)  # fmt: skip
_HEADING_STYLES = frozenset(["Title", "Heading_20_1", "Heading_20_2"])
_MOST_REPEATED = 200
"""A cell or row that stands for many is repeated so often; programs write a million empty ones that way."""
_MOST_CELLS = 5_000_000
_LOCKED = re.compile(rb"<(?:manifest:)?encryption-data\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Styles:
    """What the styles say that matters here."""

    fonts: dict[str, str]
    """Style -> its font; empty for the default."""
    headings: frozenset[str]
    hidden: frozenset[str]
    """Styles of tables that are not shown."""


def read_opendocument(file: SourceFile, options: ReadOptions) -> Iterator[Found]:
    """A packed document. Raises `broken_file`, `too_large`, `encrypted`, `legacy_font`."""
    check_archive(file.blob, options.max_bytes)
    try:
        with zipfile.ZipFile(file.blob) as archive:
            names = set(archive.namelist())
            if "META-INF/manifest.xml" in names and _LOCKED.search(
                read_member(archive, "META-INF/manifest.xml", options.max_bytes)
            ):
                raise refuse("encrypted", "The file is locked by a password.", "Save it without a password.")
            roots = [
                parse_xml(read_member(archive, name, options.max_bytes), name)
                for name in ("content.xml", "styles.xml", "meta.xml")
                if name in names or name == "content.xml"
            ]
    except DAMAGE as error:
        raise refuse("broken_file", "The file is cut off or damaged.") from error
    yield from _records(roots, file, options)


def read_flat(file: SourceFile, options: ReadOptions) -> Iterator[Found]:
    """A document in one XML file."""
    yield from _records([parse_xml(file.read(options.max_bytes), "file")], file, options)


def _records(roots: list[Element], file: SourceFile, options: ReadOptions) -> Iterator[Found]:
    body = next((one for one in (root.find(f"{_OFFICE}body") for root in roots) if one is not None), None)
    content = None if body is None else next(body.iterchildren(etree.Element), None)
    if content is None:
        raise refuse("broken_file", "The file holds no document.")
    reader = _Reader(_styles(roots))
    sheets = content.tag == _OFFICE + "spreadsheet"
    if sheets and options.rows == "yes":
        found = list(reader.sheet_rows(content))
        reader.check_fonts()
        yield from _rows(found, options)
        return
    text = "\n\n".join(reader.sheets(content)) if sheets else "\n".join(reader.blocks(content))
    reader.check_fonts()
    named = next((" ".join(one.split()) for root in roots for one in [root.findtext(f".//{_TITLE}") or ""] if one), "")
    title = file_title(file.path) if sheets else reader.heading or named or first_line(text) or file_title(file.path)
    yield Record(index=0, text=text, title=title)


def _rows(sheets: list[list[list[str]]], options: ReadOptions) -> Iterator[Found]:
    index = 0
    for rows in sheets:
        for record in row_records(rows, options, start=index):
            yield record
            index = record.index + 1


class _Reader:
    """Walks the body; remembers the first heading and the fonts that were used."""

    def __init__(self, styles: _Styles) -> None:
        self.heading = ""
        self._styles = styles
        self._fonts = FontTally()
        self._cells = 0

    def check_fonts(self) -> None:
        """Raise `legacy_font`."""
        if self._fonts.found():
            raise refuse("legacy_font", self._fonts.detail(), LEGACY_FIX)

    def blocks(self, content: Element) -> Iterator[str]:
        """Lines of a text or of slides: paragraphs and rows of tables; notes at the foot stand behind their paragraph."""
        walker = etree.iterwalk(content, events=("start",))
        for _, element in walker:
            if element.tag in _SKIPPED:
                walker.skip_subtree()
            elif element.tag == _TABLE + "table":
                walker.skip_subtree()
                yield from self._table(element)
            elif element.tag in _PARAGRAPHS:
                walker.skip_subtree()
                yield from self._paragraph(element).splitlines()

    def sheets(self, content: Element) -> Iterator[str]:
        """The sheets that are shown, each as one text."""
        shown = [
            one for one in content.iter(_TABLE + "table") if one.get(_TABLE + "style-name") not in self._styles.hidden
        ]
        for sheet in shown:
            lines = list(row_lines(self._cells_of(sheet)))
            if lines:
                yield "\n".join([sheet.get(_TABLE + "name", ""), *lines] if len(shown) > 1 else lines)

    def sheet_rows(self, content: Element) -> Iterator[list[list[str]]]:
        """Rows of each sheet that is shown."""
        for sheet in content.iter(_TABLE + "table"):
            if sheet.get(_TABLE + "style-name") not in self._styles.hidden:
                yield list(self._cells_of(sheet))

    def _paragraph(self, paragraph: Element) -> str:
        style = paragraph.get(_TEXT + "style-name", "")
        text = "".join(self._pieces(paragraph, self._font(style, ""))).strip()
        for note in paragraph.iter(_TEXT + "note-body"):  # behind the paragraph, as at the foot of its page
            said = " ".join("".join(self._pieces(one, self._font("", ""))).strip() for one in note.iter(*_PARAGRAPHS))
            text += f"\n{said}" if said else ""
        level = paragraph.get(_TEXT + "outline-level", "1") if paragraph.tag == _TEXT + "h" else ""
        if text and not self.heading and (level in {"1", "2"} or style in self._styles.headings):
            self.heading = first_line(text)
        return text

    def _font(self, style: str, outer: str) -> str:
        return self._styles.fonts.get(style) or outer or self._styles.fonts.get("", "")

    def _pieces(self, element: Element, font: str) -> Iterator[str]:
        """Text of an element, depth first, without calling itself: it may be deep on purpose."""
        stack: list[tuple[Element, str]] = [(element, font)]
        walker = etree.iterwalk(element, events=("start", "end"))
        for event, one in walker:
            if event == "start":
                if one is not element:
                    yield "\n" if one.tag in _PARAGRAPHS else ""
                    stack.append((one, self._font(one.get(_TEXT + "style-name", ""), stack[-1][1])))
                if one.tag in _SKIPPED:
                    walker.skip_subtree()
                    continue
                yield self._said(one.text, stack[-1][1]) + _sign(one)
                continue
            stack.pop()
            if one.tag in _PARAGRAPHS and one is not element:
                yield "\n"
            if one is not element:
                yield self._said(one.tail, stack[-1][1])

    def _said(self, text: str | None, font: str) -> str:
        # Line ends of the file are spaces; a space that counts is an element of its own.
        clean = re.sub(r"[ \t\r\n]+", " ", text or "")
        self._fonts.add(clean, font)
        return clean

    def _table(self, table: Element) -> Iterator[str]:
        rows = list(self._cells_of(table))
        if len(rows) == 1 or max(map(len, rows), default=0) == 1:
            # A table of one row or one column is layout: its cells are paragraphs.
            yield from (cell for row in rows for cell in row if cell)
            return
        marked = table.find(_TABLE + "table-header-rows") is not None
        yield from row_lines(rows, header=True if marked and len(rows) > 1 else None)

    def _cells_of(self, table: Element) -> Iterator[list[str]]:
        for row in table.iter(_TABLE + "table-row"):
            cells: list[str] = []
            for cell in row.iterchildren(_TABLE + "table-cell", _TABLE + "covered-table-cell"):
                text = " ".join(
                    self._paragraph(one).replace("\n", " ") for one in cell.iter(*_PARAGRAPHS) if _outer(one, cell)
                )
                cells += [text] * _repeated(cell, _TABLE + "number-columns-repeated")
                self._cells += 1
            if self._cells > _MOST_CELLS:
                raise refuse("too_large", f"The tables have more than {_MOST_CELLS} cells.", "Save them as CSV.")
            while cells and not cells[-1]:
                cells.pop()
            filled = any(cells)
            for _ in range(_repeated(row, _TABLE + "number-rows-repeated") if filled else 1):
                yield cells if filled else []


def _outer(paragraph: Element, cell: Element) -> bool:
    """Whether `paragraph` stands in `cell` itself, and not in another paragraph of it."""
    return next((one for one in paragraph.iterancestors() if one is cell or one.tag in _PARAGRAPHS), None) is cell


def _sign(element: Element) -> str:
    if element.tag == _TEXT + "s":
        return " " * _repeated(element, _TEXT + "c")
    return {_TEXT + "tab": " ", _TEXT + "line-break": "\n"}.get(element.tag, "")


def _repeated(element: Element, attribute: str) -> int:
    said = str(element.get(attribute, "1"))
    return min(_MOST_REPEATED, max(1, int(said))) if said.isascii() and said.isdigit() and len(said) < 10 else 1


def _styles(roots: list[Element]) -> _Styles:
    faces = {
        face.get(_STYLE + "name", ""): face.get(_SVG + "font-family", "").strip("'\"")
        for root in roots
        for face in root.iter(_STYLE + "font-face")
    }
    fonts: dict[str, str] = {}
    headings: set[str] = set(_HEADING_STYLES)
    hidden: set[str] = set()
    for root in reversed(roots):  # named styles first: those of the content build on them
        for style in root.iter(_STYLE + "default-style", _STYLE + "style"):
            name, parent = style.get(_STYLE + "name", ""), style.get(_STYLE + "parent-style-name", "")
            properties = style.find(_STYLE + "text-properties")
            own = ""
            if properties is not None:
                said = properties.get(_STYLE + "font-name", "")
                own = faces.get(said, said) or properties.get(_FO + "font-family", "").strip("'\"")
            fonts[name] = own or fonts.get(parent, "") if name else own or fonts.get("", "")
            if parent in headings:
                headings.add(name)
            shown = style.find(_STYLE + "table-properties")
            if shown is not None and shown.get(_TABLE + "display") == "false":
                hidden.add(name)
    return _Styles(fonts=fonts, headings=frozenset(headings), hidden=frozenset(hidden))
