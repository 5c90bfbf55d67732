"""Who may do what: a table of roles and actions, and the label lattice. Deny by default.

What is covered: every action of the API by role, and reading by clearance; above your clearance a thing does not
exist (404). What is not covered: what a cleared person copies by hand; lowering a label, which takes two people.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from baray.access.labels import PUBLIC, Label, cleared
from baray.core import NotFound, Refused

ROLES = ("viewer", "member", "manager", "owner")
"""From weakest to strongest; each may do what the weaker ones may."""

ACTIONS: dict[str, str] = {
    "read": "viewer",
    "ask": "viewer",
    "source.add": "member",
    "run.submit": "member",
    "run.cancel": "member",
    "service.change": "member",
    "export": "member",
    "token.manage": "viewer",
    "service.publish": "manager",
    "audit": "manager",
    "member.change": "owner",
    "actor.change": "owner",
    "project.create": "owner",
    "witness.change": "owner",
    "impersonate": "owner",
}
"""Action -> the weakest role that may do it. Tested whole."""

HOME_ACTIONS = frozenset({"actor.change", "project.create", "witness.change"})
"""Actions on the whole home: they need the role in the home's own project as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """An authenticated caller, with what decisions about it need."""

    id: str
    """`u_...`, or `public`."""
    name: str
    """Its name, for audiences and lists."""
    kind: str
    """`person`, `service` or `public`."""
    clearance: Label
    """What it may read."""
    roles: dict[str, str] = field(default_factory=dict)
    """Project id -> role."""
    projects: frozenset[str] = frozenset()
    """Names of the projects it has a role in."""
    token_id: str | None = None
    """The token it came with, if any."""


PUBLIC_ACTOR = Actor(id="public", name="public", kind="public", clearance=PUBLIC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What an action is about."""

    ref: str
    """A ref, for the message and the ledger."""
    project: str
    """Id of the project that owns it."""
    label: Label
    """Its label."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Allow or refuse, and by which rule."""

    allowed: bool
    """The verdict."""
    rule: str
    """The rule's name: `role`, `clearance`, `not-member` or `allowed`."""


def decide(actor: Actor, action: str, subject: Subject) -> Decision:
    """Decide without raising. Raises KeyError on an action that the table does not have."""
    needed = ROLES.index(ACTIONS[action])
    role = actor.roles.get(subject.project)
    if role is None:
        return Decision(allowed=False, rule="not-member")
    if not cleared(subject.label, actor.clearance, actor.projects):
        return Decision(allowed=False, rule="clearance")
    if ROLES.index(role) < needed:
        return Decision(allowed=False, rule="role")
    return Decision(allowed=True, rule="allowed")


def refusal(actor: Actor, action: str, subject: Subject, decision: Decision) -> Refused:
    """The error of a refused decision: 404 where the actor may not know, 403 where only the role is too weak."""
    if decision.rule != "role":
        return NotFound(*_kind_and_name(subject.ref))
    return Refused(
        "role_too_weak",
        f"{actor.name} is {actor.roles[subject.project]} here; '{action}' on {subject.ref} needs {ACTIONS[action]}.",
        fix="Ask an owner of the project: baray project member add NAME ROLE",
        status=403,
    )


def _kind_and_name(ref: str) -> tuple[str, str]:
    kind, colon, name = ref.partition(":")
    return (kind, name) if colon else ("thing", ref)
