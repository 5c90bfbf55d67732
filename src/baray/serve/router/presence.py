"""Noticing that a caller hangs up while something is awaited for them."""

from __future__ import annotations

import asyncio
from types import TracebackType

from baray.core import Refused
from baray.serve.router.incoming import Incoming


class Presence:
    """A block that ends with Refused `disconnected` when the caller hangs up: what it awaits is cancelled.

    The block runs in the caller's own task, as under `asyncio.timeout`.
    """

    __slots__ = ("_incoming", "_left", "_task")

    def __init__(self, incoming: Incoming) -> None:
        """Watch the connection of `incoming`."""
        self._incoming = incoming
        self._task: asyncio.Task[object] | None = None
        self._left = False

    def __enter__(self) -> None:
        """Begin to watch. Raises Refused `disconnected` if the caller has gone already."""
        if self._incoming.gone:
            raise _disconnected()
        self._task = asyncio.current_task()
        self._incoming.when_gone(self._leave)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End watching. Raises Refused `disconnected` where that is why the block was cancelled."""
        self._incoming.when_gone(None)
        if self._left:
            assert self._task is not None
            if self._task.uncancel() == 0 and kind is asyncio.CancelledError:
                raise _disconnected() from error

    def _leave(self) -> None:
        assert self._task is not None
        self._left = True
        self._task.cancel()


def _disconnected() -> Refused:
    return Refused("disconnected", "The connection ended before the answer.", fix="Ask again.", status=499)
