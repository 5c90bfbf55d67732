"""One's own credentials: set, add, list, remove. Each change is an entry and asks for a proof."""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Row

from baray.access import Actor, live_sessions, proof_needed, revoke_token
from baray.core import NotFound, Refused, canonical_json, iso_time
from baray.signin import codes, records
from baray.signin.passwords import check_password
from baray.signin.reception import Reception
from baray.store import Tx

STRONG = frozenset({"code", "passkey", "outside"})
"""Kinds that make an account's proofs strong; a password by itself does not."""
NUM_RECOVERY_CODES = 10
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # without letters that look like digits


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """A credential to keep."""

    kind: str
    """`password`, `code`, `recovery`, `passkey` or `outside`."""
    name: str
    """What its owner calls it."""
    lookup: str | None = None
    """What it is found by, where nobody says whose it is."""
    data: dict[str, Any] = field(default_factory=dict)
    """What only its kind knows."""
    counter: int = 0
    """The last use that is not taken again: a code's time step, a passkey's count."""


def credentials_of(tx: Tx, actor_id: str) -> list[dict[str, Any]]:
    """An actor's ways to sign in, without their secrets; recovery codes as a count."""
    rows = records.of_actor(tx, actor_id)
    shown = [
        {"id": row.id, "kind": row.kind, "name": row.name, "created": iso_time(row.created)}
        | {"last_used": iso_time(row.last_used) if row.last_used else None}
        for row in rows
        if row.kind != "recovery"
    ]
    left = sum(row.kind == "recovery" for row in rows)
    return (
        [*shown, {"id": "", "kind": "recovery", "name": str(left), "created": "", "last_used": None}] if left else shown
    )


def describe(tx: Tx, actor_id: str) -> dict[str, Any]:
    """What an account page needs to say."""
    kinds = [row.kind for row in records.of_actor(tx, actor_id)]
    return {
        "credentials": credentials_of(tx, actor_id),
        "password": "password" in kinds,
        "code": "code" in kinds,
        "recovery_codes": kinds.count("recovery"),
        "strong": not STRONG.isdisjoint(kinds),
    }


def may_change(tx: Tx, actor: Actor) -> None:
    """Refuse a change of credentials without a proof: strong, once the account has something strong to prove with.

    Raises Refused `proof_needed`. Who has only a password, or nothing yet, proves by it or by the link that let them in.
    """
    kinds = {row.kind for row in records.of_actor(tx, actor.id)}
    if not actor.session:
        raise Refused(
            "session_needed",
            "Ways to sign in are changed by a person in a browser.",
            fix="Run: baray login",
            status=403,
        )
    if not (actor.fresh or (actor.recent and STRONG.isdisjoint(kinds))):
        raise proof_needed("A change of how you sign in")


def set_password(reception: Reception, actor: Actor, password: str) -> None:
    """Give an actor a password, in place of the one before, and end its other sessions. Raises `weak_password`."""
    check_password(password, actor.name)
    reception.site.store.read(lambda tx: may_change(tx, actor))
    stored = reception.hasher.hash(password)

    def change(tx: Tx) -> None:
        may_change(tx, actor)
        for row in records.of_actor(tx, actor.id, "password"):
            records.remove(tx, row.id)
        add(tx, reception, actor, Given(kind="password", name="password", data={"argon2": stored}))
        _end_other_sessions(tx, reception, actor)

    reception.site.store.write(change)


def begin_code(reception: Reception, actor: Actor) -> dict[str, str]:
    """A new secret for an authenticator app; it counts once a code of it was given to `add_code`."""
    reception.site.store.read(lambda tx: may_change(tx, actor))
    secret = secrets.token_bytes(20)
    flow = reception.pending.begin("code", {"actor": actor.id, "secret": secret})
    return {"flow": flow, "key": codes.key_text(secret), "uri": codes.key_uri(secret, name=actor.name, issuer="Baray")}


def add_code(reception: Reception, actor: Actor, *, flow: str, code: str) -> None:
    """Take the secret in, in place of the one before. Raises Refused `wrong_code`; then one begins again."""
    values = reception.pending.take(flow, "code")
    now = reception.site.clock.now()
    step = codes.accepted_step(values["secret"], code, now=now, last_step=0) if values["actor"] == actor.id else None
    if step is None:
        raise Refused(
            "wrong_code", "This is not the code of this key now.", fix="Set the clock of the phone, and begin again."
        )

    def change(tx: Tx) -> None:
        may_change(tx, actor)
        for row in records.of_actor(tx, actor.id, "code"):
            records.remove(tx, row.id)
        data = codes.kept(reception.seal, values["secret"], actor.id)
        add(tx, reception, actor, Given(kind="code", name="authenticator app", data=data, counter=step))

    reception.site.store.write(change)


def make_recovery_codes(reception: Reception, actor: Actor) -> list[str]:
    """Ten codes, each good for one sign-in, in place of those before; shown this once."""
    made = [
        "-".join("".join(secrets.choice(_ALPHABET) for _ in range(4)) for _ in range(4))
        for _ in range(NUM_RECOVERY_CODES)
    ]

    def change(tx: Tx) -> None:
        may_change(tx, actor)
        for row in records.of_actor(tx, actor.id, "recovery"):
            records.remove(tx, row.id)
        for code in made:
            given = Given(kind="recovery", name="recovery code", lookup=recovery_lookup(code))
            records.add(tx, new_row(reception, actor.id, given))
        facts = {"kind": "recovery", "count": len(made)}
        reception.site.ledger.append(tx, "credential.added", actor=actor.id, subject=actor.id, facts=facts)

    reception.site.store.write(change)
    return made


def recovery_lookup(code: str) -> str:
    """What is stored of a recovery code, however it was typed: 80 bits of chance need no slow hash."""
    typed = code.upper().replace("-", "").replace(" ", "").replace("O", "0").replace("I", "1").replace("L", "1")
    return "recovery:" + hashlib.sha256(typed.encode()).hexdigest()


def remove_credential(reception: Reception, actor: Actor, credential_id: str) -> None:
    """Take one's own credential away. Raises NotFound."""

    def change(tx: Tx) -> None:
        may_change(tx, actor)
        row = next((row for row in records.of_actor(tx, actor.id) if row.id == credential_id), None)
        if row is None:
            raise NotFound("credential", credential_id, fix="See yours: /account")
        records.remove(tx, row.id)
        facts = {"kind": row.kind}
        reception.site.ledger.append(tx, "credential.removed", actor=actor.id, subject=row.id, facts=facts)

    reception.site.store.write(change)


def new_row(reception: Reception, actor_id: str, given: Given) -> dict[str, Any]:
    """A credential's row."""
    row: dict[str, Any] = {"id": reception.site.ids.new("c"), "actor_id": actor_id, "kind": given.kind}
    row |= {"name": given.name[:100], "lookup": given.lookup, "data": canonical_json(given.data).decode()}
    return row | {"counter": given.counter, "created": reception.site.clock.now(), "last_used": None}


def add(tx: Tx, reception: Reception, actor: Actor, given: Given) -> str:
    """Insert a credential with its entry; its id."""
    row = new_row(reception, actor.id, given)
    records.add(tx, row)
    reception.site.ledger.append(tx, "credential.added", actor=actor.id, subject=row["id"], facts={"kind": given.kind})
    return str(row["id"])


def data_of(row: Row[Any]) -> dict[str, Any]:
    """A credential's own data."""
    found: dict[str, Any] = json.loads(row.data)
    return found


def _end_other_sessions(tx: Tx, reception: Reception, actor: Actor) -> None:
    for row in live_sessions(tx, reception.site.clock.now()):
        if row.actor_id == actor.id and row.id != actor.token_id:
            revoke_token(tx, reception.site, token_id=row.id, by=actor)
