"""Routes of identity: who am I, tokens, projects, actors, sign-in links."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request

from baray import access
from baray.access import Actor, TokenRequest, parse_label
from baray.core import NotFound, Refused, iso_time, parse_seconds
from baray.store import Tx
from baray.web.api.shapes import ActorBody, MemberBody, ProjectBody, TokenBody, token_json
from baray.web.boundary import Caller, allow, caller, house_of, site_of

router = APIRouter(tags=["identity"])
Who = Annotated[Caller, Depends(caller)]


@router.get("/whoami")
def whoami(who: Who) -> dict[str, Any]:
    """The caller, its clearance and its role here."""
    return actor_json(who.actor) | {"project": who.project, "role": who.actor.roles[who.project_id]}


@router.get("/tokens")
def get_tokens(request: Request, who: Who) -> dict[str, Any]:
    """The caller's tokens, without their secrets."""
    rows = site_of(request).store.read(lambda tx: access.tokens_of(tx, who.actor.id))
    return {"items": [token_json(row) for row in rows], "next": None}


@router.post("/tokens", status_code=201)
def post_token(request: Request, who: Who, body: TokenBody) -> dict[str, Any]:
    """Make a token; the secret is shown this once."""
    site = site_of(request)

    def make(tx: Tx) -> tuple[str, str]:
        actor_id = who.actor.id
        allow(tx, site, who, "token.manage", f"actor:{who.actor.name}")
        if body.actor and body.actor != who.actor.name:
            allow(tx, site, who, "actor.change", f"actor:{body.actor}")
            actor_id = _actor_id(tx, body.actor)
        asked = TokenRequest(kind="pat", name=body.name, seconds=parse_seconds(body.expires))
        return access.create_token(tx, site, actor_id=actor_id, request=asked, by=who.actor.id)

    token_id, secret = site.store.write(make)
    house_of(request).push()
    return {"id": token_id, "token": secret, "name": body.name, "expires": body.expires}


@router.delete("/tokens/{token_id}")
def delete_token(request: Request, who: Who, token_id: str) -> dict[str, Any]:
    """End a token."""
    site = site_of(request)
    site.store.write(lambda tx: access.revoke_token(tx, site, token_id=token_id, by=who.actor))
    house_of(request).push()
    return {"id": token_id, "revoked": True}


@router.post("/login-links", status_code=201)
def post_login_link(request: Request, who: Who) -> dict[str, Any]:
    """A one-time sign-in link for the caller's own browser, good for 15 minutes."""
    site = site_of(request)
    asked = TokenRequest(kind="lnk", name="sign-in link", seconds=access.LINK_SECONDS)
    _, secret = site.store.write(
        lambda tx: access.create_token(tx, site, actor_id=who.actor.id, request=asked, by=who.actor.id)
    )
    return {"url": f"{str(request.base_url).rstrip('/')}/sign-in?link={secret}", "seconds": access.LINK_SECONDS}


@router.get("/projects")
def get_projects(request: Request, who: Who) -> dict[str, Any]:
    """Projects in which the caller has a role."""
    rows = site_of(request).store.read(access.projects)
    items = [
        {"id": row.id, "name": row.name, "title": row.title, "label": row.label, "role": who.actor.roles[row.id]}
        for row in rows
        if row.id in who.actor.roles
    ]
    return {"items": items, "next": None}


@router.post("/projects", status_code=201)
def post_project(request: Request, who: Who, body: ProjectBody) -> dict[str, Any]:
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
        actor_id = _actor_id(tx, body.actor)
        if actor_id == who.actor.id:
            raise Refused("own_role", "Nobody changes their own role.", fix="Ask another owner.", status=403)
        access.set_member(tx, site, project_id=project_id, actor_id=actor_id, role=body.role or None, by=who.actor.id)

    site.store.write(change)
    house_of(request).push()
    return {"project": name, "actor": body.actor, "role": body.role or None}


@router.get("/users")
def get_users(request: Request, who: Who) -> dict[str, Any]:
    """All actors, for an owner."""
    site = site_of(request)

    def read(tx: Tx) -> list[dict[str, Any]]:
        allow(tx, site, who, "actor.change", "actor:all")
        return [
            {"id": row.id, "name": row.name, "kind": row.kind, "clearance": row.clearance}
            | {"created": iso_time(row.created), "disabled": row.disabled is not None}
            for row in access.actors(tx)
        ]

    return {"items": site.store.read(read), "next": None}


@router.post("/users", status_code=201)
def post_user(request: Request, who: Who, body: ActorBody) -> dict[str, Any]:
    """Make an actor, with a role in this project if one is given."""
    site = site_of(request)

    def make(tx: Tx) -> str:
        allow(tx, site, who, "actor.change", f"actor:{body.name}", body.clearance)
        clearance = parse_label(body.clearance)
        actor_id = access.create_actor(tx, site, name=body.name, kind=body.kind, clearance=clearance, by=who.actor.id)
        if body.role:
            access.set_member(tx, site, project_id=who.project_id, actor_id=actor_id, role=body.role, by=who.actor.id)
        return actor_id

    actor_id = site.store.write(make)
    house_of(request).push()
    return {"id": actor_id, "name": body.name, "kind": body.kind, "clearance": body.clearance}


@router.post("/users/{name}/disable")
def disable_user(request: Request, who: Who, name: str) -> dict[str, Any]:
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
    shown = asdict(actor) | {"clearance": str(actor.clearance), "projects": sorted(actor.projects)}
    del shown["roles"], shown["token_id"]
    return shown


def _actor_id(tx: Tx, name: str) -> str:
    row = access.actor_named(tx, name)
    if row is None:
        raise NotFound("actor", name)
    return str(row.id)


def _own_project(tx: Tx, who: Caller, name: str) -> str:
    row = access.project_named(tx, name)
    if row is None or row.id not in who.actor.roles:
        raise NotFound("project", name)
    return str(row.id)
