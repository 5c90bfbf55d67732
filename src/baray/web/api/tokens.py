"""Routes of tokens, sessions and sign-in links."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request

from baray import access
from baray.access import TokenRequest, parse_label
from baray.core import Refused, parse_seconds
from baray.store import Tx
from baray.web.api.admin import actor_id_of
from baray.web.api.shapes import TokenBody, session_json, token_json
from baray.web.boundary import Caller, allow, base_url, house_of, signed_in, site_of

router = APIRouter(tags=["identity"])
Anyone = Annotated[Caller, Depends(signed_in)]


@router.get("/tokens")
def get_tokens(request: Request, who: Anyone, of: str = "") -> dict[str, Any]:
    """The caller's tokens, without their secrets; with `of=keys` every service account's, for operators."""
    site = site_of(request)

    def read(tx: Tx) -> list[dict[str, Any]]:
        if of != "keys":
            return [token_json(row) for row in access.tokens_of(tx, who.actor.id) if row.kind != "ses"]
        allow(tx, site, who, "actor.change", "actor:all")
        return [token_json(row) | {"actor": row.actor_name} for row in access.service_keys(tx)]

    return {"items": site.store.read(read), "next": None}


@router.post("/tokens", status_code=201)
def post_token(request: Request, who: Anyone, body: TokenBody) -> dict[str, Any]:
    """Make a token; the secret is shown this once."""
    site = site_of(request)
    scopes = access.check_scopes(body.scopes)
    limit = parse_label(body.max_label) if body.max_label else None
    bounds = access.check_bounds(body.services, body.requests_per_minute, body.tokens_per_day)
    if bounds != access.UNBOUNDED and scopes != {"ask"}:
        raise Refused(
            "bad_scope",
            "A token with bounds only asks Services: bounds hold nothing else back.",
            fix="Give it the scope 'ask' alone.",
        )
    if limit is not None and "admin" in body.scopes:
        raise Refused(
            "bad_scope",
            "A token that is limited to a label cannot administer: it could make one without the limit.",
            fix="Leave out the limit or the scope 'admin'.",
        )

    def make(tx: Tx) -> tuple[str, str]:
        allow(tx, site, who, "token.manage", f"actor:{who.actor.name}")
        if "admin" in scopes and limit is None:  # such a token is never asked for a proof again
            allow(tx, site, who, "account.change", f"actor:{who.actor.name}")
        access.check_grant(who.actor, scopes)
        owner = access.actor_by_id(tx, who.actor.id)
        if body.actor and body.actor != who.actor.name:
            allow(tx, site, who, "actor.change", f"actor:{body.actor}")
            owner = access.actor_by_id(tx, actor_id_of(tx, body.actor))
            access.check_reach(tx, who.actor, owner.id)
        asked = TokenRequest(
            kind="svc" if owner.kind == "service" else "pat",
            name=body.name,
            seconds=parse_seconds(body.expires),
            scopes=scopes if limit is None else scopes - {"admin"},
            max_label=limit,
            bounds=bounds,
        )
        return access.create_token(tx, site, actor_id=owner.id, request=asked, by=who.actor.id)

    token_id, secret = site.store.write(make)
    house_of(request).push()
    return {"id": token_id, "token": secret, "name": body.name, "expires": body.expires, "scopes": sorted(scopes)}


@router.delete("/tokens/{token_id}")
def delete_token(request: Request, who: Anyone, token_id: str) -> dict[str, Any]:
    """End a token or a session."""
    site = site_of(request)

    def end(tx: Tx) -> None:
        if token_id != who.actor.token_id:  # a token may always end itself
            allow(tx, site, who, "token.manage", f"actor:{who.actor.name}")
        access.revoke_token(tx, site, token_id=token_id, by=who.actor)

    site.store.write(end)
    house_of(request).push()
    return {"id": token_id, "revoked": True}


@router.get("/sessions")
def get_sessions(request: Request, who: Anyone, of: str = "") -> dict[str, Any]:
    """The caller's open sessions; with `of=all` everybody's, for auditors."""
    site = site_of(request)

    def read(tx: Tx) -> list[dict[str, Any]]:
        if of == "all":
            allow(tx, site, who, "audit", "actor:all")
        rows = access.live_sessions(tx, site.clock.now())
        return [
            session_json(row) | {"actor": row.actor_name, "this": row.id == who.actor.token_id}
            for row in rows
            if of == "all" or row.actor_id == who.actor.id
        ]

    return {"items": site.store.read(read), "next": None}


@router.delete("/sessions")
def delete_sessions(request: Request, who: Anyone) -> dict[str, Any]:
    """End every session of the caller but this one."""
    site = site_of(request)

    def end(tx: Tx) -> int:
        allow(tx, site, who, "token.manage", f"actor:{who.actor.name}")
        rows = access.live_sessions(tx, site.clock.now())
        others = [row for row in rows if row.actor_id == who.actor.id and row.id != who.actor.token_id]
        for row in others:
            access.revoke_token(tx, site, token_id=row.id, by=who.actor)
        return len(others)

    return {"ended": site.store.write(end)}


@router.post("/login-links", status_code=201)
def post_login_link(request: Request, who: Anyone) -> dict[str, Any]:
    """A one-time sign-in link for the caller's own browser, good for 15 minutes."""
    site = site_of(request)

    def make(tx: Tx) -> str:
        allow(tx, site, who, "account.change", f"actor:{who.actor.name}")
        access.check_grant(who.actor, access.ALL_SCOPES)
        asked = TokenRequest(kind="lnk", name="sign-in link", seconds=access.LINK_SECONDS)
        return access.create_token(tx, site, actor_id=who.actor.id, request=asked, by=who.actor.id)[1]

    return {"url": f"{base_url(request)}/sign-in?link={site.store.write(make)}", "seconds": access.LINK_SECONDS}
