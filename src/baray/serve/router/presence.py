"""Noticing that a caller hangs up while something is awaited for them."""

from __future__ import annotations

import asyncio
from types import TracebackType

from baray.core import Refused
from baray.serve.router.messages import Request


class Presence:
    """A block that ends with Refused `disconnected` when the caller hangs up: what it awaits is cancelled.

    One task watches; the block itself runs in the caller's own, as under `asyncio.timeout`. The request's body must have
    been read: what is received here is thrown away.
    """

    def __init__(self, request: Request) -> None:
        """Watch the connection of `request`."""
        self._request = request
        self._watch: asyncio.Task[None] | None = None
        self._task: asyncio.Task[object] | None = None
        self._left = False

    async def __aenter__(self) -> None:
        """Begin to watch."""
        self._task = asyncio.current_task()
        self._watch = asyncio.ensure_future(until_gone(self._request))
        self._watch.add_done_callback(self._leave)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End watching. Raises Refused `disconnected` where that is why the block was cancelled."""
        assert self._task is not None
        assert self._watch is not None
        self._watch.remove_done_callback(self._leave)
        self._watch.cancel()
        if self._left and self._task.uncancel() == 0 and kind is asyncio.CancelledError:
            raise Refused(
                "disconnected", "The connection ended before the answer.", fix="Ask again.", status=499
            ) from error

    def _leave(self, _watch: asyncio.Task[None]) -> None:
        assert self._task is not None
        self._left = True
        self._task.cancel()


async def until_gone(request: Request) -> None:
    """Wait until the caller has hung up."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
