"""Services on the control side: made, revised, stopped, listed; and the snapshot that routers serve from.

A Service of any kind is a name with Revisions; the newest Revision answers. A desk is gated per Document, so a desk may
be public while some of its documents are not. A model carries the label of all that went into it, so it can only be
offered to those who are cleared for that.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Row

from baray.access import (
    DEFAULT_PROJECT,
    PUBLIC,
    PUBLIC_ACTOR,
    Site,
    actor_named,
    actors,
    cleared,
    join,
    live_tokens,
    load_actor,
    parse_label,
)
from baray.catalog import VersionRow, add_edges, by_id, version_files
from baray.core import NotFound, Refused, canonical_json, check_name, digest_json
from baray.serve import records
from baray.serve.replicas.records import hand_over, ready
from baray.serve.replicas.size import EngineSpec, engine_for
from baray.store import Tx

SNAPSHOT_VERSION = 1
MAX_EXAMPLES = 5
MAX_REPLICAS = 64
IDLE_SECONDS = 300.0
_ARTEFACTS = {"desk": "index", "model": "model"}
_FILES = {"model": ("model.json", "model.safetensors")}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceRequest:
    """A Service to make, or to give its next Revision."""

    project_id: str
    """Owner."""
    actor_id: str
    """Who asks for it."""
    kind: str
    """`desk` or `model`."""
    name: str
    """Its name in the project."""
    title: str = ""
    """Any script; empty keeps the title there is, at first the name."""
    artefact: VersionRow
    """The Index version of a desk, the Model version of a model service."""
    audience: tuple[str, ...] | None = None
    """`public`, `project`, names of actors; None keeps the audience there is, at first `project`."""
    office: str | None = None
    """Whom a desk refers to when no document names an office."""
    examples: tuple[str, ...] = ()
    """Questions that a desk's page proposes, at most five."""
    engine: str = "auto"
    """What runs a language model: `auto`, `torch`, `llamacpp`, `vllm`."""
    replicas: tuple[int, int] | None = None
    """Replicas at least and at most; None keeps the numbers there are, at first 1 and 1."""
    idle_seconds: float | None = None
    """Without requests for so long there are only the least Replicas; None keeps it, at first five minutes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A Service with its current Revision."""

    id: str
    """`e_...`."""
    project_id: str
    """Owner."""
    project: str
    """Name of the owner."""
    kind: str
    """`desk` or `model`."""
    name: str
    """Its name in the project."""
    title: str
    """Any script."""
    state: str
    """`ready` or `stopped`."""
    audience: tuple[str, ...]
    """Who may ask."""
    created: float
    """Seconds since 1970."""
    revision_id: str
    """`w_...`."""
    revision: int
    """Number of the current Revision."""
    label: str
    """Of a desk what its Index holds at most, of a model all that went into it."""
    spec: Mapping[str, Any] = field(default_factory=dict)
    """The Revision: `{"artefact": {"version","ref","digest"}, "office", "examples"}`, of Replicas also `engine`."""
    least_replicas: int | None = None
    """Replicas at least; None where the router itself answers."""
    most_replicas: int | None = None
    """Replicas at most."""
    wanted_replicas: int | None = None
    """Replicas that the load asks for now."""
    idle_seconds: float | None = None
    """Without requests for so long there are only the least."""
    next_revision: str | None = None
    """The Revision that takes over once its Replicas are healthy."""
    trouble: Mapping[str, Any] | None = None
    """The last Revision that did not become healthy: `{"revision", "reason", "since"}`."""

    @property
    def ref(self) -> str:
        """`service:NAME`."""
        return f"service:{self.name}"


def create_desk(tx: Tx, site: Site, request: ServiceRequest) -> Service:
    """Make a desk, or give it another Revision. Raises Refused `bad_artefact`, `bad_audience`, `wrong_kind`."""
    return _put(tx, site, request, kind="desk")


def deploy_model(tx: Tx, site: Site, request: ServiceRequest) -> Service:
    """Make a model service, or give it another Revision. Raises Refused as `create_desk`, and `label_blocks_audience`."""
    return _put(tx, site, request, kind="model")


def stop_service(tx: Tx, site: Site, service: Service, *, actor_id: str) -> Service:
    """Stop answering at a name; its Revisions and Answers stay. Repeating changes nothing."""
    if service.state != "stopped":
        records.set_service(tx, service.id, {"state": "stopped", "next_revision": None, "proposed": None})
        site.ledger.append(
            tx, "service.stopped", actor=actor_id, subject=service.id, project=service.project_id, label=service.label
        )
    return get_service(tx, service.project_id, service.name)


def get_service(tx: Tx, project_id: str, name: str) -> Service:
    """The Service of that name. Raises NotFound."""
    row = records.find_service(tx, project_id, name)
    if row is None:
        raise NotFound("service", name, fix="See what there is: baray service list")
    return _service(row)


def list_services(tx: Tx, project_id: str) -> list[Service]:
    """The Services of a project by name."""
    return [_service(row) for row in records.services(tx, project_id)]


def list_revisions(tx: Tx, service: Service) -> list[dict[str, Any]]:
    """The Revisions of a Service, newest first: `{"id","number","label","created","spec"}`."""
    return [
        {"id": row.id, "number": row.number, "label": row.label, "created": row.created, "spec": json.loads(row.spec)}
        for row in records.revisions(tx, service.id)
    ]


def snapshot(tx: Tx, site: Site, *, control: str = "") -> dict[str, Any]:
    """What routers serve from: write it to `HOME/run/routes.json` (mode 0600) through a rename, after every change.

    `control` is the hexadecimal SHA-256 of the secret by which control itself asks on an actor's behalf.
    """
    now = site.clock.now()
    loaded = [load_actor(tx, row.id) for row in actors(tx) if row.disabled is None]
    return {
        "v": SNAPSHOT_VERSION,
        "made": now,
        "control": control,
        "default_project": DEFAULT_PROJECT,
        "actors": [
            {
                "id": actor.id,
                "name": actor.name,
                "kind": actor.kind,
                "clearance": str(actor.clearance),
                "roles": actor.roles,
                "projects": sorted(actor.projects),
            }
            for actor in loaded
        ],
        "tokens": [
            {"hash": row.hash, "id": row.id, "actor": row.actor_id, "expires": row.expires}
            | {"scopes": json.loads(row.scopes), "max_label": row.max_label}
            | {"bounds": json.loads(row.bounds) if row.bounds else None}
            for row in live_tokens(tx, now)
        ],
        "services": [
            _snapshot_row(tx, site, _service(row)) for row in records.services(tx, None) if row.state == "ready"
        ],
    }


def _put(tx: Tx, site: Site, request: ServiceRequest, *, kind: str) -> Service:
    if request.kind != kind or request.artefact.kind != _ARTEFACTS[kind]:
        raise Refused(
            "bad_artefact",
            f"A {kind} cannot answer from {request.artefact.ref}.",
            fix=f"Name a version of kind {_ARTEFACTS[kind]}.",
        )
    known = records.find_service(tx, request.project_id, check_name(request.name))
    if known is not None and known.kind != kind:
        message = f"'{request.name}' is the name of a {known.kind} already."
        raise Refused("wrong_kind", message, fix="Choose another name.", status=409)
    audience = _audience(tx, request, known)
    _check_label(request, audience)
    if known is not None and _unchanged(tx, site, known, request, audience):
        return _service(known)
    hosting = _hosting(tx, site, request, known)
    service_id = _write_service(tx, site, request, known=known, values=hosting | {"audience": _text(audience)})
    _write_revision(tx, site, request, service_id, known=known)
    return get_service(tx, request.project_id, request.name)


def _hosting(tx: Tx, site: Site, request: ServiceRequest, known: Row[Any] | None) -> dict[str, Any]:
    """The columns of a Service that speak of its Replicas."""
    if engine_of(tx, site, request) is None:
        if request.replicas is not None:
            message = f"{request.artefact.ref} is light: the router answers for it itself, without Replicas."
            raise Refused("bad_replicas", message, fix="Leave --replicas out.")
        return {"by": request.actor_id, "least_replicas": None, "most_replicas": None, "wanted_replicas": None}
    before = (
        (known.least_replicas, known.most_replicas)
        if known is not None and known.least_replicas is not None
        else (1, 1)
    )
    least, most = check_replicas(request.replicas or before)
    running = (known.wanted_replicas or 0) if known is not None and known.state != "stopped" else 0
    idle = request.idle_seconds or (known.idle_seconds if known is not None else None) or IDLE_SECONDS
    # Somebody who deploys wants to see it answer: also what may sleep starts with one.
    values = {"least_replicas": least, "most_replicas": most, "wanted_replicas": min(most, max(1, least, running))}
    return values | {"idle_seconds": idle, "by": request.actor_id}


def check_replicas(numbers: tuple[int, int]) -> tuple[int, int]:
    """Replicas at least and at most. Raises Refused `bad_replicas`."""
    least, most = numbers
    if not 0 <= least <= most or not 1 <= most <= MAX_REPLICAS:
        message = f"{least}:{most} is no number of Replicas."
        raise Refused("bad_replicas", message, fix=f"Write MIN:MAX, for example 1:2; MAX from 1 to {MAX_REPLICAS}.")
    return least, most


def engine_of(tx: Tx, site: Site, request: ServiceRequest) -> EngineSpec | None:
    """The engine of what is asked for; None where the router itself answers."""
    return engine_for(tx, site, request.artefact, request.engine) if request.kind == "model" else None


def _write_service(
    tx: Tx, site: Site, request: ServiceRequest, *, known: Row[Any] | None, values: dict[str, Any]
) -> str:
    """The Service's row without its Revision; its id."""
    values = values | {"state": "ready", "trouble": None}
    if known is not None:
        records.set_service(tx, known.id, values | {"title": request.title or known.title})
        return str(known.id)
    service_id = site.ids.new("e")
    row: dict[str, Any] = {
        "id": service_id,
        "project_id": request.project_id,
        "kind": request.kind,
        "name": request.name,
    }
    row |= {"title": request.title or request.name, "created": site.clock.now(), "current_revision": None}
    records.add_service(tx, row | values)
    return service_id


def _write_revision(tx: Tx, site: Site, request: ServiceRequest, service_id: str, *, known: Row[Any] | None) -> None:
    """The next Revision: it answers at once, or where Replicas have to start for it while another answers, it waits."""
    revision_id, now = site.ids.new("w"), site.clock.now()
    spec = _spec(tx, site, request)
    row = {"id": revision_id, "service_id": service_id, "spec": _text(spec)}
    number = records.add_revision(tx, row | {"label": request.artefact.label, "created": now})
    add_edges(tx, revision_id, [request.artefact.id], "answers-from")
    facts = {"revision": revision_id, "number": number, "digest": digest_json(spec), "artefact": request.artefact.id}
    kind = "service.revised" if known is not None else "service.created"
    if known is not None and "engine" in spec and known.state != "stopped":
        if runs_the_same(json.loads(known.spec), spec):
            hand_over(tx, service_id, known.current_revision, revision_id)
        else:
            kind = "service.proposed"
    if kind == "service.proposed":
        records.set_service(tx, service_id, {"next_revision": revision_id, "proposed": now})
    else:
        values = {"current_revision": revision_id, "next_revision": None, "proposed": None}
        records.set_service(tx, service_id, values)
    site.ledger.append(
        tx,
        kind,
        actor=request.actor_id,
        subject=service_id,
        project=request.project_id,
        label=request.artefact.label,
        facts=facts,
    )


def runs_the_same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two Revisions differ in nothing that a Replica knows of."""
    return all(one.get(name) == other.get(name) for name in ("artefact", "engine"))


def _spec(tx: Tx, site: Site, request: ServiceRequest) -> dict[str, Any]:
    artefact, engine = request.artefact, engine_of(tx, site, request)
    return {
        "artefact": {"version": artefact.id, "ref": artefact.ref, "digest": artefact.digest},
        "office": request.office,
        "examples": list(request.examples[:MAX_EXAMPLES]),
    } | ({"engine": engine.json()} if engine else {})


def _text(value: object) -> str:
    return canonical_json(value).decode()


def _unchanged(tx: Tx, site: Site, known: Row[Any], request: ServiceRequest, audience: list[str]) -> bool:
    """Whether what is asked for is there, and nothing else is on its way."""
    same_words = request.title in {"", known.title} and json.loads(known.audience) == audience
    numbers = (known.least_replicas, known.most_replicas)
    same_hosting = request.replicas in {None, numbers} and request.idle_seconds in {None, known.idle_seconds}
    steady = known.state == "ready" and known.next_revision is None
    return steady and same_words and same_hosting and json.loads(known.spec) == _spec(tx, site, request)


def _audience(tx: Tx, request: ServiceRequest, known: Row[Any] | None) -> list[str]:
    """The audience, each name checked."""
    if request.audience is None:
        return list(json.loads(known.audience)) if known is not None else ["project"]
    audience = sorted(set(request.audience))
    for name in audience:
        if name not in {"public", "project"} and actor_named(tx, name) is None:
            raise Refused(
                "bad_audience", f"There is no actor '{name}'.", fix="Write public, project, or names of actors."
            )
    if not audience:
        raise Refused("bad_audience", "The audience is empty.", fix="Write public, project, or names of actors.")
    return audience


def _check_label(request: ServiceRequest, audience: list[str]) -> None:
    """A public model must be made of public things only; who is named is checked at every request."""
    if request.kind == "desk" or PUBLIC_ACTOR.name not in audience:
        return
    label = parse_label(request.artefact.label)
    if not cleared(label, PUBLIC, ()):
        raise Refused(
            "label_blocks_audience",
            f"{request.artefact.ref} is {label}, and a model may carry over what it learnt: it cannot be offered to the public.",
            fix="Offer it to the project (--audience project), train it on public letters, or ask the two people who may "
            "lower a label (baray label lower).",
            status=403,
        )


def _service(row: Row[Any]) -> Service:
    return Service(
        id=row.id,
        project_id=row.project_id,
        project=row.project,
        kind=row.kind,
        name=row.name,
        title=row.title,
        state=row.state,
        audience=tuple(json.loads(row.audience)),
        created=row.created,
        revision_id=row.current_revision,
        revision=row.number,
        label=row.label,
        spec=json.loads(row.spec),
        least_replicas=row.least_replicas,
        most_replicas=row.most_replicas,
        wanted_replicas=row.wanted_replicas,
        idle_seconds=row.idle_seconds,
        next_revision=row.next_revision,
        trouble=json.loads(row.trouble) if row.trouble else None,
    )


def _snapshot_row(tx: Tx, site: Site, service: Service) -> dict[str, Any]:
    artefact = service.spec["artefact"]
    version = by_id(tx, artefact["version"])
    if version is None:
        raise NotFound("version", artefact["ref"])
    wanted = _FILES.get(service.kind)
    engine = service.spec.get("engine")
    found = () if engine else version_files(tx, site, version)
    files = {file.path: file for file in found if wanted is None or file.path in wanted}
    outside = {}
    if engine:
        upstreams = [{"replica": run, "socket": socket} for run, socket in ready(tx, service.revision_id)]
        limits = {"context": engine["context"]}
        outside["engine"] = {"kind": "replica", "name": engine["name"], "upstreams": upstreams, "limits": limits}
    return outside | {
        "id": service.id,
        "name": service.name,
        "title": service.title,
        "kind": service.kind,
        "project_id": service.project_id,
        "project": service.project,
        "revision_id": service.revision_id,
        "revision": service.revision,
        "label": str(join([parse_label(service.label), parse_label(version.label)])),
        "audience": list(service.audience),
        "created": service.created,
        "office": service.spec["office"],
        "examples": service.spec["examples"],
        "artefact": version.ref,
        "floor": version.floor,
        "ceiling": version.ceiling,
        "files": {path: str(site.blobs.path(file.digest)) for path, file in sorted(files.items())},
    }
