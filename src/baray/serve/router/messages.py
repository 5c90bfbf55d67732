"""Requests and responses: reading a bounded body, and writing JSON, problems (RFC 9457) and OpenAI's errors."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, NoReturn
from urllib.parse import parse_qsl

from baray.core import BarayError, Refused

MAX_BODY_BYTES = 1 << 20
MAX_DRAINED_BYTES = 8 << 20  # read and thrown away, so that who sends a little too much hears why
LINGER_SECONDS = 1.0  # the longest pause in what is thrown away
BODY_SECONDS = 10.0
MAX_QUERY_BYTES = 8192
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
_SAFE_HEADERS = (
    ("cache-control", "no-store"),
    ("x-robots-tag", "noindex, nofollow"),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
)
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
    receive: Receive
    """ASGI's."""


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
    status: int = 200
    """RFC 9110."""
    content_type: str = "text/event-stream"
    """With its charset where it has one."""
    headers: tuple[tuple[str, str], ...] = field(default=())
    """Beside the safe headers, which every response has."""


def read_request(scope: MutableMapping[str, Any], receive: Receive) -> Request:
    """The request of an ASGI scope. Raises Refused `bad_query`."""
    raw = scope["query_string"]
    if len(raw) > MAX_QUERY_BYTES:
        raise Refused(
            "bad_query", f"The query has {len(raw)} bytes.", fix=f"Keep it below {MAX_QUERY_BYTES}.", status=414
        )
    try:
        query = dict(parse_qsl(raw.decode("ascii"), keep_blank_values=True, max_num_fields=20))
    except ValueError as error:
        raise Refused("bad_query", "The query cannot be read.", fix="Encode it as a form does.") from error
    method = scope["method"]
    return Request(
        method="GET" if method == "HEAD" else method,
        path=scope["path"],
        query=query,
        headers={name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]},
        receive=receive,
    )


async def read_json(request: Request) -> dict[str, Any]:
    """The JSON object in the body. Raises Refused `too_large`, `too_slow`, `bad_json`."""
    data = await _read_body(request)
    try:
        value = json.loads(data, parse_constant=_no_constant)
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


async def send_response(send: Send, response: Response, *, with_body: bool) -> None:
    """Send `response`; a HEAD gets the headers of the GET without its body."""
    headers = [
        ("content-type", response.content_type),
        ("content-length", str(len(response.body))),
        *_SAFE_HEADERS,
        *response.headers,
    ]
    encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    await send({"type": "http.response.start", "status": response.status, "headers": encoded})
    await send({"type": "http.response.body", "body": response.body if with_body else b""})


async def send_stream(send: Send, response: StreamedResponse) -> None:
    """Send `response` piece by piece; `send` waits while the caller does not take, and so does what makes it."""
    headers = [("content-type", response.content_type), *_SAFE_HEADERS, *response.headers]
    encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    async with aclosing(response.chunks) as chunks:
        await send({"type": "http.response.start", "status": response.status, "headers": encoded})
        async for chunk in chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


async def _read_body(request: Request) -> bytes:
    declared = request.headers.get("content-length", "0")
    if not declared.isdecimal() or int(declared) > MAX_BODY_BYTES:
        # Who asks before sending, or has very much to send, hears it at once.
        if declared.isdecimal() and int(declared) <= MAX_DRAINED_BYTES and "expect" not in request.headers:
            await _drain(request)
        raise _too_large()
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            more = True
            while more:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise Refused("disconnected", "The connection ended before the request did.", status=400)
                body += message.get("body", b"")
                more = message.get("more_body", False)
                if len(body) > MAX_BODY_BYTES:
                    await _drain(request)
                    raise _too_large()
    except TimeoutError as error:
        raise Refused(
            "too_slow", f"The body did not come within {BODY_SECONDS:.0f} seconds.", fix="Send it again.", status=408
        ) from error
    return bytes(body)


async def _drain(request: Request) -> None:
    """Read what is a little too much and throw it away.

    Closing while the caller still sends makes its system reset the connection, and the caller never sees the answer.
    """
    drained = 0
    while drained < MAX_DRAINED_BYTES:
        try:
            message = await asyncio.wait_for(request.receive(), LINGER_SECONDS)
        except TimeoutError:
            return
        drained += len(message.get("body", b""))
        if not message.get("more_body", False):
            return


def _too_large() -> Refused:
    return Refused("too_large", "The body is larger than 1 MB.", fix="Send less at once.", status=413)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _extra_headers(error: BarayError) -> tuple[tuple[str, str], ...]:
    if error.headers:
        return tuple(error.headers.items())
    if error.status == 401:
        return (("www-authenticate", "Bearer"),)
    if error.status in {503, 408}:
        return (("retry-after", "1"), ("connection", "close"))
    return (("connection", "close"),) if error.status == 413 else ()
