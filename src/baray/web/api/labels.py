"""Routes of labels: show, preview and make a raise, ask to lower, sign, and what was changed so far."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request

from baray import access, catalog, signin
from baray.access import Label, may_read, parse_label
from baray.catalog import Lowering, Raise, Reached, VersionRow, Word
from baray.core import NotFound, iso_time, parse_ref
from baray.store import Tx
from baray.web.api import runs, services
from baray.web.api.shapes import KeyBody, LabelBody, LowerBody, PasskeyWordBody, ProjectLabelBody, VerdictBody, WordBody
from baray.web.api.sources import find_version
from baray.web.boundary import Caller, allow, base_url, caller, house_of, signed_in, site_of

router = APIRouter(tags=["labels"])
Who = Annotated[Caller, Depends(caller)]
Anyone = Annotated[Caller, Depends(signed_in)]
_VERSIONS = ("source", "dataset", "index", "model", "evaluation")


@router.get("/labels/show")
def show_label(request: Request, who: Who, ref: str) -> dict[str, Any]:
    """The label of a thing that is in force, and of a version how it came to be."""
    return site_of(request).store.read(lambda tx: _show(tx, request, who, ref))


@router.get("/labels/impact")
def label_impact(request: Request, who: Who, ref: str, to: str) -> dict[str, Any]:
    """What raising a label would reach: versions, Runs, Services, and who would lose sight of them. Changes nothing."""

    def read(tx: Tx) -> dict[str, Any]:
        version = find_version(tx, request, who, None, ref)
        reached = catalog.impact(tx, version, parse_label(to))
        return {"ref": version.ref, "label": version.label, "to": to} | _reached_json(tx, who, reached)

    return site_of(request).store.read(read)


@router.post("/labels/raise")
def raise_label(request: Request, who: Who, body: LabelBody) -> dict[str, Any]:
    """Raise a version's label, and with it all that was made of it; at every gate at once."""
    site = site_of(request)

    def write(tx: Tx) -> dict[str, Any]:
        version = find_version(tx, request, who, None, body.ref)
        to = parse_label(body.to)
        allow(tx, site, who, "label.raise", version.ref, str(access.join([to, parse_label(version.label)])))
        asked = Raise(version=version, to=to, reason=body.reason, actor_id=who.actor.id)
        reached = catalog.raise_label(tx, site, asked)
        return {"ref": version.ref, "to": str(to)} | _reached_json(tx, who, reached)

    done = site.store.write(write)
    house_of(request).push()
    return done


@router.post("/labels/lower", status_code=201)
def lower_label(request: Request, who: Who, body: LowerBody) -> dict[str, Any]:
    """Ask two other people to lower a version's label; it takes both signatures within 72 hours."""
    site = site_of(request)

    def write(tx: Tx) -> dict[str, Any]:
        version = find_version(tx, request, who, None, body.ref)
        allow(tx, site, who, "label.lower", version.ref, version.label)
        asked = catalog.ask_lowering(tx, site, who.actor, version, to=parse_label(body.to), reason=body.reason)
        return _request_json(tx, site, asked)

    return site.store.write(write)


@router.get("/labels/requests")
def get_requests(
    request: Request, who: Who, state: Annotated[str, Query(pattern="^(pending|all)$")] = "pending"
) -> dict[str, Any]:
    """Requests to lower a label that the caller may know of, newest first."""
    site = site_of(request)
    states = ("pending",) if state == "pending" else ("pending", "used", "refused")

    def read(tx: Tx) -> list[dict[str, Any]]:
        found = catalog.lowerings(tx, who.project_id, states)
        shown = [_request_json(tx, site, one) for one in found if may_read(who.actor, one.source_label)]
        return [one for one in shown if state == "all" or one["state"] == "pending"]

    return {"items": site.store.read(read), "next": None}


@router.get("/labels/requests/{request_id}")
def get_request(request: Request, who: Who, request_id: str) -> dict[str, Any]:
    """One request with the statement that its approvers sign."""
    site = site_of(request)

    def read(tx: Tx) -> dict[str, Any]:
        asked = _find(tx, request, who, request_id)
        return _request_json(tx, site, asked) | {"statement": catalog.statement(asked).decode()}

    return site.store.read(read)


@router.post("/labels/requests/{request_id}/word")
def give_word(request: Request, who: Who, request_id: str, body: WordBody) -> dict[str, Any]:
    """Sign for or against a request; the second approval makes the lower version."""
    return _give(request, who, Word(lowering_id=request_id, verdict=body.verdict, signature=body.signature))


@router.post("/labels/requests/{request_id}/passkey/begin")
def begin_passkey_word(request: Request, who: Who, request_id: str, body: VerdictBody) -> dict[str, Any]:
    """What the browser needs to sign a word with a passkey: the challenge is the digest of what is signed."""
    asked = site_of(request).store.read(lambda tx: _find(tx, request, who, request_id, action="label.approve"))
    challenge = catalog.challenge_of(catalog.message(body.verdict, catalog.statement_digest(asked)))
    reception = house_of(request).reception
    return signin.begin_assertion(reception, origin=base_url(request), actor_id=who.actor.id, challenge=challenge)


@router.post("/labels/requests/{request_id}/passkey")
def give_passkey_word(request: Request, who: Who, request_id: str, body: PasskeyWordBody) -> dict[str, Any]:
    """Sign for or against a request with a passkey; the second approval makes the lower version."""
    reception, origin = house_of(request).reception, base_url(request)
    site_of(request).store.read(lambda tx: _find(tx, request, who, request_id, action="label.approve"))
    found = signin.check_assertion(
        reception, origin=origin, flow=body.flow, response=body.credential, actor_id=who.actor.id
    )
    signature = catalog.pack(found.evidence)
    word = Word(lowering_id=request_id, verdict=body.verdict, signature=signature, way=catalog.way_of(found.public_key))
    return _give(request, who, word) | {"next": "/labels"}


@router.post("/labels/key", status_code=201)
def put_key(request: Request, who: Anyone, body: KeyBody) -> dict[str, Any]:
    """Register the public key that the caller signs approvals with; the one before counts no more."""
    site = site_of(request)

    def write(tx: Tx) -> None:
        allow(tx, site, who, "account.change", f"actor:{who.actor.name}")
        catalog.set_key(tx, site, who.actor, body.public)

    site.store.write(write)
    return {"actor": who.actor.name, "public": body.public}


@router.get("/labels/history")
def get_history(request: Request, who: Who, limit: Annotated[int, Query(ge=1, le=500)] = 100) -> dict[str, Any]:
    """What was raised, newest first, of what the caller may read."""

    def read(tx: Tx) -> list[dict[str, Any]]:
        found = []
        for row in catalog.raised_versions(tx, who.project_id, limit):
            version = catalog.by_id(tx, row.version_id)
            if version is not None and may_read(who.actor, version.label):
                found.append(_raise_json(row) | {"ref": version.ref, "label": version.label})
        return found

    return {"items": site_of(request).store.read(read), "next": None}


@router.post("/projects/{name}/clearance")
def set_clearance(request: Request, who: Anyone, name: str, body: ProjectLabelBody) -> dict[str, Any]:
    """Say what a project may hold at most; an empty label takes the limit away."""
    site = site_of(request)

    def write(tx: Tx) -> None:
        row = access.project_named(tx, name)
        if row is None or row.id not in who.actor.roles:
            raise NotFound("project", name)
        there = replace(who, project_id=row.id, project=name, label=row.label)
        allow(tx, site, there, "project.clear", f"project:{name}", body.label or None)
        clearance = parse_label(body.label) if body.label else None
        access.set_project_clearance(tx, site, project_id=row.id, clearance=clearance, by=who.actor.id)

    site.store.write(write)
    return {"project": name, "clearance": body.label or None}


def _give(request: Request, who: Caller, word: Word) -> dict[str, Any]:
    site = site_of(request)

    def write(tx: Tx) -> dict[str, Any]:
        _find(tx, request, who, word.lowering_id)
        asked, made = catalog.give_word(tx, site, who.actor, word)
        return _request_json(tx, site, asked) | {"made": made.ref if made else None}

    done = site.store.write(write)
    house_of(request).push()
    return done


def _show(tx: Tx, request: Request, who: Caller, text: str) -> dict[str, Any]:
    ref = parse_ref(text)
    if ref.kind in _VERSIONS:
        version = find_version(tx, request, who, ref.kind, text)
        raises = [_raise_json(row) for row in catalog.raises_of(tx, version.id)]
        return _label_json(version.ref, version.label) | _of_version(version) | {"raised": raises}
    if ref.kind == "run":
        run = runs.find_run(tx, request, who, ref.name)
        return _label_json(f"run:{run.id}", run.label)
    if ref.kind == "answer":
        return _label_json(text, services.answer_label(tx, request, who, ref.name))
    if ref.kind == "service":
        service = services.find_service(tx, who, ref.name)
        allow(tx, site_of(request), who, "read", f"service:{ref.name}", service.label)
        return _label_json(service.ref, service.label)
    raise NotFound(ref.kind, ref.name)


def _label_json(ref: str, text: str) -> dict[str, Any]:
    label: Label = parse_label(text)
    released = None if label.releasable_to is None else sorted(label.releasable_to)
    level = access.LEVELS[label.level]
    return {"ref": ref, "label": text, "level": level, "categories": sorted(label.categories), "released_to": released}


def _of_version(version: VersionRow) -> dict[str, Any]:
    return {"own_label": version.own_label, "lowered_to": version.ceiling}


def _raise_json(row: Any) -> dict[str, Any]:  # noqa: ANN401 - a row
    shown = {"id": row.id, "to": row.label, "reason": row.reason, "by": row.by, "at": iso_time(row.created)}
    return shown | {"cause": row.cause}


def _reached_json(tx: Tx, who: Caller, reached: list[Reached]) -> dict[str, Any]:
    """What is reached, of what the caller may read and know of; of the rest not even the number."""
    known = {one.ref for one in services.known_services(tx, who)}
    shown = [
        asdict(one) for one in reached if may_read(who.actor, one.label) and (one.kind != "service" or one.ref in known)
    ]
    return {"reached": [row | {"loses": list(row["loses"])} for row in shown]}


def _find(tx: Tx, request: Request, who: Caller, request_id: str, *, action: str = "read") -> Lowering:
    asked = catalog.find_lowering(tx, request_id)
    if asked.project_id != who.project_id:
        raise NotFound("request", request_id)
    allow(tx, site_of(request), who, action, f"request:{request_id}", asked.source_label)
    return asked


def _request_json(tx: Tx, site: access.Site, asked: Lowering) -> dict[str, Any]:
    """A request as people see it, with who signed and how many more are needed."""
    version = catalog.by_id(tx, asked.version_id)
    counted = {one.actor_id for one in catalog.counting(tx, asked)}
    words = [
        {"by": _name(tx, one.actor_id), "verdict": one.verdict, "at": iso_time(one.created)}
        | {"counts": one.actor_id in counted}
        for one in catalog.approvals(tx, asked.id)
    ]
    over = asked.state == "pending" and site.clock.now() >= asked.expires
    return {
        "id": asked.id,
        "ref": version.ref if version else asked.version_id,
        "digest": asked.digest,
        "from": asked.source_label,
        "to": asked.target_label,
        "reason": asked.reason,
        "asked_by": _name(tx, asked.actor_id),
        "created": iso_time(asked.created),
        "expires": iso_time(asked.expires),
        "state": "expired" if over else asked.state,
        "words": words,
        "needed": max(0, catalog.NEEDED - len(counted)) if asked.state == "pending" else 0,
        "statement_digest": catalog.statement_digest(asked),
        "made_version": asked.made_version,
    }


def _name(tx: Tx, actor_id: str) -> str:
    row = access.actor_by_id(tx, actor_id)
    return str(row.name) if row is not None else actor_id
