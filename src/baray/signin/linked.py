"""Whose an outside account is here, and what its groups give."""

from __future__ import annotations

import hashlib
import json
import re

from baray.access import Actor, actor_named, create_actor, load_actor, project_named, set_member
from baray.core import Refused
from baray.signin import account, records
from baray.signin.outside import ROLES, Identity, OutsideSettings
from baray.signin.reception import Reception
from baray.store import Tx


def take_identity(reception: Reception, identity: Identity) -> str:
    """The actor of an outside account, made where the settings say so; its groups' roles are brought up to date."""

    def take(tx: Tx) -> str:
        row = records.by_lookup(tx, lookup_of(identity))
        actor_id = row.actor_id if row is not None else _create(tx, reception, identity)
        if row is not None:
            records.change(tx, row.id, {"last_used": reception.site.clock.now()})
        _give_roles(tx, reception, actor_id, identity)
        return str(actor_id)

    return reception.site.store.write(take)


def link_identity(reception: Reception, actor: Actor, identity: Identity) -> None:
    """Let a signed-in person sign in by an outside account too. Raises Refused `exists`."""

    def change(tx: Tx) -> None:
        account.may_change(tx, actor)
        if records.by_lookup(tx, lookup_of(identity)) is not None:
            raise Refused("exists", "This outside account belongs to somebody here already.", status=409)
        title = _settings(reception).title
        account.add(tx, reception, actor, kind="outside", name=title, lookup=lookup_of(identity))

    reception.site.store.write(change)


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
    account.add(
        tx, reception, load_actor(tx, actor_id), kind="outside", name=settings.title, lookup=lookup_of(identity)
    )
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
