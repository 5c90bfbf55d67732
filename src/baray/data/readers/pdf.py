"""PDF: text in the order in which it was drawn, with the ActualText of the writer, and OCR for pages without text.

Khmer glyphs are not Khmer letters: a vowel is drawn before its consonant, one letter as two glyphs, three letters as
one. LibreOffice, Chromium and Word therefore mark such glyphs with the letters they stand for (ISO 32000-1, 14.9.4
"Replacement text"). An extractor that sorts glyphs by position, or takes the text of each glyph, loses or doubles them.
So drawn objects are walked in their order in the page; objects under one ActualText give it once.
"""

from __future__ import annotations

import ctypes
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import pypdfium2
import pypdfium2.raw as pdfium

from baray.core import Refused
from baray.data.readers.base import Found, ReadOptions, Record, SourceFile, file_title, first_line, refuse
from baray.data.readers.garbled import Doubt, agreement, agrees, doubt
from baray.data.readers.layout import Piece, page_text
from baray.data.readers.legacy import LEGACY_FIX, FontTally
from baray.data.readers.scan import NO_OCR_FIX, recognise_pages

Native: TypeAlias = Any
"""A thing of the PDF library, which has no types."""
Matrix: TypeAlias = tuple[float, ...]
"""a to f of an affine map (ISO 32000-1, 8.3.3)."""

_OCR_DPI = 300
_OCR_MOST_PIXELS = 40_000_000
_FEW_LETTERS = 8
_MOST_PAGES = 20_000
_KHMER = re.compile("[\u1780-\u17d3]")
_ENOUGH_KHMER = 60
_LEAST_COENGS = 0.02
_MOST_UNMAPPED = 0.05
_DEEPEST_FORM = 12
_SPLIT_AHEAD = 0.15
_SPLIT_BACK = 0.6


def read_pdf(file: SourceFile, options: ReadOptions) -> Iterator[Found]:
    """Text of a PDF. Raises `encrypted`, `broken_file`, `legacy_font`, `no_ocr`, `no_text`."""
    try:
        document = pypdfium2.PdfDocument(file.blob)
        # Locked files and cut-off files fail here or at their first page.
        if len(document) > _MOST_PAGES:
            raise refuse("too_large", f"The file has {len(document)} pages.", "Split it into smaller files.")
        try:
            record = _read(document, file, options)
        finally:
            document.close()
    except pypdfium2.PdfiumError as error:
        if getattr(error, "err_code", None) == pdfium.FPDF_ERR_PASSWORD or "assword" in str(error):
            raise refuse("encrypted", "The file is locked by a password.", "Save it without a password.") from error
        raise refuse("broken_file", "The file is cut off or damaged.") from error
    yield record


@dataclass(frozen=True, slots=True, kw_only=True)
class _Page:
    """What the text layer says of one page."""

    text: str
    heading: str
    scan: bool
    """Whether there is no text to speak of."""
    doubt: Doubt


def _read(document: Native, file: SourceFile, options: ReadOptions) -> Record:
    fonts = FontTally()
    pages: list[_Page] = []
    for number in range(len(document)):
        page = document[number]
        pages.append(_page(page, fonts))
        page.close()
    if fonts.found():
        raise refuse("legacy_font", fonts.detail(), LEGACY_FIX)
    wrong = _wrong(document, pages, options)
    scans = [number for number, page in enumerate(pages) if page.scan or number in wrong.pages]
    texts = ["" if number in scans else page.text for number, page in enumerate(pages)]
    texts = [wrong.seen.get(number, text) for number, text in enumerate(texts)]
    notes = wrong.notes + _read_scans(document, [one for one in scans if one not in wrong.seen], texts, options)
    text = "\n\n".join(one for one in texts if one)
    heading = next((page.heading for number, page in enumerate(pages) if number not in scans and page.heading), "")
    title = " ".join((document.get_metadata_value("Title") or "").split())
    title = "" if title.lower().startswith(("untitled", "microsoft word", "document1")) else title
    return Record(
        index=0, text=text, title=first_line(heading) or title or first_line(text) or file_title(file.path), notes=notes
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wrong:
    """Pages whose letters are not those that they show."""

    pages: frozenset[int] = frozenset()
    notes: tuple[str, ...] = ()
    seen: Mapping[int, str] = field(default_factory=dict)
    """Page -> what OCR has read of it already."""


def _wrong(document: Native, pages: list[_Page], options: ReadOptions) -> _Wrong:
    """Compare one of the doubtful pages with OCR; the others are made by the same program."""
    doubtful = [
        number for number, page in enumerate(pages) if not page.scan and (page.doubt.garbled or page.doubt.unproven)
    ]
    if not doubtful:
        return _Wrong()
    garbled = [number for number in doubtful if pages[number].doubt.garbled]
    if options.ocr is None or options.ocr_pages == 0:
        unproven = len(doubtful) - len(garbled)
        note = f"The letters of {unproven} pages may be in a wrong order; without OCR they could not be compared."
        return _Wrong(pages=frozenset(garbled), notes=(note,) if unproven else ())
    sample = max(garbled or doubtful, key=lambda number: len(pages[number].text))
    try:
        (seen,) = recognise_pages([_render(document[sample])], options, dpi=_OCR_DPI)
    except Refused as refused:
        return _Wrong(pages=frozenset(garbled), notes=(f"Its letters could not be compared: {refused.message}",))
    share = agreement(pages[sample].text, seen)
    if agrees(share):
        return _Wrong()
    note = (
        f"The text layer of {len(doubtful)} pages is not what they show ({share:.2f} of page {sample + 1} agree with OCR);"
        " they were read by OCR."
    )
    return _Wrong(pages=frozenset(doubtful), notes=(note,), seen={sample: seen.strip()})


def _needs_ocr(text: str, *, pictures: bool, unmapped: int) -> bool:
    """Whether a page is a scan, or drawn in fonts that do not say which letters their glyphs are.

    Programs that print to PDF often lose subscripts that way: of real Khmer letters 4 % and more are coengs.
    """
    letters = sum(character.isalnum() for character in text)
    khmer = len(_KHMER.findall(text))
    lost = khmer >= _ENOUGH_KHMER and text.count("\u17d2") < _LEAST_COENGS * khmer
    return (letters < _FEW_LETTERS and pictures) or lost or unmapped > _MOST_UNMAPPED * (letters + unmapped)


def _read_scans(document: Native, scans: list[int], texts: list[str], options: ReadOptions) -> tuple[str, ...]:
    """Put the text of scanned pages into `texts`. Returns notes on pages that stay unread."""
    if not scans:
        return ()
    if options.ocr is None or options.ocr_pages == 0:
        if not any(texts):
            raise refuse("no_ocr", f"All {len(scans)} pages are scans, or drawn without letters.", NO_OCR_FIX)
        return (f"{len(scans)} pages are scans and were not read: {NO_OCR_FIX}",)
    chosen, left = scans[: options.ocr_pages], scans[options.ocr_pages :]
    step = max(1, options.cpus) * 2
    for at in range(0, len(chosen), step):
        numbers = chosen[at : at + step]
        pictures = [_render(document[number]) for number in numbers]
        for number, text in zip(numbers, recognise_pages(pictures, options, dpi=_OCR_DPI), strict=True):
            texts[number] = text.strip()
    return (f"{len(left)} scanned pages beyond option ocr_pages={options.ocr_pages} were not read.",) if left else ()


def _render(page: Native) -> bytes:
    """The page as a portable graymap."""
    width, height = page.get_size()
    scale = _OCR_DPI / 72
    pixels = width * height * scale * scale
    if pixels > _OCR_MOST_PIXELS:
        scale *= (_OCR_MOST_PIXELS / pixels) ** 0.5
    bitmap = page.render(scale=scale, grayscale=True)
    rows = memoryview(bitmap.buffer).cast("B")
    data = b"".join(rows[at * bitmap.stride : at * bitmap.stride + bitmap.width] for at in range(bitmap.height))
    header = f"P5 {bitmap.width} {bitmap.height} 255\n".encode()
    bitmap.close()
    return header + data


def _page(page: Native, fonts: FontTally) -> _Page:
    """Text and heading of a page, and whether its letters can be believed."""
    text_page = page.get_textpage()
    glyphs, unmapped = _glyphs(text_page)
    pieces: list[Piece] = []
    pictures = False
    replaced: dict[int, int] = {}
    drawn_in: Counter[str] = Counter()
    for drawn, matrix in _drawn(page):
        if pdfium.FPDFPageObj_GetType(drawn) != pdfium.FPDF_PAGEOBJ_TEXT:
            pictures = True
            continue
        placed = _place(drawn, matrix)
        mark, actual = _actual_text(drawn)
        own = glyphs.get(_address(drawn), [])
        if mark and mark in replaced:
            at = replaced[mark]
            pieces[at] = pieces[at].widened(placed)
            continue
        font = _font(drawn)
        if mark:
            replaced[mark] = len(pieces)
            pieces.append(Piece(text=actual, left=placed.left, right=placed.right, base=placed.base, size=placed.size))
        else:
            pieces.extend(_split(own, placed))
        letters = actual if mark else "".join(glyph[0] for glyph in own)
        drawn_in[font] += len(letters)
        fonts.add(letters, font)
    text_page.close()
    text, heading = page_text(pieces)
    font = max(drawn_in, key=lambda name: drawn_in[name], default="")
    return _Page(
        text=text,
        heading=heading,
        scan=_needs_ocr(text, pictures=pictures, unmapped=unmapped),
        doubt=doubt(text, replaced=bool(replaced), font=font),
    )


def _glyphs(text_page: Native) -> tuple[dict[int, list[tuple[str, float, float]]], int]:
    """For each drawn object its characters with left and right edge; and how many glyphs stand for no letter."""
    box = pdfium.FS_RECTF()
    found: dict[int, list[tuple[str, float, float]]] = {}
    unmapped = 0
    for at in range(pdfium.FPDFText_CountChars(text_page)):
        key = _address(pdfium.FPDFText_GetTextObject(text_page, at))
        code = pdfium.FPDFText_GetUnicode(text_page, at)
        if key == 0 or pdfium.FPDFText_IsGenerated(text_page, at) == 1:
            continue
        if (
            code < 32
            or code == 0xFFFD
            or 0xE000 <= code <= 0xF8FF
            or pdfium.FPDFText_HasUnicodeMapError(text_page, at) == 1
        ):
            unmapped += 1
            continue
        pdfium.FPDFText_GetLooseCharBox(text_page, at, box)
        found.setdefault(key, []).append((chr(code), box.left, box.right))
    return found, unmapped


def _split(glyphs: list[tuple[str, float, float]], placed: Piece) -> Iterator[Piece]:
    """Pieces of one drawn object: a wide gap, or a jump back, starts another."""
    start = 0
    for at in range(1, len(glyphs) + 1):
        if at < len(glyphs):
            gap = glyphs[at][1] - glyphs[at - 1][2]
            if -_SPLIT_BACK * placed.size <= gap <= _SPLIT_AHEAD * placed.size:
                continue
        part = glyphs[start:at]
        if part:
            text = "".join(glyph[0] for glyph in part)
            yield Piece(text=text, left=part[0][1], right=part[-1][2], base=placed.base, size=placed.size)
        start = at


def _drawn(page: Native) -> Iterator[tuple[Native, Matrix]]:
    """Objects of a page in drawing order, those inside forms with the matrix of their form."""
    for at in range(pdfium.FPDFPage_CountObjects(page)):
        yield from _leaves(pdfium.FPDFPage_GetObject(page, at), (1.0, 0.0, 0.0, 1.0, 0.0, 0.0), 0)


def _leaves(drawn: Native, matrix: Matrix, depth: int) -> Iterator[tuple[Native, Matrix]]:
    if pdfium.FPDFPageObj_GetType(drawn) != pdfium.FPDF_PAGEOBJ_FORM or depth > _DEEPEST_FORM:
        yield drawn, matrix
        return
    inner = _times(_matrix(drawn), matrix)
    for at in range(pdfium.FPDFFormObj_CountObjects(drawn)):
        yield from _leaves(pdfium.FPDFFormObj_GetObject(drawn, at), inner, depth + 1)


def _place(drawn: Native, matrix: Matrix) -> Piece:
    """Where an object of text stands on the page, without its text."""
    own = _times(_matrix(drawn), matrix)
    size = ctypes.c_float()
    pdfium.FPDFTextObj_GetFontSize(drawn, size)
    edges = [ctypes.c_float() for _ in range(4)]
    pdfium.FPDFPageObj_GetBounds(drawn, *edges)
    left, bottom, right, _top = (edge.value for edge in edges)
    x_left = left * matrix[0] + bottom * matrix[2] + matrix[4]
    x_right = right * matrix[0] + bottom * matrix[2] + matrix[4]
    height = (own[2] ** 2 + own[3] ** 2) ** 0.5 * size.value
    # The pen's position, not the ink: marks above a letter reach left of where they are drawn.
    right = max(x_left, x_right, own[4])
    return Piece(text="", left=min(own[4], right), right=right, base=own[5], size=height or 10.0)


def _matrix(drawn: Native) -> Matrix:
    found = pdfium.FS_MATRIX()
    pdfium.FPDFPageObj_GetMatrix(drawn, found)
    return (found.a, found.b, found.c, found.d, found.e, found.f)


def _times(first: Matrix, then: Matrix) -> Matrix:
    a, b, c, d, e, f = first
    ta, tb, tc, td, te, tf = then
    turned = (a * ta + b * tc, a * tb + b * td, c * ta + d * tc, c * tb + d * td)
    return (*turned, e * ta + f * tc + te, e * tb + f * td + tf)


def _actual_text(drawn: Native) -> tuple[int, str]:
    """Identity of the mark that replaces the object's text and its replacement; (0, "") without one."""
    for at in range(pdfium.FPDFPageObj_CountMarks(drawn)):
        mark = pdfium.FPDFPageObj_GetMark(drawn, at)
        length = ctypes.c_ulong()
        if not pdfium.FPDFPageObjMark_GetParamBlobValue(mark, b"ActualText", None, 0, length):
            continue
        buffer = ctypes.create_string_buffer(max(1, length.value))
        octets = ctypes.cast(buffer, ctypes.POINTER(ctypes.c_ubyte))
        pdfium.FPDFPageObjMark_GetParamBlobValue(mark, b"ActualText", octets, length.value, length)
        return _address(mark), _text_string(buffer.raw[: length.value])
    return 0, ""


def _text_string(data: bytes) -> str:
    """A text string of PDF (ISO 32000-2, 7.9.2.2)."""
    for mark, encoding in ((b"\xfe\xff", "utf-16-be"), (b"\xff\xfe", "utf-16-le"), (b"\xef\xbb\xbf", "utf-8")):
        if data.startswith(mark):
            return data[len(mark) :].decode(encoding, "replace")
    return data.decode("latin-1")


def _font(drawn: Native) -> str:
    font = pdfium.FPDFTextObj_GetFont(drawn)
    if not font:
        return ""
    buffer = ctypes.create_string_buffer(256)
    pdfium.FPDFFont_GetBaseFontName(font, buffer, len(buffer))
    return buffer.value.decode("utf-8", "replace")


def _address(pointer: Native) -> int:
    return ctypes.cast(pointer, ctypes.c_void_p).value or 0
