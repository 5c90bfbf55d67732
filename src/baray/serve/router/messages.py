"""Requests and responses: reading a bounded body, and writing JSON, problems (RFC 9457) and OpenAI's errors."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn
from urllib.parse import parse_qsl, unquote

import httptools

from baray.core import BarayError, Refused
from baray.serve.router.incoming import Incoming

MAX_QUERY_BYTES = 8192
_TITLES = {
    400: "Bad request", 401: "Who are you?", 403: "Not allowed", 404: "Not found", 405: "Wrong method", 408: "Too slow",
    413: "Too large", 429: "Too often",
    499: "Gone", 500: "Our fault", 502: "Bad gateway", 503: "Not now", 504: "Too slow", 507: "Disk full",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One HTTP request, its body not yet read."""

    method: str
    """Upper case; HEAD stands as GET."""
    path: str
    """Decoded."""
    query: dict[str, str]
    """Last value of each name."""
    headers: dict[str, str]
    """Lower-case names."""
    incoming: Incoming
    """Where it comes from: its body, and whether the caller is still there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """One HTTP response, whole."""

    body: bytes
    """Sent unless the request was a HEAD."""
    status: int = 200
    """RFC 9110."""
    content_type: str = "application/json"
    """With its charset where it has one."""
    headers: tuple[tuple[str, str], ...] = field(default=())
    """Beside the safe headers, which every response has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamedResponse:
    """One HTTP response that is sent as it is made."""

    chunks: AsyncGenerator[bytes, None]
    """Its body; closed when the response ends, however that is."""
    end: Callable[[], None] = lambda: None
    """Called after that. One that never began runs none of its body, not even what closes it: that belongs here."""
    status: int = 200
    """RFC 9110."""
    content_type: str = "text/event-stream"
    """With its charset where it has one."""
    headers: tuple[tuple[str, str], ...] = field(default=())
    """Beside the safe headers, which every response has."""


def read_request(incoming: Incoming) -> Request:
    """The request of a head that has come. Raises Refused `bad_query`, `bad_request`."""
    path, query = _parts(incoming.target)
    method = incoming.method
    return Request(
        method="GET" if method == "HEAD" else method,
        path=path,
        query=query,
        headers=incoming.headers,
        incoming=incoming,
    )


async def read_json(request: Request) -> dict[str, Any]:
    """The JSON object in the body. Raises Refused `too_large`, `too_slow`, `bad_json`."""
    data = await request.incoming.body()
    try:
        value = _decoded(data)
    except (ValueError, RecursionError) as error:
        raise Refused(
            "bad_json", "The body is not JSON.", fix='Send for example {"model": "desk", "question": "..."}.'
        ) from error
    if not isinstance(value, dict):
        raise Refused(
            "bad_json", "The body is not a JSON object.", fix='Send for example {"model": "desk", "question": "..."}.'
        )
    return value


def text_member(value: dict[str, Any], name: str, *, most: int) -> str:
    """A string member of a body, 1 to `most` characters. Raises Refused `bad_request`."""
    text = value.get(name)
    if not isinstance(text, str) or not text.strip():
        raise Refused("bad_request", f"'{name}' is missing or not text.", fix=f"Send '{name}' as a string.")
    if len(text) > most:
        raise Refused("bad_request", f"'{name}' has {len(text)} characters.", fix=f"Keep it to {most}.")
    if "\x00" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
        raise Refused("bad_request", f"'{name}' holds characters that are no text.", fix="Send well-formed Unicode.")
    return text


def as_name(body: dict[str, Any]) -> str | None:
    """As whom a request is to be answered: its member `as`. Raises Refused `bad_request`."""
    return text_member(body, "as", most=63) if body.get("as") is not None else None


def json_response(value: object, *, status: int = 200) -> Response:
    """A response with a JSON body, Khmer as it is."""
    return Response(body=json.dumps(value, ensure_ascii=False).encode(), status=status)


def problem(error: BarayError) -> Response:
    """RFC 9457 problem details of `error`."""
    value = {
        "type": f"urn:baray:error:{error.code}",
        "title": _TITLES.get(error.status, "Refused"),
        "status": error.status,
        "code": error.code,
        "detail": error.message,
        "fix": error.fix,
    }
    body = json.dumps(value, ensure_ascii=False).encode()
    return Response(
        body=body, status=error.status, content_type="application/problem+json", headers=_extra_headers(error)
    )


def openai_error(error: BarayError) -> Response:
    """The error shape of OpenAI's API, for routes that it defines."""
    kind = "rate_limit_error" if error.status == 429 else "invalid_request_error"
    kind = "server_error" if error.status >= 500 else kind
    value = {"error": {"message": str(error), "type": kind, "param": None, "code": error.code}}
    return Response(
        body=json.dumps(value, ensure_ascii=False).encode(), status=error.status, headers=_extra_headers(error)
    )


def _parts(target: bytes) -> tuple[str, dict[str, str]]:
    """Path, decoded, and query of a request's target."""
    try:
        url = httptools.parse_url(target)
        path = unquote((url.path or b"/").decode("ascii"))
    except (httptools.HttpParserInvalidURLError, ValueError) as error:
        raise Refused("bad_request", "The target of the request is no path.", fix="Send a path: /v1/models") from error
    raw = url.query
    if not raw:
        return path, {}
    if len(raw) > MAX_QUERY_BYTES:
        raise Refused(
            "bad_query", f"The query has {len(raw)} bytes.", fix=f"Keep it below {MAX_QUERY_BYTES}.", status=414
        )
    try:
        return path, dict(parse_qsl(raw.decode("ascii"), keep_blank_values=True, max_num_fields=20))
    except ValueError as error:
        raise Refused("bad_query", "The query cannot be read.", fix="Encode it as a form does.") from error


def _decoded(data: bytes) -> object:
    """As `json.loads`, which would make a decoder each time."""
    return _DECODER.decode(data.decode(json.detect_encoding(data), "surrogatepass"))


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_no_constant)


def _extra_headers(error: BarayError) -> tuple[tuple[str, str], ...]:
    if error.headers:
        return tuple(error.headers.items())
    if error.status == 401:
        return (("www-authenticate", "Bearer"),)
    if error.status in {503, 408}:
        return (("retry-after", "1"), ("connection", "close"))
    return (("connection", "close"),) if error.status == 413 else ()
