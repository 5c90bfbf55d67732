"""A caller's HTTP/1.1 connection: requests are read by httptools, and answered one after the other.

Covered: a head that is slow, large or without end; a body that is too large or slow; what is ambiguous about where a
request ends (two lengths, a length beside chunks, a coding besides chunks, bare line feeds, folded headers: llhttp
refuses most, the rest is refused here), trailers that pose as headers, requests sent ahead of their answers, a caller
who sends on after a refusal or takes nothing of an answer. Not covered: many connections from one address; that is the
proxy's or the firewall's part.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import cast

import httptools

from baray.core import Fault
from baray.serve.router.incoming import MAX_DRAINED_BYTES, Incoming
from baray.serve.router.messages import Response, StreamedResponse, problem

MAX_HEAD_BYTES = 32 << 10
MAX_DRY_BYTES = 2 * MAX_HEAD_BYTES  # that begin no request and are of no body: its parser keeps a line until its end
MAX_REST_BYTES = 2 * MAX_DRAINED_BYTES  # of a body with its framing, whether somebody reads it or not
MAX_AHEAD = 128  # requests that are sent before the answers to those before them
NEVER = math.inf
_PHRASES = {status.value: status.phrase for status in HTTPStatus}
_SAFE_HEADERS = (
    "cache-control: no-store\r\n"
    "x-robots-tag: noindex, nofollow\r\n"
    "x-content-type-options: nosniff\r\n"
    "referrer-policy: no-referrer\r\n"
)
_NO_HTTP = Response(body=b"This is no request of HTTP.\n", status=400, content_type="text/plain; charset=utf-8")


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a connection is waited for, in seconds; kept to within a tick of the listener."""

    head: float = 10.0
    """For a whole head, from its first byte or from the connection's beginning."""
    idle: float = 5.0
    """For the next request."""
    discard: float = 10.0
    """For the rest of a request that was answered without it."""
    linger: float = 2.0
    """For the caller to hang up after the last answer of a connection."""
    stall: float = 120.0
    """For a caller who takes nothing of an answer."""


@dataclass(slots=True, kw_only=True)
class Shared:
    """What all connections of a process have in common."""

    respond: Callable[[Incoming], Awaitable[Response | StreamedResponse]]
    """Answers a request; raises nothing but its cancellation."""
    loop: asyncio.AbstractEventLoop
    """Of the process."""
    most: int
    """Connections beyond so many are answered 503."""
    patience: Patience = field(default_factory=Patience)
    """With callers."""
    date: str = ""
    """The header, as of this second."""
    leaving: bool = False
    """The process ends: each connection closes after its answer."""
    open: set[Connection] = field(default_factory=set)
    """Those that are not closed."""
    when_empty: Callable[[], None] | None = None
    """Called when the last of them closes."""


class Connection(asyncio.Protocol):
    """One connection. Deadlines are looked at by `expire`, which is called about once a second."""

    def __init__(self, shared: Shared) -> None:
        """Wait for a caller."""
        self._shared = shared
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport
        self._url = b""
        self._headers: dict[str, str] = {}
        self._head_bytes = 0
        self._in_head = False
        self._rest_bytes = 0
        self._dry_bytes = 0
        self._receiving: Incoming | None = None
        self._queue: deque[Incoming | None] = deque()  # None: what came then was not HTTP
        self._answering: Incoming | None = None
        self._task: asyncio.Task[None] | None = None
        self._deaf = False  # what still comes is thrown away
        self._held = False  # reading is paused
        self._drained: asyncio.Future[None] | None = None  # writing is paused until it is done
        self._crowded = False
        self._deadline = NEVER

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin: the clock for the first head runs."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by its type
        self._crowded = len(self._shared.open) >= self._shared.most
        self._shared.open.add(self)
        self._deadline = self._shared.loop.time() + self._shared.patience.head

    def connection_lost(self, _exc: Exception | None) -> None:
        """The caller is gone: whoever works for them hears of it."""
        self._shared.open.discard(self)
        if not self._shared.open and self._shared.when_empty is not None:
            self._shared.when_empty()
        self._deaf = True
        self._queue.clear()
        self._let_write()
        if self._answering is not None:
            self._answering.leave()

    def data_received(self, data: bytes) -> None:
        """Read what came; answer what is whole."""
        if self._deaf:
            return
        self._dry_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._deaf = True  # the request is answered as it is; what follows it is of a protocol that we have not
        except httptools.HttpParserError:
            self._spoil()
        if self._in_head or self._receiving is not None:
            self._weigh(len(data))
        if self._transport.is_closing():
            return  # it was too much: what nobody will hear is not worked for
        if self._answering is None:
            self._next()
        elif self._queue and not self._held:
            self._held = True
            self._transport.pause_reading()

    def pause_writing(self) -> None:
        """The caller does not take what is written."""
        self._drained = self._shared.loop.create_future()
        self._deadline = self._shared.loop.time() + self._shared.patience.stall

    def resume_writing(self) -> None:
        """The caller took it."""
        self._let_write()
        if self._answering is not None:
            self._deadline = NEVER

    # What the parser calls.

    def on_message_begin(self) -> None:
        """A head begins."""
        self._url, self._headers = b"", {}
        self._head_bytes = self._rest_bytes = self._dry_bytes = 0
        self._in_head = True
        if self._answering is None:
            self._deadline = self._shared.loop.time() + self._shared.patience.head

    def on_url(self, url: bytes) -> None:
        """A piece of the target."""
        self._url += url
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header. One that comes after the body names nothing."""
        self._count(len(name) + len(value))
        if self._in_head:
            self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """The head is whole. Raises what makes its parser stop where nobody could be sure what it means."""
        parser, headers = self._parser, self._headers
        version = parser.get_http_version()
        coding = headers.get("transfer-encoding")
        if version not in {"1.1", "1.0"} or (coding is not None and (version == "1.0" or coding.lower() != "chunked")):
            raise httptools.HttpParserError("a version or a coding that we have not")
        if len(self._queue) >= MAX_AHEAD:
            raise httptools.HttpParserError("too many requests ahead of their answers")
        self._in_head = False
        self._receiving = Incoming(
            method=parser.get_method().decode("ascii"),
            target=self._url,
            headers=headers,
            stays=version == "1.1" and parser.should_keep_alive() and not parser.should_upgrade(),
            modern=version == "1.1",
        )
        if version == "1.1" and headers.get("expect", "").lower() == "100-continue":
            self._receiving.invite = self._invite
        self._queue.append(self._receiving)

    def on_body(self, data: bytes) -> None:
        """A piece of a body."""
        assert self._receiving is not None
        self._dry_bytes = 0
        self._receiving.feed(data)

    def on_message_complete(self) -> None:
        """A request is whole."""
        assert self._receiving is not None
        self._receiving.end()
        if not self._receiving.stays:
            self._deaf = True
        self._receiving = None

    # What the listener calls.

    def expire(self, now: float) -> None:
        """Close if what is waited for has not come in time."""
        if now > self._deadline:
            self._transport.abort()

    def leave(self) -> None:
        """The process ends: close now, or after the answer that is being given."""
        if self._answering is None and not self._queue:
            self._transport.close()

    def cut(self) -> asyncio.Task[None] | None:
        """Time is up: the task that is cancelled, if any."""
        if self._task is not None:
            self._task.cancel()
        else:
            self._transport.abort()
        return self._task

    # Reading.

    def _count(self, number: int) -> None:
        self._head_bytes += number
        if self._head_bytes > MAX_HEAD_BYTES:
            self._deaf = True
            self._transport.abort()

    def _weigh(self, number: int) -> None:
        """Count what came of a request that has not ended: its parser tells nothing of a line before its end.

        What came with the request's own beginning or with a piece of its body is not counted as a line: it may be of
        those before it. So a line may be longer by what is read at once.
        """
        if not self._in_head:
            self._rest_bytes += number
        if self._dry_bytes > MAX_DRY_BYTES or self._rest_bytes > MAX_REST_BYTES:
            self._deaf = True
            self._transport.abort()

    def _spoil(self) -> None:
        """What came is not HTTP: nothing after it is read."""
        if self._deaf:
            return  # it came after the last request, or on a connection that is closed already
        self._deaf = True
        one = self._receiving
        if one is None:
            self._queue.append(None)
        elif one is self._answering:
            one.stays = False
            one.spoil()
        elif self._queue:
            self._queue[-1] = None  # that is the one: nobody has begun to answer it
        else:
            self._close(whole=True)  # it was answered before

    def _let_write(self) -> None:
        if self._drained is not None and not self._drained.done():  # it is where who waited was cut
            self._drained.set_result(None)
        self._drained = None

    def _invite(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    # Answering.

    def _next(self) -> None:
        """Answer the next request that is waiting, or wait for one."""
        if not self._queue:
            return
        one = self._queue.popleft()
        if one is None:
            self._write(_NO_HTTP, None)
            self._close(whole=False)
            return
        self._answering, self._deadline = one, NEVER
        self._task = self._shared.loop.create_task(self._answer(one))

    async def _answer(self, one: Incoming) -> None:
        """Answer a request, then go on to the next."""
        finished = False
        try:
            response = _busy() if self._crowded else await self._shared.respond(one)
            if one.invite is not None and not one.complete:
                one.stays = False  # nobody told the caller to go on: what comes next may be the body or another request
            if isinstance(response, Response):
                self._write(response, one)
            else:
                await self._stream(response, one)
            if self._drained is not None:
                await self._drained
            finished = True
        finally:
            self._answering = self._task = None
            if finished:
                self._go_on(one)
            else:
                self._transport.abort()

    def _go_on(self, one: Incoming) -> None:
        """What comes after an answer."""
        if one.gone:
            return
        if not one.stays or one.broken or self._shared.leaving:
            self._close(whole=one.complete)
            return
        if self._held and len(self._queue) <= 1:
            self._held = False
            self._transport.resume_reading()
        if self._queue:
            self._next()
            return
        now = self._shared.loop.time()
        if not one.complete:
            self._deadline = now + self._shared.patience.discard
        else:
            self._deadline = now + (self._shared.patience.head if self._in_head else self._shared.patience.idle)

    def _close(self, *, whole: bool) -> None:
        """End the connection. A caller who may still be sending first hears the answer: closing at once would reset it."""
        self._deaf = True
        now = self._shared.loop.time()
        if whole or not self._transport.can_write_eof():
            self._deadline = now + self._shared.patience.stall
            self._transport.close()
            return
        if self._held:
            self._held = False
            self._transport.resume_reading()
        self._transport.write_eof()
        self._deadline = now + self._shared.patience.linger

    def _write(self, response: Response, one: Incoming | None) -> None:
        """Send a whole response; a HEAD gets the headers of the GET without its body."""
        if self._transport.is_closing():
            return
        body = response.body
        head = self._head(response, one, f"content-length: {len(body)}\r\n")
        self._transport.write(head if one is not None and one.method == "HEAD" else head + body)

    async def _stream(self, response: StreamedResponse, one: Incoming) -> None:
        """Send a response piece by piece; while the caller does not take, what makes it waits."""
        transport, frame = self._transport, one.modern  # of HTTP/1.0 the connection's end is the answer's
        try:
            async with aclosing(response.chunks) as chunks:
                if not one.gone:
                    transport.write(self._head(response, one, "transfer-encoding: chunked\r\n" if frame else ""))
                async for chunk in chunks:
                    if one.gone:
                        return
                    transport.write(b"%x\r\n%b\r\n" % (len(chunk), chunk) if frame else chunk)
                    if self._drained is not None:
                        await self._drained
                if frame and not one.gone:
                    transport.write(b"0\r\n\r\n")
        finally:
            response.end()

    def _head(self, response: Response | StreamedResponse, one: Incoming | None, framing: str) -> bytes:
        """The response's head. Decides whether the connection stays: see `stays` of the request."""
        more = "".join([f"{name}: {value}\r\n" for name, value in response.headers]) if response.headers else ""
        if one is None or not one.stays or self._shared.leaving:
            more += "" if "connection: close" in more else "connection: close\r\n"
        elif "connection: close" in more:
            one.stays = False
        return (
            f"HTTP/1.1 {response.status} {_PHRASES.get(response.status, '')}\r\n{self._shared.date}"
            f"content-type: {response.content_type}\r\n{framing}{_SAFE_HEADERS}{more}\r\n"
        ).encode("latin-1")


def _busy() -> Response:
    return problem(Fault("busy", "Too many connections at once.", fix="Ask again in a second.", status=503))
