"""Requests to Replicas: pooled connections over unix sockets, the least busy Replica first.

A Replica speaks HTTP in OpenAI's shapes. A request is sent to another one only while no byte of an answer has come:
asking a model again is safe then, as nobody has seen anything of it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp

from baray.core import Fault

CONNECT_SECONDS = 2.0
FIRST_BYTE_SECONDS = 300.0
BETWEEN_BYTES_SECONDS = 60.0
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
        self._sessions: dict[str, aiohttp.ClientSession] = {}
        self._busy: Counter[str] = Counter()

    @asynccontextmanager
    async def ask(
        self, replicas: Replicas, path: str, body: bytes, *, request_id: str
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The head of the first Replica's response that takes the request; its body is read by the caller.

        Raises Fault `replica_lost` (502) when every Replica was tried, as NobodyThereError if none of them was reached;
        `replica_slow` (504).
        """
        tried: set[str] = set()
        reached = False
        while True:
            left = [one for one in replicas.ready if one.id not in tried]
            if not left and reached:
                raise Fault(
                    "replica_lost", "The replica ended in the middle.", fix="Ask again in a second.", status=502
                )
            if not left:
                raise NobodyThereError(len(replicas.ready))
            replica = min(left, key=lambda one: self._busy[one.socket])
            tried.add(replica.id)
            self._busy[replica.socket] += 1
            try:
                try:
                    response = await self._send(replica, path, body, request_id)
                except aiohttp.ClientConnectorError:
                    continue  # nobody listens there any more
                reached = True
                if response is None or (response.status == _TRY_ANOTHER and len(left) > 1):
                    if response is not None:
                        response.close()
                    continue
                # Closing and not releasing: a caller who left must stop the Replica's work, not wait for its rest.
                try:
                    yield response
                finally:
                    response.close()
                return
            finally:
                self._busy[replica.socket] -= 1
                if not self._busy[replica.socket]:
                    del self._busy[replica.socket]

    async def keep(self, sockets: set[str]) -> None:
        """Close the connections to Replicas that are not among `sockets` and have nothing to do."""
        for socket in [one for one in self._sessions if one not in sockets and not self._busy[one]]:
            await self._sessions.pop(socket).close()

    async def close(self) -> None:
        """Close all connections."""
        for session in self._sessions.values():
            await session.close()
        self._sessions.clear()

    async def _send(self, replica: Replica, path: str, body: bytes, request_id: str) -> aiohttp.ClientResponse | None:
        """The response's head; None if the Replica ended meanwhile. Raises Fault `replica_slow`, and ClientConnectorError."""
        headers = {"Content-Type": "application/json", "X-Request-Id": request_id}
        try:
            async with asyncio.timeout(FIRST_BYTE_SECONDS):
                return await self._session(replica.socket).post(
                    f"http://replica{path}", data=body, headers=headers, allow_redirects=False
                )
        except TimeoutError as error:
            raise Fault(
                "replica_slow", f"No answer within {FIRST_BYTE_SECONDS:.0f} seconds.", fix="Ask for less.", status=504
            ) from error
        except aiohttp.ClientConnectorError:
            raise
        except aiohttp.ClientError:  # it is gone, or what it says is not HTTP
            return None

    def _session(self, socket: str) -> aiohttp.ClientSession:
        session = self._sessions.get(socket)
        if session is None:
            session = aiohttp.ClientSession(
                connector=aiohttp.UnixConnector(path=socket, limit=0, keepalive_timeout=30),
                timeout=aiohttp.ClientTimeout(
                    total=None, sock_connect=CONNECT_SECONDS, sock_read=BETWEEN_BYTES_SECONDS
                ),
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
            )
            self._sessions[socket] = session
        return session
