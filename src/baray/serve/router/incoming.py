"""A request as it comes in: its head at once, its body as far as it has come, and whether its caller is still there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from baray.core import Refused

MAX_BODY_BYTES = 1 << 20
MAX_DRAINED_BYTES = 8 << 20  # read and thrown away, so that who sends a little too much hears why
LINGER_SECONDS = 1.0  # the longest pause in what is thrown away
BODY_SECONDS = 10.0


class Incoming:
    """One request of a connection, which fills it while its handler may already run."""

    __slots__ = (
        "_body",
        "_on_gone",
        "_waiter",
        "broken",
        "complete",
        "gone",
        "headers",
        "invite",
        "method",
        "modern",
        "received",
        "stays",
        "target",
    )

    def __init__(self, *, method: str, target: bytes, headers: dict[str, str], stays: bool, modern: bool) -> None:
        """A request whose head has come; `stays`: the connection may carry another one; `modern`: HTTP/1.1, not 1.0."""
        self.method = method
        self.target = target
        self.headers = headers
        self.stays = stays
        self.modern = modern
        self.invite: Callable[[], None] | None = None
        """Called once before the body is waited for: tells a caller who asked for it to go on. None then, and for others."""
        self.received = 0
        self.complete = False
        """The body has come to its end."""
        self.broken = False
        """What came is not HTTP: the body has no end."""
        self.gone = False
        """The caller has hung up."""
        self._body = bytearray()
        self._waiter: asyncio.Future[None] | None = None
        self._on_gone: Callable[[], None] | None = None

    async def body(self) -> bytes:
        """The whole body. Raises Refused `too_large`, `too_slow`, `disconnected`, `bad_request`."""
        if not self.complete or self.received > MAX_BODY_BYTES:
            await self._rest()
        return bytes(self._body)

    def when_gone(self, call: Callable[[], None] | None) -> None:
        """Have `call` called once when the caller hangs up; None takes it back."""
        self._on_gone = call

    def feed(self, data: bytes) -> None:
        """A piece of the body has come. What is more than a body may have is counted and thrown away."""
        self.received += len(data)
        if self.received <= MAX_BODY_BYTES:
            self._body += data
        self._wake()

    def end(self) -> None:
        """The last piece has come."""
        self.complete = True
        self._wake()

    def leave(self) -> None:
        """The caller has hung up."""
        self.gone = True
        self._wake()
        if self._on_gone is not None:
            self._on_gone()

    def spoil(self) -> None:
        """What came is not HTTP."""
        self.broken = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _rest(self) -> None:
        declared = int(self.headers.get("content-length", "0"))
        if declared > MAX_BODY_BYTES:
            # Who asks before sending, or has very much to send, hears it at once.
            if declared <= MAX_DRAINED_BYTES and "expect" not in self.headers:
                await self._drain()
            raise _too_large()
        if self.invite is not None:
            self.invite()
            self.invite = None
        try:
            async with asyncio.timeout(BODY_SECONDS):
                while not self.complete and self.received <= MAX_BODY_BYTES:
                    await self._more()
                if self.received > MAX_BODY_BYTES:
                    await self._drain()
                    raise _too_large()
        except TimeoutError as error:
            raise Refused(
                "too_slow",
                f"The body did not come within {BODY_SECONDS:.0f} seconds.",
                fix="Send it again.",
                status=408,
            ) from error

    async def _more(self) -> None:
        """Wait for a piece. Raises Refused when none can come."""
        if self.gone:
            raise Refused("disconnected", "The connection ended before the request did.", status=400)
        if self.broken:
            raise Refused("bad_request", "The body is not framed as HTTP has it.", fix="Send it with a length.")
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter

    async def _drain(self) -> None:
        """Read what is a little too much and throw it away.

        Closing while the caller still sends makes its system reset the connection, and the caller never sees the answer.
        """
        while self.received < MAX_DRAINED_BYTES and not self.complete:
            try:
                await asyncio.wait_for(self._more(), LINGER_SECONDS)
            except TimeoutError:
                return


def _too_large() -> Refused:
    return Refused("too_large", "The body is larger than 1 MB.", fix="Send less at once.", status=413)
