"""Passkeys (WebAuthn level 2): a key pair that the person's device keeps, and that answers to this console's name only.

What is covered: guessed, stolen and phished secrets; a copied answer; an answer for another name. What is not: a device
that is taken together with what unlocks it. The name (RP id) must be a domain or localhost, never a bare address, and is
chosen once: another one orphans every passkey.
"""

from __future__ import annotations

import ipaddress
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Row
from webauthn import (
    base64url_to_bytes,
    generate_authentication_options,
    generate_registration_options,
    options_to_json,
    verify_authentication_response,
    verify_registration_response,
)
from webauthn.helpers import bytes_to_base64url
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from baray.access import Actor
from baray.core import Refused
from baray.signin import account, records
from baray.signin.reception import Reception
from baray.store import Tx

_TIMEOUT_MS = 300_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Assertion:
    """A passkey's answer that was found right; with it anybody can check it again."""

    actor_id: str
    """Whose passkey it is."""
    credential_id: str
    """`c_...`."""
    public_key: str
    """The COSE key, base64url."""
    evidence: dict[str, str]
    """What the device signed: `authenticatorData`, `clientDataJSON`, `signature`, base64url."""


def relying_party(origin: str) -> str:
    """The name that passkeys belong to. Raises Refused `passkey_needs_name` for a bare address or plain HTTP."""
    parts = urlsplit(origin)
    host = parts.hostname or ""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        if host == "localhost" or (parts.scheme == "https" and "." in host):
            return host
    raise Refused(
        "passkey_needs_name",
        f"A passkey belongs to a name with TLS, and this console is open at {origin}.",
        fix="Set BARAY_PUBLIC_URL=https://NAME with a proxy that has a certificate, or open it as http://localhost:PORT.",
    )


def begin_passkey(reception: Reception, actor: Actor, *, origin: str) -> dict[str, Any]:
    """What a browser needs to make a passkey: `{flow, options}`."""
    rp_id = relying_party(origin)

    def read(tx: Tx) -> list[Any]:
        account.may_change(tx, actor)
        return records.of_actor(tx, actor.id, "passkey")

    known = [_descriptor(row) for row in reception.site.store.read(read)]
    options = generate_registration_options(
        rp_id=rp_id,
        rp_name="Baray",
        user_id=actor.id.encode(),
        user_name=actor.name,
        timeout=_TIMEOUT_MS,
        exclude_credentials=known,
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.REQUIRED, user_verification=UserVerificationRequirement.REQUIRED
        ),
    )
    flow = reception.pending.begin("passkey", {"actor": actor.id, "challenge": options.challenge, "origin": origin})
    return {"flow": flow, "options": json.loads(options_to_json(options))}


def add_passkey(reception: Reception, actor: Actor, *, flow: str, name: str, response: dict[str, Any]) -> str:
    """Keep the passkey that a browser has made. Raises Refused `bad_passkey`."""
    values = reception.pending.take(flow, "passkey")
    if values["actor"] != actor.id:
        raise _bad("it was begun by somebody else")
    try:
        found = verify_registration_response(
            credential=response,
            expected_challenge=values["challenge"],
            expected_rp_id=relying_party(values["origin"]),
            expected_origin=values["origin"],
            require_user_verification=True,
        )
    except (WebAuthnException, ValueError, KeyError, TypeError) as error:
        raise _bad(str(error)) from error
    lookup = _lookup(bytes_to_base64url(found.credential_id))
    data = {"key": bytes_to_base64url(found.credential_public_key), "rp": relying_party(values["origin"])}

    def change(tx: Tx) -> str:
        account.may_change(tx, actor)
        if records.by_lookup(tx, lookup) is not None:
            raise _bad("it is known already")
        counter = found.sign_count
        return account.add(
            tx,
            reception,
            actor,
            account.Given(kind="passkey", name=name or "passkey", lookup=lookup, data=data, counter=counter),
        )

    return reception.site.store.write(change)


def begin_assertion(
    reception: Reception, *, origin: str, actor_id: str | None = None, challenge: bytes | None = None
) -> dict[str, Any]:
    """What a browser needs to answer with a passkey: `{flow, options}`.

    Without `actor_id` any passkey of this console. `challenge`, 32 bytes, binds the answer to what is signed for.
    """
    rp_id = relying_party(origin)
    rows = reception.site.store.read(lambda tx: records.of_actor(tx, actor_id, "passkey") if actor_id else [])
    if actor_id and not rows:
        raise Refused("no_passkey", "This account has no passkey.", fix="Add one on the account page: /account")
    options = generate_authentication_options(
        rp_id=rp_id,
        challenge=challenge,
        timeout=_TIMEOUT_MS,
        allow_credentials=[_descriptor(row) for row in rows],
        user_verification=UserVerificationRequirement.REQUIRED,
    )
    flow = reception.pending.begin("assertion", {"actor": actor_id, "challenge": options.challenge, "origin": origin})
    return {"flow": flow, "options": json.loads(options_to_json(options))}


def check_assertion(
    reception: Reception, *, origin: str, flow: str, response: dict[str, Any], actor_id: str | None = None
) -> Assertion:
    """The passkey that answered, of `actor_id` if given. Raises Refused `bad_passkey` (401)."""
    values = reception.pending.take(flow, "assertion")
    if values["origin"] != origin or values["actor"] != actor_id:
        raise _bad("it was begun elsewhere")

    def check(tx: Tx) -> Assertion:
        row = records.by_lookup(tx, _lookup(str(response.get("id"))))
        if row is None or row.kind != "passkey" or (actor_id and row.actor_id != actor_id):
            raise _bad("it is not known here")
        data = account.data_of(row)
        try:
            found = verify_authentication_response(
                credential=response,
                expected_challenge=values["challenge"],
                expected_rp_id=relying_party(origin),
                expected_origin=origin,
                credential_public_key=base64url_to_bytes(data["key"]),
                credential_current_sign_count=row.counter,
                require_user_verification=True,
            )
        except (WebAuthnException, ValueError, KeyError, TypeError) as error:
            raise _bad(str(error)) from error
        records.change(tx, row.id, {"counter": found.new_sign_count, "last_used": reception.site.clock.now()})
        signed = {
            name: str(response["response"][name]) for name in ("authenticatorData", "clientDataJSON", "signature")
        }
        return Assertion(actor_id=row.actor_id, credential_id=row.id, public_key=data["key"], evidence=signed)

    return reception.site.store.write(check)


def _descriptor(row: Row[Any]) -> PublicKeyCredentialDescriptor:
    return PublicKeyCredentialDescriptor(id=base64url_to_bytes(row.lookup.removeprefix("passkey:")))


def _lookup(credential_id: str) -> str:
    return "passkey:" + credential_id.rstrip("=")


def _bad(why: str) -> Refused:
    return Refused(
        "bad_passkey", f"This passkey was not accepted: {why}.", fix="Try again, or sign in another way.", status=401
    )
