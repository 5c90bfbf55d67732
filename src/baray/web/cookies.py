"""The session's cookie, and where a request comes from."""

from __future__ import annotations

from fastapi import Request, Response

from baray.access import SESSION_SECONDS
from baray.signin import Visitor

_NAME = "baray_session"


def is_secure(request: Request) -> bool:
    """Whether the browser speaks TLS, to us or to the proxy that is believed."""
    return request.url.scheme == "https"


def session_name(request: Request) -> str:
    """With TLS the `__Host-` prefix: no other name and no plain page of this name can set or overwrite it."""
    return f"__Host-{_NAME}" if is_secure(request) else _NAME


def session_of(request: Request) -> str:
    """The session's secret that came with a request, or nothing."""
    return request.cookies.get(session_name(request), "")


def set_session(request: Request, response: Response, secret: str) -> None:
    """Give the browser a session's secret."""
    response.set_cookie(
        session_name(request),
        secret,
        max_age=int(SESSION_SECONDS),
        httponly=True,
        secure=is_secure(request),
        samesite="lax",
        path="/",
    )


def end_session(request: Request, response: Response) -> None:
    """Take it away."""
    response.delete_cookie(session_name(request), path="/", secure=is_secure(request), httponly=True, samesite="lax")


def visitor(request: Request) -> Visitor:
    """Who knocks, as far as the network tells."""
    address = request.client.host if request.client else ""
    return Visitor(address=address, agent=request.headers.get("user-agent", "")[:200])
