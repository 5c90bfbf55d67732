"""Which sentences of a found document answer the question.

What the title says holds for the whole document, so terms of the title tell little about which sentence answers; the
sentence that also speaks in the way the question asks (an amount for "how much", hours for "when open") is preferred. A
question for the papers to bring gets the list with its first line.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from baray.text.index.passages import lead
from baray.text.index.query import Query
from baray.text.index.search import Hit
from baray.text.index.terms import search_form, terms
from baray.text.sentences import sentences

_SPANS = 3
_TITLE_FACTOR = 0.3
_HEADING_SHARE = 0.5
_INTENT_BONUS = 0.4
_HEADING_PENALTY = 0.3
_LATER_SPAN_PENALTY = 0.04
_MAX_QUOTES = 3
_SECOND_SCORE = 0.55
_SECOND_GAIN = 0.12
_MAX_BLOCK = 700
_MAX_OPEN = 90
_BULLET = re.compile(r"\s*(?:[-*•–]|\d{1,2}[.)])\s")
_TERMINAL = ("។", "៕", ".", "?", "!", ";", ",", "៖", ":")
_PAPERS_INTRO = re.compile(
    r"ឯកសារ|លក្ខខណ្ឌ|ភ្ជាប់|\bdocuments?\b|\bpapers?\b|\bbring\b|\brequire|\bneeds?\b|\battach|\bconditions\b"
)


@dataclass(frozen=True, slots=True)
class _Sentence:
    start: int
    end: int
    score: float
    terms: frozenset[str]


def quote_spans(hit: Hit, query: Query) -> list[tuple[int, int]]:
    """Spans of `hit.text`, best first, at most three: each a sentence or a list; never empty where the text is not."""
    weights = _weights(hit)
    if any(intent.name == "papers" for intent in query.intents):
        block = _papers(hit, weights)
        if block is not None:
            return [block]
    scored = sorted(_sentences(hit, query, weights), key=lambda sentence: (-sentence.score, sentence.start))
    return [(sentence.start, sentence.end) for sentence in _few(scored, weights)]


def _weights(hit: Hit) -> dict[str, float]:
    """The question's weights as shares of their sum, those of the title's terms made small."""
    known = set(terms(f"{hit.title}\n.\n{lead(hit.text)}"))
    weights = {term: weight * (_TITLE_FACTOR if term in known else 1.0) for term, weight in hit.weights.items()}
    total = sum(hit.weights.values()) or 1.0
    return {term: weight / total for term, weight in weights.items()}


def _few(scored: list[_Sentence], weights: Mapping[str, float]) -> list[_Sentence]:
    """The best sentence, and others only where they tell something of the question that it does not."""
    chosen = scored[:1]
    for sentence in scored[1:]:
        told = frozenset[str]().union(*(one.terms for one in chosen))
        gain = sum(weights[term] for term in sentence.terms - told)
        if len(chosen) < _MAX_QUOTES and sentence.score >= _SECOND_SCORE * chosen[0].score and gain >= _SECOND_GAIN:
            chosen.append(sentence)
    return chosen


def _sentences(hit: Hit, query: Query, weights: Mapping[str, float]) -> list[_Sentence]:
    found: dict[int, _Sentence] = {}
    for rank, (first, behind) in enumerate(hit.spans[:_SPANS]):
        heading: frozenset[str] = frozenset()
        for left, right in sentences(hit.text[first:behind]):
            start, end = first + left, first + right
            text = hit.text[start:end]
            held = frozenset(terms(text)) & weights.keys()
            score = _told(held, weights) + _HEADING_SHARE * _told(heading - held, weights) - _LATER_SPAN_PENALTY * rank
            if _is_title(hit.text, start, end):
                heading = held
                score -= _HEADING_PENALTY
            score += _INTENT_BONUS * _intended(text, query)
            if start not in found or score > found[start].score:
                found[start] = _Sentence(start, end, score, held)
    return list(found.values())


def _told(held: frozenset[str], weights: Mapping[str, float]) -> float:
    return sum(weights[term] for term in sorted(held))


def _intended(text: str, query: Query) -> float:
    """Share of the question's intents that `text` speaks to."""
    form = search_form(text)
    return sum(intent.said_pattern.search(form) is not None for intent in query.intents) / (len(query.intents) or 1)


def _is_title(text: str, start: int, end: int) -> bool:
    """Whether the sentence stands alone on its line, without an end mark, an amount, or a bullet."""
    line = text[start:end]
    alone = (start == 0 or text[start - 1] == "\n") and text[end : end + 1] in {"\n", ""}
    return (
        alone and len(line) <= 90 and not line.endswith(_TERMINAL) and _BULLET.match(line) is None and ":" not in line
    )


def _papers(hit: Hit, weights: Mapping[str, float]) -> tuple[int, int] | None:
    """The list of papers that speaks of the question most, with the line before it."""
    best: tuple[float, int, int] | None = None
    for start, end, intro in _lists(hit.text):
        if _PAPERS_INTRO.search(search_form(intro)) is None:
            continue
        held = frozenset(terms(hit.text[start:end])) & weights.keys()
        score = _told(held, weights)
        if best is None or score > best[0]:
            best = (score, start, end)
    return None if best is None else (best[1], best[2])


def _lists(text: str) -> list[tuple[int, int, str]]:
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
