"""From pieces of text on a page to lines and paragraphs."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

_DEPENDENT = "\u17b6-\u17d3\u17dd"
_KHMER = "\u1780-\u17d3\u17dc\u17dd"
_STRAY_SPACE = re.compile(f"[ \u00a0]+(?=[{_DEPENDENT}])|(?<=\u17d2)[ \u00a0]+")
_ENDS_KHMER = re.compile(f"[{_KHMER}]\\Z")
_STARTS_KHMER = re.compile(f"\\A[{_KHMER}]")
_SPACE_GAP = 0.18
_KHMER_SPACE_GAP = 0.18
_SAME_LINE = 0.45
_FULL_LINE = 0.85
_LINE_STEP = 1.9
_HEADING_SIZE = 1.15

# Text in the order in which it is seen: sign E, AE or AI, or a coeng RO, at the beginning of a word, where no
# Khmer word can have one.
_SEEN_ORDER = re.compile(f"(?<![{_KHMER}])(?:[\u17c1-\u17c3]|\u17d2\u179a)(?=[\u1780-\u17b3])")
_SYLLABLE_START = re.compile(f"(?<![{_KHMER}])[\u1780-\u17b3]")
_SEEN_SYLLABLE = re.compile("([\u17c1-\u17c3]?)(\u17d2\u179a)?([\u1780-\u17b3](?:\u17d2[\u1780-\u1799\u179b-\u17b3])*)")
_SEEN_LEAST = 3
_SEEN_SHARE = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Text drawn at one place; lengths in points, x to the right, y up."""

    text: str
    left: float
    right: float
    base: float
    """y of the line the letters stand on."""
    size: float
    """Height of the font."""

    def widened(self, other: Piece) -> Piece:
        """This piece, reaching over `other` too."""
        return replace(self, left=min(self.left, other.left), right=max(self.right, other.right))


def page_text(pieces: list[Piece]) -> tuple[str, str]:
    """Text of a page: pieces into lines, lines into paragraphs. And its heading: the first line in the largest letters."""
    lines = [line for line in map(_line, _lines(pieces)) if line.text.strip()]
    return _readable(_paragraphs(lines)), _readable(_heading(lines))


def _readable(text: str) -> str:
    return in_logical_order(_STRAY_SPACE.sub("", text))


def _heading(lines: list[Piece]) -> str:
    sizes = sorted(line.size for line in lines for _ in range(len(line.text)))
    largest = max((line.size for line in lines), default=0.0)
    if not sizes or largest < _HEADING_SIZE * sizes[len(sizes) // 2]:
        return ""
    return next(line.text.strip() for line in lines if line.size == largest)


def in_logical_order(text: str) -> str:
    """Khmer drawn without ActualText comes in the order in which it is seen; write it as it is spoken.

    Only where many words begin with a sign that none can begin with; other text stays as it is.
    """
    wrong = len(_SEEN_ORDER.findall(text))
    if wrong < _SEEN_LEAST or wrong < _SEEN_SHARE * (wrong + len(_SYLLABLE_START.findall(text))):
        return text
    return _SEEN_SYLLABLE.sub(lambda match: match[3] + (match[2] or "") + match[1], text)


def _lines(pieces: list[Piece]) -> list[list[Piece]]:
    """Runs of pieces, as drawn, that share a base line."""
    lines: list[list[Piece]] = []
    for piece in pieces:
        if lines and abs(lines[-1][0].base - piece.base) < _SAME_LINE * max(piece.size, lines[-1][0].size):
            lines[-1].append(piece)
        elif piece.text.strip():
            lines.append([piece])
    return lines


def _line(pieces: list[Piece]) -> Piece:
    """One line. Writers draw runs of one font after another: chunks of touching pieces are put from left to right.

    Inside a chunk the drawn order stays, because Khmer marks reach left of the letter that they follow.
    """
    chunks: list[Piece] = []
    for piece in pieces:
        gap = piece.left - chunks[-1].right if chunks else 0.0
        if chunks and -0.8 * piece.size < gap < _SPACE_GAP * piece.size:
            chunks[-1] = replace(chunks[-1].widened(piece), text=chunks[-1].text + piece.text)
        else:
            chunks.append(piece)
    chunks.sort(key=lambda chunk: chunk.left)
    whole = chunks[0]
    for chunk in chunks[1:]:
        space = " " if _apart(whole, chunk) else ""
        whole = replace(whole.widened(chunk), text=whole.text + space + chunk.text)
    return whole


def _apart(first: Piece, then: Piece) -> bool:
    if first.text[-1:].isspace() or then.text[:1].isspace():
        return False
    khmer = _ENDS_KHMER.search(first.text) is not None and _STARTS_KHMER.search(then.text) is not None
    return then.left - first.right > (_KHMER_SPACE_GAP if khmer else _SPACE_GAP) * then.size


def _paragraphs(lines: list[Piece]) -> str:
    """Lines that fill the width of the text go on in the next line; the others end a paragraph."""
    margin = max((line.right for line in lines), default=0.0)
    edge = min((line.left for line in lines), default=0.0)
    parts: list[str] = []
    for at, line in enumerate(lines):
        parts.append(line.text.strip() if not parts or parts[-1] == "\n" else line.text.rstrip())
        if at + 1 < len(lines):
            parts.append(_joint(line, lines[at + 1], edge + _FULL_LINE * (margin - edge)))
    return "".join(parts)


def _joint(line: Piece, after: Piece, full: float) -> str:
    step = line.base - after.base
    goes_on = line.right >= full and 0 < step < _LINE_STEP * line.size and abs(line.size - after.size) < 0.1 * line.size
    if not goes_on:
        return "\n"
    if line.text.endswith(" "):
        return " "
    # Khmer breaks between words without a space or a hyphen.
    return "" if _ENDS_KHMER.search(line.text) and _STARTS_KHMER.search(after.text) else " "
