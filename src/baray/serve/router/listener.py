"""All callers' connections of a process: accepted, limited, timed, and let go in the end."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from email.utils import formatdate

from baray.core import Clock
from baray.serve.router.connection import Connection, Patience, Shared
from baray.serve.router.incoming import Incoming
from baray.serve.router.messages import Response, StreamedResponse

TICK_SECONDS = 0.5
BACKLOG = 1024


class Listener:
    """Answers what comes on a listening socket. Made in the loop that it runs in."""

    def __init__(
        self,
        respond: Callable[[Incoming], Awaitable[Response | StreamedResponse]],
        *,
        most: int,
        clock: Clock,
        patience: Patience | None = None,
    ) -> None:
        """Answer with `respond`, `most` connections at once."""
        self._clock = clock
        loop = asyncio.get_running_loop()
        self._shared = Shared(respond=respond, loop=loop, most=most, patience=patience or Patience())
        self._server: asyncio.Server | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def open(self, listener: socket.socket) -> None:
        """Accept from now on."""
        self._tick()
        shared = self._shared
        self._server = await shared.loop.create_server(lambda: Connection(shared), sock=listener, backlog=BACKLOG)

    async def drain(self, seconds: float, hurry: asyncio.Event) -> None:
        """Accept no more, wait for the answers that are being given until `seconds` are over or `hurry`, cut the rest."""
        assert self._server is not None
        self._server.close()
        shared = self._shared
        shared.leaving = True
        for one in list(shared.open):
            one.leave()
        shared.loop.call_later(seconds, hurry.set)
        shared.when_empty = hurry.set
        if shared.open:
            await hurry.wait()
        tasks = [task for one in list(shared.open) if (task := one.cut()) is not None]
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._timer is not None:
            self._timer.cancel()

    def _tick(self) -> None:
        """Set the date, and look at the deadlines."""
        shared = self._shared
        shared.date = f"date: {formatdate(self._clock.now(), usegmt=True)}\r\n"
        now = shared.loop.time()
        for one in list(shared.open):
            one.expire(now)
        self._timer = shared.loop.call_later(TICK_SECONDS, self._tick)
