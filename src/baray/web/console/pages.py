"""Pages of the console: each reads what the API would, and renders it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import RedirectResponse, Response

from baray.core import parse_ref
from baray.web.api import evaluations as evaluation_api
from baray.web.api import ledger as ledger_api
from baray.web.api import runs as run_api
from baray.web.api import services as service_api
from baray.web.api import sources as source_api
from baray.web.api import system as system_api
from baray.web.api.shapes import MAX_NUMBER, AskBody
from baray.web.boundary import Caller, caller, signed_in
from baray.web.console.hosted import hosted_page
from baray.web.console.picture import lineage_svg
from baray.web.console.rendering import render

router = APIRouter(tags=["console"])
Who = Annotated[Caller, Depends(caller)]
Anyone = Annotated[Caller, Depends(signed_in)]


@router.get("/")
def home(request: Request, who: Anyone) -> Response:
    """What runs, what needs attention, where to go on; who has no role here goes on to what they have."""
    if who.project_id not in who.actor.roles:
        return RedirectResponse("/ledger" if who.actor.site_role else "/account", status_code=303)
    who = caller(request, who.project)
    found = system_api.status(request, who)
    recent = run_api.list_runs(request, who, limit=8)["items"]
    desks = service_api.get_services(request, who)["items"]
    return render(request, "home.html", who=who, house=found, runs=recent, services=desks, head=_head(request))


@router.get("/datasets")
def datasets(request: Request, who: Who) -> Response:
    """All Datasets and the Sources they are made of."""
    found = {
        plural: source_api.get_versions(request, who, plural)["items"] for plural in ("datasets", "sources", "indexes")
    }
    return render(request, "datasets.html", who=who, **found)


@router.get("/datasets/{name}")
def dataset(request: Request, who: Who, name: str, reason: str = "") -> Response:
    """One Dataset: what was kept, dropped and refused, with samples."""
    version = source_api.get_version(request, who, "datasets", name)
    report = source_api.get_report(request, who, name)
    return render(
        request,
        "dataset.html",
        who=who,
        version=version,
        report=report,
        funnel=[(step["step"], step["kept"]) for step in report.get("steps", ())],
        rows=source_api.get_rows(request, who, name, n=12)["items"],
        dropped=source_api.get_dropped(request, who, name, n=100, reason=reason)["items"],
        reason=reason,
    )


@router.get("/models")
def models(request: Request, who: Who) -> Response:
    """All Models with their scores."""
    return render(request, "models.html", who=who, models=source_api.get_versions(request, who, "models")["items"])


@router.get("/models/{name}")
def model(request: Request, who: Who, name: str) -> Response:
    """One Model."""
    version = source_api.get_version(request, who, "models", name)
    found = evaluation_api.get_evaluations(request, who, name)["items"]
    return render(request, "model.html", who=who, version=version, evaluations=found)


@router.get("/desks")
def desks(request: Request, who: Who) -> Response:
    """All Services that answer."""
    return render(request, "desks.html", who=who, services=service_api.get_services(request, who)["items"])


@router.get("/desks/{name}")
def desk(request: Request, who: Who, name: str, q: str = "", as_: str = "") -> Response:
    """One Desk with a form to try it, and what was asked; of a language model how its Replicas stand."""
    service = service_api.get_service(request, who, name)
    if "replicas" in service:
        return hosted_page(request, who, service, q)
    asked_as = request.query_params.get("as", as_)
    answer = None
    if q.strip():
        answer = service_api.ask(request, who, name, AskBody.model_validate({"question": q, "as": asked_as}))
    return render(
        request,
        "desk.html",
        who=who,
        service=service,
        answers=service_api.get_answers(request, who, name, limit=20)["items"],
        answer=answer,
        q=q,
        asked_as=asked_as,
    )


@router.get("/lineage")
def lineage(request: Request, who: Who, ref: str) -> Response:
    """The picture of where something came from."""
    graph = system_api.lineage_of(request, who, parse_ref(ref))
    return render(request, "lineage.html", who=who, ref=ref, graph=graph, svg=lineage_svg(graph))


@router.get("/ledger")
def ledger(request: Request, who: Anyone, before: Annotated[int, Query(ge=0, le=MAX_NUMBER)] = MAX_NUMBER) -> Response:
    """The ledger's head, its witnesses, and its newest entries."""
    entries = ledger_api.newest_entries(request, who, before=before, limit=50)
    return render(request, "ledger.html", who=who, head=_head(request), entries=entries)


def _head(request: Request) -> dict[str, Any]:
    return ledger_api.head_json(request)
