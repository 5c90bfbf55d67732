"""Sentences as spans of code points.

Khmer ends a sentence with khan (។), bariyoosan (៕) or a line's end; the full stop of English ends one when a space and
what may start a sentence follow, and no abbreviation or initial stands before it.
"""

from __future__ import annotations

import re

_END = re.compile(
    "។ល។"  # "and so on": no end of its own
    "|[។៕?!…។]+[\"'”’»)\\]]*"
    "|\\.(?=[\"'”’»)\\]]*(?:\\s|$))[\"'”’»)\\]]*"
    "|\n+"
)
_ABBREVIATIONS = frozenset(
    "mr mrs ms dr prof st no nos art arts sec dept tel fax p pp vol ed fig approx max min e.g i.e etc vs inc ltd co".split()
)
_LAST_WORD = re.compile(r"([A-Za-z][A-Za-z.]*)\Z")
_CONTINUES = re.compile(r"\s+[a-z,;]")


def sentences(text: str) -> list[tuple[int, int]]:
    """Spans `(start, end)` of the sentences of `text`, in order, without white space at their edges."""
    spans: list[tuple[int, int]] = []
    start = 0
    for match in _END.finditer(text):
        if match[0] == "។ល។" or (match[0][0] == "." and not _ends(text, start, match)):
            continue
        _add(text, start, match.end(), spans)
        start = match.end()
    _add(text, start, len(text), spans)
    return spans


def _ends(text: str, start: int, match: re.Match[str]) -> bool:
    """Whether the full stop at `match` ends a sentence."""
    word = _LAST_WORD.search(text, max(start, match.start() - 20), match.start())
    if word is not None and (len(word[1]) == 1 or word[1].lower() in _ABBREVIATIONS):
        return False
    if text[start : match.start()].strip().isdigit():  # "1." numbers an item
        return False
    return _CONTINUES.match(text, match.end()) is None


def _add(text: str, start: int, end: int, spans: list[tuple[int, int]]) -> None:
    piece = text[start:end]
    left = len(piece) - len(piece.lstrip())
    right = len(piece.rstrip())
    if left < right:
        spans.append((start + left, start + right))
