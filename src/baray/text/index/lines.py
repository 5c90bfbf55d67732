"""Lines that say nothing of their own document: page headers and footers, letterheads, bars of links.

Such a line is known by opening or closing many documents: "Contents | Index", or the name of the ministry. A passage that
holds it is about none of it, so that it is left out of terms and passages, and never quoted. Headings ("What to bring") and
sentences ("The fee is paid at counter 4.") that repeat are not meant: they have a matter of their own around them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from baray.text.index.terms import search_form

Span = tuple[int, int]

_FEWEST = 4
_EDGE = 5
_SHARE = 0.05
_ENOUGH = 20
_LONGEST = 120
_TELLING = 25
_END_MARKS = ("។", "៕", ".", "?", "!")
# Where so much of a document repeats, nothing would be left to find it by.
_MOST_OF_IT = 0.8
_NUMBER = re.compile(r"\d+")
_LINE = re.compile(r"[^\n]+")
_LABELLED = re.compile(r"[^:៖]{1,40}[:៖]\s*(.+)")
_PATH = re.compile(r"(?:[a-z]+://|/)\S+")


def repeated_lines(documents: Sequence[tuple[str, str, str]]) -> list[list[Span]]:
    """For each document (path, title, text) the spans of its lines that belong to the page and not to the matter."""
    holders: dict[str, set[str]] = {}
    # Copies of one text are one holder: what they share is their matter.
    for text, path in {text: path for path, _, text in documents}.items():
        for form in _edges(text):
            holders.setdefault(form, set()).add(path)
    paths = len({path for path, _, _ in documents})
    least = max(_FEWEST, min(_ENOUGH, round(_SHARE * paths)))
    common = {form for form, found in holders.items() if len(found) >= least}
    return [_spans(title, text, common) for _, title, text in documents]


def without(text: str, spans: Sequence[Span]) -> str:
    """`text` with blanks in place of `spans`, so that all else stays where it is."""
    for start, end in spans:
        text = text[:start] + " " * (end - start) + text[end:]
    return text


def _edges(text: str) -> set[str]:
    """Forms of the first and last lines of `text`."""
    lines = [line for line in text.split("\n") if line.strip()]
    return {form for line in (*lines[:_EDGE], *lines[-_EDGE:]) if (form := _form(line))}


def _spans(title: str, text: str, common: set[str]) -> list[Span]:
    """The lines of the page from the top of `text`, from its end, and those of them that stand inside again."""
    own = search_form(title).strip()
    lines = [match for match in _LINE.finditer(text) if match[0].strip()]
    counts = Counter(search_form(match[0]).strip() for match in lines) if common else Counter[str]()
    of_page = [
        search_form(match[0]).strip() != own and (_form(match[0]) in common or _names_only(match[0], own, counts))
        for match in lines
    ]
    head = next((at for at, is_page in enumerate(of_page) if not is_page), len(lines))
    tail = next((at for at, is_page in enumerate(reversed(of_page)) if not is_page), len(lines))
    edge = [*lines[:head], *lines[len(lines) - tail :]]
    forms = {_form(match[0]) for match in edge} - {""}
    found = [
        match.span()
        for at, match in enumerate(lines)
        if at < head or at >= len(lines) - tail or _form(match[0]) in forms
    ]
    kept = sum(end - start for start, end in found) <= _MOST_OF_IT * len(text)
    return found if kept else []


def _form(line: str) -> str:
    """What is compared: the line without its numbers; nothing for a sentence or what is too long for a page's line."""
    line = line.strip()
    if not line or len(line) > _LONGEST or line.endswith(_END_MARKS):
        return ""
    return _NUMBER.sub("0", search_form(line)).strip()


def _names_only(line: str, title: str, lines: Counter[str]) -> bool:
    """Whether the line, behind its label, only repeats the title or another line, or gives a path ("Title is: ...")."""
    if len(line) > 2 * _LONGEST:
        return False
    labelled = _LABELLED.fullmatch(search_form(line).strip())
    if labelled is None:
        return False
    rest = labelled[1].strip()
    return rest == title or (len(rest) > _TELLING and rest in lines) or _PATH.fullmatch(rest) is not None
