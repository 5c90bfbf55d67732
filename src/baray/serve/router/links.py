"""Connections to Replicas: HTTP/1.1 over unix sockets, one request at a time on each, read by httptools.

What a Replica says is not trusted: a head without end, a length that is none, fewer bytes than were promised or more
than were asked for end the connection. What is not covered: a Replica that lies about what it computed.
"""

from __future__ import annotations

import asyncio
import math
from typing import cast

import httptools

from baray.core import Fault

CONNECT_SECONDS = 2.0
CONNECT_AGAIN_SECONDS = 0.005
FIRST_BYTE_SECONDS = 300.0
BETWEEN_BYTES_SECONDS = 60.0
IDLE_SECONDS = 30.0
SWEEP_SECONDS = 1.0
MAX_HEAD_BYTES = 32 << 10
MAX_AHEAD_BYTES = 64 << 10  # read from a Replica before the caller took what came before
_NEVER = math.inf


class LinkLostError(Fault):
    """The Replica ended, or what it says is not HTTP."""

    def __init__(self) -> None:
        """Say so."""
        super().__init__("replica_lost", "The replica ended in the middle.", fix="Ask again in a second.", status=502)


class Link(asyncio.Protocol):
    """One connection to a Replica."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Not connected yet."""
        self._loop = loop
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport
        self._pieces: list[bytes] = []
        self._ahead = 0
        self._came = 0
        self._dry = 0  # bytes since the last piece of a body: a head, trailers, what stands beside chunks
        self._most = 0  # the whole body is collected up to so many bytes; 0: piece by piece
        self._ends = False  # a length or chunks say where the body ends; else the connection's end does
        self._complete = True
        self._told = False
        self._stays = True
        self._paused = False
        self._lost: Fault | None = None
        self._waiter: asyncio.Future[None] | None = None
        self.status = 0
        """Of the response, once its head has come."""
        self.headers: dict[str, str] = {}
        """Of the response, lower-case names."""
        self.deadline = _NEVER
        """When something has to have come, on the loop's clock; of an idle link when it is closed."""

    @property
    def reusable(self) -> bool:
        """Whether another request may be sent on it: the answer was well, and is read."""
        return self._complete and self._stays and self._lost is None and not self._pieces and not self._paused

    @property
    def silent(self) -> bool:
        """Whether no byte of an answer has come yet."""
        return not self._came

    def send(self, path: str, body: bytes, *, request_id: str, most: int) -> None:
        """Send a request; `most` > 0: the answer is wanted whole and has no more bytes, 0: piece by piece."""
        self._pieces, self._ahead, self._came, self._dry, self._most = [], 0, 0, 0, most
        self._complete = self._told = self._ends = False
        self.status, self.headers = 0, {}
        self.deadline = self._loop.time() + FIRST_BYTE_SECONDS
        head = (
            f"POST {path} HTTP/1.1\r\nHost: replica\r\nContent-Type: application/json\r\n"
            f"X-Request-Id: {request_id}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self._transport.write(head.encode("ascii") + body)

    async def answered(self) -> None:
        """Wait for the head, or for all if it was asked for whole. Raises LinkLostError, Fault `replica_slow`."""
        while not (self._complete or (self._told and not self._most)):
            await self._more()

    async def read(self) -> bytes:
        """The next piece of the body, as much as has come; empty at its end. Raises as `answered`."""
        while not self._pieces and not self._complete:
            await self._more()
        data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces, self._ahead = [], 0
        if self._paused:
            self._paused = False
            self.deadline = self._loop.time() + BETWEEN_BYTES_SECONDS
            self._transport.resume_reading()
        return data

    def close(self) -> None:
        """Hang up: the Replica stops its work, and who waits here is told that the link is lost."""
        self._fail(LinkLostError())

    def expire(self, now: float) -> None:
        """Give up if what is waited for has not come in time."""
        if now > self.deadline:
            slow = f"No answer within {FIRST_BYTE_SECONDS:.0f} seconds."
            self._fail(LinkLostError() if self._told else Fault("replica_slow", slow, fix="Ask for less.", status=504))

    # What the transport and the parser call.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is connected."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by its type

    def connection_lost(self, exc: Exception | None) -> None:
        """It is not any more: the end of a body whose end nothing else tells, or of a Replica."""
        if self._told and not self._ends and exc is None and self._lost is None:
            self._complete, self._stays = True, False
            self._wake()
        else:
            self._fail(LinkLostError())

    def data_received(self, data: bytes) -> None:
        """Read what came."""
        if self._lost is not None:
            return
        if self._complete:
            self._fail(LinkLostError())  # nobody asked
            return
        self.deadline = self._loop.time() + BETWEEN_BYTES_SECONDS
        self._came += len(data)
        self._dry += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail(LinkLostError())
        if self._dry > MAX_HEAD_BYTES:
            self._fail(LinkLostError())

    def on_message_begin(self) -> None:
        """A head begins. Raises if it is that of a second response."""
        if self._complete:
            raise httptools.HttpParserError("a response that nobody asked for")

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; one that comes after the body names nothing."""
        if not self._told:
            self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """The head is whole. Raises on a response that is not the last of its request."""
        self.status = self._parser.get_status_code()
        if self.status < 200:
            raise httptools.HttpParserError("a response that nobody asked for")
        self._told = True
        self._stays = self._parser.should_keep_alive()
        self._ends = "content-length" in self.headers or "transfer-encoding" in self.headers
        if not self._most:
            self._wake()

    def on_body(self, data: bytes) -> None:
        """A piece of the body."""
        self._pieces.append(data)
        self._ahead += len(data)
        self._dry = 0
        if self._most:
            if self._ahead > self._most:
                self._fail(LinkLostError())
            return
        if self._ahead > MAX_AHEAD_BYTES and not self._paused:
            self._paused = True
            self.deadline = _NEVER  # it is the caller who is waited for
            self._transport.pause_reading()
        self._wake()

    def on_message_complete(self) -> None:
        """The response is whole."""
        if self._lost is not None:
            return
        self._complete = True
        self.deadline = _NEVER
        self._wake()

    async def _more(self) -> None:
        """Wait for something to come. Raises what ended the link."""
        if self._lost is not None:
            raise self._lost
        self._waiter = self._loop.create_future()
        await self._waiter

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, fault: Fault) -> None:
        if self._lost is None:
            self._lost = fault
            self._transport.abort()
            self._wake()
