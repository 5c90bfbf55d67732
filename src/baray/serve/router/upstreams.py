"""Requests to Replicas: pooled connections over unix sockets, the least busy Replica first.

A Replica speaks HTTP in OpenAI's shapes. A request is sent to another one only while no byte of an answer has come:
asking a model again is safe then, as nobody has seen anything of it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass

from baray.core import Fault
from baray.serve.router.links import (
    CONNECT_AGAIN_SECONDS,
    CONNECT_SECONDS,
    IDLE_SECONDS,
    SWEEP_SECONDS,
    Link,
    LinkLostError,
)

_TRY_ANOTHER = 503  # a Replica that drains, or has no slot and no place in its queue


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """One process of a Service that takes requests."""

    id: str
    """The Run that it is, `r_...`."""
    socket: str
    """Path of its unix socket."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replicas:
    """What answers for a model Service whose engine runs outside the router."""

    engine: str
    """`torch`, `llamacpp` or `vllm`."""
    context_tokens: int
    """Prompt and completion together may have so many."""
    ready: tuple[Replica, ...]
    """Those that were found healthy; empty while the Service is scaled to zero or starts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """What a Replica is asked."""

    path: str
    """Of the Replica's route."""
    body: bytes
    """JSON."""
    request_id: str
    """The Answer's id."""
    most_bytes: int
    """Of an answer that is wanted whole; 0 for one that is read piece by piece."""


class NobodyThereError(Fault):
    """No Replica could be reached: nothing was sent, so that it may wait for others."""

    def __init__(self, num: int) -> None:
        """Say how many were tried."""
        super().__init__(
            "replica_lost",
            f"None of {num} replicas took the request.",
            fix="Ask again in a second; see baray service logs NAME.",
            status=502,
        )


class Pool:
    """Connections to Replicas. Used from one event loop."""

    def __init__(self) -> None:
        """Open nothing yet."""
        self._idle: dict[str, list[Link]] = {}
        self._busy: dict[Link, str] = {}
        self._loads: Counter[str] = Counter()
        self._sweep: asyncio.TimerHandle | None = None

    async def ask(self, replicas: Replicas, errand: Errand) -> Link:
        """The answer, or its head, of the first Replica that takes the errand. `let_go` has to be called in the end.

        Raises Fault `replica_lost` (502) when every Replica was tried, as NobodyThereError if none of them was reached;
        `replica_slow` (504).
        """
        left, reached = list(replicas.ready), False
        while left:
            replica = left[0] if len(left) == 1 else min(left, key=lambda one: self._loads[one.socket])
            left.remove(replica)
            link = None
            self._loads[replica.socket] += 1  # before it is connected: who comes meanwhile goes to another
            try:
                link = await self._sent(replica.socket, errand, last=not left)
                reached = True
            except OSError:
                continue  # nobody listens there any more
            except LinkLostError:
                reached = True
                continue
            finally:
                if link is None:
                    self._unload(replica.socket)
            if link is not None:
                return link
        raise LinkLostError if reached else NobodyThereError(len(replicas.ready))

    def let_go(self, link: Link) -> None:
        """The answer was taken, or is wanted no more: then the Replica is told by hanging up, and stops its work."""
        socket = self._busy.pop(link)
        self._unload(socket)
        if link.reusable:
            link.deadline = asyncio.get_running_loop().time() + IDLE_SECONDS
            self._idle.setdefault(socket, []).append(link)
        else:
            link.close()

    def keep(self, sockets: set[str]) -> None:
        """Close the connections to Replicas that are not among `sockets` and have nothing to do."""
        for socket in [one for one in self._idle if one not in sockets]:
            for link in self._idle.pop(socket):
                link.close()

    def close(self) -> None:
        """Close all connections."""
        if self._sweep is not None:
            self._sweep.cancel()
        self.keep(set())
        for link in self._busy:
            link.close()

    async def _sent(self, socket: str, errand: Errand, *, last: bool) -> Link | None:
        """A link with its answer, or its head; None if that Replica sends on to another one, where there is one.

        Raises OSError where nobody listens, LinkLostError, Fault `replica_slow`.
        """
        link = self._resting(socket)
        if link is not None:
            try:
                return await self._carried(link, socket, errand, last=last)
            except LinkLostError:
                if not link.silent:
                    raise
        # A connection that rested may have been closed just when it was used again: a fresh one tells.
        try:
            fresh = await self._connect(socket)
        except OSError as error:
            if link is None:
                raise
            raise LinkLostError from error  # it was there a moment ago, and may have begun
        return await self._carried(fresh, socket, errand, last=last)

    async def _carried(self, link: Link, socket: str, errand: Errand, *, last: bool) -> Link | None:
        """The link, once the answer or its head is there; None as of `_sent`."""
        taken = False
        self._busy[link] = socket
        try:
            link.send(errand.path, errand.body, request_id=errand.request_id, most=errand.most_bytes)
            await link.answered()
            taken = last or link.status != _TRY_ANOTHER
            return link if taken else None
        finally:
            if not taken:
                del self._busy[link]
                link.close()

    def _resting(self, socket: str) -> Link | None:
        """A connection that is open and has nothing to do."""
        links = self._idle.get(socket)
        while links:
            link = links.pop()
            if link.reusable:
                return link
        return None

    async def _connect(self, socket: str) -> Link:
        """A fresh connection. A full queue of who wants to connect is waited for. Raises OSError."""
        loop = asyncio.get_running_loop()
        if self._sweep is None:
            self._sweep = loop.call_later(SWEEP_SECONDS, self._expire, loop)
        end = loop.time() + CONNECT_SECONDS
        while True:
            try:
                return (await loop.create_unix_connection(lambda: Link(loop), socket))[1]
            except BlockingIOError:
                if loop.time() > end:
                    raise
                await asyncio.sleep(CONNECT_AGAIN_SECONDS)

    def _expire(self, loop: asyncio.AbstractEventLoop) -> None:
        """Close what rested long, give up what is waited for too long."""
        now = loop.time()
        for link in [*self._busy, *(link for links in self._idle.values() for link in links)]:
            link.expire(now)
        for socket, links in list(self._idle.items()):
            self._idle[socket] = [link for link in links if link.reusable]
        self._sweep = loop.call_later(SWEEP_SECONDS, self._expire, loop)

    def _unload(self, socket: str) -> None:
        self._loads[socket] -= 1
        if not self._loads[socket]:
            del self._loads[socket]
