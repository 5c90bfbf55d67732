"""The web's edge: who asks, cross-site and host checks, and errors as RFC 9457 problem details."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import urlsplit

import anyio.to_thread
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse
from starlette.exceptions import HTTPException
from starlette.middleware.base import RequestResponseEndpoint

from baray import runs
from baray.access import (
    Actor,
    Site,
    Subject,
    authenticate,
    kind_of,
    needs_touch,
    parse_label,
    project_named,
    require,
    scope_missing,
    subject_token,
    touch_token,
)
from baray.core import BarayError, Fault, NotFound, Refused
from baray.store import Tx
from baray.web.cookies import session_of
from baray.web.house import House

_LOG = logging.getLogger("baray.web")
READ_LEVEL = 2
"""From this level up reading is an act that the ledger tells."""
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
OF_ITSELF = frozenset({"GET /api/v1/runs/self", "POST /api/v1/runs/self/metrics"})
"""All that a Run may ask by its own token."""
_OPEN_PATHS = ("/healthz", "/readyz", "/sign-in", "/static/", "/favicon.ico", "/ledger/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks, and in which project."""

    actor: Actor
    """Authenticated."""
    project_id: str
    """Resolved from `?project=`, the actor's own by default."""
    project: str
    """Its name."""
    label: str
    """The project's default label."""
    reads: dict[str, str] = field(default_factory=dict)
    """Id -> label of what this request read at level restricted or above: entries before the answer leaves."""


def house_of(request: Request) -> House:
    """The application's wiring."""
    return cast("House", request.app.state.house)


def site_of(request: Request) -> Site:
    """The home's adapters."""
    return house_of(request).site


def base_url(request: Request) -> str:
    """The console's own address, as people reach it."""
    return house_of(request).public_url or str(request.base_url).rstrip("/")


def caller(request: Request, project: str = "") -> Caller:
    """The caller of a request. Raises Refused 401 without credentials, NotFound for a project that is not theirs."""
    found = signed_in(request, project)
    if found.project_id not in found.actor.roles:
        raise NotFound("project", found.project)
    if request.method in _SAFE_METHODS and "read" not in found.actor.scopes:
        raise scope_missing(found.actor, "read")
    request.state.caller = found
    return found


def signed_in(request: Request, project: str = "") -> Caller:
    """The caller, whatever it is of: for its own account, and for what concerns the whole home.

    Without `?project=` it is in the default project or the first of its own; with no role anywhere in the default one.
    """
    actor = cast("Actor | None", getattr(request.state, "actor", None))
    if actor is None:
        raise Refused(
            "not_signed_in", "This needs an account.", fix="Send a token, or sign in: baray login", status=401
        )

    def load(tx: Tx) -> Caller:
        name = project or _usual_project(actor, house_of(request).default_project)
        row = project_named(tx, name)
        if row is None or (project and row.id not in actor.roles):
            raise NotFound("project", name)
        return Caller(actor=actor, project_id=row.id, project=row.name, label=row.label)

    return site_of(request).store.read(load)


def _usual_project(actor: Actor, default: str) -> str:
    """Where somebody works who names no project: the default one if they have a role there, else the first of theirs."""
    return default if default in actor.projects or not actor.projects else min(actor.projects)


async def look_again(request: Request, who: Caller) -> Caller:
    """The caller of a stream as of now: tokens end and clearances change while it lasts. Raises as `caller` does."""
    await _identify(request)
    return await anyio.to_thread.run_sync(caller, request, who.project)


def allow(
    tx: Tx, site: Site, who: Caller, action: str, ref: str, label: str | None = None, *, subject_id: str = ""
) -> None:
    """Require `action` on `ref`, labelled `label` (default: nothing above public); its id stands in the ledger."""
    subject = Subject(ref=ref, project=who.project_id, label=parse_label(label or "public"), id=subject_id)
    require(tx, site, who.actor, action, subject)
    if action == "read" and subject.label.level >= READ_LEVEL:
        who.reads[subject_id or subject_token(ref)] = str(subject.label)


def problem(error: BarayError) -> JSONResponse:
    """RFC 9457: type, title, status, code, detail, fix."""
    body = {
        "type": f"https://baray.invalid/errors/{error.code}",
        "title": error.code.replace("_", " "),
        "status": error.status,
        "code": error.code,
        "detail": error.message,
        "fix": error.fix,
    }
    body |= error.more
    return JSONResponse(
        body, status_code=error.status, media_type="application/problem+json", headers=error.headers or None
    )


def install(app: FastAPI) -> None:
    """Add the boundary to `app`: authentication around every route, and the error handlers."""
    app.middleware("http")(_guard)
    app.exception_handler(BarayError)(_on_baray_error)
    app.exception_handler(RequestValidationError)(_on_invalid)
    app.exception_handler(HTTPException)(_on_http_error)


async def _guard(request: Request, call_next: RequestResponseEndpoint) -> Response:
    """Check host, origin and credentials, then go on; whatever escapes a route ends here, is logged, and is a 500."""
    try:
        house_of(request).touch()
        _check_origin(request)
        await _identify(request)
        response = await call_next(request)
        await _tell_reads(request)
    except BarayError as error:
        return _answer_error(request, error)
    except Exception:  # noqa: BLE001 - the web's error boundary: recorded, and the server goes on
        _LOG.exception("%s %s failed", request.method, request.url.path)
        broken = Fault("internal", "Something broke on our side.", fix="See the log of the home: log/control.log")
        _tell_failure(request, broken)
        return problem(broken)
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    response.headers.setdefault("Referrer-Policy", "same-origin")
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers.setdefault(
        "Content-Security-Policy",
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; font-src 'self'; "
        "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    )
    return response


async def _tell_reads(request: Request) -> None:
    """Append what the request read at a high level, before its first byte leaves: without the entry there is no answer."""
    who = cast("Caller | None", getattr(request.state, "caller", None))
    if who is None or not who.reads:
        return
    site = site_of(request)

    def tell(tx: Tx) -> None:
        for subject, label in sorted(who.reads.items()):
            site.ledger.append(
                tx, "access.read", actor=who.actor.id, subject=subject, project=who.project_id, label=label
            )

    await anyio.to_thread.run_sync(site.store.write, tell)


def _check_origin(request: Request) -> None:
    """Refuse a changed Host (DNS rebinding) and a cross-site change that rides on the cookie."""
    host = (urlsplit("//" + request.headers.get("host", "")).hostname or "").lower()
    hosts = house_of(request).hosts  # empty behind a proxy, which checks Host itself
    if hosts and host not in hosts:
        raise Refused(
            "bad_host", f"'{host}' is not a name of this server.", fix="Use the address that baray status shows."
        )
    # Only a token excuses: a browser sends `Authorization: Basic` of its own accord to an address with a name in it.
    if request.method in _SAFE_METHODS or _bearer(request):
        return
    origin = request.headers.get("origin")
    # Who sends neither header is no browser of today; without a cookie there is nothing to ride on.
    site = request.headers.get("sec-fetch-site", "" if origin is not None or session_of(request) else "same-origin")
    same = origin is not None and urlsplit(origin).netloc == request.headers.get("host")
    if not same and site not in ("same-origin", "none"):
        raise Refused("cross_site", "A form of another site was refused.", fix="Use the console itself.", status=403)


def _bearer(request: Request) -> str:
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else ""


async def _identify(request: Request) -> None:
    """Find the actor of the token or the session; without one only the open paths go on."""
    secret, path = _bearer(request), request.url.path
    token_kind = "" if secret else "ses"  # a session is a cookie, and a cookie is a session
    secret = secret or session_of(request)
    if not secret:
        if not path.startswith(_OPEN_PATHS):
            raise Refused(
                "not_signed_in", "This needs an account.", fix="Send a token, or sign in: baray login", status=401
            )
        return
    site = site_of(request)
    now = site.clock.now()
    if not token_kind and kind_of(secret) == "run":
        request.state.delegate = site.store.read(lambda tx: runs.by_token(tx, secret, now)), secret
        if f"{request.method} {path}" not in OF_ITSELF:
            raise _beyond_itself(site, request.state.delegate[0])
        return

    def load(tx: Tx) -> tuple[Actor, bool]:
        actor = authenticate(tx, secret, now, kind=token_kind)
        return actor, needs_touch(tx, str(actor.token_id), now)

    try:
        actor, stale = site.store.read(load)
    except Refused:
        if not path.startswith(_OPEN_PATHS):
            raise
        return
    request.state.actor = actor
    if stale:  # nobody waits for it
        site.store.submit(lambda tx: touch_token(tx, str(actor.token_id), now))


def _beyond_itself(site: Site, delegate: runs.Delegate) -> Refused:
    """The refusal of a Run's token anywhere else, whatever is there; its denial is entered."""
    error = Refused(
        "run_token",
        "A Run's own token reads that Run and adds to its metrics, and nothing else.",
        fix="Use a token of your own: baray token create NAME",
        status=403,
    )
    facts = {"action": "any", "rule": "run-token"} | delegate.facts()

    def record(tx: Tx) -> None:
        run = delegate.run
        site.ledger.append(
            tx,
            "access.denied",
            actor=run.id,
            subject=run.id,
            project=run.project_id,
            decision="refuse",
            facts=facts,
        )

    error.instead = record
    return error


def _tell_failure(request: Request, error: BarayError) -> None:
    """Append that somebody's change came to nothing: what was asked by the name of its route, why by the error's code.

    Of reads only what was not found is told, as a denial is: the ledger's size is public, and must not tell what is hidden
    from what is missing.
    """
    actor = cast("Actor | None", getattr(request.state, "actor", None))
    endpoint = request.scope.get("endpoint")
    read = request.method in _SAFE_METHODS
    if actor is None or endpoint is None or (read and not isinstance(error, NotFound)):
        return
    site, asked = site_of(request), getattr(endpoint, "__name__", "unknown")
    kind = "access.denied" if read else "action.failed"
    site.store.submit(lambda tx: site.ledger.append(tx, kind, actor=actor.id, subject=asked, decision=error.code))


def _answer_error(request: Request, error: BarayError) -> Response:
    if error.instead is None:
        _tell_failure(request, error)
    elif not error.told:
        # Refused in a read: its denial still becomes an entry. Nobody waits for it, or the time of a 404 would tell
        # what is hidden from what is missing. One that was refused in a write has its entry: a second would say that
        # it was tried twice.
        site_of(request).store.submit(error.instead)
        error.told = True
    wants_page = "text/html" in request.headers.get("accept", "") and not request.url.path.startswith("/api/")
    if wants_page and error.code in ("not_signed_in", "bad_token"):
        return RedirectResponse("/sign-in", status_code=303)
    if wants_page and error.code == "proof_needed":
        return RedirectResponse("/account/prove", status_code=303)
    if not wants_page:
        return problem(error)
    page = cast("Response", request.app.state.error_page(request, error))
    page.headers.update(error.headers)
    return page


async def _on_baray_error(request: Request, error: Exception) -> Response:
    return _answer_error(request, cast("BarayError", error))


async def _on_invalid(request: Request, error: Exception) -> Response:
    first: dict[str, Any] = cast("RequestValidationError", error).errors()[0]
    place = ".".join(str(part) for part in first["loc"][1:])
    return _answer_error(request, Refused("bad_request", f"'{place}': {first['msg']}.", fix="See /api/v1/openapi.json"))


async def _on_http_error(request: Request, error: Exception) -> Response:
    found = cast("HTTPException", error)
    if found.status_code == 404:
        return _answer_error(request, NotFound("page", request.url.path))
    refused = Refused("bad_method", f"{request.method} {request.url.path}: {found.detail}.", status=found.status_code)
    return _answer_error(request, refused)
