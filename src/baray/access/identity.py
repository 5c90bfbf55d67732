"""Actors, projects and their roles: who there is."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row

from baray.access import records
from baray.access.labels import INTERNAL, TOP, Label, cleared, parse_label
from baray.access.policy import ROLES, SITE_ROLES, Actor, Subject, decide, refusal
from baray.access.site import Site
from baray.core import REF_KINDS, NotFound, Refused, check_name, made_at
from baray.store import Tx

RESERVED = frozenset({"public", "project"})
"""Words of an audience that no actor may be called by."""
DEFAULT_PROJECT = "main"
OPERATOR = "operator"


def bootstrap(tx: Tx, site: Site) -> str:
    """On an empty home: make the project `main` and its owner `operator`; return the operator's id."""
    found = records.actor_named(tx, OPERATOR)
    if found is not None:
        return str(found.id)
    operator = create_actor(tx, site, name=OPERATOR, kind="person", clearance=TOP, by="system")
    set_site_role(tx, site, actor_id=operator, role="operator", by=operator)
    project = create_project(tx, site, name=DEFAULT_PROJECT, title="Main", label=INTERNAL, by=operator)
    set_member(tx, site, project_id=project, actor_id=operator, role="owner", by=operator)
    return operator


def create_project(tx: Tx, site: Site, *, name: str, title: str, label: Label, by: str) -> str:
    """Make a project and return its id. Raises Refused `exists`."""
    if records.project_named(tx, check_name(name)) is not None:
        raise Refused("exists", f"There is a project '{name}' already.", fix="Choose another name.", status=409)
    project_id = site.ids.new("p")
    row = {"id": project_id, "name": name, "title": title or name, "label": str(label), "created": site.clock.now()}
    records.add_project(tx, row)
    site.ledger.append(tx, "project.created", actor=by, subject=project_id, project=project_id, label=str(label))
    return project_id


def create_actor(tx: Tx, site: Site, *, name: str, kind: str, clearance: Label, by: str) -> str:
    """Make a person or a service account and return its id. Raises Refused `exists`."""
    if name in RESERVED or records.actor_named(tx, check_name(name)) is not None:
        raise Refused("exists", f"There is an actor '{name}' already.", fix="Choose another name.", status=409)
    actor_id = site.ids.new("u")
    row = {"id": actor_id, "name": name, "kind": kind, "title": name, "clearance": str(clearance)}
    records.add_actor(tx, row | {"created": site.clock.now(), "disabled": None, "site_role": None})
    site.ledger.append(tx, "actor.created", actor=by, subject=actor_id, label=str(clearance))
    return actor_id


def set_member(tx: Tx, site: Site, *, project_id: str, actor_id: str, role: str | None, by: str) -> None:
    """Give `actor_id` a role in a project (None takes it away). Raises Refused `bad_role`."""
    if role is not None and role not in ROLES:
        raise Refused("bad_role", f"'{role}' is not a role.", fix=f"Choose one of {', '.join(ROLES)}.")
    records.set_member(tx, project_id, actor_id, role)
    site.ledger.append(
        tx, "member.changed", actor=by, subject=actor_id, project=project_id, facts={"role": role or "none"}
    )


def set_site_role(tx: Tx, site: Site, *, actor_id: str, role: str | None, by: str) -> None:
    """Give `actor_id` a role on the whole home (None takes it away). Raises Refused `bad_role`, `last_operator`."""
    if role is not None and role not in SITE_ROLES:
        raise Refused("bad_role", f"'{role}' is not a site role.", fix=f"Choose one of {', '.join(SITE_ROLES)}.")
    if role != "operator":
        _keep_an_operator(tx, records.actor_by_id(tx, actor_id))
    records.set_actor(tx, actor_id, {"site_role": role})
    site.ledger.append(tx, "role.changed", actor=by, subject=actor_id, facts={"role": role or "none"})


def disable_actor(tx: Tx, site: Site, *, name: str, by: str) -> None:
    """Stop an actor's tokens and sessions from working. Raises NotFound."""
    row = records.actor_named(tx, name)
    if row is None:
        raise NotFound("actor", name)
    _keep_an_operator(tx, row)
    records.set_actor(tx, row.id, {"disabled": site.clock.now()})
    site.ledger.append(tx, "actor.disabled", actor=by, subject=row.id)


def load_actor(tx: Tx, actor_id: str) -> Actor:
    """An actor with its clearance and roles. Raises Refused `bad_token` where it is gone or disabled."""
    row = records.actor_by_id(tx, actor_id)
    if row is None or row.disabled is not None:
        raise Refused("bad_token", "The account of this token is disabled.", fix="Ask the operator.", status=401)
    roles = records.roles_of(tx, actor_id)
    return Actor(
        id=row.id,
        name=row.name,
        kind=row.kind,
        clearance=parse_label(row.clearance),
        roles={role.project_id: role.role for role in roles},
        projects=frozenset(role.name for role in roles),
        site_role=row.site_role or "",
    )


def check_reach(tx: Tx, actor: Actor, other_id: str) -> None:
    """Refuse to make a way in for somebody who may read more: it would be a way in for the maker too.

    Raises Refused `clearance_too_low` (403), and `bad_token` where the other's account is disabled.
    """
    other = load_actor(tx, other_id)
    bare = Label(level=other.clearance.level, categories=other.clearance.categories)
    if other_id != actor.id and not cleared(bare, actor.clearance, ()):
        raise Refused(
            "clearance_too_low",
            f"{other.name} is cleared for '{other.clearance}', you for '{actor.clearance}'.",
            fix="Ask somebody who is cleared for as much to do it.",
            status=403,
        )


def require(_tx: Tx, site: Site, actor: Actor, action: str, subject: Subject) -> None:
    """Allow, or raise the refusal; `store.write` then commits the denial's entry in the action's place."""
    decision = decide(actor, action, subject)
    if decision.allowed:
        return
    error = refusal(actor, action, subject, decision)

    def record(tx: Tx) -> None:
        facts: dict[str, Any] = {"action": action, "rule": decision.rule}
        site.ledger.append(
            tx,
            "access.denied",
            actor=actor.id,
            subject=subject.id or subject_token(subject.ref),
            project=subject.project,
            decision="refuse",
            facts=facts,
        )

    error.instead = record
    raise error


def _keep_an_operator(tx: Tx, row: Row[Any]) -> None:
    """Refuse what would leave the home without anyone to run it."""
    if row.site_role == "operator" and row.disabled is None and records.operators(tx) == 1:
        raise Refused(
            "last_operator",
            f"{row.name} is the only operator of this home.",
            fix="Make another first: baray user role NAME operator",
            status=409,
        )


def subject_token(ref: str) -> str:
    """A ref as it may stand in an entry: an id stays, a name is told by its kind alone.

    A name can be as secret as what it names, and auditors read the ledger whatever their clearance.
    """
    kind, _, name = ref.rpartition("/")[2].partition(":")
    if kind not in REF_KINDS:
        return "unnamed"
    return f"{kind}:{name}" if made_at(name) is not None else f"{kind}:unnamed"
