"""What the router serves: read from `routes.json`, which control replaces atomically.

A snapshot is immutable; the router swaps one reference. Indexes and models are opened before the swap, in a thread, and
kept over from the snapshot before where their files did not change. A Service whose files cannot be opened keeps the
Revision that answered before, and the trouble is told by /healthz.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from baray.access import PUBLIC_ACTOR, UNBOUNDED, Actor, Bounds, Label, join, narrowed, parse_label, read_bounds
from baray.core import BarayError, Fault
from baray.serve.linear import LinearModel, load_linear
from baray.serve.router.upstreams import Replica, Replicas
from baray.text import Index, open_index

VERSION = 1
Engine = Index | LinearModel | Replicas


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One Service, ready to answer."""

    service_id: str
    """`e_...`."""
    name: str
    """In its project."""
    title: str
    """Any script."""
    kind: str
    """`desk` or `model`."""
    project_id: str
    """Its owner."""
    project: str
    """Name of its owner."""
    revision_id: str
    """`w_...`."""
    revision: int
    """Number of the Revision."""
    label: Label
    """Of a model all that went into it; a desk is gated per Document instead."""
    floor: Label
    """What its Index was raised to since: each of its Documents is at least this."""
    ceiling: Label | None
    """What two people lowered its Index to: each of its Documents is at most this, but for the floor."""
    audience: frozenset[str]
    """`public`, `project`, names of actors."""
    created: float
    """Seconds since 1970."""
    office: str | None
    """Whom a desk refers to when no document names an office."""
    examples: tuple[str, ...]
    """Questions that a desk's page proposes."""
    artefact: str
    """Ref of the Index or Model version."""
    files: dict[str, str]
    """Name -> place of each file of the Index or Model."""
    engine: Engine
    """What answers."""

    @property
    def full_name(self) -> str:
        """`PROJECT/NAME`."""
        return f"{self.project}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """What a Bearer token stands for."""

    key_id: str
    """Its id, for usage."""
    actor: Actor
    """Whose it is."""
    expires: float
    """Seconds since 1970."""
    bounds: Bounds = UNBOUNDED
    """Which Services it asks and how much."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One state of the world."""

    made: float
    """When control wrote it, seconds since 1970."""
    routes: tuple[Route, ...]
    """By project and name."""
    tokens: dict[str, Token]
    """Hexadecimal SHA-256 of the token -> Token."""
    keys: dict[str, Token]
    """Id -> the same."""
    actors: dict[str, Actor]
    """Name -> Actor."""
    control: str
    """Hexadecimal SHA-256 of the secret by which control asks on an actor's behalf; empty for none."""
    default_project: str
    """Name of the project that a bare name is looked up in first."""
    problems: dict[str, str] = field(default_factory=dict)
    """Service -> why its newest Revision does not answer."""


def load_snapshot(path: Path, before: Snapshot | None) -> Snapshot:
    """Read `path` and open what it names. Raises Fault `bad_snapshot` if the file is not one."""
    try:
        value = json.loads(path.read_bytes())
        if value["v"] != VERSION:
            raise Fault(
                "bad_snapshot",
                f"{path} has version {value['v']}, this router reads {VERSION}.",
                fix="Restart: baray up",
            )
        actors = {row["id"]: _actor(row) for row in value["actors"]}
        tokens = {
            row["hash"]: Token(
                key_id=row["id"],
                actor=_as_token(actors[row["actor"]], row),
                expires=row["expires"],
                bounds=read_bounds(row.get("bounds")),
            )
            for row in value["tokens"]
            if row["actor"] in actors
        }
        routes, problems = _routes(value["services"], before)
        return Snapshot(
            made=value["made"],
            routes=routes,
            tokens=tokens,
            keys={token.key_id: token for token in tokens.values()},
            actors={actor.name: actor for actor in actors.values()},
            control=value["control"],
            default_project=value["default_project"],
            problems=problems,
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Fault(
            "bad_snapshot", f"{path} cannot be read: {error!r}.", fix="Restart: baray down; baray up"
        ) from error


def _as_token(actor: Actor, row: dict[str, Any]) -> Actor:
    limit = parse_label(row["max_label"]) if row["max_label"] is not None else None
    return narrowed(actor, scopes=frozenset(row["scopes"]), limit=limit)


def _actor(row: dict[str, Any]) -> Actor:
    if row["name"] == PUBLIC_ACTOR.name:
        raise ValueError("an actor is called public")
    return Actor(
        id=row["id"],
        name=row["name"],
        kind=row["kind"],
        clearance=parse_label(row["clearance"]),
        roles=dict(row["roles"]),
        projects=frozenset(row["projects"]),
    )


def _routes(rows: list[dict[str, Any]], before: Snapshot | None) -> tuple[tuple[Route, ...], dict[str, str]]:
    old = {route.service_id: route for route in before.routes} if before else {}
    routes: list[Route] = []
    problems: dict[str, str] = {}
    for row in rows:
        known = old.get(row["id"])
        try:
            routes.append(_route(row, _engine(row, known)))
        except BarayError as error:
            problems[f"{row['project']}/{row['name']}"] = error.message
            if known is not None:
                # The Revision of before goes on answering, but to today's audience. Today's labels are those of another
                # Index or Model: they may raise what this one carries, and never lower it.
                label = join([known.label, parse_label(row["label"])])
                floor = join([known.floor, parse_label(row["floor"])])
                audience = frozenset(row["audience"])
                routes.append(replace(known, audience=audience, label=label, floor=floor, ceiling=None))
    return tuple(sorted(routes, key=lambda route: (route.project, route.name))), problems


def _engine(row: dict[str, Any], known: Route | None) -> Engine:
    outside = row.get("engine")
    if outside is not None and outside["kind"] == "replica":
        return Replicas(
            engine=outside["name"],
            context_tokens=outside["limits"]["context"],
            ready=tuple(Replica(id=one["replica"], socket=one["socket"]) for one in outside["upstreams"]),
        )
    if known is not None and known.files == row["files"] and known.kind == row["kind"]:
        return known.engine
    opener = _OPENERS.get(row["kind"])
    if opener is None:
        raise Fault(
            "unknown_kind", f"This router cannot answer for a Service of kind '{row['kind']}'.", fix="Update it."
        )
    return opener({name: Path(place) for name, place in row["files"].items()})


def _open_desk(files: Mapping[str, Path]) -> Index:
    index = open_index(files)
    # Segments are opened by the first question that may see them: asked here, so that damage shows before the swap.
    index.search("open", labels=index.labels, today="2000-01-01", limit=1)
    return index


_OPENERS: dict[str, Callable[[Mapping[str, Path]], Engine]] = {"desk": _open_desk, "model": load_linear}


def _route(row: dict[str, Any], engine: Engine) -> Route:
    return Route(
        service_id=row["id"],
        name=row["name"],
        title=row["title"],
        kind=row["kind"],
        project_id=row["project_id"],
        project=row["project"],
        revision_id=row["revision_id"],
        revision=row["revision"],
        label=parse_label(row["label"]),
        floor=parse_label(row["floor"]),
        ceiling=parse_label(row["ceiling"]) if row["ceiling"] is not None else None,
        audience=frozenset(row["audience"]),
        created=row["created"],
        office=row["office"],
        examples=tuple(row["examples"]),
        artefact=row["artefact"],
        files=dict(row["files"]),
        engine=engine,
    )
