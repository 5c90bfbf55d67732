"""uvicorn's HTTP connection, with two limits it has not got: time and size of a request's head.

Covered: connections that send nothing, or a head byte by byte, or one without end. The body's limits are in `messages`.
Not covered: many connections from one address; that is the proxy's or the firewall's part.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_SECONDS = 10.0
MAX_HEAD_BYTES = 32 << 10


class Connection(HttpToolsProtocol):
    """Closes on a head that is too slow or too large."""

    _timer: asyncio.TimerHandle | None = None
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """Start the clock with the connection."""
        super().connection_made(transport)
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._stop_waiting()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """Start the clock again for the next request of the connection."""
        self._wait_for_head()
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Count the target."""
        if self._fits(url):
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a header."""
        if self._fits(name + value):
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Stop the clock; a head that was too large is never answered."""
        self._stop_waiting()
        if not self.transport.is_closing():
            super().on_headers_complete()

    def _fits(self, part: bytes) -> bool:
        self._head_bytes += len(part)
        if self._head_bytes > MAX_HEAD_BYTES:
            self.transport.abort()
        return not self.transport.is_closing()

    def _wait_for_head(self) -> None:
        self._stop_waiting()
        self._head_bytes = 0
        self._timer = self.loop.call_later(HEAD_SECONDS, self.transport.abort)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
