"""The page of the report on where data is: to look at, to print, and to say that its exports were looked at."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import RedirectResponse, Response

from baray.core import Refused
from baray.web.api import reports as report_api
from baray.web.boundary import Caller, signed_in
from baray.web.console.doorway import Form
from baray.web.console.paper import LINES
from baray.web.console.rendering import render

router = APIRouter(tags=["console"])
Anyone = Annotated[Caller, Depends(signed_in)]


@router.get("/reports/sovereignty")
def sovereignty(request: Request, who: Anyone, days: Annotated[int, Query(ge=0, le=36_500)] = 30) -> Response:
    """Where our data is, who read it, what left: a page with a button to print it."""
    document = report_api.sovereignty(request, who, days=days)
    return render(request, "report.html", who=who, d=document, lines=LINES)


@router.post("/reports/exports/reviewed")
def reviewed(request: Request, who: Anyone, form: Form) -> Response:
    """Say that one has looked at the exports up to an entry."""
    upto = form.get("upto", "")
    if not upto.isascii() or not upto.isdecimal() or len(upto) > 15:
        raise Refused("bad_request", f"'{upto[:20]}' is no number of an entry.", fix="Use the button of the report.")
    report_api.review_exports(request, who, report_api.ReviewBody(upto=int(upto)))
    return RedirectResponse("/reports/sovereignty", status_code=303)
