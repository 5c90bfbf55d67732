"""Pages of coming and going: sign in by each way that is set up, prove again, sign out."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import parse_qs

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response

from baray import access, signin
from baray.core import Refused
from baray.web.api.account import PasskeyBody
from baray.web.boundary import Caller, base_url, house_of, signed_in, site_of
from baray.web.console.rendering import render
from baray.web.cookies import end_session, is_secure, session_of, set_session, visitor

router = APIRouter(tags=["console"])
Anyone = Annotated[Caller, Depends(signed_in)]
MAX_FORM = 8192  # bytes
_STATE_COOKIE = "baray_state"


async def form_of(request: Request) -> dict[str, str]:
    """A form's fields, the first of each name."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_FORM:
            raise Refused("too_large", "The form is too large.", fix="Send less.", status=413)
    return {name: values[0] for name, values in parse_qs(body.decode("utf-8", errors="replace")).items()}


Form = Annotated[dict[str, str], Depends(form_of)]


@router.get("/sign-in")
def sign_in_page(request: Request, link: str = "") -> Response:
    """Every way to come in; a one-time link leads to a button, so that a preview of the link does not use it up."""
    return render(request, "sign-in.html", link=link, outside=_outside_title(request))


@router.post("/sign-in")
def sign_in(request: Request, form: Form) -> Response:
    """Turn a link, or a name with a password, into a session."""
    reception, site = house_of(request).reception, site_of(request)
    if "name" in form:
        secret = signin.sign_in_password(
            reception,
            visitor(request),
            name=form["name"],
            password=form.get("password", ""),
            code=form.get("code", "").strip(),
        )
        return _come_in(request, secret, "/")
    link, agent = form.get("link", "").strip(), visitor(request).agent
    secret = site.store.write(lambda tx: access.redeem_link(tx, site, link, agent=agent))
    return _come_in(request, secret, "/account" if link.startswith("bry_inv") else "/")


@router.post("/sign-in/passkey/begin")
def begin_passkey(request: Request) -> dict[str, Any]:
    """What the browser needs to answer with a passkey."""
    return signin.begin_assertion(house_of(request).reception, origin=base_url(request))


@router.post("/sign-in/passkey")
def sign_in_passkey(request: Request, body: PasskeyBody) -> Response:
    """Turn a passkey's answer into a session."""
    secret = signin.sign_in_passkey(
        house_of(request).reception,
        visitor(request),
        origin=base_url(request),
        flow=body.flow,
        response=body.credential,
    )
    return _change_session(request, JSONResponse({"next": "/"}), secret)


@router.get("/sign-in/outside")
def begin_outside(request: Request) -> Response:
    """Send the browser to the provider of outside accounts."""
    return _leave_for_provider(request, "sign-in")


@router.get("/sign-in/outside/back")
def back_from_outside(request: Request) -> Response:
    """Where the provider sends the browser back to: sign in, prove, or link an account."""
    reception, answer = house_of(request).reception, dict(request.query_params)
    if reception.outside is None or not answer.get("state") or answer["state"] != request.cookies.get(_STATE_COOKIE):
        raise Refused("bad_outside", "This answer was not asked for by this browser.", fix="Begin again.", status=401)
    identity, begun = reception.outside.finish(reception.pending, answer)
    actor = getattr(request.state, "actor", None)
    if begun["purpose"] == "sign-in":
        return _come_in(request, signin.sign_in_outside(reception, visitor(request), identity), "/")
    if actor is None or actor.id != begun["actor"]:
        raise Refused("bad_outside", "This was begun by somebody else.", fix="Begin again.", status=401)
    if begun["purpose"] == "link":
        signin.link_identity(reception, actor, identity)
        return RedirectResponse("/account", status_code=303)
    secret = signin.prove_outside(reception, actor, identity)
    response = RedirectResponse("/account", status_code=303)
    set_session(request, response, secret)
    return response


@router.post("/account/outside/{purpose}")
def leave_for_outside(request: Request, who: Anyone, purpose: str) -> Response:
    """Send a signed-in browser to the provider: to `prove`, or to `link` the account there."""
    if purpose not in ("prove", "link"):
        raise Refused("bad_request", "There is 'prove' and 'link'.", fix="Use the account page.")
    return _leave_for_provider(request, purpose, who.actor.id)


@router.get("/account/prove")
def prove_page(request: Request, who: Anyone) -> Response:
    """Prove again who you are, before a dangerous act."""
    found = site_of(request).store.read(lambda tx: signin.describe(tx, who.actor.id))
    kinds = {one["kind"] for one in found["credentials"]}
    return render(request, "prove.html", who=who, kinds=kinds, outside=_outside_title(request))


@router.post("/account/prove")
def prove(request: Request, who: Anyone, form: Form) -> Response:
    """Prove by password and code."""
    secret = signin.prove(
        house_of(request).reception,
        who.actor,
        visitor(request),
        password=form.get("password", ""),
        code=form.get("code", "").strip(),
    )
    response = RedirectResponse("/account", status_code=303)
    set_session(request, response, secret)
    return response


@router.post("/sign-out")
def sign_out(request: Request, who: Anyone) -> Response:
    """End the session."""
    site = site_of(request)
    token_id = str(who.actor.token_id)
    site.store.write(lambda tx: access.revoke_token(tx, site, token_id=token_id, by=who.actor))
    response = RedirectResponse("/sign-in", status_code=303)
    end_session(request, response)
    return response


def _come_in(request: Request, secret: str, where: str) -> Response:
    return _change_session(request, RedirectResponse(where, status_code=303), secret)


def _change_session(request: Request, response: Response, secret: str) -> Response:
    """Another session takes the place of the one that the browser came with, which ends: nobody else may hold it."""
    site, before = site_of(request), session_of(request)
    if before:
        site.store.write(lambda tx: access.end_session(tx, site, before))
    set_session(request, response, secret)
    return response


def _leave_for_provider(request: Request, purpose: str, actor_id: str = "") -> Response:
    reception = house_of(request).reception
    if reception.outside is None:
        raise Refused(
            "no_outside", "No provider of outside accounts is set up.", fix="See docs/operator.md.", status=404
        )
    back = f"{base_url(request)}/sign-in/outside/back"
    address, state = reception.outside.begin(reception.pending, redirect=back, purpose=purpose, actor_id=actor_id)
    if request.method == "GET":
        response: Response = RedirectResponse(address, status_code=303)
    else:  # a form may not lead to another site, so a page leads there
        response = render(request, "leaving.html", address=address)
    response.set_cookie(
        _STATE_COOKIE,
        state,
        max_age=600,
        httponly=True,
        secure=is_secure(request),
        samesite="lax",
        path="/sign-in/outside",
    )
    return response


def _outside_title(request: Request) -> str:
    outside = house_of(request).reception.outside
    return outside.settings.title if outside else ""
