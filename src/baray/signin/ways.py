"""Signing in and proving again, by each way: what a browser gives is checked, and a session's secret comes out.

Here it is also decided whose an outside account is, and what its groups give.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from functools import partial
from typing import Any

from baray.access import (
    PROOF_SECONDS,
    Actor,
    Site,
    actor_named,
    create_actor,
    load_actor,
    open_session,
    project_named,
    prove_session,
    set_member,
)
from baray.core import Refused
from baray.signin import account, codes, limits, records
from baray.signin.outside import ROLES, SKEW_SECONDS, Identity, OutsideSettings
from baray.signin.passkeys import check_assertion
from baray.signin.reception import Reception
from baray.store import Tx


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitor:
    """Where a sign-in comes from."""

    address: str
    """The browser's network address."""
    agent: str
    """What it calls itself."""


def sign_in_password(reception: Reception, visitor: Visitor, *, name: str, password: str, code: str) -> str:
    """A session by name and password, with a code where the account has one; or by name and a recovery code.

    Raises Refused `bad_sign_in` in the same words and after the same work whatever was wrong; `too_many`; `busy`.
    """
    name = name.strip().lower()[:100]
    actor_id = reception.site.store.read(lambda tx: _person_named(tx, name))
    _count(reception, name, actor_id, visitor)
    way = _check(reception, actor_id, password=password, code=code)
    reception.limits.succeed(name, visitor.address)
    return _open(reception, str(actor_id), way, visitor)


def sign_in_passkey(reception: Reception, visitor: Visitor, *, origin: str, flow: str, response: dict[str, Any]) -> str:
    """A session by a passkey, which says whose it is."""
    found = check_assertion(reception, origin=origin, flow=flow, response=response)
    return _open(reception, found.actor_id, "passkey", visitor)


def sign_in_outside(reception: Reception, visitor: Visitor, identity: Identity) -> str:
    """A session by an outside account that belongs to somebody here. Raises Refused `no_account`."""
    actor_id = _take_identity(reception, identity)
    return _open(reception, actor_id, "outside", visitor)


def prove(reception: Reception, actor: Actor, visitor: Visitor, *, password: str, code: str) -> str:
    """Prove again by password and code; the session's new secret. Raises as `sign_in_password` does."""
    _count(reception, actor.name, actor.id, visitor)
    way = _check(reception, actor.id, password=password, code=code)
    reception.limits.succeed(actor.name, visitor.address)
    return proved(reception, actor, way)


def prove_outside(reception: Reception, actor: Actor, identity: Identity) -> str:
    """Prove again by an outside account that is linked; the provider must have asked anew just now."""
    owner = reception.site.store.read(lambda tx: records.by_lookup(tx, lookup_of(identity)))
    if owner is None or owner.actor_id != actor.id:
        raise Refused(
            "bad_outside", "This outside account is not linked to yours.", fix="Use the linked one.", status=401
        )
    if not 0 <= reception.site.clock.now() - identity.authenticated + SKEW_SECONDS <= PROOF_SECONDS:
        raise Refused(
            "bad_outside", "The provider did not ask again who you are.", fix="Prove it in another way.", status=401
        )
    return proved(reception, actor, "outside")


def proved(reception: Reception, actor: Actor, way: str) -> str:
    """The session's new secret after a proof by `way`."""
    if not actor.session:
        raise Refused(
            "session_needed", "A token is not proved again; sessions are.", fix="Run: baray login", status=403
        )
    return reception.site.store.write(lambda tx: prove_session(tx, reception.site, actor=actor, way=way))


def link_identity(reception: Reception, actor: Actor, identity: Identity) -> None:
    """Let a signed-in person sign in by an outside account too. Raises Refused `exists`."""

    def change(tx: Tx) -> None:
        account.may_change(tx, actor)
        if records.by_lookup(tx, lookup_of(identity)) is not None:
            raise Refused("exists", "This outside account belongs to somebody here already.", status=409)
        title = _settings(reception).title
        account.add(tx, reception, actor, account.Given(kind="outside", name=title, lookup=lookup_of(identity)))

    reception.site.store.write(change)


def _person_named(tx: Tx, name: str) -> str | None:
    row = actor_named(tx, name)
    return str(row.id) if row is not None and row.kind == "person" and row.disabled is None else None


def _count(reception: Reception, name: str, actor_id: str | None, visitor: Visitor) -> None:
    """Count the attempt as failed; the first to reach a limit is told to the ledger."""
    reached = reception.limits.begin(name, visitor.address)
    site = reception.site
    for kind in limits.kinds(reached):
        site.store.submit(partial(_tell_throttled, site=site, actor_id=actor_id, by=kind))


def _tell_throttled(tx: Tx, *, site: Site, actor_id: str | None, by: str) -> None:
    site.ledger.append(tx, "signin.throttled", actor="public", subject=actor_id or "unnamed", facts={"by": by})


def _check(reception: Reception, actor_id: str | None, *, password: str, code: str) -> str:
    """The way in which name, password and code are right. Raises Refused `bad_sign_in`."""
    rows = reception.site.store.read(lambda tx: records.of_actor(tx, actor_id) if actor_id else [])
    stored = next((account.data_of(row)["argon2"] for row in rows if row.kind == "password"), None)
    fits = reception.hasher.fits(stored, password)
    if actor_id and _use_recovery(reception, actor_id, code):
        return "recovery"
    if fits and actor_id:
        if not any(row.kind == "code" for row in rows):
            return "password"
        if reception.site.store.write(lambda tx: _use_code(tx, reception, actor_id, code)):
            return "password-code"
    raise Refused(
        "bad_sign_in",
        "The name, the password or the code is wrong.",
        fix="Try again, or make a link on the server: baray login",
        status=401,
    )


def _use_code(tx: Tx, reception: Reception, actor_id: str, code: str) -> bool:
    """Take a code; the same one, or one from before it, is not taken again."""
    now = reception.site.clock.now()
    for row in records.of_actor(tx, actor_id, "code"):
        secret = codes.opened(reception.seal, account.data_of(row), actor_id)
        step = codes.accepted_step(secret, code, now=now, last_step=row.counter)
        if step is not None:
            records.change(tx, row.id, {"counter": step, "last_used": now})
            return True
    return False


def _use_recovery(reception: Reception, actor_id: str, code: str) -> bool:
    """Take a recovery code, once."""
    if len(code) < 16:
        return False

    def use(tx: Tx) -> bool:
        row = records.by_lookup(tx, account.recovery_lookup(code))
        if row is None or row.actor_id != actor_id:
            return False
        records.remove(tx, row.id)
        left = len(records.of_actor(tx, actor_id, "recovery"))
        reception.site.ledger.append(tx, "credential.recovered", actor=actor_id, subject=row.id, facts={"left": left})
        return True

    return reception.site.store.write(use)


def _open(reception: Reception, actor_id: str, way: str, visitor: Visitor) -> str:
    site = reception.site

    def open_it(tx: Tx) -> str:
        load_actor(tx, actor_id)
        return open_session(tx, site, actor_id=actor_id, way=way, agent=visitor.agent)

    return site.store.write(open_it)


def _take_identity(reception: Reception, identity: Identity) -> str:
    """The actor of an outside account, made where the settings say so; its groups' roles are brought up to date."""

    def take(tx: Tx) -> str:
        row = records.by_lookup(tx, lookup_of(identity))
        actor_id = row.actor_id if row is not None else _create(tx, reception, identity)
        if row is not None:
            records.change(tx, row.id, {"last_used": reception.site.clock.now()})
        _give_roles(tx, reception, actor_id, identity)
        return str(actor_id)

    return reception.site.store.write(take)


def lookup_of(identity: Identity) -> str:
    """What an outside account is found by."""
    pair = json.dumps([identity.issuer, identity.subject]).encode()
    return "outside:" + hashlib.sha256(pair).hexdigest()


def _create(tx: Tx, reception: Reception, identity: Identity) -> str:
    settings, site = _settings(reception), reception.site
    if not settings.create:
        raise Refused(
            "no_account",
            "This outside account belongs to nobody here.",
            fix="Ask for an invitation; once in, link the outside account on the account page.",
            status=403,
        )
    base = re.sub(r"[^a-z0-9]+", "-", identity.name.partition("@")[0].lower()).strip("-")[:40] or "person"
    name, number = base, 1
    while name == "public" or actor_named(tx, name) is not None:
        number += 1
        name = f"{base}-{number}"
    actor_id = create_actor(tx, site, name=name, kind="person", clearance=settings.clearance, by="system")
    given = account.Given(kind="outside", name=settings.title, lookup=lookup_of(identity))
    account.add(tx, reception, load_actor(tx, actor_id), given)
    return actor_id


def _give_roles(tx: Tx, reception: Reception, actor_id: str, identity: Identity) -> None:
    """In projects that the settings name, roles follow the groups, but for an owner's, which was given by hand."""
    settings, site = _settings(reception), reception.site
    actor = load_actor(tx, actor_id)
    wanted: dict[str, str | None] = dict.fromkeys((project for project, _ in settings.groups.values()), None)
    for group in identity.groups:
        project, role = settings.groups[group]
        before = wanted[project]
        wanted[project] = role if before is None else max(before, role, key=ROLES.index)
    for project, given in wanted.items():
        row = project_named(tx, project)
        if row is not None and actor.roles.get(row.id) not in (given, "owner"):
            set_member(tx, site, project_id=row.id, actor_id=actor_id, role=given, by="system")


def _settings(reception: Reception) -> OutsideSettings:
    assert reception.outside is not None
    return reception.outside.settings
