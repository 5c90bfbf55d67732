"""Reports for people who answer for a home: where its data is, who touched it, and what nobody here can know."""

from __future__ import annotations

import socket
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import PlainTextResponse, Response
from pydantic import Field

from baray import __version__, catalog, runs, serve
from baray import ledger as log
from baray.access import LEVELS, actors, leaves, may_read, parse_label, projects
from baray.core import NotFound, iso_time
from baray.store import Tx
from baray.web.api.leaves import leave_json
from baray.web.api.shapes import MAX_NUMBER, Body
from baray.web.boundary import READ_LEVEL, Caller, allow, house_of, signed_in, site_of
from baray.web.console import paper

router = APIRouter(tags=["reports"])
Who = Annotated[Caller, Depends(signed_in)]
DAY = 86_400.0  # seconds
MAX_SHOWN = 40
"""Rows of each list: a report is a page."""
_COLUMNS = ("source", "dataset", "index", "model", "run", "service", "answer")
_EGRESS = tuple(kind for kind in log.KINDS if kind.startswith("egress."))
_ACTS = ("access.read", "access.denied", "run.submitted", "sandbox.reduced", "label.lowered", *_EGRESS)
_PACKAGES = Path("/var/lib/dpkg/status")
_RESTART = (Path("/run/reboot-required"), Path("/var/run/reboot-required"))


class ReviewBody(Body):
    """Exports that were looked at: all up to an entry."""

    upto: int = Field(ge=0, le=MAX_NUMBER)


@router.get("/reports/sovereignty")
def get_sovereignty(
    request: Request,
    who: Who,
    days: Annotated[int, Query(ge=0, le=36_500)] = 30,
    form: Annotated[str, Query(alias="format", pattern="^(json|html|text)$")] = "json",
    lang: Annotated[str, Query(pattern="^(en|km)$")] = "en",
) -> Any:  # noqa: ANN401 - a document or a page
    """Where data of each label lies, who read it, what left, and what this cannot know: JSON, a page to print, or text.

    `days`: how far back acts are counted; 0 means since the home was made. What lies here is as of now.
    """
    document = sovereignty(request, who, days=days)
    if form == "text":
        return PlainTextResponse(paper.as_text(document, lang))
    if form == "html":
        policy = f"default-src 'none'; style-src '{paper.style_digest()}'; frame-ancestors 'none'; base-uri 'none'"
        headers = {"Content-Security-Policy": policy}
        return Response(paper.as_page(document, lang), media_type="text/html", headers=headers)
    return document


@router.post("/reports/exports/reviewed")
def review_exports(request: Request, who: Who, body: ReviewBody) -> dict[str, Any]:
    """Say that one has looked at all exports up to an entry. It does not count for one's own."""
    site = site_of(request)

    def write(tx: Tx) -> None:
        _audit(tx, request, who)
        if body.upto >= site.ledger.size(tx):
            raise NotFound("entry", str(body.upto))
        facts = {"upto": body.upto}
        site.ledger.append(tx, "export.reviewed", actor=who.actor.id, subject="ledger", facts=facts)

    site.store.write(write)
    return {"upto": body.upto, "by": who.actor.name}


def sovereignty(request: Request, who: Caller, *, days: int) -> dict[str, Any]:
    """The report as the API shows it."""
    site = site_of(request)
    now = site.clock.now()
    since = max(0.0, now - days * DAY) if days else 0.0

    def read(tx: Tx) -> dict[str, Any]:
        _audit(tx, request, who)
        names = _Names(tx, who)
        acts = site.ledger.since(tx, since, _ACTS)
        head = site.ledger.head(tx)
        return {
            "holdings": _holdings(tx),
            "projects": len(projects(tx)),
            "people": sum(row.disabled is None for row in actors(tx)),
            "egress": _egress(acts),
            "leaves": [leave_json(tx, one) for one in leaves(tx)],
            "reads": _reads(acts, names),
            "denials": _denials(acts, names),
            "lowered": sum(act.kind == "label.lowered" for act in acts),
            "reduced": sum(act.kind == "sandbox.reduced" for act in acts),
            "exports": _exports(site.ledger.since(tx, 0.0, ("export.done", "export.reviewed")), names),
            "machines": _machines(runs.machines(tx), now),
            "witnesses": [_witness(row, head.size, now) for row in log.witnesses(tx)],
            "head": {"size": head.size, "root": head.root, "note": head.note, "vkey": site.ledger.vkey},
        }

    made = {"made": iso_time(now), "since": iso_time(since) if since else None, "days": days, "version": __version__}
    place = {"origin": site.ledger.origin, "machine": socket.gethostname(), "home": str(house_of(request).home)}
    return made | place | site.store.read(read) | {"unknown": list(paper.UNKNOWN)}


class _Names:
    """Names for the ids of entries; of a thing above the reader's clearance only its kind."""

    def __init__(self, tx: Tx, who: Caller) -> None:
        self._tx, self._who = tx, who
        self._people = {row.id: row.name for row in actors(tx)}
        self._services = {one.id: one.ref for row in projects(tx) for one in serve.list_services(tx, row.id)}

    def person(self, actor_id: str) -> str:
        return str(self._people.get(actor_id, actor_id))

    def thing(self, subject: str, label: str) -> str:
        version = catalog.by_id(self._tx, subject) if subject.startswith("v_") else None
        ref = version.ref if version else self._services.get(subject, subject)
        label = version.label if version else label
        known = not label or may_read(self._who.actor, label)
        return ref if known else ref.partition(":")[0].partition("_")[0]


def _holdings(tx: Tx) -> list[dict[str, Any]]:
    """One row a label: versions of each kind with their bytes, Runs, Services, Answers; the highest label first."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for label, kind, number, size in catalog.holdings(tx):
        # An Evaluation says how good a Model is: it is counted with the Models.
        found[label].update({"model" if kind == "evaluation" else kind: number, "bytes": size})
    for label, number in runs.holdings(tx):
        found[label]["run"] += number
    for label, kind, number in serve.holdings(tx):
        found[label][kind] += number
    rows = [
        {"label": label, "level": LEVELS[parse_label(label).level]}
        | {kind: counts[kind] for kind in _COLUMNS}
        | {"bytes": counts["bytes"]}
        for label, counts in found.items()
    ]
    return sorted(rows, key=lambda row: (-LEVELS.index(row["level"]), row["label"]))


def _egress(acts: list[log.Entry]) -> dict[str, int]:
    """Tries of commands with a list of targets to reach the outside; others have no network that could count them."""
    found = Counter(attempts=0, allowed=0, denied=0, sent=0, received=0)
    for act in acts:
        room, _, verdict = act.kind.partition(".")
        if room == "egress":
            number = int(act.facts.get("count", 1))
            found.update({"attempts": number, verdict: number})
            for target in act.facts.get("targets", []):
                found.update({"sent": int(target.get("sent", 0)), "received": int(target.get("received", 0))})
    return dict(found)


def _reads(acts: list[log.Entry], names: _Names) -> dict[str, Any]:
    """Who read what at level restricted or above, by person and thing; and how many Runs were begun on such things."""
    times: Counter[tuple[str, str, str]] = Counter()
    last: dict[tuple[str, str, str], float] = {}
    for act in acts:
        if act.kind == "access.read":
            key = (act.actor, act.subject, act.label)
            times[key] += int(act.facts.get("answers", 1))
            last[key] = act.time
    rows = [
        {"who": names.person(key[0]), "what": names.thing(key[1], key[2]), "label": key[2]}
        | {"times": number, "last": iso_time(last[key])}
        for key, number in times.most_common()
    ]
    shown = {"items": rows[:MAX_SHOWN], "more": max(0, len(rows) - MAX_SHOWN)}
    begun = (parse_label(act.label).level >= READ_LEVEL for act in acts if act.kind == "run.submitted")
    return {"total": times.total(), "runs": sum(begun)} | shown


def _denials(acts: list[log.Entry], names: _Names) -> dict[str, Any]:
    """What policy refused, by person."""
    times: Counter[str] = Counter()
    for act in acts:
        if act.kind == "access.denied":
            times[act.actor] += int(act.facts.get("count", 1))
    rows = [{"who": names.person(actor), "times": number} for actor, number in times.most_common()]
    return {"total": times.total(), "items": rows[:MAX_SHOWN], "more": max(0, len(rows) - MAX_SHOWN)}


def _exports(acts: list[log.Entry], names: _Names) -> dict[str, Any]:
    """Exports since the home was made, and those that nobody else has looked at."""
    reviews = [(act.actor, int(act.facts["upto"])) for act in acts if act.kind == "export.reviewed"]
    done = [act for act in acts if act.kind == "export.done"]
    waiting = [act for act in done if not _reviewed(act, reviews)]
    times = Counter((act.actor, act.subject, act.label) for act in waiting)
    newest = {(act.actor, act.subject, act.label): act for act in waiting}
    rows = [
        {"who": names.person(key[0]), "what": names.thing(key[1], key[2]), "label": key[2], "files": times[key]}
        | {"last": iso_time(act.time), "entry": act.index}
        for key, act in sorted(newest.items(), key=lambda item: -item[1].index)
    ]
    shown = {"items": rows[:MAX_SHOWN], "more": max(0, len(rows) - MAX_SHOWN)}
    upto = max((act.index for act in waiting), default=None)
    return {"total": len(done), "unreviewed": len(waiting), "upto": upto} | shown


def _reviewed(export: log.Entry, reviews: Iterable[tuple[str, int]]) -> bool:
    return any(upto >= export.index and actor != export.actor for actor, upto in reviews)


def _machines(workers: dict[str, dict[str, Any]], now: float) -> list[dict[str, Any]]:
    """What each worker said of its machine, and what it may hold; of updates only this machine's, and only their age."""
    return [
        {"worker": name, "tier": said.get("tier", ""), "limits": said.get("limits", "")}
        | {"missing": said.get("missing", ""), "clearance": said["clearance"] or None}
        | {"assigned": said["assigned"] or None, "says": said["said"] or None}
        | _updates(now)
        for name, said in sorted(workers.items())
    ]


def _updates(now: float) -> dict[str, Any]:
    """Days since this machine's packages last changed, and whether it waits for a restart; None where it is not known."""
    if not _PACKAGES.exists():
        return {"packages_days": None, "restart_waits": None}
    days = (now - _PACKAGES.stat().st_mtime) / DAY
    return {"packages_days": max(0, int(days)), "restart_waits": any(path.exists() for path in _RESTART)}


def _witness(row: log.WitnessRow, size: int, now: float) -> dict[str, Any]:
    """How far a witness has followed, and how long ago."""
    days = None if row.time is None else max(0, int((now - row.time) / DAY))
    shown = {"name": row.name, "size": row.size, "behind": size - row.size, "days": days}
    return shown | {"cosigned": iso_time(row.time) if row.time else None}


def _audit(tx: Tx, request: Request, who: Caller) -> None:
    allow(tx, site_of(request), who, "audit", f"project:{who.project}")
