"""Who may do what: a table of roles and actions, and the label lattice. Deny by default.

What is covered: every action of the API by role, scope and proof, and reading by clearance; above your clearance a thing
does not exist (404). What is not covered: what a cleared person copies by hand; what the holder of a token that may
administer does with it, which asks for no fresh proof.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from baray.access.labels import INTERNAL, PUBLIC, Label, cleared, flows
from baray.core import NotFound, Refused

ROLES = ("viewer", "member", "steward", "owner")
"""In a project, from weakest to strongest; each may do what the weaker ones may."""
SITE_ROLES = ("auditor", "operator")
"""On the whole home: an auditor reads everything about acts, an operator changes it too. Neither reads content by it."""
SCOPES = ("read", "ask", "run", "admin")
"""What a token may be limited to."""
ALL_SCOPES = frozenset(SCOPES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What one action needs."""

    role: str = ""
    """The weakest role in the subject's project; empty where the project does not matter."""
    site: str = ""
    """The weakest role on the home; empty where it does not matter."""
    scope: str
    """What a token needs to hold."""
    proof: str = ""
    """`always`, or `above-internal`: a session must have proved who it is within the last five minutes."""


ACTIONS: dict[str, Rule] = {
    # what is in a project
    "read": Rule(role="viewer", scope="read"),
    "ask": Rule(role="viewer", scope="ask"),
    "source.add": Rule(role="member", scope="run"),
    "run.submit": Rule(role="member", scope="run"),
    "run.cancel": Rule(role="member", scope="run"),
    "service.change": Rule(role="member", scope="run"),
    "export": Rule(role="member", scope="read", proof="above-internal"),
    "service.publish": Rule(role="steward", scope="run"),
    "label.lower": Rule(role="member", scope="run"),
    "label.raise": Rule(role="steward", scope="run"),
    "label.approve": Rule(role="steward", scope="admin", proof="always"),
    "project.clear": Rule(role="owner", scope="admin", proof="always"),
    "egress.change": Rule(role="steward", scope="admin", proof="always"),
    "member.change": Rule(role="owner", scope="admin", proof="always"),
    "actor.invite": Rule(role="owner", scope="admin", proof="always"),
    "impersonate": Rule(role="owner", scope="admin"),
    # one's own account
    "token.manage": Rule(scope="admin"),
    "account.change": Rule(scope="admin", proof="always"),
    # the whole home
    "audit": Rule(site="auditor", scope="read"),
    "actor.change": Rule(site="operator", scope="admin", proof="always"),
    "node.clear": Rule(site="operator", scope="admin", proof="always"),
    "project.create": Rule(site="operator", scope="admin"),
    "witness.change": Rule(site="operator", scope="admin"),
}
"""Action -> what it needs. Tested whole."""


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
    site_role: str = ""
    """One of SITE_ROLES, or none."""
    token_id: str | None = None
    """The token it came with, if any."""
    session: bool = False
    """That token is a browser's session: a person."""
    scopes: frozenset[str] = ALL_SCOPES
    """What that token may do."""
    fresh: bool = False
    """Proved strongly within five minutes: a session by a passkey, a code or a link; a token by being one that
    may administer."""
    recent: bool = False
    """Proved within five minutes in any way, a password alone included."""


PUBLIC_ACTOR = Actor(id="public", name="public", kind="public", clearance=PUBLIC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What an action is about."""

    ref: str
    """A ref, for the message."""
    project: str
    """Id of the project that owns it."""
    label: Label
    """Its label."""
    id: str = ""
    """Its id where it has one, for the ledger: names never stand there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Allow or refuse, and by which rule."""

    allowed: bool
    """The verdict."""
    rule: str
    """The rule's name: `allowed`, or what was lacking: `not-member`, `clearance`, `role`, `site-role`, `scope`, `proof`."""


def decide(actor: Actor, action: str, subject: Subject) -> Decision:
    """Decide without raising. Raises KeyError on an action that the table does not have."""
    lacking = _lacking(actor, ACTIONS[action], subject)
    return Decision(allowed=not lacking, rule=lacking or "allowed")


def _lacking(actor: Actor, rule: Rule, subject: Subject) -> str:
    """Existence first: who may not know of a thing does not learn what else it would have needed."""
    role = actor.roles.get(subject.project, "")
    if actor.id == PUBLIC_ACTOR.id or (rule.role and not role):
        return "not-member"
    if not cleared(subject.label, actor.clearance, actor.projects):
        return "clearance"
    if rule.role and ROLES.index(role) < ROLES.index(rule.role):
        return "role"
    if rule.site and (not actor.site_role or SITE_ROLES.index(actor.site_role) < SITE_ROLES.index(rule.site)):
        return "site-role"
    if rule.scope not in actor.scopes:
        return "scope"
    return "proof" if _needs_proof(rule, subject.label) and not actor.fresh else ""


def _needs_proof(rule: Rule, label: Label) -> bool:
    return rule.proof == "always" or (rule.proof == "above-internal" and not flows(label, INTERNAL))


def refusal(actor: Actor, action: str, subject: Subject, decision: Decision) -> Refused:
    """The error of a refused decision: 404 where the actor may not know, 403 where something else is lacking."""
    if decision.rule in ("not-member", "clearance"):
        return NotFound(*_kind_and_name(subject.ref))
    rule, about = ACTIONS[action], f"'{action}' on {subject.ref}"
    if decision.rule == "role":
        return Refused(
            "role_too_weak",
            f"{actor.name} is {actor.roles[subject.project]} here; {about} needs {rule.role}.",
            fix="Ask an owner of the project: baray project member add NAME ROLE",
            status=403,
        )
    if decision.rule == "site-role":
        return Refused(
            "site_role_needed",
            f"{actor.name} is {actor.site_role or 'nobody special'} on this home; {about} needs {rule.site}.",
            fix="Ask an operator of the home: baray user role NAME ROLE",
            status=403,
        )
    if decision.rule == "scope":
        return scope_missing(actor, rule.scope)
    return proof_needed(about)


def scope_missing(actor: Actor, scope: str) -> Refused:
    """The error of a token that was made for less."""
    held = ", ".join(name for name in SCOPES if name in actor.scopes) or "nothing"
    return Refused(
        "scope_missing",
        f"This token may {held}; this needs '{scope}'.",
        fix=f"Make one that may: baray token create NAME --scope {scope}",
        status=403,
    )


def proof_needed(about: str) -> Refused:
    """The error of a session that has not lately proved who it is."""
    return Refused(
        "proof_needed",
        f"{about} needs a fresh proof of who you are: a passkey, or a password and a code, within five minutes.",
        fix="Prove it at /account/prove and try again; from a terminal: baray login.",
        status=403,
    )


def narrowed(actor: Actor, *, scopes: frozenset[str], limit: Label | None) -> Actor:
    """The actor as far as a token goes: fewer scopes, and cleared for no more than `limit`.

    What is limited to a label never administers: else it could make itself a token without the limit.
    """
    clearance = actor.clearance
    if limit is not None:
        scopes -= {"admin"}
        level = min(clearance.level, limit.level)
        clearance = replace(clearance, level=level, categories=clearance.categories & limit.categories)
    return replace(actor, scopes=scopes, clearance=clearance)


def _kind_and_name(ref: str) -> tuple[str, str]:
    kind, colon, name = ref.partition(":")
    return (kind, name) if colon else ("thing", ref)
