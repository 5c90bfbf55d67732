"""The desk's answers: extractive, cited, within the asker's clearance and the documents' days of validity; or a referral.

Covered: a document above the asker's labels is never opened, so that its existence changes neither outcome, text, order,
scores nor time; a document outside its days is never cited. Not covered: whether a document tells the truth.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from baray.text import Hit, Index, quote_spans, read_question

_LOOKED_AT = 12
_FOUND = 5
_OTHER_LANGUAGE = 0.85
# Logistic weights, by the question's language, of: coverage, coverage by the whole document, strength, the score of the
# next document beside the best one's, and the logarithm of how many terms were asked for (one word proves little); then
# the intercept. Khmer is judged by coverage alone: questions that no document answers cover as much in one folder as in
# another, while strength, and how far the next document lies behind, depend on how alike the documents are. An answer
# needs a mean coverage of 0.47: of the questions that no document answers about one in twenty reaches it. Fitted on question
# sets that no test reads.
_SUPPORT_WEIGHTS = {"km": (6.2, 6.2, 0.0, 0.0, 0.0, -6.0), "en": (0.0, 0.35, 4.6, -1.3, 2.7, -10.5)}
# A wrong answer harms a clerk more than a refusal, which still names the nearest documents.
_SUPPORTED = 0.45
# A current document that scores this share of an expired one speaks of the same matter: it answers.
_NEARLY_AS_WELL = 0.55
_REFERRAL_COVERAGE = 0.2
_WORTH_NAMING = 0.1
_AROUND = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Citation:
    """A span that an answer quotes."""

    document: str
    """Path of the document below the folder that was given."""
    start: int
    """First code point in the document's text."""
    end: int
    """Code point behind the last."""
    text: str
    """The quoted text: exactly that span."""
    document_id: str
    """Id of the Document in its Dataset."""
    digest: str
    """Digest of the document's text."""
    title: str
    """Title of the document, or nothing."""
    office: str | None
    """The office that answers for it."""
    valid_until: str | None
    """Its last day of validity, ISO date; None: for ever."""
    passage_start: int
    """First code point of the passage around the span."""
    passage: str
    """That passage: for showing the span where it stands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A document that speaks of the question."""

    document: str
    """Path of the document."""
    score: float
    """Greater is better; comparable within one answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeskAnswer:
    """One answer of a desk."""

    outcome: str
    """answered, expired or out-of-scope."""
    answer: str
    """The quoted sentences; empty unless answered."""
    citations: tuple[Citation, ...]
    """Where they stand, in rank order; empty unless answered."""
    found: tuple[Found, ...]
    """At most five visible, valid documents that speak of the question, best first: also where none answers it."""
    language: str
    """Language of the question: km or en."""
    referral: str | None
    """The office to ask instead; None when answered."""
    labels: tuple[str, ...]
    """Labels of the documents that it quotes or calls expired: the caller joins them."""
    detail: Mapping[str, float]
    """Figures for evaluation: support, coverage."""


def answer(
    index: Index,
    question: str,
    *,
    labels: Collection[str],
    today: str,
    default_office: str | None = None,
    language: str | None = None,
) -> DeskAnswer:
    """Answer `question` from the documents of `index` whose label is in `labels` and that are valid `today` (ISO date).

    `language` overrides the question's own. Raises Fault `index_damaged` when the bytes of a visible segment changed.
    """
    query = read_question(question)
    asked_in = "km" if (language or query.language) == "km" else "en"
    hits = _prefer_language(index.search(query, labels=labels, today=today, limit=_LOOKED_AT), asked_in)
    current = [hit for hit in hits if hit.current]
    past = [hit for hit in hits if not hit.current]
    outcome = _outcome(current, past, asked_in)
    detail = {
        "support": round(support(current, asked_in), 4),
        "coverage": round(current[0].coverage, 4) if current else 0.0,
    }
    if outcome != "answered":
        return DeskAnswer(
            outcome=outcome,
            answer="",
            citations=(),
            found=_found(current),
            language=asked_in,
            referral=_referral(hits, default_office),
            # That something expired is told by the document that did: the Answer carries its label.
            labels=(past[0].label,) if outcome == "expired" else (),
            detail=detail,
        )
    best = current[0]
    citations = tuple(_cite(best, start, end) for start, end in quote_spans(best, query))
    return DeskAnswer(
        outcome="answered",
        answer="\n".join(citation.text for citation in citations),
        citations=citations,
        found=_found(current),
        language=asked_in,
        referral=None,
        labels=(best.label,),
        detail=detail,
    )


def support(hits: Sequence[Hit], asked_in: str) -> float:
    """How likely the first of `hits` holds an answer, 0..1: by how much of the question it covers, and how alone."""
    if not hits:
        return 0.0
    best = hits[0]
    nearest = next((hit.score / best.score for hit in hits if hit.path != best.path), 0.0)
    *weights, intercept = _SUPPORT_WEIGHTS[asked_in]
    evidence = (best.coverage, best.document_coverage, best.strength, nearest, math.log(1 + len(best.weights)))
    total = intercept + sum(weight * value for weight, value in zip(weights, evidence, strict=True))
    return 1 / (1 + math.exp(-total))


def _prefer_language(hits: list[Hit], asked_in: str) -> list[Hit]:
    weighed = [hit if hit.language == asked_in else replace(hit, score=hit.score * _OTHER_LANGUAGE) for hit in hits]
    return sorted(weighed, key=lambda hit: (-hit.score, hit.document))


def _outcome(current: Sequence[Hit], past: Sequence[Hit], asked_in: str) -> str:
    now, then = support(current, asked_in), support(past, asked_in)
    if then >= _SUPPORTED and (now < _SUPPORTED or current[0].score < _NEARLY_AS_WELL * past[0].score):
        return "expired"
    return "answered" if now >= _SUPPORTED else "out-of-scope"


def _referral(hits: Sequence[Hit], default_office: str | None) -> str | None:
    """The office of the nearest visible document, if it speaks of the question at all."""
    for hit in hits:
        if hit.office and hit.document_coverage >= _REFERRAL_COVERAGE:
            return hit.office
    return default_office


def _found(hits: Sequence[Hit]) -> tuple[Found, ...]:
    """The files of the best documents: a file whose rows are documents of their own stands once."""
    best = {hit.path: hit.score for hit in reversed(hits)}
    paths = list(dict.fromkeys(hit.path for hit in hits if hit.score >= _WORTH_NAMING * hits[0].score))
    return tuple(Found(document=path, score=round(best[path], 3)) for path in paths[:_FOUND])


def _cite(hit: Hit, start: int, end: int) -> Citation:
    around = (max(0, start - _AROUND), min(len(hit.text), end + _AROUND))
    first, behind = next((span for span in hit.spans if span[0] <= start and end <= span[1]), around)
    return Citation(
        document=hit.path,
        start=start,
        end=end,
        text=hit.text[start:end],
        document_id=hit.document,
        digest=hit.digest,
        title=hit.title,
        office=hit.office,
        valid_until=hit.valid_until,
        passage_start=first,
        passage=hit.text[first:behind],
    )


def evaluate(results: Iterable[tuple[Mapping[str, Any], Mapping[str, Any], float]]) -> dict[str, Any]:
    """Figures of a question set.

    Each result is (question `{question, language, answer_in}`, answer `{outcome, found: [{document}]}`, milliseconds).
    hit_at_k: share of the questions with `answer_in` for which one of these documents is among the first k of `found`.
    refused_right: share of those without it that were refused; refused_wrong: share of those with it that were.
    A figure without questions is None.
    """
    everything = list(results)
    by_language: dict[str, list[tuple[Mapping[str, Any], Mapping[str, Any], float]]] = {}
    for result in everything:
        by_language.setdefault(str(result[0]["language"]), []).append(result)
    return _figures(everything) | {"by_language": {name: _figures(part) for name, part in sorted(by_language.items())}}


def _figures(results: Sequence[tuple[Mapping[str, Any], Mapping[str, Any], float]]) -> dict[str, Any]:
    answerable = [(asked, given) for asked, given, _ in results if asked["answer_in"] is not None]
    others = [given for asked, given, _ in results if asked["answer_in"] is None]
    times = sorted(milliseconds for _, _, milliseconds in results)
    return {
        "questions": len(results),
        "hit_at_1": _share(_hits(asked, given, 1) for asked, given in answerable),
        "hit_at_5": _share(_hits(asked, given, 5) for asked, given in answerable),
        "refused_right": _share(given["outcome"] != "answered" for given in others),
        "refused_wrong": _share(given["outcome"] != "answered" for _, given in answerable),
        "p50_ms": round(times[len(times) // 2], 3) if times else None,
    }


def _hits(asked: Mapping[str, Any], given: Mapping[str, Any], first: int) -> bool:
    return any(found["document"] in asked["answer_in"] for found in given["found"][:first])


def _share(outcomes: Iterable[bool]) -> float | None:
    values = list(outcomes)
    return round(sum(values) / len(values), 4) if values else None
