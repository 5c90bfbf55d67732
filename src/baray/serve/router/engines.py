"""Asking: one question to a desk, letters to a model; each with its receipt in the spool before it is given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from baray.access import Label, flows, join, may_read, parse_label
from baray.core import Clock, Fault, Ids, NotFound, iso_date
from baray.serve import desk
from baray.serve.linear import LinearModel
from baray.serve.receipts import Denial, Line, Receipt
from baray.serve.router.asker import Asker, ask_as, find_route, may_ask
from baray.serve.router.quotas import Quotas
from baray.serve.router.snapshot import Route, Snapshot
from baray.serve.router.spool import Spool
from baray.text import Index, language, redact

DAY_SECONDS = 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """What asking needs beside the snapshot."""

    spool: Spool
    """Where receipts go."""
    quotas: Quotas
    """What keys have used."""
    clock: Clock
    """Time of receipts."""
    ids: Ids
    """Ids of Answers."""
    utc_offset_seconds: float
    """Local time minus UTC: a fee ends at the office's midnight."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """An Answer of a desk, as it is given."""

    id: str
    """`a_...`."""
    asked: str
    """The question."""
    asker: Asker
    """Who asked."""
    route: Route
    """Which Service."""
    answer: desk.DeskAnswer
    """What it said."""
    today: str
    """The local day of the question."""
    label: str
    """Join of the labels of what is cited."""


def admit(
    snapshot: Snapshot, asker: Asker, name: str, kind: str, *, as_name: str | None, house: House
) -> tuple[Route, Asker]:
    """The Service and as whom it is asked, counted on the key's quota.

    Raises NotFound for what is not there and for what the asker may not know, Refused `too_many_requests`, `quota_spent`.
    """
    route = find_route(snapshot, name, kind)
    asker = ask_as(snapshot, asker, as_name, route.project_id if route else "")
    decision = may_ask(asker, route) if route else None
    if route is None or decision is None or not decision.allowed:
        # A denial is kept in both cases: hidden and missing take the same work.
        denial = Denial(
            service_id=route.service_id if route else "",
            project_id=route.project_id if route else "",
            actor_id=asker.actor.id,
            rule=decision.rule if decision else "missing",
            created=house.clock.now(),
        )
        house.spool.append(Line(key_id=asker.key_id, denial=denial))
        raise NotFound(kind, name, fix="See what you may ask: GET /v1/models")
    house.quotas.take(asker.key_id, asker.bounds)
    return route, asker


def ask_desk(route: Route, asker: Asker, question: str, asked_in: str | None, *, house: House) -> Given:
    """Answer from the documents that the asker is cleared for, and keep the receipt."""
    index = route.engine
    if not isinstance(index, Index):
        raise Fault("wrong_engine", f"Service {route.name} is no desk.")
    started = house.clock.monotonic()
    now = house.clock.now()
    today = iso_date(now + house.utc_offset_seconds)
    # Who asks as another sees what both may read, never what the caller alone could not.
    visible = [
        label
        for label in index.labels
        if all(may_read(one, _in_force(route, label)) for one in (asker.actor, asker.caller))
    ]
    said = desk.answer(index, question, labels=visible, today=today, default_office=route.office, language=asked_in)
    given = Given(
        id=house.ids.new("a"),
        asked=question,
        asker=asker,
        route=route,
        answer=said,
        today=today,
        label=str(join(_in_force(route, label) for label in said.labels)),
    )
    receipt = Receipt(
        id=given.id,
        service_id=route.service_id,
        revision_id=route.revision_id,
        project_id=route.project_id,
        actor_id=asker.caller.id,
        created=now,
        outcome=said.outcome,
        question=redact(question)[0],
        language=said.language,
        label=given.label,
        answer=said.answer,
        citations=tuple(citations_of(said)),
        ms=_elapsed_ms(house, started),
    )
    house.spool.append(Line(key_id=asker.key_id, receipt=receipt))
    return given


def classify(route: Route, asker: Asker, texts: list[str], *, house: House) -> dict[str, Any]:
    """Classes and probabilities of each text; the receipt holds the classes, never the texts."""
    model = route.engine
    if not isinstance(model, LinearModel):
        raise Fault("wrong_engine", f"Service {route.name} is no model.")
    started = house.clock.monotonic()
    data = [_classified(model, number, text) for number, text in enumerate(texts)]
    receipt = Receipt(
        id=house.ids.new("a"),
        service_id=route.service_id,
        revision_id=route.revision_id,
        project_id=route.project_id,
        actor_id=asker.caller.id,
        created=house.clock.now(),
        outcome="classified",
        question="",
        language=language(texts[0]),
        label=str(route.label),
        answer="\n".join(str(row["label"]) for row in data),
        citations=(),
        ms=_elapsed_ms(house, started),
    )
    house.spool.append(Line(key_id=asker.key_id, receipt=receipt))
    return {
        "id": f"answer:{receipt.id}",
        "object": "list",
        "model": route.name,
        "service": f"service:{route.name}",
        "artefact": route.artefact,
        "data": data,
    }


def citations_of(said: desk.DeskAnswer) -> list[dict[str, Any]]:
    """The citations in the form of receipts and of the API."""
    return [{"document": one.document, "span": [one.start, one.end]} for one in said.citations]


def question_object(given: Given) -> dict[str, Any]:
    """The JSON of one question, as the API and the command line give it."""
    said = given.answer
    quotes = {(one.document, one.start): one.text for one in said.citations}
    citations = [row | {"text": quotes[row["document"], row["span"][0]]} for row in citations_of(said)]
    return {
        "id": f"answer:{given.id}",
        "asked": given.asked,
        "as": given.asker.actor.name,
        "outcome": said.outcome,
        "answer": said.answer,
        "citations": citations,
        "found": [{"document": one.document, "score": one.score} for one in said.found],
        "referral": said.referral,
        "language": said.language,
        "label": given.label,
        "service": f"service:{given.route.name}",
        "revision": given.route.revision,
        # The name of an Index that holds more than the asker may read is itself above them.
        "index": given.route.artefact if may_read(given.asker.actor, given.route.label) else None,
        "today": given.today,
    }


def _in_force(route: Route, label: str) -> Label:
    """The label of an Index's segment as of now: no more than what two people lowered it to, no less than raised since."""
    own = parse_label(label)
    if route.ceiling is not None and not flows(own, route.ceiling):
        own = route.ceiling
    return join([own, route.floor])


def _classified(model: LinearModel, number: int, text: str) -> dict[str, Any]:
    probabilities = model.probabilities(text)
    ranked = sorted(zip(model.classes, probabilities, strict=True), key=lambda pair: -pair[1])
    return {
        "index": number,
        "label": ranked[0][0],
        "score": round(ranked[0][1], 6),
        "scores": [{"label": name, "score": round(value, 6)} for name, value in ranked],
        "review": ranked[0][1] < model.review_below,
    }


def _elapsed_ms(house: House, started: float) -> float:
    return round((house.clock.monotonic() - started) * 1000, 3)
