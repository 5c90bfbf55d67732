"""Search: which documents, and which passage of each, a question is about.

The labels a caller may see are chosen before anything is opened, counted or ranked: what lies in other segments cannot
change a score, an error or a time. Statistics of the visible segments are added up.
"""

from __future__ import annotations

import heapq
import math
from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from baray.text.index.query import Query, QueryTerm, read_question
from baray.text.index.segment import IMPACT_UNIT, Segment, Table, key

_CANDIDATES = 12
_SPAN_CANDIDATES = 48
_HEAD_WEIGHT = 1.2
# A title that holds the words of the question may add to what the text says of it, never stand for it.
_HEAD_AT_MOST = 0.5
_SECOND_SPAN_WEIGHT = 0.2
_DOCUMENT_WEIGHT = 1.0
_COVERAGE_WEIGHT = 0.5
_DOCUMENT_K = 1.2
_DOCUMENT_B = 0.75
# A term that stands in more than this share of passages picks no candidates where a question has rarer ones.
_COMMON_SHARE = 0.3
_LEADING_TERMS = 12
# A handful of passages says little about how rare a term is: they are taken for so many.
_LEAST_SPANS = 60
# A word that no document holds weighs as one that stands in so many passages: it may only be another word for it.
_UNSEEN = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A document that may answer, with its best passage."""

    document: str
    """Id of the Document."""
    path: str
    """Its path below the folder that was given."""
    title: str
    """Its title, or nothing."""
    label: str
    """Canonical text of its label."""
    language: str
    """`km`, `en` or `other`."""
    office: str | None
    """The office that answers for it."""
    current: bool
    """Whether it is valid on the day of the question."""
    valid_until: str | None
    """Its last day of validity, ISO date; None: for ever."""
    score: float
    """Greater is better; comparable within one question only."""
    coverage: float
    """Share, by evidence, of the question in the best passage, its heading and the title; 0..1, comparable between
    questions and between Indexes."""
    document_coverage: float
    """The same share in the whole document."""
    strength: float
    """Its score without the title's part, over the weight of the content terms: 0..3, comparable between questions."""
    spans: tuple[tuple[int, int], ...]
    """Its best passages, best first, in code points of the text."""
    text: str
    """The document's text."""
    digest: str
    """Digest of the text's UTF-8."""
    page_lines: tuple[tuple[int, int], ...]
    """Spans of the text's lines that are no part of its matter: headers, footers, bars of links."""
    weights: Mapping[str, float]
    """The question's content terms with their weights in the visible segments; shared by the hits of one search."""


@dataclass(frozen=True, slots=True)
class _Weighted:
    """A query term with its weight in the visible segments, and where its postings lie in each of them."""

    term: str
    weight: float
    content: bool
    evidence: float
    common: bool
    body: tuple[tuple[int, int], ...]
    head: tuple[tuple[int, int], ...]


class Index:
    """An opened Index; safe to share between threads: a segment may be opened twice, never changed."""

    def __init__(self, places: Mapping[str, tuple[str, str, Path]], *, digest: str) -> None:
        """Take label -> (file name, file digest, path), and the identity of the Index."""
        self._places = dict(places)
        self._opened: dict[str, Segment] = {}
        self.digest = digest

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels of its segments: for the caller to choose from, never to show."""
        return tuple(self._places)

    def search(self, question: str | Query, *, labels: Collection[str], today: str, limit: int = 5) -> list[Hit]:
        """The best documents among the segments of `labels`, best first, at most `limit`.

        A document outside its days of validity on `today` (ISO date) is found too, with `current` False: the caller
        decides what may be said of it. Raises Fault `index_damaged` when a segment's bytes have changed.
        """
        query = question if isinstance(question, Query) else read_question(question)
        segments = [self._segment(label) for label in self._places if label in labels]
        num_spans = sum(segment.num_spans for segment in segments)
        if not num_spans:
            return []
        weighted = _weigh(query.terms, segments, num_spans)
        found = [
            (ranked, segment)
            for number, segment in enumerate(segments)
            for ranked in _rank_segment(segment, number, weighted)
        ]
        found.sort(key=lambda pair: (-pair[0].score, pair[1].rows[pair[0].document]["id"]))
        weights = {term.term: term.weight for term in weighted if term.content}
        return [_hit(segment, ranked, today, weights) for ranked, segment in found[:limit]]

    def _segment(self, label: str) -> Segment:
        segment = self._opened.get(label)
        if segment is None:
            name, digest, path = self._places[label]
            segment = self._opened[label] = Segment(path, name=name, digest=digest)
        return segment


@dataclass(frozen=True, slots=True)
class _View:
    """One segment as one question sees it: its place among the visible ones, weighted terms, scores so far."""

    segment: Segment
    number: int
    weighted: list[_Weighted]
    total: float
    evidence: float
    scores: list[float]
    head_scores: list[float]


@dataclass(frozen=True, slots=True)
class _Ranked:
    document: int
    score: float
    coverage: float
    document_coverage: float
    strength: float
    spans: tuple[int, ...]


def _weigh(terms: tuple[QueryTerm, ...], segments: list[Segment], num_spans: int) -> list[_Weighted]:
    """Query terms with their inverse passage frequency (BM25's), rarest first."""
    weighted = []
    for query_term in terms:
        term_key = key(query_term.term)
        body = tuple(segment.body.postings(term_key) for segment in segments)
        head = tuple(segment.head.postings(term_key) for segment in segments)
        count = sum(end - start for start, end in body)
        rarity = _rarity(count or _UNSEEN, max(num_spans, _LEAST_SPANS))
        common = count > _COMMON_SHARE * num_spans
        weighted.append(
            _Weighted(
                query_term.term,
                query_term.weight * rarity,
                query_term.content,
                query_term.evidence * rarity,
                common,
                body,
                head,
            )
        )
    weighted.sort(key=lambda term: -term.weight)
    return weighted


def _rarity(count: int, num_spans: int) -> float:
    """Inverse passage frequency, as in BM25."""
    return math.log(1 + (num_spans - count + 0.5) / (count + 0.5))


def _rank_segment(segment: Segment, number: int, weighted: list[_Weighted]) -> list[_Ranked]:
    scores = [0.0] * segment.num_spans
    head_scores = [0.0] * segment.num_documents
    for place, term in enumerate(weighted):
        if not (term.common and place >= _LEADING_TERMS):
            _add(scores, segment.body, term.body[number], term.weight * IMPACT_UNIT)
        _add(head_scores, segment.head, term.head[number], term.weight * IMPACT_UNIT)
    total = sum(term.weight for term in weighted if term.content) or 1.0
    evidence = sum(term.evidence for term in weighted) or 1.0
    view = _View(segment, number, weighted, total, evidence, scores, head_scores)
    return [_ranked(view, document, spans) for document, spans in _best_spans(view).items()]


def _add(scores: list[float], table: Table, postings: tuple[int, int], weight: float) -> None:
    start, end = postings
    if start < end:
        for number, impact in zip(table.ids[start:end], table.impacts[start:end], strict=True):
            scores[number] += weight * impact


def _best_spans(view: _View) -> dict[int, list[int]]:
    """The candidate documents with their best passages."""
    segment, scores, head_scores = view.segment, view.scores, view.head_scores
    best: dict[int, list[int]] = {}
    for span in heapq.nlargest(_SPAN_CANDIDATES, range(len(scores)), key=scores.__getitem__):
        if scores[span] <= 0.0:
            break
        best.setdefault(segment.span_document[span], []).append(span)
    for document in heapq.nlargest(3, range(len(head_scores)), key=head_scores.__getitem__):
        first, behind = segment.span_first[document], segment.span_first[document + 1]
        if head_scores[document] > 0.0 and document not in best and first < behind:
            best[document] = [max(range(first, behind), key=scores.__getitem__)]

    def rough(document: int) -> float:
        return scores[best[document][0]] + _HEAD_WEIGHT * head_scores[document]

    return {document: best[document] for document in heapq.nlargest(_CANDIDATES, best, key=rough)}


def _ranked(view: _View, document: int, spans: list[int]) -> _Ranked:
    covered = _covered(view, document, spans[0])
    second = view.scores[spans[1]] if len(spans) > 1 else 0.0
    inside = (
        view.scores[spans[0]]
        + _SECOND_SPAN_WEIGHT * second
        + _DOCUMENT_WEIGHT * covered.about
        + _COVERAGE_WEIGHT * covered.weight
    )
    return _Ranked(
        document=document,
        score=inside + min(_HEAD_WEIGHT * view.head_scores[document], _HEAD_AT_MOST * inside),
        strength=inside / view.total,
        coverage=min(1.0, covered.in_span / view.evidence),
        document_coverage=min(1.0, covered.in_document / view.evidence),
        spans=tuple(spans),
    )


@dataclass(slots=True)
class _Covered:
    """What of the question a document holds."""

    weight: float = 0.0
    """Weight of the content terms in the passage or the title."""
    about: float = 0.0
    """BM25 over the document, where a term counts once per passage that holds it: a long document about many things
    loses to a short one about this."""
    in_span: float = 0.0
    """Evidence in the passage or the title."""
    in_document: float = 0.0
    """Evidence in the whole document."""


def _covered(view: _View, document: int, span: int) -> _Covered:
    """What of the question stands in the passage `span` of `document`, in its title, and in the whole of it."""
    segment, number = view.segment, view.number
    first, behind = segment.span_first[document], segment.span_first[document + 1]
    mean = segment.num_spans / segment.num_documents
    length = _DOCUMENT_K * (1 - _DOCUMENT_B + _DOCUMENT_B * (behind - first) / mean)
    ids = segment.body.ids
    covered = _Covered()
    for term in view.weighted:
        if not term.content:
            continue
        start, end = term.body[number]
        at = bisect_left(ids, first, start, end)
        count = bisect_left(ids, behind, at, end) - at
        in_head = _holds(segment.head.ids, term.head[number], document)
        if count or in_head:
            covered.in_document += term.evidence
            covered.about += term.weight * count / (count + length)
        if in_head or _holds(ids, (at, at + count), span):
            covered.in_span += term.evidence
            covered.weight += term.weight
    return covered


def _holds(ids: Sequence[int], postings: tuple[int, int], number: int) -> bool:
    start, end = postings
    at = bisect_left(ids, number, start, end)
    return at < end and ids[at] == number


def _hit(segment: Segment, ranked: _Ranked, today: str, weights: Mapping[str, float]) -> Hit:
    row = segment.rows[ranked.document]
    return Hit(
        document=row["id"],
        path=row["path"],
        title=row["title"],
        label=row["label"],
        language=row["language"],
        office=row["office"],
        current=(row["valid_from"] or "") <= today and (row["valid_until"] is None or today <= row["valid_until"]),
        valid_until=row["valid_until"],
        score=ranked.score,
        coverage=ranked.coverage,
        document_coverage=ranked.document_coverage,
        strength=ranked.strength,
        spans=tuple((segment.span_start[span], segment.span_end[span]) for span in ranked.spans),
        text=segment.text(ranked.document),
        digest=row["digest"],
        page_lines=segment.page_lines(ranked.document),
        weights=weights,
    )
