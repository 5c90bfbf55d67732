"""Raising a label, and what that reaches: previewed, then done in one transaction.

A raise is a row beside the version; the join of its own label and its raises is its label in force, at every gate. All that
content went into is raised with it: versions get rows of their own, Runs (their logs and metrics) and Revisions another
label. So no version is ever below the join of what it was made of, unless two people signed for it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from baray.access import (
    PUBLIC_ACTOR,
    Actor,
    Label,
    Site,
    blocked,
    cleared,
    held_by,
    join,
    load_actor,
    may_read,
    members,
    owners,
    parse_label,
    project_by_id,
)
from baray.catalog import records as catalog_records
from baray.catalog.labels import records
from baray.catalog.nouns import VersionRow
from baray.core import Refused
from baray.store import Tx

MAX_REASON = 2000  # characters


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """One thing that a raise reaches."""

    id: str
    """Of a version, a Run or a Revision."""
    ref: str
    """As people name it."""
    kind: str
    """`source`, `dataset`, `index`, `model`, `run` or `service`."""
    label: str
    """In force now."""
    becomes: str
    """After the raise."""
    state: str
    """Of a Run or a Service."""
    effect: str
    """What happens to it, in words."""
    loses: tuple[str, ...]
    """Names of members, and `public`, who can read or ask it now and could not then."""

    @property
    def changed(self) -> bool:
        """Whether its label becomes another."""
        return self.label != self.becomes


@dataclass(frozen=True, slots=True, kw_only=True)
class Raise:
    """What somebody asks for."""

    version: VersionRow
    """What is raised."""
    to: Label
    """What it is raised to, joined with what it is."""
    reason: str
    """Why, in words; stays in this home."""
    actor_id: str
    """Who asks."""


def impact(tx: Tx, version: VersionRow, to: Label) -> list[Reached]:
    """What raising `version` to `to` would reach, the version itself first; nothing is changed."""
    people = [load_actor(tx, row.id) for row in members(tx, version.project_id)]
    return [found for found in _walk(tx, version.id, to, people) if found.changed]


def raise_label(tx: Tx, site: Site, asked: Raise) -> list[Reached]:
    """Raise a version's label and that of all that was made of it; what was reached.

    Raises Refused `not_higher` where nothing would change, and `label_blocks_project` where its own project could not
    hold the result.
    """
    version = asked.version
    check_reason(asked.reason)
    reached = impact(tx, version, asked.to)
    if not reached:
        raise Refused(
            "not_higher",
            f"{version.ref} is {version.label} already, which is at least {asked.to}.",
            fix=f"To lower it two people have to sign: baray label lower {version.ref} --to LABEL --reason TEXT",
            status=409,
        )
    _check_project(tx, version, join([parse_label(version.label), asked.to]))
    cause = site.ids.new("lr")
    reason = site.ledger.commitment(tx, asked.reason)
    for found in reached:
        _raise_one(tx, site, asked, found, cause=cause, reason=reason)
    return reached


def inherit_floor(tx: Tx, site: Site, version: VersionRow, inputs: list[VersionRow], *, actor_id: str) -> None:
    """Hand on to a new version what its inputs were raised to: its rows still carry the labels of before.

    For those whose label is told row by row (a desk's Index) the label of the whole is not enough.
    """
    floor = join(parse_label(one.floor) for one in inputs)
    if join([floor, parse_label(version.floor)]) == parse_label(version.floor):
        return
    row = {"id": site.ids.new("lr"), "version_id": version.id, "label": str(floor), "reason": "", "actor_id": actor_id}
    records.add_raise(tx, row | {"cause": row["id"], "created": site.clock.now()})
    site.ledger.append(
        tx,
        "label.raised",
        actor=actor_id,
        subject=version.id,
        project=version.project_id,
        label=str(join([parse_label(version.label), floor])),
        facts={"raise": row["id"], "cause": row["id"], "to": str(floor), "inherited": 1},
    )


def check_reason(reason: str) -> None:
    """Raise Refused `no_reason` on an empty or endless reason."""
    if not reason.strip() or len(reason) > MAX_REASON:
        raise Refused("no_reason", f"A reason of {len(reason)} characters.", fix=f"Say why, in 1 to {MAX_REASON}.")


def _raise_one(tx: Tx, site: Site, asked: Raise, found: Reached, *, cause: str, reason: str) -> None:
    raise_id = site.ids.new("lr")
    facts: dict[str, Any] = {"raise": raise_id, "cause": cause, "from": found.label, "to": str(asked.to)}
    if found.kind == "run":
        records.set_run_label(tx, found.id, found.becomes)
    elif found.kind == "service":
        records.set_revision_label(tx, found.id, found.becomes)
    else:
        row = {"id": raise_id, "version_id": found.id, "label": str(asked.to), "cause": cause, "reason": asked.reason}
        records.add_raise(tx, row | {"actor_id": asked.actor_id, "created": site.clock.now()})
    site.ledger.append(
        tx,
        "label.raised",
        actor=asked.actor_id,
        subject=found.id,
        project=asked.version.project_id,
        label=found.becomes,
        facts=facts | ({"reason": reason} if found.id == asked.version.id else {}),
    )


def _check_project(tx: Tx, version: VersionRow, label: Label) -> None:
    """A label that the project's own name is not released to would lock out everybody who could lower it again."""
    project = project_by_id(tx, version.project_id)
    if not held_by(label, None, project.name):
        raise blocked(
            "label_blocks_project",
            what=f"{version.ref} cannot become {label}.",
            why=f"It would not be released to its own project {project.name}: nobody could read or lower it again.",
            ask=owners(tx, version.project_id),
            change=f"Name the project behind the @: {label},{project.name}.",
        )


def _walk(tx: Tx, start: str, to: Label, people: list[Actor]) -> Iterator[Reached]:
    """Everything downstream of a version, each once, nearest first."""
    queue, seen = deque([start]), {start}
    while queue:
        node_id = queue.popleft()
        found = _describe(tx, node_id, to, people)
        if found is not None:
            yield found
        for follower in records.followers(tx, node_id):
            if follower not in seen:
                seen.add(follower)
                queue.append(follower)


def _describe(tx: Tx, node_id: str, to: Label, people: list[Actor]) -> Reached | None:
    describe = {"v": _version, "r": _run, "w": _revision}.get(node_id.partition("_")[0])
    return None if describe is None else describe(tx, node_id, to, people)


def _version(tx: Tx, node_id: str, to: Label, people: list[Actor]) -> Reached | None:
    row = catalog_records.by_id(tx, node_id)
    if row is None:
        return None
    becomes = str(join([parse_label(row.label), to]))
    effect = "New uses carry the new label; who is not cleared finds it no more."
    return Reached(
        id=row.id, ref=row.ref, kind=row.kind, label=row.label, becomes=becomes, state="", effect=effect,
        loses=_losers(people, row.label, becomes),
    )  # fmt: skip


_RUN_EFFECTS = {"queued": "It runs under the new label.", "running": "What it publishes takes the new label."}


def _run(tx: Tx, node_id: str, to: Label, people: list[Actor]) -> Reached | None:
    row = records.labelled_run(tx, node_id)
    if row is None:
        return None
    becomes = str(join([parse_label(row.label), to]))
    effect = _RUN_EFFECTS.get(row.state, "Its log and metrics carry the new label.")
    return Reached(
        id=row.id, ref=f"run:{row.id}", kind="run", label=row.label, becomes=becomes, state=row.state, effect=effect,
        loses=_losers(people, row.label, becomes),
    )  # fmt: skip


def _revision(tx: Tx, node_id: str, to: Label, people: list[Actor]) -> Reached | None:
    row = records.labelled_revision(tx, node_id)
    if row is None:
        return None
    becomes = str(join([parse_label(row.label), to]))
    loses = _losers(people, row.label, becomes)
    if row.current and row.state == "ready":
        if "public" in records.audience_of(row) and not cleared(parse_label(becomes), PUBLIC_ACTOR.clearance, ()):
            loses = ("public", *loses)
        effect = "It answers only those who are cleared for the new label."
        if row.kind == "desk":
            effect = "It leaves out these documents for all who are not cleared for the new label."
    else:
        effect = "Its answers of the past carry the new label."
    return Reached(
        id=row.id, ref=f"service:{row.name}", kind="service", label=row.label, becomes=becomes, state=row.state,
        effect=effect, loses=loses,
    )  # fmt: skip


def _losers(people: list[Actor], before: str, after: str) -> tuple[str, ...]:
    return tuple(one.name for one in people if may_read(one, before) and not may_read(one, after))
