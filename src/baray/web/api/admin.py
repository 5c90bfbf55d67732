"""Routes of identity: who am I, projects and members, people and invitations."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request

from baray import access, signin
from baray.access import Actor, TokenRequest, parse_label
from baray.core import NotFound, Refused, iso_time
from baray.store import Tx
from baray.web.api.shapes import ActorBody, ClearanceBody, InvitationBody, MemberBody, ProjectBody, SiteRoleBody
from baray.web.boundary import Caller, allow, base_url, caller, house_of, signed_in, site_of

router = APIRouter(tags=["identity"])
Who = Annotated[Caller, Depends(caller)]
Anyone = Annotated[Caller, Depends(signed_in)]


@router.get("/whoami")
def whoami(who: Anyone) -> dict[str, Any]:
    """The caller, its clearance and its roles here and on the home."""
    return actor_json(who.actor) | {"project": who.project, "role": who.actor.roles.get(who.project_id)}


@router.get("/projects")
def get_projects(request: Request, who: Anyone) -> dict[str, Any]:
    """Projects in which the caller has a role."""
    rows = site_of(request).store.read(access.projects)
    items = [
        {"id": row.id, "name": row.name, "title": row.title, "label": row.label, "role": who.actor.roles[row.id]}
        for row in rows
        if row.id in who.actor.roles
    ]
    return {"items": items, "next": None}


@router.post("/projects", status_code=201)
def post_project(request: Request, who: Anyone, body: ProjectBody) -> dict[str, Any]:
    """Make a project; the caller becomes its owner."""
    site = site_of(request)

    def make(tx: Tx) -> str:
        allow(tx, site, who, "project.create", f"project:{body.name}")
        label = parse_label(body.label)
        project = access.create_project(tx, site, name=body.name, title=body.title, label=label, by=who.actor.id)
        access.set_member(tx, site, project_id=project, actor_id=who.actor.id, role="owner", by=who.actor.id)
        return project

    project_id = site.store.write(make)
    house_of(request).push()
    return {"id": project_id, "name": body.name}


@router.get("/projects/{name}/members")
def get_members(request: Request, who: Who, name: str) -> dict[str, Any]:
    """Who has which role in a project."""
    site = site_of(request)

    def read(tx: Tx) -> list[dict[str, Any]]:
        rows = access.members(tx, _own_project(tx, who, name))
        return [{"name": row.name, "kind": row.kind, "clearance": row.clearance, "role": row.role} for row in rows]

    return {"items": site.store.read(read), "next": None}


@router.post("/projects/{name}/members")
def post_member(request: Request, who: Who, name: str, body: MemberBody) -> dict[str, Any]:
    """Give or take a role."""
    site = site_of(request)

    def change(tx: Tx) -> None:
        project_id = _own_project(tx, who, name)
        there = Caller(actor=who.actor, project_id=project_id, project=name, label=who.label)
        allow(tx, site, there, "member.change", f"project:{name}")
        actor_id = actor_id_of(tx, body.actor)
        _not_oneself(who, actor_id)
        access.set_member(tx, site, project_id=project_id, actor_id=actor_id, role=body.role or None, by=who.actor.id)

    site.store.write(change)
    house_of(request).push()
    return {"project": name, "actor": body.actor, "role": body.role or None}


@router.get("/users")
def get_users(request: Request, who: Anyone) -> dict[str, Any]:
    """All actors, for auditors and operators."""
    site = site_of(request)

    def read(tx: Tx) -> list[dict[str, Any]]:
        allow(tx, site, who, "audit", "actor:all")
        return [
            {"id": row.id, "name": row.name, "kind": row.kind, "clearance": row.clearance, "site_role": row.site_role}
            | {"created": iso_time(row.created), "disabled": row.disabled is not None}
            for row in access.actors(tx)
        ]

    return {"items": site.store.read(read), "next": None}


@router.post("/users", status_code=201)
def post_user(request: Request, who: Anyone, body: ActorBody) -> dict[str, Any]:
    """Make an actor, with a role in this project if one is given."""
    site = site_of(request)

    def make(tx: Tx) -> str:
        allow(tx, site, who, "actor.change", f"actor:{body.name}")
        _check_given(who, body.name, body.clearance)
        return _make_actor(tx, request, who, body)

    actor_id = site.store.write(make)
    house_of(request).push()
    return {"id": actor_id, "name": body.name, "kind": body.kind, "clearance": body.clearance}


@router.post("/invitations", status_code=201)
def post_invitation(request: Request, who: Who, body: InvitationBody) -> dict[str, Any]:
    """An account with a role in this project, and the link by which its person comes in; no mail is sent."""
    site = site_of(request)

    def make(tx: Tx) -> tuple[str, str]:
        allow(tx, site, who, "actor.invite", f"actor:{body.name}")
        _check_given(who, body.name, body.clearance)
        asked = ActorBody(name=body.name, clearance=body.clearance, role=body.role)
        actor_id = _make_actor(tx, request, who, asked)
        return actor_id, invitation(tx, request, actor_id, by=who.actor.id)

    actor_id, url = site.store.write(make)
    house_of(request).push()
    return {"id": actor_id, "name": body.name, "url": url, "seconds": access.INVITATION_SECONDS}


@router.post("/users/{name}/invite", status_code=201)
def invite_user(request: Request, who: Anyone, name: str) -> dict[str, Any]:
    """A one-time link for somebody who has an account already, for example after losing every way to sign in."""
    site = site_of(request)

    def make(tx: Tx) -> str:
        allow(tx, site, who, "actor.change", f"actor:{name}")
        access.check_reach(tx, who.actor, actor_id_of(tx, name))
        return invitation(tx, request, actor_id_of(tx, name), by=who.actor.id)

    return {"name": name, "url": site.store.write(make), "seconds": access.INVITATION_SECONDS}


@router.post("/users/{name}/role")
def post_site_role(request: Request, who: Anyone, name: str, body: SiteRoleBody) -> dict[str, Any]:
    """Give or take a role on the whole home."""
    site = site_of(request)

    def change(tx: Tx) -> None:
        allow(tx, site, who, "actor.change", f"actor:{name}")
        actor_id = actor_id_of(tx, name)
        _not_oneself(who, actor_id)
        access.set_site_role(tx, site, actor_id=actor_id, role=body.role or None, by=who.actor.id)

    site.store.write(change)
    return {"name": name, "role": body.role or None}


@router.post("/users/{name}/clearance")
def post_clearance(request: Request, who: Anyone, name: str, body: ClearanceBody) -> dict[str, Any]:
    """Say what somebody else may read; beyond the caller's own categories it ends their sessions, links and tokens."""
    site = site_of(request)

    def change(tx: Tx) -> int:
        allow(tx, site, who, "actor.change", f"actor:{name}")
        actor_id = actor_id_of(tx, name)
        _not_oneself(who, actor_id)
        clearance = parse_label(body.clearance)
        _check_own_way_in(tx, who, actor_id, name, clearance)
        return access.set_actor_clearance(tx, site, actor_id=actor_id, clearance=clearance, by=who.actor)

    ended = site.store.write(change)
    house_of(request).push()
    return {"name": name, "clearance": body.clearance, "ended": ended}


@router.post("/users/{name}/disable")
def disable_user(request: Request, who: Anyone, name: str) -> dict[str, Any]:
    """Stop an actor's tokens and sessions."""
    site = site_of(request)

    def change(tx: Tx) -> None:
        allow(tx, site, who, "actor.change", f"actor:{name}")
        access.disable_actor(tx, site, name=name, by=who.actor.id)

    site.store.write(change)
    house_of(request).push()
    return {"name": name, "disabled": True}


def actor_json(actor: Actor) -> dict[str, Any]:
    """An actor as the API shows it."""
    shown: dict[str, Any] = {"id": actor.id, "name": actor.name, "kind": actor.kind, "clearance": str(actor.clearance)}
    shown |= {"site_role": actor.site_role or None, "projects": sorted(actor.projects)}
    return shown | {"scopes": sorted(actor.scopes), "proved": actor.fresh}


def actor_id_of(tx: Tx, name: str) -> str:
    """The id of the actor called `name`. Raises NotFound."""
    row = access.actor_named(tx, name)
    if row is None:
        raise NotFound("actor", name)
    return str(row.id)


def invitation(tx: Tx, request: Request, actor_id: str, *, by: str) -> str:
    """The address of a new invitation."""
    asked = TokenRequest(kind="inv", name="invitation", seconds=access.INVITATION_SECONDS)
    _, secret = access.create_token(tx, site_of(request), actor_id=actor_id, request=asked, by=by)
    return f"{base_url(request)}/sign-in?link={secret}"


def _make_actor(tx: Tx, request: Request, who: Caller, body: ActorBody) -> str:
    site, clearance = site_of(request), parse_label(body.clearance)
    actor_id = access.create_actor(tx, site, name=body.name, kind=body.kind, clearance=clearance, by=who.actor.id)
    if body.role:
        access.set_member(tx, site, project_id=who.project_id, actor_id=actor_id, role=body.role, by=who.actor.id)
    return actor_id


def _check_given(who: Caller, name: str, clearance: str) -> None:
    """Refuse to make an account, and with it a way in, that may read more than its maker."""
    if not access.cleared(parse_label(clearance), who.actor.clearance, ()):
        raise Refused(
            "clearance_too_low",
            f"{name} would be cleared for '{clearance}', you for '{who.actor.clearance}'.",
            fix=f"Invite them with less. Once they came in, an operator gives them more: baray user clear {name} {clearance}",
            status=403,
        )


def _check_own_way_in(tx: Tx, who: Caller, actor_id: str, name: str, clearance: access.Label) -> None:
    """Refuse to clear somebody beyond oneself who has no way in but the links that one gave them."""
    if not access.cleared(clearance, who.actor.clearance, ()) and not signin.credentials_of(tx, actor_id):
        raise Refused(
            "no_way_in",
            f"{name} has set no way to sign in yet.",
            fix=f"Let {name} come in by the link and add a passkey, or a password and a code; then do this again.",
            status=409,
        )


def _not_oneself(who: Caller, actor_id: str) -> None:
    if actor_id == who.actor.id:
        raise Refused(
            "own_role", "Nobody changes their own role or clearance.", fix="Ask another owner or operator.", status=403
        )


def _own_project(tx: Tx, who: Caller, name: str) -> str:
    row = access.project_named(tx, name)
    if row is None or row.id not in who.actor.roles:
        raise NotFound("project", name)
    return str(row.id)
