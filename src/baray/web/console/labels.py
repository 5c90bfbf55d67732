"""The page Labels: what waits for signatures, a raise with its preview, a request to lower, and what was raised."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import RedirectResponse, Response

from baray import access
from baray.web.api import labels as label_api
from baray.web.api.shapes import LabelBody, LowerBody
from baray.web.boundary import Caller, caller
from baray.web.console.doorway import Form
from baray.web.console.rendering import render

router = APIRouter(tags=["console"])
Who = Annotated[Caller, Depends(caller)]


@router.get("/labels")
def labels(request: Request, who: Who, ref: str = "", to: str = "") -> Response:
    """What waits, a preview if a thing and a label are named, and what was raised."""
    shown = label_api.show_label(request, who, ref) if ref else None
    return render(
        request,
        "labels.html",
        who=who,
        ref=ref,
        to=to,
        shown=shown,
        preview=label_api.label_impact(request, who, ref, to) if ref and to else None,
        requests=label_api.get_requests(request, who, state="all")["items"],
        history=label_api.get_history(request, who, limit=50)["items"],
        steward=access.ROLES.index(who.actor.roles[who.project_id]) >= access.ROLES.index("steward"),
        levels=access.LEVELS,
    )


@router.post("/labels/raise")
def raise_label(request: Request, who: Who, form: Form) -> Response:
    """Raise what was previewed."""
    body = LabelBody(ref=form.get("ref", ""), to=form.get("to", ""), reason=form.get("reason", ""))
    label_api.raise_label(request, who, body)
    return RedirectResponse("/labels", status_code=303)


@router.post("/labels/lower")
def lower_label(request: Request, who: Who, form: Form) -> Response:
    """Ask two others to lower a label."""
    body = LowerBody(ref=form.get("ref", ""), to=form.get("to", ""), reason=form.get("reason", ""))
    label_api.lower_label(request, who, body)
    return RedirectResponse("/labels", status_code=303)
