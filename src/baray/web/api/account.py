"""Routes of one's own account: ways to sign in, proofs, recovery codes."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from pydantic import Field

from baray import signin
from baray.core import Refused
from baray.web.api.shapes import Body
from baray.web.boundary import Caller, base_url, house_of, signed_in, site_of
from baray.web.cookies import set_session, visitor

router = APIRouter(prefix="/account", tags=["account"])
Anyone = Annotated[Caller, Depends(signed_in)]


class PasswordBody(Body):
    """A password to set."""

    password: str = Field(max_length=2000)


class CodeBody(Body):
    """A code of a key that was begun."""

    flow: str = Field(max_length=100)
    code: str = Field(max_length=20)


class PasskeyBody(Body):
    """What a browser's authenticator answered."""

    flow: str = Field(max_length=100)
    name: str = Field(default="", max_length=100)
    credential: dict[str, Any]


class ProofBody(Body):
    """A proof by password and code."""

    password: str = Field(default="", max_length=2000)
    code: str = Field(default="", max_length=40)


@router.get("")
def get_account(request: Request, who: Anyone) -> dict[str, Any]:
    """The caller's ways to sign in, without secrets."""
    found = site_of(request).store.read(lambda tx: signin.describe(tx, who.actor.id))
    return {"name": who.actor.name, "proved": who.actor.fresh} | found


@router.put("/password")
def put_password(request: Request, who: Anyone, body: PasswordBody) -> dict[str, Any]:
    """Set a password; every other session of the caller ends."""
    signin.set_password(house_of(request).reception, who.actor, body.password)
    return {"password": True}


@router.post("/code")
def post_code(request: Request, who: Anyone) -> dict[str, str]:
    """Begin with an authenticator app: its key, which counts once a code of it was confirmed."""
    return signin.begin_code(house_of(request).reception, who.actor)


@router.post("/code/confirm")
def confirm_code(request: Request, who: Anyone, body: CodeBody) -> dict[str, Any]:
    """Confirm an authenticator app by a code."""
    signin.add_code(house_of(request).reception, who.actor, flow=body.flow, code=body.code)
    return {"code": True}


@router.post("/recovery-codes", status_code=201)
def post_recovery_codes(request: Request, who: Anyone) -> dict[str, Any]:
    """Ten recovery codes in place of those before, shown this once."""
    return {"codes": signin.make_recovery_codes(house_of(request).reception, who.actor)}


@router.post("/passkeys/begin")
def begin_passkey(request: Request, who: Anyone) -> dict[str, Any]:
    """What the browser needs to make a passkey."""
    return signin.begin_passkey(house_of(request).reception, who.actor, origin=base_url(request))


@router.post("/passkeys", status_code=201)
def post_passkey(request: Request, who: Anyone, body: PasskeyBody) -> dict[str, Any]:
    """Keep the passkey that the browser made."""
    reception = house_of(request).reception
    made = signin.add_passkey(reception, who.actor, flow=body.flow, name=body.name, response=body.credential)
    return {"id": made}


@router.delete("/credentials/{credential_id}")
def delete_credential(request: Request, who: Anyone, credential_id: str) -> dict[str, Any]:
    """Take a way to sign in away."""
    signin.remove_credential(house_of(request).reception, who.actor, credential_id)
    return {"id": credential_id, "removed": True}


@router.post("/prove")
def prove(request: Request, response: Response, who: Anyone, body: ProofBody) -> dict[str, Any]:
    """Prove again by password and code; the session's cookie changes."""
    reception = house_of(request).reception
    secret = signin.prove(reception, who.actor, visitor(request), password=body.password, code=body.code)
    set_session(request, response, secret)
    return {"proved": True}


@router.post("/prove/passkey/begin")
def begin_proof(request: Request, who: Anyone) -> dict[str, Any]:
    """What the browser needs to prove by a passkey of the caller's."""
    return signin.begin_assertion(house_of(request).reception, origin=base_url(request), actor_id=who.actor.id)


@router.post("/prove/passkey")
def prove_passkey(request: Request, response: Response, who: Anyone, body: PasskeyBody) -> dict[str, Any]:
    """Prove again by a passkey; the session's cookie changes."""
    if not who.actor.session:
        raise Refused("session_needed", "A token is not proved again.", fix="Run: baray login", status=403)
    reception, origin = house_of(request).reception, base_url(request)
    signin.check_assertion(reception, origin=origin, flow=body.flow, response=body.credential, actor_id=who.actor.id)
    set_session(request, response, signin.proved(reception, who.actor, "passkey"))
    return {"proved": True}
