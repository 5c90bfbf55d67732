"""Renders a template in the reader's language."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from baray import __version__
from baray.core import BarayError, format_bytes
from baray.web.boundary import Caller
from baray.web.console.strings import translate

LANGUAGE_COOKIE = "baray_lang"
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
