"""What the entries tell, replayed in their order: the state that the rows of a home must be in.

Entries name things by id, and tell what they were made with and what became of them. A fact that this reader does not
know is passed over, and one that an older entry does not hold binds nothing, so that homes of any age can be checked.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

Said: TypeAlias = dict[str, tuple[Any, int]]
"""Column -> (value, index of the entry that says so)."""
Body: TypeAlias = dict[str, Any]
"""An entry, parsed."""

_KIND = b'"kind":"'
_STATES = {
    "run.submitted": "queued",
    "run.retried": "queued",
    "run.started": "running",
    "run.succeeded": "succeeded",
    "run.failed": "failed",
    "run.cancelled": "cancelled",
}
_RENAMED = {"manager": "steward", "none": None}
"""Roles whose rows have another word than their entries: one was renamed since, one is the absence of a row."""


@dataclass(slots=True, kw_only=True)
class Told:
    """The state that the entries tell of, by id."""

    projects: dict[str, Said] = field(default_factory=dict)
    actors: dict[str, Said] = field(default_factory=dict)
    members: dict[tuple[str, str], Said] = field(default_factory=dict)
    """By project and actor; role None where it was taken away."""
    tokens: dict[str, Said] = field(default_factory=dict)
    runs: dict[str, Said] = field(default_factory=dict)
    attempts: dict[str, tuple[str, Any, int]] = field(default_factory=dict)
    """Run, number and index of the entry."""
    versions: dict[str, tuple[int, Body]] = field(default_factory=dict)
    """Index and body of the entry that published or deleted it."""
    services: dict[str, Said] = field(default_factory=dict)
    revisions: dict[str, Said] = field(default_factory=dict)
    batches: list[tuple[int, int, str]] = field(default_factory=list)
    """Index, count and root of the batches of Answers, in order."""
    witnesses: dict[str, Said] = field(default_factory=dict)
    """By digest of the key."""
    nodes: dict[str, Said] = field(default_factory=dict)
    leaves: dict[str, Said] = field(default_factory=dict)
    raised: dict[str, Said] = field(default_factory=dict)
    """Raises of versions; those of Runs and Revisions stand in their own rows."""

    def run_of(self, version: str) -> str | None:
        """The Run that made a version, or that made the one which it was lowered from."""
        for _step in range(len(self.versions)):
            facts = self.versions.get(version, (0, {}))[1].get("facts", {})
            if "lowered_from" not in facts:
                run = facts.get("run")
                return None if run is None else str(run)
            version = facts["lowered_from"]
        return None

    def take(self, first: int, entries: list[bytes]) -> None:
        """Replay entries from index `first`; those that cannot be read were named when the tree was rebuilt."""
        for index, data in enumerate(entries, first):
            at = data.rfind(_KIND) + len(_KIND)
            handler = _HANDLERS.get(data[at : data.find(b'"', at)])
            if handler is not None:
                try:
                    handler(self, index, json.loads(data))
                except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                    continue


def _project(told: Told, index: int, body: Body) -> None:
    row = told.projects.setdefault(body["subject"], {})
    if body["kind"] == "project.changed" and "label" not in body:
        row.pop("label", None)  # an older form did not say what became of it
    else:
        row["label"] = (body.get("label", ""), index)
    _copy(row, body, index, ("clearance",))


def _actor(told: Told, index: int, body: Body) -> None:
    row = told.actors.setdefault(body["subject"], {})
    kind = body["kind"]
    if kind == "actor.created":
        row |= {"clearance": (body.get("label", ""), index), "disabled": (False, index), "by": (body["actor"], index)}
        _copy(row, body, index, ("kind",))
    elif kind == "actor.disabled":
        row["disabled"] = (True, index)
    elif kind == "role.changed":
        role = body["facts"]["role"]
        row["site_role"] = (_RENAMED.get(role, role), index)
    elif "label" in body:
        row["clearance"] = (body["label"], index)
    else:
        row.pop("clearance", None)


def _member(told: Told, index: int, body: Body) -> None:
    role = body["facts"]["role"] if body["kind"] == "member.changed" else "none"
    told.members[(body["project"], body["subject"])] = {"role": (_RENAMED.get(role, role), index)}


def _token(told: Told, index: int, body: Body) -> None:
    row = told.tokens.setdefault(body["subject"], {})
    kind = body["kind"]
    if kind in {"token.revoked", "session.closed"}:
        row["revoked"] = (True, index)
        return
    facts = body["facts"]
    if kind != "session.proved":
        row |= {"actor_id": (facts["for"], index), "kind": (facts["kind"], index), "revoked": (False, index)}
        row["scopes"] = (sorted(facts["scopes"].split(".")) if "scopes" in facts else None, index)
    _copy(row, body, index, ("way", "max_label", "project_id", "run_id"))


def _run(told: Told, index: int, body: Body) -> None:
    row = told.runs.setdefault(body["subject"], {})
    kind, facts = body["kind"], body.get("facts", {})
    row["state"] = (_STATES[kind], index)
    row["error"] = (body.get("decision", "") if kind == "run.failed" else "", index)
    if kind == "run.submitted":
        said = {"digest": facts["digest"], "kind": facts.get("kind"), "label": body.get("label", "")}
        said |= {"project_id": body.get("project", ""), "actor_id": body["actor"]}
        row |= {name: (value, index) for name, value in said.items()}
    elif kind == "run.started" and "attempt" in facts:
        told.attempts[facts["attempt"]] = (body["subject"], facts.get("number"), index)


def _version(told: Told, index: int, body: Body) -> None:
    told.versions[str(body["subject"])] = (index, body)


def _raised(told: Told, index: int, body: Body) -> None:
    subject, facts = body["subject"], body.get("facts", {})
    current = told.services.get(subject, {}).get("current_revision", (subject, index))[0]
    row = told.runs.get(subject) or told.revisions.get(current)
    if row is not None:
        row["label"] = (body.get("label", ""), index)
    elif "raise" in facts:
        told.raised[facts["raise"]] = {"version_id": (subject, index), "label": (facts.get("to"), index)}


def _proposed(told: Told, index: int, body: Body) -> None:
    """A Revision that does not answer yet."""
    facts = body["facts"]
    said = {"service_id": body["subject"], "number": facts["number"], "label": body.get("label", "")}
    said |= {"digest": facts["digest"], "artefact": facts.get("artefact")}
    told.revisions[facts["revision"]] = {name: (value, index) for name, value in said.items()}


def _service(told: Told, index: int, body: Body) -> None:
    row = told.services.setdefault(body["subject"], {})
    row["state"] = ("stopped" if body["kind"] == "service.stopped" else "ready", index)
    facts = body.get("facts", {})
    _copy(row, body, index, ("audience", "kind"))
    if "revision" not in facts:
        return
    row |= {"project_id": (body.get("project", ""), index), "current_revision": (facts["revision"], index)}
    _proposed(told, index, body)


def _batch(told: Told, index: int, body: Body) -> None:
    told.batches.append((index, int(body["facts"]["count"]), str(body["facts"]["root"])))


def _witness(told: Told, index: int, body: Body) -> None:
    facts = body["facts"]
    if body["kind"] == "witness.removed":
        told.witnesses.pop(facts["witness"], None)
    elif body["kind"] == "witness.added":
        told.witnesses[facts["witness"]] = {"size": (0, index)}
    else:
        told.witnesses.setdefault(facts["witness"], {})["size"] = (facts["size"], index)


def _node(told: Told, index: int, body: Body) -> None:
    clearance = body["facts"]["clearance"]
    row = told.nodes.setdefault(body["subject"], {})
    row |= {"clearance": (_RENAMED.get(clearance, clearance), index), "by": (body["actor"], index)}


def _leave(told: Told, index: int, body: Body) -> None:
    row = told.leaves.setdefault(body["subject"], {})
    if body["kind"] == "leave.revoked":
        row["revoked"] = (True, index)
        return
    said = {
        "project_id": body.get("project", ""),
        "by": body["actor"],
        "label": body["facts"]["up_to"],
        "revoked": False,
    }
    row |= {name: (value, index) for name, value in said.items()}


def _copy(row: Said, body: Body, index: int, names: tuple[str, ...]) -> None:
    """Facts that carry the name of a column."""
    facts = body.get("facts", {})
    row |= {name: (facts[name], index) for name in names if name in facts}


_Handler: TypeAlias = Callable[[Told, int, Body], None]
_HANDLERS: dict[bytes, _Handler] = {
    **dict.fromkeys([b"project.created", b"project.changed"], _project),
    **dict.fromkeys([b"actor.created", b"actor.changed", b"actor.disabled", b"role.changed"], _actor),
    **dict.fromkeys([b"member.changed", b"member.removed"], _member),
    **dict.fromkeys(
        [b"token.created", b"token.revoked", b"session.opened", b"session.proved", b"session.closed"], _token
    ),
    **dict.fromkeys([state.encode() for state in _STATES], _run),
    **dict.fromkeys([b"version.published", b"source.added", b"version.deleted"], _version),
    **dict.fromkeys([b"service.created", b"service.revised", b"service.stopped", b"service.started"], _service),
    b"service.proposed": _proposed,
    b"label.raised": _raised,
    b"node.changed": _node,
    **dict.fromkeys([b"leave.given", b"leave.revoked"], _leave),
    b"answers.batch": _batch,
    **dict.fromkeys([b"witness.added", b"witness.removed", b"head.witnessed"], _witness),
}
