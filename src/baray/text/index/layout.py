"""How a text is laid out, as far as quoting needs it: titles, questions, items, sentences; steps; lists.

Readers give lines, not markup: what a line is shows in its end mark, its neighbours and its place.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from baray.text.index.lines import without
from baray.text.index.terms import search_form
from baray.text.sentences import sentences

_MAX_OPEN = 90
_MAX_BLOCK = 700
_BULLET = re.compile(r"\s*(?:[-*•–]|\d{1,2}[.)])\s")
_TERMINAL = ("។", "៕", ".", "?", "!", ";", ",", "៖", ":")
_QUESTION_KM = re.compile(r"^(?:\d+[.)]?\s*)?តើ.*(?:ណា|ម្តេច|ម៉េច|ប៉ុន្មាន|ទេ|អ្វី|ខ្លះ|នរណា)[។?\s]*$")
_STEP_VERBS = """
choose click double-click right-click select press open enter type drag go bring fill hand apply ask take put set mark check
clear use move place position insert hold turn run add remove delete write send sign pay report copy call do submit specify
pick switch save close keep give show activate enable disable
""".split()
_STEP_VERBS_KM = "ចុច ជ្រើស បើក ដាក់ អូស វាយ បញ្ចូល យក បំពេញ សូម ត្រូវ ប្រើ ធ្វើ ផ្លាស់ទី កំណត់".split()
_NUMBERED = r"^(?:\d{1,2}[.)]\s*|[-*•–]\s*)?"
STEP = (
    rf"{_NUMBERED}(?:(?:then|now|next|first),? |(?:in|on) (?:the|a) [^,.]{{2,40}}, |(?:to|if) [^,.]{{2,80}}, )?"
    rf"(?:{'|'.join(_STEP_VERBS)})\b"
    rf"|{_NUMBERED}(?:បន្ទាប់មក ?|សូម)?(?:{'|'.join(_STEP_VERBS_KM)})"
)
"""A sentence that tells the reader to do something begins so, in search form."""
_STEP = re.compile(STEP)
Span = tuple[int, int]


class Role(Enum):
    """What a line of the text is for."""

    TITLE = "title"
    """Names what follows."""
    QUESTION = "question"
    """A question that the document asks itself, and answers below."""
    ITEM = "item"
    """A line of a list, open at its end."""
    SENTENCE = "sentence"
    """Says something."""


@dataclass(frozen=True, slots=True)
class Line:
    """A sentence of the text, or a line that is none, with its role."""

    start: int
    end: int
    role: Role


def lines_around(text: str, span: Span, *, around: int, title: str, page_lines: Sequence[Span]) -> list[Line]:
    """The lines of `span` and of whole lines up to `around` code points before and behind it."""
    before = text.find("\n", max(0, span[0] - around), span[0]) if span[0] > around else -1
    first = before + 1 if before >= 0 or span[0] <= around else span[0]
    after = text.rfind("\n", span[1], span[1] + around) if span[1] + around < len(text) else len(text)
    return own_lines(text, (first, max(after, span[1])), title=title, page_lines=page_lines)


def own_lines(text: str, window: Span, *, title: str, page_lines: Sequence[Span]) -> list[Line]:
    """The lines of `text` inside `window`, those of the page left out."""
    first, behind = window
    inside = [
        (max(start, first) - first, min(end, behind) - first)
        for start, end in page_lines
        if start < behind and end > first
    ]
    piece = without(text[first:behind], inside)
    found: list[Line] = []
    for left, right in sentences(piece):
        start, end = first + left, first + right
        if _question(text[start:end]):
            role = Role.QUESTION
        elif not _open_line(text, start, end):
            role = Role.SENTENCE
        elif _names(text, start, end, title):
            role = Role.TITLE
        else:
            role = Role.ITEM
        found.append(Line(start, end, role))
    return found


def is_step(text: str) -> bool:
    """Whether `text` tells the reader to do something."""
    return _STEP.match(search_form(text)) is not None


def lists(text: str) -> list[tuple[int, int, str]]:
    """Lists of two or more lines under a heading: start of the heading, end of the list, the heading.

    Lines of a list have bullets, or they are short and open at their end, as readers give the items of a web page.
    """
    lines = _lines(text)
    found: list[tuple[int, int, str]] = []
    for at, (start, line) in enumerate(lines):
        if not _is_bullet(line) and (_is_open(line) or line.endswith((":", "៖"))):
            items = _items(lines[at + 1 :], room=start + _MAX_BLOCK)
            if items >= 2:
                last_start, last = lines[at + items]
                found.append((start, last_start + len(last), line))
    return found


def _question(text: str) -> bool:
    return text.endswith("?") or ("តើ" in text and _QUESTION_KM.match(search_form(text)) is not None)


def _open_line(text: str, start: int, end: int) -> bool:
    """Whether the sentence stands alone on its line, short, without an end mark, a label or a bullet."""
    line = text[start:end]
    alone = (start == 0 or text[start - 1] == "\n") and text[end : end + 1] in {"\n", ""}
    if line.startswith("#"):
        return alone
    return alone and _is_open(line) and ":" not in line


def _names(text: str, start: int, end: int, title: str) -> bool:
    """Whether an open line is a title: of the document, set off by a blank line, or above what is no open line."""
    line = text[start:end]
    if line.startswith("#") or start == 0 or line == title or text[end : end + 2] == "\n\n":
        return True
    if any(map(str.isdigit, line)):  # an amount: "3 copies of the plan"
        return False
    behind = text.find("\n", end + 1)
    following = text[end + 1 : behind if behind >= 0 else len(text)].strip()
    return bool(following) and not _is_open(following)


def _lines(text: str) -> list[tuple[int, str]]:
    """The lines of `text` that are not blank, without white space at their edges, and where they start."""
    found: list[tuple[int, str]] = []
    at = 0
    for line in text.split("\n"):
        if line.strip():
            found.append((at + len(line) - len(line.lstrip()), line.strip()))
        at += len(line) + 1
    return found


def _items(lines: list[tuple[int, str]], *, room: int) -> int:
    """How many of `lines` from the first are items of one list that ends before `room`."""
    bullets = bool(lines) and _is_bullet(lines[0][1])
    count = 0
    for start, line in lines:
        if not (_is_bullet(line) if bullets else _is_open(line)) or start + len(line) > room:
            break
        count += 1
    # Without bullets, a heading that is followed by prose looks like one more item.
    return count - 1 if not bullets and 1 < count < len(lines) else count


def _is_bullet(line: str) -> bool:
    return _BULLET.match(line) is not None


def _is_open(line: str) -> bool:
    """Whether a line is short and ends without an end mark, as headings and items do."""
    return len(line) <= _MAX_OPEN and not line.endswith(_TERMINAL) and not _is_bullet(line)
