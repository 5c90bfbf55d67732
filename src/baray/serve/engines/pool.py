"""What the adapters of other people's engines share: a thread for each slot, in which a Generation is asked and followed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count

from baray.core import Refused
from baray.serve.engines.port import FAILED, GIVEN_UP, Deliver, Generation, Load, Piece

Ask = Callable[[Generation, Deliver, threading.Event], None]
"""Asks the engine and delivers, the last Piece with `finish`; looks at the event at every Piece, and stops when it is set."""


def failure(code: object) -> Piece:
    """The end of a Generation that the engine answered with an error: from 400 to 499 this one alone was refused."""
    return Piece(finish=GIVEN_UP if isinstance(code, int) and 400 <= code < 500 else FAILED)


def code_of(told: object) -> object:
    """The code of an error in OpenAI's shape, if it has one."""
    error = told.get("error") if isinstance(told, dict) else None
    return error.get("code") if isinstance(error, dict) else None


class PooledEngine:
    """Keeps the port `Engine` over a function that asks for one Generation at a time."""

    def __init__(self, ask: Ask, *, slots: int, context: int, exact: bool, end: Callable[[], None]) -> None:
        """Ask through `ask` in as many threads as there are slots; `end` is called when all is over."""
        self.slots, self.context, self.exact = slots, context, exact
        self._ask, self._end = ask, end
        self._threads = ThreadPoolExecutor(max_workers=slots, thread_name_prefix="slot")
        self._lock = threading.Lock()
        self._open: dict[int, tuple[threading.Event, Future[None]]] = {}
        self._tickets, self._active, self._steps = count(1), 0, 0

    def submit(self, generation: Generation, deliver: Deliver) -> int:
        """See `Engine`."""
        ticket, stop = next(self._tickets), threading.Event()
        with self._lock:  # so that the Generation cannot end before its ticket is noted
            self._open[ticket] = stop, self._threads.submit(self._follow, ticket, generation, deliver, stop)
        return ticket

    def cancel(self, ticket: int) -> None:
        """See `Engine`."""
        with self._lock:
            stop, asked = self._open.get(ticket, (None, None))
        if stop is not None and asked is not None:
            stop.set()
            if asked.cancel():  # it waited still
                with self._lock:
                    self._open.pop(ticket, None)

    def embed(self, tokens: Sequence[int]) -> list[float]:
        """See `Engine`."""
        raise Refused(
            "no_embeddings",
            f"This engine gives no embeddings, of {len(tokens)} tokens or any.",
            fix="Serve the Model with the engine torch.",
        )

    def load(self) -> Load:
        """See `Engine`."""
        with self._lock:
            return Load(active=self._active, waiting=len(self._open) - self._active, steps=self._steps)

    def close(self) -> None:
        """See `Engine`."""
        with self._lock:
            left = list(self._open)
        for ticket in left:
            self.cancel(ticket)
        self._threads.shutdown(wait=True)
        self._end()

    def _follow(self, ticket: int, generation: Generation, deliver: Deliver, stop: threading.Event) -> None:
        ended = False

        def count_and_deliver(piece: Piece) -> None:
            nonlocal ended
            if not ended:
                self._steps += 1
                ended = bool(piece.finish)
                if ended:
                    self._leave(ticket)
                deliver(piece)

        with self._lock:
            self._active += 1
        try:
            self._ask(generation, count_and_deliver, stop)
        finally:
            if not ended:
                self._leave(ticket)
                if not stop.is_set():
                    deliver(Piece(finish=FAILED))

    def _leave(self, ticket: int) -> None:
        with self._lock:
            if self._open.pop(ticket, None) is not None:
                self._active -= 1
