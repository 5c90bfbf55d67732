"""Pages about people: one's own account, and for owners and operators the people of a project and of the home."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import RedirectResponse, Response

from baray import access, signin
from baray.access import ACTIONS, ROLES, SITE_ROLES
from baray.web.api import account as account_api
from baray.web.api import admin as admin_api
from baray.web.api import tokens as tokens_api
from baray.web.api.shapes import InvitationBody, MemberBody, SiteRoleBody
from baray.web.boundary import Caller, caller, house_of, signed_in
from baray.web.console.doorway import Form
from baray.web.console.qr import qr_svg
from baray.web.console.rendering import render

router = APIRouter(tags=["console"])
Who = Annotated[Caller, Depends(caller)]
Anyone = Annotated[Caller, Depends(signed_in)]


@router.get("/account")
def account(request: Request, who: Anyone) -> Response:
    """One's own ways to sign in, sessions and tokens."""
    outside = house_of(request).reception.outside
    return render(
        request,
        "account.html",
        who=who,
        account=account_api.get_account(request, who),
        sessions=tokens_api.get_sessions(request, who)["items"],
        tokens=[one for one in tokens_api.get_tokens(request, who)["items"] if not one["revoked"]],
        outside=outside.settings.title if outside else "",
    )


@router.post("/account/password")
def set_password(request: Request, who: Anyone, form: Form) -> Response:
    """Set a password."""
    signin.set_password(house_of(request).reception, who.actor, form.get("password", ""))
    return RedirectResponse("/account", status_code=303)


@router.post("/account/code")
def begin_code(request: Request, who: Anyone) -> Response:
    """The key for an authenticator app."""
    begun = signin.begin_code(house_of(request).reception, who.actor)
    picture = qr_svg(begun["uri"], title="QR")
    return render(request, "code.html", who=who, begun=begun, picture=picture)


@router.post("/account/code/confirm")
def confirm_code(request: Request, who: Anyone, form: Form) -> Response:
    """Confirm the app by a code."""
    signin.add_code(house_of(request).reception, who.actor, flow=form.get("flow", ""), code=form.get("code", ""))
    return RedirectResponse("/account", status_code=303)


@router.post("/account/recovery-codes")
def recovery_codes(request: Request, who: Anyone) -> Response:
    """New recovery codes, to print."""
    codes = signin.make_recovery_codes(house_of(request).reception, who.actor)
    return render(request, "recovery-codes.html", who=who, codes=codes)


@router.post("/account/remove/{credential_id}")
def remove(request: Request, who: Anyone, credential_id: str) -> Response:
    """Take a way to sign in away."""
    signin.remove_credential(house_of(request).reception, who.actor, credential_id)
    return RedirectResponse("/account", status_code=303)


@router.post("/account/end/{token_id}")
def end_session(request: Request, who: Anyone, token_id: str) -> Response:
    """End a session or a token of one's own."""
    tokens_api.delete_token(request, who, token_id)
    return RedirectResponse("/account", status_code=303)


@router.post("/account/end-others")
def end_others(request: Request, who: Anyone) -> Response:
    """End every other session of one's own."""
    tokens_api.delete_sessions(request, who)
    return RedirectResponse("/account", status_code=303)


@router.get("/people")
def people(request: Request, who: Who) -> Response:
    """Who is in this project with which role; for auditors and operators, who is on the home."""
    owner = who.actor.roles[who.project_id] == ACTIONS["member.change"].role
    return render(
        request,
        "people.html",
        who=who,
        members=admin_api.get_members(request, who, who.project)["items"],
        users=admin_api.get_users(request, who)["items"] if who.actor.site_role else [],
        sessions=tokens_api.get_sessions(request, who, of="all")["items"] if who.actor.site_role else [],
        owner=owner,
        operator=who.actor.site_role == SITE_ROLES[-1],
        roles=ROLES,
        site_roles=SITE_ROLES,
        levels=access.LEVELS,
    )


@router.post("/people/invite")
def invite(request: Request, who: Who, form: Form) -> Response:
    """Invite somebody: the link is shown this once."""
    asked = InvitationBody(
        name=form.get("name", ""), clearance=form.get("clearance", ""), role=form.get("role", ROLES[0])
    )
    return render(request, "invitation.html", who=who, made=admin_api.post_invitation(request, who, asked))


@router.post("/people/{name}/invite")
def invite_again(request: Request, who: Who, name: str) -> Response:
    """Another link for somebody who has an account."""
    return render(request, "invitation.html", who=who, made=admin_api.invite_user(request, who, name))


@router.post("/people/{name}/role")
def change_role(request: Request, who: Who, name: str, form: Form) -> Response:
    """Give or take a role in the project."""
    admin_api.post_member(request, who, who.project, MemberBody(actor=name, role=form.get("role", "")))
    return RedirectResponse("/people", status_code=303)


@router.post("/people/{name}/site-role")
def change_site_role(request: Request, who: Who, name: str, form: Form) -> Response:
    """Give or take a role on the home."""
    admin_api.post_site_role(request, who, name, SiteRoleBody(role=form.get("role", "")))
    return RedirectResponse("/people", status_code=303)


@router.post("/people/{name}/disable")
def disable(request: Request, who: Who, name: str) -> Response:
    """Lock somebody out."""
    admin_api.disable_user(request, who, name)
    return RedirectResponse("/people", status_code=303)
