"""Which sentences of a found document answer the question.

What the title says holds for the whole document, so terms of the title tell little about which sentence answers; the
sentence that also speaks in the way the question asks (an amount for "how much", hours for "when open") is preferred. A
title, a question that the document asks itself and a line of the page are never quoted: what they say counts for the
sentences below them. A question for the papers to bring gets the list with its first line, a question how to do something
the steps.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from baray.text.index.layout import Line, Role, is_step, lines_around, lists, own_lines
from baray.text.index.lines import without
from baray.text.index.passages import lead
from baray.text.index.query import Query
from baray.text.index.search import Hit
from baray.text.index.terms import search_form, terms

_SPANS = 3
_AROUND = 240
_TITLE_FACTOR = 0.3
_HEADING_SHARE = 0.5
_INTENT_BONUS = 0.4
# These say less: many a sentence has a number or tells to do something.
_WEAK_BONUS = {"how": 0.2, "number": 0.3, "meaning": 0.2}
_ITEM_PENALTY = 0.3
_COUNTED_ITEM_PENALTY = 0.05
_ECHO_PENALTY = 0.4
_ASIDE_PENALTY = 0.15
_OUTSIDE_PENALTY = 0.06
_LATER_SPAN_PENALTY = 0.04
_LATER_LINE_PENALTY = 0.01
_MAX_QUOTES = 3
_SECOND_SCORE = 0.6
_SECOND_GAIN = 0.12
# A sentence that says no more than this many terms beside the question's and the title's only repeats them.
_NOTHING_NEW = {"km": 3, "en": 0}
_MAX_STEPS = 3
_MAX_GROWN = 420
_ASIDE = re.compile(
    r"(?:for example|e\.g\.|see also|see |for more|for further|note|please note|refer to|ឧទាហរណ៍|មើលផងដែរ|សូមមើល|ចំណាំ)"
)
_PAPERS_INTRO = re.compile(
    r"ឯកសារ(?!មួយ)|លក្ខខណ្ឌ|ភ្ជាប់|\bdocuments?\b|\bpapers?\b|\bbring\b|\brequire|\bneeds?\b|\battach|\bconditions\b"
)


@dataclass(frozen=True, slots=True)
class _Sentence:
    line: Line
    score: float
    terms: frozenset[str]


def quote_spans(hit: Hit, query: Query) -> list[tuple[int, int]]:
    """Spans of `hit.text`, best first, at most three: each a sentence, a few steps or a list; none where no line says anything."""
    weights = _weights(hit)
    names = {intent.name for intent in query.intents}
    if "papers" in names:
        block = _papers(hit, weights)
        if block is not None:
            return [block]
    scored = sorted(_sentences(hit, query, weights), key=lambda sentence: (-sentence.score, sentence.line.start))
    chosen = _few(scored, weights)
    if "how" in names and chosen:
        return [_with_steps(hit, chosen[0].line)]
    return _apart([_with_list(hit, sentence.line) for sentence in chosen])


def _weights(hit: Hit) -> dict[str, float]:
    """The question's weights as shares of their sum, those of the title's terms made small."""
    known = set(terms(f"{hit.title}\n.\n{lead(without(hit.text, hit.page_lines))}"))
    weights = {term: weight * (_TITLE_FACTOR if term in known else 1.0) for term, weight in hit.weights.items()}
    total = sum(hit.weights.values()) or 1.0
    return {term: weight / total for term, weight in weights.items()}


def _few(scored: list[_Sentence], weights: Mapping[str, float]) -> list[_Sentence]:
    """The best sentence, and others only where they tell something of the question that it does not."""
    chosen = scored[:1]
    for sentence in scored[1:]:
        told = frozenset[str]().union(*(one.terms for one in chosen))
        gain = sum(weights[term] for term in sentence.terms - told)
        if sentence.line.role is Role.ITEM and chosen[0].line.role is not Role.ITEM:
            continue
        if len(chosen) < _MAX_QUOTES and sentence.score >= _SECOND_SCORE * chosen[0].score and gain >= _SECOND_GAIN:
            chosen.append(sentence)
    return chosen


def _sentences(hit: Hit, query: Query, weights: Mapping[str, float]) -> list[_Sentence]:
    """The sentences in and around the best passages; only where there is none, titles and questions."""
    found: dict[int, _Sentence] = {}
    names: dict[int, _Sentence] = {}
    title = frozenset(terms(hit.title))
    for rank, span in enumerate(hit.spans[:_SPANS]):
        heading: frozenset[str] = frozenset()
        since = 0
        for line in lines_around(hit.text, span, around=_AROUND, title=hit.title, page_lines=hit.page_lines):
            text = hit.text[line.start : line.end]
            said = frozenset(terms(text))
            held = said & weights.keys()
            if line.role in (Role.TITLE, Role.QUESTION):
                heading, since = (held, 0)
                names[line.start] = _Sentence(line, _told(held, weights), held)
                continue
            score = _told(held, weights) + _HEADING_SHARE * _told(heading - held, weights)
            score += _intended(text, query) - _LATER_SPAN_PENALTY * rank - _LATER_LINE_PENALTY * since
            score -= _penalties(line, text, inside=span[0] <= line.start < span[1])
            if len(said - weights.keys() - title) <= _NOTHING_NEW[_script(text)]:
                score -= _ECHO_PENALTY
            since = min(since + 1, 6)
            if line.start not in found or score > found[line.start].score:
                found[line.start] = _Sentence(line, score, held)
    return list((found or names).values())


def _penalties(line: Line, text: str, *, inside: bool) -> float:
    aside = _ASIDE.match(text.lstrip("-*•– ").lower()) is not None
    item = 0.0
    if line.role is Role.ITEM:
        item = _COUNTED_ITEM_PENALTY if any(map(str.isdigit, text)) else _ITEM_PENALTY
    return item + _ASIDE_PENALTY * aside + (0.0 if inside else _OUTSIDE_PENALTY)


def _script(text: str) -> str:
    return "en" if text.isascii() else "km"


def _told(held: frozenset[str], weights: Mapping[str, float]) -> float:
    return sum(weights[term] for term in sorted(held))


def _intended(text: str, query: Query) -> float:
    """What it is worth that `text` speaks in the ways that the question asks for."""
    form = search_form(text)
    spoken = [intent.name for intent in query.intents if intent.said_pattern.search(form) is not None]
    return sum(_WEAK_BONUS.get(name, _INTENT_BONUS) for name in spoken) / (len(query.intents) or 1)


def _with_steps(hit: Hit, line: Line) -> tuple[int, int]:
    """The line and the steps that follow it at once, where it is a step or announces some."""
    announces = hit.text[line.start : line.end].endswith((":", "៖"))
    end = line.end
    if announces or is_step(hit.text[line.start : end]):
        following = own_lines(hit.text, (line.end, line.end + _MAX_GROWN), title=hit.title, page_lines=hit.page_lines)
        for step in following[: _MAX_STEPS - 1]:
            told = announces and end == line.end  # what is announced belongs to it, whatever its form
            if step.role is not Role.SENTENCE or not (told or is_step(hit.text[step.start : step.end])):
                break
            if step.end - line.start > _MAX_GROWN:
                break
            end = step.end
    return line.start, end


def _with_list(hit: Hit, line: Line) -> tuple[int, int]:
    """The line and, where it announces a list or steps, these."""
    if not hit.text[line.start : line.end].endswith((":", "៖")):
        return line.start, line.end
    for start, end, _ in lists(hit.text):
        if start <= line.start < line.end <= end:
            return line.start, end
    return _with_steps(hit, line)


def _apart(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The spans without those that lie in one before them."""
    kept: list[tuple[int, int]] = []
    for start, end in spans:
        if not any(first < end and start < behind for first, behind in kept):
            kept.append((start, end))
    return kept


def _papers(hit: Hit, weights: Mapping[str, float]) -> tuple[int, int] | None:
    """The list of papers that speaks of the question most, with the line before it."""
    best: tuple[float, int, int] | None = None
    for start, end, intro in lists(hit.text):
        linked = any(first < end and start <= behind + 1 for first, behind in hit.page_lines)
        if linked or _PAPERS_INTRO.search(search_form(intro)) is None:
            continue
        held = frozenset(terms(hit.text[start:end])) & weights.keys()
        score = _told(held, weights)
        if best is None or score > best[0]:
            best = (score, start, end)
    return None if best is None else (best[1], best[2])
