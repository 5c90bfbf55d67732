"""Actors, projects and tokens: who asks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from baray.access import records
from baray.access.labels import INTERNAL, TOP, Label, parse_label
from baray.access.policy import HOME_ACTIONS, ROLES, Actor, Subject, decide, refusal
from baray.access.site import Site
from baray.access.tokens import hash_secret, new_secret, well_formed
from baray.core import REF_KINDS, NotFound, Refused, canonical_json, check_name, parse_ref
from baray.store import Tx

DEFAULT_PROJECT = "main"
OPERATOR = "operator"
LINK_SECONDS = 15 * 60.0
SESSION_SECONDS = 12 * 3600.0
MAX_TOKEN_SECONDS = 90 * 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRequest:
    """What a new token is for."""

    kind: str
    """One of tokens.KINDS."""
    name: str
    """What the owner calls it."""
    seconds: float
    """How long it lives, at most MAX_TOKEN_SECONDS."""
    project_id: str | None = None
    """The one project it works in; None means its actor's."""
    run_id: str | None = None
    """The Run it dies with."""


def bootstrap(tx: Tx, site: Site) -> str:
    """On an empty home: make the project `main` and its owner `operator`; return the operator's id."""
    found = records.actor_named(tx, OPERATOR)
    if found is not None:
        return str(found.id)
    operator = create_actor(tx, site, name=OPERATOR, kind="person", clearance=TOP, by="system")
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
    if name == "public" or records.actor_named(tx, check_name(name)) is not None:
        raise Refused("exists", f"There is an actor '{name}' already.", fix="Choose another name.", status=409)
    actor_id = site.ids.new("u")
    row = {"id": actor_id, "name": name, "kind": kind, "title": name, "clearance": str(clearance)}
    records.add_actor(tx, row | {"created": site.clock.now(), "disabled": None})
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


def disable_actor(tx: Tx, site: Site, *, name: str, by: str) -> None:
    """Stop an actor's tokens and sessions from working. Raises NotFound."""
    row = records.actor_named(tx, name)
    if row is None:
        raise NotFound("actor", name)
    if row.name == OPERATOR:
        raise Refused("last_owner", "The operator cannot be disabled.", fix="Revoke its tokens instead.")
    records.set_actor(tx, row.id, {"disabled": site.clock.now()})
    site.ledger.append(tx, "actor.disabled", actor=by, subject=row.id)


def create_token(tx: Tx, site: Site, *, actor_id: str, request: TokenRequest, by: str) -> tuple[str, str]:
    """Make a token for `actor_id`; return its id and the secret, which is not stored and not shown again."""
    if not 0 < request.seconds <= MAX_TOKEN_SECONDS:
        raise Refused(
            "bad_expiry", f"A token cannot live {request.seconds:.0f} seconds.", fix="Choose at most 90 days (90d)."
        )
    secret = new_secret(request.kind)
    now = site.clock.now()
    token_id = site.ids.new("k")
    row: dict[str, Any] = {"id": token_id, "actor_id": actor_id, "hash": hash_secret(secret), "kind": request.kind}
    row |= {"name": request.name, "scopes": canonical_json([]).decode()}
    dates = {"created": now, "expires": now + request.seconds, "last_used": None, "revoked": None}
    records.add_token(tx, row | dates | {"project_id": request.project_id, "run_id": request.run_id})
    kind = "session.opened" if request.kind == "ses" else "token.created"
    site.ledger.append(tx, kind, actor=by, subject=token_id, facts={"for": actor_id, "kind": request.kind})
    return token_id, secret


def revoke_token(tx: Tx, site: Site, *, token_id: str, by: Actor) -> None:
    """End a token of one's own, or of anyone for an owner of the home. Raises NotFound."""
    row = records.token_by_id(tx, token_id)
    home = records.project_named(tx, DEFAULT_PROJECT)
    if row is None or (row.actor_id != by.id and by.roles.get(home.id) != "owner"):
        raise NotFound("token", token_id)
    records.set_token(tx, token_id, {"revoked": site.clock.now()})
    site.ledger.append(tx, "token.revoked", actor=by.id, subject=token_id)


def redeem_link(tx: Tx, site: Site, secret: str) -> str:
    """Turn a one-time sign-in link into a session's secret. Raises Refused `bad_link`, also the second time."""
    row = records.token_by_hash(tx, hash_secret(secret))
    if row is None or row.kind != "lnk" or row.revoked is not None or row.expires <= site.clock.now():
        raise Refused(
            "bad_link",
            "This sign-in link was used already or is too old.",
            fix="Make a new one: baray login",
            status=401,
        )
    records.set_token(tx, row.id, {"revoked": site.clock.now()})
    request = TokenRequest(kind="ses", name="browser", seconds=SESSION_SECONDS)
    return create_token(tx, site, actor_id=row.actor_id, request=request, by=row.actor_id)[1]


def authenticate(tx: Tx, secret: str, now: float) -> Actor:
    """The actor of a token. Raises Refused `bad_token` with status 401."""
    if well_formed(secret):
        row = records.token_by_hash(tx, hash_secret(secret))
        if row is not None and row.kind != "lnk" and row.revoked is None and row.expires > now:
            actor = load_actor(tx, row.actor_id, token_id=row.id)
            return actor if row.project_id is None else _within(tx, actor, row.project_id)
    raise Refused(
        "bad_token",
        "The token is not valid: mistyped, expired or revoked.",
        fix="Make one: baray token create NAME, and set BARAY_TOKEN to it.",
        status=401,
    )


def load_actor(tx: Tx, actor_id: str, *, token_id: str | None = None) -> Actor:
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
        token_id=token_id,
    )


def require(tx: Tx, site: Site, actor: Actor, action: str, subject: Subject) -> None:
    """Allow, or raise the refusal; `store.write` then commits the denial's entry in the action's place.

    What concerns the whole home needs the role in the home's own project too: the owner of some other project must not
    make tokens for, or disable, people whom that project has nothing to do with.
    """
    decision = decide(actor, action, subject)
    if decision.allowed and action in HOME_ACTIONS:
        subject = replace(subject, project=records.project_named(tx, DEFAULT_PROJECT).id)
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
            subject=_subject_token(subject.ref),
            project=subject.project,
            decision="refuse",
            facts=facts,
        )

    error.instead = record
    raise error


def _within(tx: Tx, actor: Actor, project_id: str) -> Actor:
    """The actor as far as a token goes that works in one project only."""
    roles = {project: role for project, role in actor.roles.items() if project == project_id}
    names = {records.project_by_id(tx, project).name for project in roles}
    return replace(actor, roles=roles, projects=frozenset(names))


def _subject_token(ref: str) -> str:
    """A ref as it may stand in an entry; what a caller made up is only named by its kind."""
    try:
        return str(parse_ref(ref))
    except Refused:
        kind = ref.partition(":")[0]
        return f"{kind}:unnamed" if kind in REF_KINDS else "unnamed"
