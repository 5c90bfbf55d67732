"""Several router processes on one listening socket: a parent that starts them, starts again what dies, and ends them.

They share the socket that the parent bound, so a connection that waits in its queue outlives the process that might have
taken it: when one is killed, only what it was answering is lost. Each follows the snapshot and writes a spool of its
own; keys are counted in one file (`quotas`). The parent serves nothing and runs no thread.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass

from baray.core import Clock

_PR_SET_PDEATHSIG = 1
_STEADY_SECONDS = 30.0  # after so long alive a death counts as the first
_BACKOFF_SECONDS = (0.0, 0.2, 1.0, 5.0)
_WATCHED = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT)
_LOG = logging.getLogger("baray.router")
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(slots=True, kw_only=True)
class _Place:
    """One of the processes, over all its lives."""

    pid: int = 0
    """Zero while there is none."""
    started: float = 0.0
    """Monotonic seconds."""
    deaths: int = 0
    """In quick succession."""
    again_at: float = 0.0
    """When it is started again, monotonic seconds."""


def lead(number: int, serve: Callable[[], None], *, clock: Clock) -> None:
    """Keep `number` processes that each run `serve`, until SIGTERM or SIGINT; then end them and wait for them."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
    places = [_Place() for _ in range(number)]
    while True:
        now = clock.monotonic()
        for place in places:
            if not place.pid and now >= place.again_at:
                place.pid, place.started = _start(serve), now
        due = [place.again_at - now for place in places if not place.pid]
        # A death while we were not looking is still told: a blocked signal stays until it is taken.
        told = signal.sigtimedwait(_WATCHED, max(0.0, min(due))) if due else signal.sigwaitinfo(_WATCHED)
        if told is not None and told.si_signo != signal.SIGCHLD:
            break
        _bury(places, clock.monotonic())
    _end(places)


def _start(serve: Callable[[], None]) -> int:
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    # Only in the child from here on: it never returns.
    status = 1
    try:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _WATCHED)
        if os.getppid() == parent:
            serve()
        status = 0
    finally:
        os._exit(status)


def _bury(places: list[_Place], now: float) -> None:
    for place in places:
        if not place.pid:
            continue
        pid, status = os.waitpid(place.pid, os.WNOHANG)
        if pid:
            place.deaths = 1 if now - place.started > _STEADY_SECONDS else place.deaths + 1
            place.again_at = now + _BACKOFF_SECONDS[min(place.deaths, len(_BACKOFF_SECONDS)) - 1]
            place.pid = 0
            _LOG.warning("a router process ended with %d; starting it again", os.waitstatus_to_exitcode(status))


def _end(places: list[_Place]) -> None:
    alive = [place.pid for place in places if place.pid]
    for pid in alive:
        os.kill(pid, signal.SIGTERM)
    for pid in alive:
        os.waitpid(pid, 0)
