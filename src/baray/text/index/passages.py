"""Passages: the spans of a document that an Index ranks and a desk quotes from.

A passage is a few neighbouring sentences under one heading; a short last sentence is repeated at the start of the next
passage, so that a pair of sentences which belong together stands in one passage at least.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from baray.text.sentences import sentences

_TARGET = 280
_MAX_SENTENCE = 600
_MAX_HEADING = 90
_MAX_OVERLAP = 120
_LEAD_LINES = 6
_LEAD_CHARACTERS = 600
_TERMINAL = ("។", "៕", ".", "?", "!", ";", ",")


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A span of a document's text."""

    start: int
    """First code point."""
    end: int
    """Code point behind the last."""
    heading: str
    """The heading it stands under, or nothing."""


def passages(text: str) -> list[Passage]:
    """The passages of `text` in order."""
    found: list[Passage] = []
    heading = ""
    pending: list[tuple[int, int]] = []
    for span in _pieces(text):
        if _is_heading(text, span):
            _flush(pending, heading, found)
            pending, heading = [span], text[span[0] : span[1]]
            continue
        pending.append(span)
        if pending[-1][1] - pending[0][0] >= _TARGET:
            _flush(pending, heading, found)
            pending = [span] if len(pending) > 1 and span[1] - span[0] <= _MAX_OVERLAP else []
    if pending and not (found and pending[-1][1] == found[-1].end):  # else only the repeated sentence is left
        _flush(pending, heading, found)
    return found


def lead(text: str) -> str:
    """The short lines that a document begins with: letterhead and title."""
    lines: list[str] = []
    for line in text[:_LEAD_CHARACTERS].split("\n"):
        if not line.strip():
            continue
        if len(line) > _MAX_HEADING or line.rstrip().endswith(_TERMINAL):
            break
        lines.append(line)
    return " . ".join(lines[:_LEAD_LINES])


def _pieces(text: str) -> list[tuple[int, int]]:
    """Sentences, the overlong ones cut at a space."""
    pieces: list[tuple[int, int]] = []
    for start, end in sentences(text):
        left = start
        while end - left > _MAX_SENTENCE:
            space = text.rfind(" ", left + _TARGET, left + _MAX_SENTENCE)
            cut = space if space > 0 else left + _MAX_SENTENCE
            pieces.append((left, cut))
            left = cut + (1 if space > 0 else 0)
        pieces.append((left, end))
    return pieces


def _is_heading(text: str, span: tuple[int, int]) -> bool:
    """Whether the sentence is a heading: alone on its line, short, open at its end, and set off from what precedes."""
    start, end = span
    if end - start > _MAX_HEADING or not _alone(text, start, end):
        return False
    line = text[start:end]
    if line.startswith("#") or line.endswith((":", "៖")):
        return True
    return not line.endswith(_TERMINAL) and re.match(r"[-*•–\d]", line) is None and _set_off(text, start)


def _alone(text: str, start: int, end: int) -> bool:
    before = text.rfind("\n", 0, start) + 1
    after = text.find("\n", end)
    return not text[before:start].strip() and after >= 0 and not text[end:after].strip()


def _set_off(text: str, start: int) -> bool:
    before = text[max(0, start - 40) : start].rstrip(" \t")
    return not before or before.endswith("\n\n")


def _flush(pending: list[tuple[int, int]], heading: str, found: list[Passage]) -> None:
    if pending:
        found.append(Passage(start=pending[0][0], end=pending[-1][1], heading=heading))
