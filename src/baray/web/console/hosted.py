"""The page of a Service that answers by Replicas: how it stands, its Revisions, a box to try it, what was used."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import RedirectResponse, Response

from baray.access import ACTIONS, ROLES
from baray.core import Refused, iso_time
from baray.web.api import hosting as hosting_api
from baray.web.api import services as service_api
from baray.web.api.shapes import RollbackBody
from baray.web.boundary import Caller, caller
from baray.web.console.doorway import Form
from baray.web.console.rendering import render

router = APIRouter(tags=["console"])
Who = Annotated[Caller, Depends(caller)]
_TRIED_TOKENS = 64
"""Short: a page is not streamed, and whoever waits for it holds a thread."""


def hosted_page(request: Request, who: Caller, service: dict[str, Any], q: str) -> Response:
    """The page of a Service with Replicas; with `q`, what it says to that."""
    told = service_api.complete_shortly(request, who, service["name"], q, _TRIED_TOKENS) if q.strip() else None
    rows = service_api.get_usage(request, who, by="service")["items"]
    numbers = {one["id"]: one["number"] for one in service["revisions"]}
    replicas = [
        one | {"number": numbers.get(one["revision_id"], ""), "since": iso_time(one["since"])}
        for one in service.get("processes", [])
    ]
    return render(
        request,
        "service.html",
        who=who,
        service=service,
        replicas=replicas,
        told=told,
        q=q,
        usage=next((one for one in rows if one["service"] == service["id"]), None),
        may_change=ROLES.index(who.actor.roles[who.project_id]) >= ROLES.index(_role_to_change(service)),
    )


@router.post("/desks/{name}/rollback")
def roll_back(request: Request, who: Who, name: str, form: Form) -> Response:
    """Go back to an earlier Revision."""
    number = form.get("revision", "")
    if not (number.isascii() and number.isdigit() and 0 < int(number[:10]) < 1 << 31):
        raise Refused("bad_request", f"'{number[:40]}' is no number of a Revision.", fix="Use the button on its page.")
    hosting_api.roll_back_service(request, who, name, RollbackBody(revision=int(number[:10])))
    return RedirectResponse(f"/desks/{name}", status_code=303)


def _role_to_change(service: dict[str, Any]) -> str:
    return ACTIONS["service.publish" if "public" in service["audience"] else "service.change"].role
