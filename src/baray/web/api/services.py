"""Routes of Services and Answers: make, revise, stop, ask."""

from __future__ import annotations

import http.client
import json
import time
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, Query, Request, Response

from baray import serve
from baray.access import (
    ACTIONS,
    PUBLIC_ACTOR,
    ROLES,
    Site,
    actor_named,
    join,
    load_actor,
    may_read,
    may_stand_for,
    parse_label,
)
from baray.core import Fault, NotFound, Ref, Refused, iso_time, made_at
from baray.store import Tx
from baray.web.api.runs import visible
from baray.web.api.shapes import AskBody, ServiceBody
from baray.web.api.sources import find_version
from baray.web.boundary import Caller, allow, caller, house_of, site_of

router = APIRouter(tags=["services"])
Who = Annotated[Caller, Depends(caller)]
ROUTER_SECONDS = 10.0
_INGEST_TRIES = 40
_INGEST_PAUSE_SECONDS = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """An Answer in a list."""

    id: str
    """`a_...`."""
    label: str
    """What its reader must be cleared for."""
    values: dict[str, Any]
    """The Answer."""


@router.post("/services", status_code=201)
def put_service(request: Request, who: Who, body: ServiceBody, response: Response) -> dict[str, Any]:
    """Make a Service, or give it its next Revision; the same again changes nothing (status 200)."""
    site = site_of(request)
    if not (body.index if body.kind == "desk" else body.model):
        needed = "index" if body.kind == "desk" else "model"
        raise Refused("bad_request", f"A {body.kind} needs '{needed}': the ref of what it answers from.")

    def write(tx: Tx) -> tuple[serve.Service, bool]:
        kind = "index" if body.kind == "desk" else "model"
        artefact = find_version(tx, request, who, kind, body.index or body.model)
        public = "public" in body.audience
        allow(tx, site, who, "service.publish" if public else "service.change", f"service:{body.name}", artefact.label)
        known = {service.name: service.revision_id for service in serve.list_services(tx, who.project_id)}
        put = serve.create_desk if body.kind == "desk" else serve.deploy_model
        asked = serve.ServiceRequest(
            project_id=who.project_id,
            actor_id=who.actor.id,
            kind=body.kind,
            name=body.name,
            title=body.title,
            artefact=artefact,
            audience=tuple(body.audience),
            office=body.office or None,
            examples=tuple(body.examples),
            engine=body.engine,
            replicas=replica_numbers(body.replicas),
            idle_seconds=body.idle_seconds,
        )
        service = put(tx, site, asked)
        return service, known.get(service.name) == service.revision_id

    service, reused = site.store.write(write)
    house_of(request).push()
    response.status_code = 200 if reused else 201
    return service_json(request, service, who) | {"reused": reused}


@router.get("/services")
def get_services(request: Request, who: Who) -> dict[str, Any]:
    """The Services of a project that the caller may know of."""
    found = site_of(request).store.read(lambda tx: known_services(tx, who))
    return {"items": [service_json(request, one, who) for one in found], "next": None}


@router.get("/services/{name}")
def get_service(request: Request, who: Who, name: str) -> dict[str, Any]:
    """One Service with its Revisions."""
    service = _find(request, who, name)
    revisions = site_of(request).store.read(lambda tx: serve.list_revisions(tx, service))
    shown = [row | {"created": iso_time(row["created"])} for row in revisions if may_read(who.actor, row["label"])]
    return service_json(request, service, who) | {"revisions": shown}


@router.post("/services/{name}/stop")
def stop_service(request: Request, who: Who, name: str) -> dict[str, Any]:
    """Stop answering at a name; its Revisions and Answers stay."""
    site = site_of(request)
    service = _find(request, who, name)

    def write(tx: Tx) -> serve.Service:
        current = find_service(tx, who, name)
        public = "public" in current.audience
        allow(tx, site, who, "service.publish" if public else "service.change", f"service:{name}", current.label)
        return serve.stop_service(tx, site, service, actor_id=who.actor.id)

    stopped = site.store.write(write)
    house_of(request).push()
    return service_json(request, stopped, who)


@router.post("/services/{name}/ask")
def ask(request: Request, who: Who, name: str, body: AskBody) -> dict[str, Any]:
    """Ask a Desk, as oneself, as the public, or (owners) as another actor."""
    site = site_of(request)
    as_name = body.as_ or who.actor.name
    if as_name not in (who.actor.name, "public"):
        site.store.read(lambda tx: _check_stand_in(tx, request, who, as_name))
    asked: dict[str, Any] = {"model": f"{who.project}/{name}", "question": body.question, "as": as_name}
    if body.language:
        asked["language"] = body.language
    return _ask_router(request, who, "/v1/answers", asked)


def complete_shortly(request: Request, who: Caller, name: str, prompt: str, num_tokens: int) -> dict[str, Any]:
    """What a language model says after `prompt`: `{"id", "text", "finish", "tokens_in", "tokens_out"}`."""
    asked = {"model": f"{who.project}/{name}", "prompt": prompt, "max_tokens": num_tokens, "temperature": 0}
    told = _ask_router(request, who, "/v1/completions", asked | {"as": who.actor.name})
    choice, usage = told["choices"][0], told["usage"]
    return {
        "id": told["id"],
        "text": choice["text"],
        "finish": choice["finish_reason"],
        "tokens_in": usage["prompt_tokens"],
        "tokens_out": usage["completion_tokens"],
    }


@router.get("/services/{name}/answers")
def get_answers(
    request: Request,
    who: Who,
    name: str,
    outcome: str = "",
    after: str = "",
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> dict[str, Any]:
    """What was asked and answered, newest first; questions are kept without personal numbers."""
    service = _find(request, who, name)
    house_of(request).ingest()

    def page(tx: Tx, last: str | None) -> list[_Row]:
        rows = serve.list_answers(tx, service.id, outcome=outcome or None, after=last, limit=limit)
        return [_Row(id=row["id"], label=_answer_label(who, row), values=row) for row in rows]

    found = site_of(request).store.read(lambda tx: visible(who, partial(page, tx), after, limit))
    items = [_answer_json(row.values) for row in found[:limit]]
    return {"items": items, "next": found[limit - 1].id if len(found) > limit else None}


@router.get("/answers/{answer_id}")
def get_answer(request: Request, who: Who, answer_id: str) -> dict[str, Any]:
    """One Answer with its citations."""
    name = answer_id.removeprefix("answer:")
    await_answer(request, name)
    return _answer_json(site_of(request).store.read(lambda tx: _readable_answer(tx, request, who, name)))


@router.get("/usage")
def get_usage(
    request: Request, who: Who, by: Annotated[str, Query(pattern="^(service|project|key)$")] = "service"
) -> dict[str, Any]:
    """Requests and milliseconds by Service, key or project."""
    house_of(request).ingest()

    def read(tx: Tx) -> list[dict[str, Any]]:
        known = {one.id for one in known_services(tx, who)}
        return serve.usage(tx, who.project_id, by=by, services=known)

    return {"items": site_of(request).store.read(read), "next": None}


def known_services(tx: Tx, who: Caller) -> list[serve.Service]:
    """The Services of a project that exist for the caller."""
    return [one for one in serve.list_services(tx, who.project_id) if _may_know(who, one)]


def find_service(tx: Tx, who: Caller, name: str) -> serve.Service:
    """A Service that the caller may know of. Raises NotFound."""
    service = serve.get_service(tx, who.project_id, name)
    if not _may_know(who, service):
        raise NotFound("service", name)
    return service


def require_known(tx: Tx, who: Caller, ref: Ref) -> None:
    """Refuse what speaks of a Service or an Answer that does not exist for the caller. Raises NotFound."""
    if ref.kind == "service":
        find_service(tx, who, ref.name)
    elif ref.kind == "answer" and not _may_know_answer(tx, who, serve.get_answer(tx, ref.name)):
        raise NotFound("answer", ref.name)


def receipt_bytes(tx: Tx, request: Request, who: Caller, answer_id: str) -> bytes:
    """The canonical bytes of an Answer's receipt, for a proof."""
    return serve.receipt_of(_readable_answer(tx, request, who, answer_id)).canonical()


def answer_label(tx: Tx, request: Request, who: Caller, answer_id: str) -> str:
    """The label of an Answer that is in force for its readers."""
    return _answer_label(who, _readable_answer(tx, request, who, answer_id))


def await_answer(request: Request, answer_id: str) -> None:
    """Wait until the router's spool has brought an Answer that was given a moment ago, at most four seconds.

    An id tells when it was made: one from another time is not waited for, and only few wait at once, so that asking for
    what is not there neither takes long nor holds the threads of others.
    """
    site = site_of(request)
    house_of(request).ingest()
    if abs(site.clock.now() - (made_at(answer_id) or 0.0)) > _INGEST_TRIES * _INGEST_PAUSE_SECONDS:
        return
    waiters = house_of(request).waiters
    if waiters.acquire(blocking=False):
        try:
            _await_ingest(request, site, answer_id)
        finally:
            waiters.release()


def _await_ingest(request: Request, site: Site, answer_id: str) -> None:
    for _ in range(_INGEST_TRIES):
        house_of(request).ingest()
        try:
            site.store.read(lambda tx: serve.get_answer(tx, answer_id))
        except NotFound:
            time.sleep(_INGEST_PAUSE_SECONDS)
        else:
            return


def service_json(request: Request, service: serve.Service, who: Caller) -> dict[str, Any]:
    """A Service as the API shows it. Of a desk that answers from more than the caller may read, not what that is."""
    home = house_of(request)
    known = may_read(who.actor, service.label)
    page = f"{home.router_url()}/desk/" + (
        service.name if service.project == home.default_project else f"{service.project}/{service.name}"
    )
    return {
        "id": service.id,
        "ref": service.ref,
        "name": service.name,
        "title": service.title,
        "kind": service.kind,
        **_standing_json(request, service, who),
        "label": service.label if known else "",
        "audience": list(service.audience),
        "revision": service.revision,
        "revision_id": service.revision_id,
        "artefact": service.spec.get("artefact") if known else None,
        "created": iso_time(service.created),
        "url": page if service.kind == "desk" and home.router_url() else None,
    }


def replica_numbers(text: str) -> tuple[int, int] | None:
    """(least, most) of `MIN:MAX`; None of an empty text."""
    least, _, most = text.partition(":")
    return (int(least), int(most)) if text else None


def _standing_json(request: Request, service: serve.Service, who: Caller) -> dict[str, Any]:
    """How a Service stands. A reason may quote a Run's error: it is for those who may read the Model."""
    found = site_of(request).store.read(lambda tx: serve.standing(tx, service))
    shown: dict[str, Any] = {"state": found["state"]}
    if service.least_replicas is not None:
        shown |= {"replicas": f"{service.least_replicas}:{service.most_replicas}", "wanted": service.wanted_replicas}
        if may_read(who.actor, service.label):
            shown |= {"reason": found["reason"], "processes": found["replicas"], "next": found["next"]}
    return shown


def _ask_router(request: Request, who: Caller, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """One question to the router, on behalf of an actor that control has authenticated."""
    house = house_of(request)
    address = urlsplit(house.router_url())
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=ROUTER_SECONDS)
    headers = {"Authorization": f"Bearer {house.control_key}", "Content-Type": "application/json"}
    headers["X-Baray-Key"] = who.actor.token_id or ""
    try:
        connection.request("POST", path, json.dumps(body).encode(), headers)
        response = connection.getresponse()
        status, answer = response.status, json.loads(response.read())
    except TimeoutError as error:
        message = f"No answer within {ROUTER_SECONDS:g} s: it may be starting."
        raise Fault("asleep", message, fix="Ask again in half a minute.", status=503) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Fault(
            "router_down", f"The router does not answer: {error}.", fix="Try again in a second.", status=503
        ) from error
    finally:
        connection.close()
    if status != 200:
        told = answer.get("error", answer)  # routes that OpenAI defines have an error shape of their own
        said = told.get("detail") or told.get("message") or "Refused."
        refusal = Refused(told.get("code") or "refused", said, fix=told.get("fix", ""), status=status)
        if status == 429:
            refusal.headers["retry-after"] = response.getheader("retry-after") or "1"
        raise refusal
    assert isinstance(answer, dict)
    return answer


def _find(request: Request, who: Caller, name: str) -> serve.Service:
    return site_of(request).store.read(lambda tx: find_service(tx, who, name))


def _may_know(who: Caller, service: serve.Service) -> bool:
    """Whether a Service exists for the caller: they are of its audience, or have a role that manages Services here.

    A desk is gated per Document, so nothing else is asked of it; of a model also that they are cleared for it.
    """
    return (_of_audience(who, service) or _manages(who)) and (
        service.kind == "desk" or may_read(who.actor, service.label)
    )


def _of_audience(who: Caller, service: serve.Service) -> bool:
    open_to_project = "project" in service.audience and service.project_id in who.actor.roles
    return open_to_project or not {"public", who.actor.name}.isdisjoint(service.audience)


def _manages(who: Caller) -> bool:
    """Any member may change any Service of the project, so nothing of them is hidden from members."""
    role = who.actor.roles.get(who.project_id)
    return role is not None and ROLES.index(role) >= ROLES.index(ACTIONS["service.change"].role)


def _may_know_answer(tx: Tx, who: Caller, answer: dict[str, Any]) -> bool:
    """Whether an Answer exists for the caller: they asked, or they may know of the Service that gave it."""
    if answer["project_id"] != who.project_id:
        return False
    known = {one.id for one in known_services(tx, who)}
    return answer["actor_id"] == who.actor.id or answer["service_id"] in known


def _check_stand_in(tx: Tx, request: Request, who: Caller, name: str) -> None:
    """Asking as another needs the role for it, and may show nothing that the caller could not read as themselves."""
    site = site_of(request)
    allow(tx, site, who, "impersonate", f"actor:{name}")
    row = actor_named(tx, name)
    if row is None or row.disabled is not None or not may_stand_for(who.actor, load_actor(tx, row.id)):
        raise NotFound("actor", name)


def _readable_answer(tx: Tx, request: Request, who: Caller, answer_id: str) -> dict[str, Any]:
    answer = serve.get_answer(tx, answer_id)
    if not _may_know_answer(tx, who, answer):
        raise NotFound("answer", answer_id)
    allow(tx, site_of(request), who, "read", f"answer:{answer_id}", _answer_label(who, answer))
    return answer


def _answer_label(who: Caller, answer: dict[str, Any]) -> str:
    """What an Answer's reader must be cleared for.

    The label of what it quotes, with what that was raised to since. What a person typed in is not public by itself: a
    question that came with a name is at least of the project's own label, as is what a Run without inputs makes.
    """
    labels = [parse_label(answer["label"]), parse_label(answer["floor"])]
    own = answer["actor_id"] in (PUBLIC_ACTOR.id, who.actor.id)
    return str(join(labels if own else [*labels, parse_label(who.label)]))


def _answer_json(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"created": iso_time(row["created"]), "ref": f"answer:{row['id']}"}
