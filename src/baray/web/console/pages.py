"""Pages of the console: each reads what the API would, and renders it."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qs

import anyio.to_thread
from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from baray import __version__, access, runs
from baray.access import SESSION_SECONDS
from baray.core import BarayError, format_bytes, parse_ref
from baray.web.api import ledger as ledger_api
from baray.web.api import runs as run_api
from baray.web.api import services as service_api
from baray.web.api import sources as source_api
from baray.web.api import system as system_api
from baray.web.api.shapes import MAX_NUMBER, AskBody
from baray.web.boundary import COOKIE, Caller, caller, signed_in, site_of
from baray.web.console.picture import lineage_svg
from baray.web.console.strings import translate

router = APIRouter(tags=["console"])
Who = Annotated[Caller, Depends(caller)]
Anyone = Annotated[Caller, Depends(signed_in)]
LANGUAGE_COOKIE = "baray_lang"
MAX_FORM = 4096  # bytes
_PAGES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_PAGES.filters["size"] = format_bytes


def render(request: Request, name: str, *, status: int = 200, who: Caller | None = None, **values: Any) -> Response:  # noqa: ANN401 - template values
    """Render a template in the reader's language."""
    language = request.query_params.get("lang") or request.cookies.get(LANGUAGE_COOKIE, "en")
    language = "km" if language == "km" else "en"
    page = _PAGES.get_template(name).render(
        t=partial(translate, language),
        language=language,
        path=request.url.path,
        who=who,
        baray_version=__version__,
        **values,
    )
    response = HTMLResponse(page, status_code=status)
    if "lang" in request.query_params:
        response.set_cookie(LANGUAGE_COOKIE, language, max_age=31_536_000, samesite="lax")
    return response


def error_page(request: Request, error: BarayError) -> Response:
    """An error for a person: what, and what to do."""
    return render(request, "error.html", status=error.status, error=error)


@router.get("/sign-in")
def sign_in_page(request: Request, link: str = "") -> Response:
    """Where a one-time link leads: a button, so that a preview of the link does not use it up."""
    return render(request, "sign-in.html", link=link)


@router.post("/sign-in")
async def sign_in(request: Request) -> Response:
    """Turn the link into a session."""
    form = parse_qs((await request.body())[:MAX_FORM].decode("utf-8", errors="replace"))
    return await anyio.to_thread.run_sync(_sign_in, request, form.get("link", [""])[0].strip())


def _sign_in(request: Request, link: str) -> Response:
    site = site_of(request)
    secret = site.store.write(lambda tx: access.redeem_link(tx, site, link))
    response = RedirectResponse("/", status_code=303)
    secure = request.headers.get("x-forwarded-proto", request.url.scheme) == "https"
    response.set_cookie(
        COOKIE, secret, max_age=int(SESSION_SECONDS), httponly=True, secure=secure, samesite="lax", path="/"
    )
    return response


@router.post("/sign-out")
def sign_out(request: Request, who: Anyone) -> Response:
    """End the session."""
    site = site_of(request)
    if who.actor.token_id is not None:
        token_id = who.actor.token_id
        site.store.write(lambda tx: access.revoke_token(tx, site, token_id=token_id, by=who.actor))
    response = RedirectResponse("/sign-in", status_code=303)
    response.delete_cookie(COOKIE)
    return response


@router.get("/")
def home(request: Request, who: Who) -> Response:
    """What runs, what needs attention, where to go on."""
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
    return render(
        request,
        "dataset.html",
        who=who,
        version=version,
        report=source_api.get_report(request, who, name),
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
    return render(request, "model.html", who=who, version=source_api.get_version(request, who, "models", name))


@router.get("/runs")
def all_runs(request: Request, who: Who, state: str = "", after: str = "") -> Response:
    """Runs, newest first."""
    found = run_api.list_runs(request, who, state=state, after=after, limit=50)
    return render(
        request, "runs.html", who=who, runs=found["items"], following=found["next"], state=state, states=runs.STATES
    )


@router.get("/runs/{run_id}")
def one_run(request: Request, who: Who, run_id: str) -> Response:
    """One Run with its live log."""
    run = run_api.get_run(request, who, run_id)
    log = run_api.get_log(request, who, run_id)
    return render(
        request, "run.html", who=who, run=run, log=log, spec=json.dumps(run["spec"], indent=2, ensure_ascii=False)
    )


@router.post("/runs/{run_id}/cancel")
def cancel_run(request: Request, who: Who, run_id: str) -> Response:
    """Stop a Run from its page."""
    run_api.cancel_run(request, who, run_id)
    return RedirectResponse(f"/runs/{run_id}", status_code=303)


@router.get("/desks")
def desks(request: Request, who: Who) -> Response:
    """All Services that answer."""
    return render(request, "desks.html", who=who, services=service_api.get_services(request, who)["items"])


@router.get("/desks/{name}")
def desk(request: Request, who: Who, name: str, q: str = "", as_: str = "") -> Response:
    """One Desk with a form to try it, and what was asked."""
    asked_as = request.query_params.get("as", as_)
    answer = None
    if q.strip():
        answer = service_api.ask(request, who, name, AskBody.model_validate({"question": q, "as": asked_as}))
    return render(
        request,
        "desk.html",
        who=who,
        service=service_api.get_service(request, who, name),
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
