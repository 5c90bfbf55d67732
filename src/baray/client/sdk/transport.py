"""One keep-alive HTTP connection to a server, with typed errors and patience.

Errors a caller may meet:

BarayError
├── Refused          the server said 4xx: `code`, message and `fix` come from its problem document
│   └── Missing      404, also a NotFound
├── Fault            the server said 5xx
│   └── Unreachable  nobody answered at the address
└── StateUnknown     the connection broke after a request was sent that must not be repeated

A request is repeated only when the caller says that repeating it is harmless (`repeatable`) or when it never left
this machine. Between tries the address is looked up again, so that a server that came back on another port is found.
"""

from __future__ import annotations

import http.client
import json
import socket
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from baray.core import BarayError, Clock, Fault, NotFound, Refused, StateUnknown, SystemClock

Json = dict[str, Any]
T = TypeVar("T")

_CHUNK_BYTES = 1 << 18
_TRY_AGAIN_STATUS = frozenset({502, 503, 504})
_MAX_PROBLEM_BYTES = 1 << 20


class Missing(NotFound):
    """A 404 with the words of the server."""

    def __init__(self, code: str, message: str, *, fix: str = "") -> None:
        """Take code, message and fix from the problem document."""
        BarayError.__init__(self, code, message, fix=fix, status=404)


class Unreachable(Fault):
    """Nobody answers at the address."""

    def __init__(self, url: str, reason: str) -> None:
        """Name the address and what the network said."""
        super().__init__(
            "unreachable",
            f"No Baray server answers at {url} ({reason}).",
            fix="Start one with `baray up`, or set BARAY_SERVER to the address of a running one.",
            status=503,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """What tells the time and what waits."""

    clock: Clock = field(default_factory=SystemClock)
    """Told time."""
    sleep: Callable[[float], None] = time.sleep
    """Waits for that many seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where a server is and who asks."""

    url: str
    """`http://127.0.0.1:8642`, without a path."""
    token: str = field(default="", repr=False)
    """`bry_...`; empty for an anonymous caller."""
    router_url: str = ""
    """Address of the router; empty when not known."""
    seen: bool = False
    """Whether whoever found it saw a server answer there: then silence means that it is restarting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request; `path` starts with '/'."""

    method: str
    """GET, POST, PUT or DELETE."""
    path: str
    """Path below the address, already quoted."""
    query: Mapping[str, object] = field(default_factory=dict)
    """Query; None values are left out."""
    body: Json | None = None
    """JSON body."""
    file: Path | None = None
    """A file to send as the body, in pieces. Where the connection breaks, its sender has to look how far it came."""
    start: int = 0
    """From which byte of it."""
    repeatable: bool = False
    """Whether sending it twice is harmless."""


class Http:
    """A connection that is opened when needed and kept."""

    def __init__(
        self,
        find: Callable[[], Endpoint],
        *,
        timing: Timing,
        patience_seconds: float = 10.0,
        timeout_seconds: float = 120.0,
        language: str = "en",
    ) -> None:
        """Ask `find` for the address, again after each failure; give up `patience_seconds` after the first one."""
        self._find = find
        self._timing = timing
        self._patience_seconds = patience_seconds
        self._timeout_seconds = timeout_seconds
        self._language = language
        self._endpoint: Endpoint | None = None
        self._connection: http.client.HTTPConnection | None = None
        self._answered = False
        self._broken_off = False

    @property
    def endpoint(self) -> Endpoint:
        """Where the requests go."""
        if self._endpoint is None:
            self._endpoint = self._find()
            self._answered = self._answered or self._endpoint.seen
        return self._endpoint

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def abort(self) -> None:
        """Break off what another thread is sending or waiting for on this connection; none is opened any more."""
        self._broken_off = True
        connection = self._connection
        sock = connection.sock if connection is not None else None
        if sock is not None:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                return  # it is closed already

    def json(self, request: Request) -> Json:
        """Send `request` and return the JSON object of the response (`{}` for an empty one)."""
        data = self.read(request)
        document: Json = json.loads(data) if data else {}
        return document

    def read(self, request: Request) -> bytes:
        """Send `request` and return the body of the response."""
        return self._persist(request, self._read_once)

    def pieces(self, request: Request) -> Iterator[bytes]:
        """Send `request` and yield the response's body as it comes (not repeated once the first piece came)."""
        response = self._persist(request, self._send_once)
        while piece := self._piece(request, response):
            yield piece

    def _piece(self, request: Request, response: http.client.HTTPResponse) -> bytes:
        try:
            return response.read1(_CHUNK_BYTES)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise _unknown(request, error) from error

    def _read_once(self, request: Request) -> bytes:
        response = self._send_once(request)
        try:
            return response.read()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise _CutError(self.endpoint.url, f"{type(error).__name__}: {error}") from error

    def _persist(self, request: Request, attempt: Callable[[Request], T]) -> T:
        started = self._timing.clock.monotonic()
        pause_seconds = 0.1
        while True:
            try:
                return attempt(request)
            except (Unreachable, _BusyError, _CutError) as error:
                waited = self._timing.clock.monotonic() - started
                if isinstance(error, _CutError) and (request.file is not None or not request.repeatable):
                    raise _unknown(request, error) from error
                busy_once = isinstance(error, _BusyError) and not request.repeatable
                if busy_once or waited > self._patience():
                    raise error.as_baray() if isinstance(error, _BusyError | _CutError) else error from error
            self.close()
            self._timing.sleep(pause_seconds)
            pause_seconds = min(2.0, pause_seconds * 1.6)
            self._endpoint = None  # it may have come back on another port

    def _patience(self) -> float:
        # An address that never answered is more likely wrong than restarting.
        return self._patience_seconds if self._answered else min(1.0, self._patience_seconds)

    def _send_once(self, request: Request) -> http.client.HTTPResponse:
        endpoint = self.endpoint
        if self._broken_off:
            raise Unreachable(endpoint.url, "broken off here")
        connection, fresh = self._connect(endpoint)
        try:
            self._write(connection, endpoint, request)
            response = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            # A kept connection that the server closed meanwhile fails at once and never carried the request.
            if not fresh and isinstance(error, http.client.RemoteDisconnected | BrokenPipeError | ConnectionResetError):
                return self._send_once(request)
            raise _CutError(endpoint.url, f"{type(error).__name__}: {error}") from error
        self._answered = True
        if response.status < 400:
            return response
        problem = response.read(_MAX_PROBLEM_BYTES)
        if response.status in _TRY_AGAIN_STATUS:
            raise _BusyError(to_error(response.status, problem))
        raise to_error(response.status, problem)

    def _connect(self, endpoint: Endpoint) -> tuple[http.client.HTTPConnection, bool]:
        if self._connection is not None:
            return self._connection, False
        address = urllib.parse.urlsplit(endpoint.url)
        if address.scheme not in {"http", "https"} or not address.hostname:
            raise Refused(
                "bad_server",
                f"'{endpoint.url}' is not the address of a server.",
                fix="Write it like http://127.0.0.1:8642.",
            )
        kind = http.client.HTTPSConnection if address.scheme == "https" else http.client.HTTPConnection
        connection = kind(address.hostname, address.port, timeout=self._timeout_seconds)
        try:
            connection.connect()
        except OSError as error:
            raise Unreachable(endpoint.url, error.strerror or str(error)) from error
        self._connection = connection
        return connection, True

    def _write(self, connection: http.client.HTTPConnection, endpoint: Endpoint, request: Request) -> None:
        query = {name: str(value) for name, value in request.query.items() if value is not None}
        base = urllib.parse.urlsplit(endpoint.url).path.rstrip("/")
        target = base + request.path + ("?" + urllib.parse.urlencode(query) if query else "")
        headers = {"Accept": "application/json", "Accept-Language": self._language}
        if endpoint.token:
            headers["Authorization"] = f"Bearer {endpoint.token}"
        if request.file is not None:
            headers["Content-Type"] = "application/octet-stream"
            headers["Content-Length"] = str(request.file.stat().st_size - request.start)
            with request.file.open("rb") as file:
                file.seek(request.start)
                connection.request(request.method, target, body=file, headers=headers)
            return
        body = None
        if request.body is not None:
            headers["Content-Type"] = "application/json"
            body = json.dumps(request.body, ensure_ascii=False).encode()
        connection.request(request.method, target, body=body, headers=headers)


class _CutError(Exception):
    """The connection broke after the request was begun."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(reason)
        self.url = url

    def as_baray(self) -> BarayError:
        return Unreachable(self.url, str(self))


class _BusyError(Exception):
    """The server says "not now"."""

    def __init__(self, error: BarayError) -> None:
        super().__init__(error.message)
        self.error = error

    def as_baray(self) -> BarayError:
        return self.error


def _unknown(request: Request, error: Exception) -> StateUnknown:
    return StateUnknown(
        "state_unknown",
        f"The connection broke during {request.method} {request.path} ({error}): it may or may not have happened.",
        fix="Look before you repeat it, for example with `baray run list`.",
    )


def to_error(status: int, body: bytes) -> BarayError:
    """The typed error of a response: RFC 9457 problem document, OpenAI's error shape, or plain text."""
    problem = _problem(body)
    code = str(problem.get("code") or f"http_{status}")
    detail = str(
        problem.get("detail") or problem.get("message") or problem.get("title") or f"The server said {status}."
    )
    fix = str(problem.get("fix") or "")
    if status == 404:
        return Missing(code, detail, fix=fix)
    if status < 500:
        return Refused(code, detail, fix=fix, status=status)
    return Fault(code, detail, fix=fix, status=status)


def _problem(body: bytes) -> Json:
    try:
        value = json.loads(body)
    except ValueError:
        return {"detail": body.decode(errors="replace").strip()[:500]}
    if isinstance(value, dict):
        inner = value.get("error")
        return inner if isinstance(inner, dict) else value
    return {}
