"""Tokens, sessions and sign-in links: what an actor comes with."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Row

from baray.access import records
from baray.access.identity import load_actor
from baray.access.labels import Label, parse_label
from baray.access.policy import ALL_SCOPES, SCOPES, Actor, narrowed, scope_missing
from baray.access.site import Site
from baray.access.tokens import UNBOUNDED, Bounds, hash_secret, new_secret, well_formed
from baray.core import NotFound, Refused, canonical_json
from baray.store import Tx

LINK_SECONDS = 15 * 60.0
INVITATION_SECONDS = 7 * 86400.0
SESSION_SECONDS = 12 * 3600.0
IDLE_SECONDS = 30 * 60.0
PROOF_SECONDS = 5 * 60.0
TOUCH_SECONDS = 60.0
MAX_TOKEN_SECONDS = 90 * 86400.0
LINKS = ("lnk", "inv")
"""Kinds that are good for one session and for nothing else."""
WEAK_WAYS = frozenset({"password"})
"""Ways to sign in that are not enough for dangerous acts."""


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
    scopes: frozenset[str] = ALL_SCOPES
    """What it may do."""
    max_label: Label | None = None
    """It reads nothing above this, whatever its actor's clearance."""
    bounds: Bounds = UNBOUNDED
    """Of a key, which Services it asks and how much."""
    way: str | None = None
    """Of a session, how its actor signed in."""
    agent: str | None = None
    """Of a session, what the browser calls itself."""


def check_scopes(names: Iterable[str]) -> frozenset[str]:
    """The scopes called `names`; none means all. Raises Refused `bad_scope`."""
    asked = frozenset(names)
    if not asked <= ALL_SCOPES:
        wrong = ", ".join(sorted(asked - ALL_SCOPES))
        raise Refused("bad_scope", f"There is no scope '{wrong}'.", fix=f"Choose from {', '.join(SCOPES)}.")
    return asked or ALL_SCOPES


def check_grant(actor: Actor, scopes: frozenset[str]) -> None:
    """Refuse to hand on what the caller's own token does not hold. Raises Refused `scope_missing`."""
    for scope in SCOPES:
        if scope in scopes and scope not in actor.scopes:
            raise scope_missing(actor, scope)


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
    row |= {"name": request.name, "scopes": canonical_json(sorted(request.scopes)).decode()}
    row |= {"max_label": str(request.max_label) if request.max_label is not None else None}
    bounds = request.bounds.as_json()
    row |= {"bounds": canonical_json(bounds).decode() if bounds else None}
    row |= {"way": request.way, "agent": request.agent, "proved": now if request.kind == "ses" else None}
    dates = {"created": now, "expires": now + request.seconds, "last_used": None, "revoked": None}
    records.add_token(tx, row | dates | {"project_id": request.project_id})
    kind = "session.opened" if request.kind == "ses" else "token.created"
    facts: dict[str, Any] = {"for": actor_id, "kind": request.kind} | ({"way": request.way} if request.way else {})
    if request.scopes != ALL_SCOPES:
        facts["scopes"] = ".".join(sorted(request.scopes))
    if bounds:
        # Names of Services can be secret: how many says enough.
        facts |= bounds | {"services": len(request.bounds.services or ())}
    site.ledger.append(tx, kind, actor=by, subject=token_id, facts=facts)
    return token_id, secret


def open_session(tx: Tx, site: Site, *, actor_id: str, way: str, agent: str = "") -> str:
    """Open a browser's session for an actor who signed in by `way`; its secret."""
    if load_actor(tx, actor_id).kind != "person":
        raise Refused("not_a_person", "A service account has no sessions.", fix="Use its token.", status=403)
    request = TokenRequest(kind="ses", name="browser", seconds=SESSION_SECONDS, way=way, agent=agent[:200] or None)
    return create_token(tx, site, actor_id=actor_id, request=request, by=actor_id)[1]


def prove_session(tx: Tx, site: Site, *, actor: Actor, way: str) -> str:
    """Note that a session's actor has proved who it is, and give the session another secret."""
    secret = new_secret("ses")
    values = {"hash": hash_secret(secret), "proved": site.clock.now(), "way": way, "last_used": site.clock.now()}
    records.set_token(tx, str(actor.token_id), values)
    site.ledger.append(tx, "session.proved", actor=actor.id, subject=str(actor.token_id), facts={"way": way})
    return secret


def revoke_token(tx: Tx, site: Site, *, token_id: str, by: Actor) -> None:
    """End a token of one's own, or of anyone for an operator of the home. Raises NotFound."""
    row = records.token_by_id(tx, token_id)
    if row is None or (row.actor_id != by.id and by.site_role != "operator"):
        raise NotFound("token", token_id)
    if row.revoked is not None:
        return
    records.set_token(tx, token_id, {"revoked": site.clock.now()})
    kind = "session.closed" if row.kind == "ses" else "token.revoked"
    site.ledger.append(tx, kind, actor=by.id, subject=token_id)


def end_session(tx: Tx, site: Site, secret: str) -> None:
    """End the session of a cookie that another sign-in replaces; what is no session is left alone."""
    row = records.token_by_hash(tx, hash_secret(secret))
    if row is not None and row.kind == "ses" and row.revoked is None:
        records.set_token(tx, row.id, {"revoked": site.clock.now()})
        site.ledger.append(tx, "session.closed", actor=row.actor_id, subject=row.id)


def redeem_link(tx: Tx, site: Site, secret: str, *, agent: str = "") -> str:
    """Turn a one-time sign-in link into a session's secret. Raises Refused `bad_link`, also the second time."""
    row = records.token_by_hash(tx, hash_secret(secret))
    if row is None or row.kind not in LINKS or row.revoked is not None or row.expires <= site.clock.now():
        raise Refused(
            "bad_link",
            "This sign-in link was used already or is too old.",
            fix="Make a new one: baray login",
            status=401,
        )
    records.set_token(tx, row.id, {"revoked": site.clock.now()})
    way = "link" if row.kind == "lnk" else "invitation"
    return open_session(tx, site, actor_id=row.actor_id, way=way, agent=agent)


def authenticate(tx: Tx, secret: str, now: float, *, kind: str = "") -> Actor:
    """The actor of a token, of one `kind` if given. Raises Refused `bad_token` with status 401."""
    if well_formed(secret):
        row = records.token_by_hash(tx, hash_secret(secret))
        if row is not None and _usable(row, now) and kind in ("", row.kind):
            return _as_token_allows(tx, row, now)
    raise Refused(
        "bad_token",
        "The token is not valid: mistyped, expired or revoked.",
        fix="Make one: baray token create NAME, and set BARAY_TOKEN to it.",
        status=401,
    )


def touch_token(tx: Tx, token_id: str, now: float) -> None:
    """Note that a token or session was used; at most once a minute is enough."""
    records.set_token(tx, token_id, {"last_used": now})


def needs_touch(tx: Tx, token_id: str, now: float) -> bool:
    """Whether the last use that is on record is older than a minute."""
    row = records.token_by_id(tx, token_id)
    return row is not None and bool(now - (row.last_used or 0.0) > TOUCH_SECONDS)


def _usable(row: Row[Any], now: float) -> bool:
    if row.kind in LINKS or row.revoked is not None or row.expires <= now:
        return False
    return bool(row.kind != "ses" or now - (row.last_used or row.created) <= IDLE_SECONDS)


def _as_token_allows(tx: Tx, row: Row[Any], now: float) -> Actor:
    """The actor as far as its token goes."""
    actor = load_actor(tx, row.actor_id)
    scopes = frozenset(json.loads(row.scopes))
    limit = parse_label(row.max_label) if row.max_label is not None else None
    actor = narrowed(actor, scopes=scopes, limit=limit)
    if row.kind == "ses":
        recent = row.proved is not None and 0 <= now - row.proved <= PROOF_SECONDS
        fresh = recent and row.way not in WEAK_WAYS
    else:
        recent = fresh = "admin" in actor.scopes
    actor = replace(actor, token_id=row.id, session=row.kind == "ses", fresh=fresh, recent=recent)
    return actor if row.project_id is None else _within(tx, actor, row.project_id)


def _within(tx: Tx, actor: Actor, project_id: str) -> Actor:
    """The actor as far as a token goes that works in one project only, and not on the home."""
    roles = {project: role for project, role in actor.roles.items() if project == project_id}
    names = {records.project_by_id(tx, project).name for project in roles}
    scopes = actor.scopes - {"admin"}
    return replace(actor, roles=roles, projects=frozenset(names), site_role="", scopes=scopes, fresh=False)
