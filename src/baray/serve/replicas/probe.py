"""Looking at Replicas through their sockets, many at once, so that one that hangs holds up nobody.

A Replica is healthy when it says so at /healthz and has answered one small completion; that is asked once in its life.
"""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from typing import Any

from baray.core import Clock
from baray.serve.replicas.decide import Seen

HEALTH_SECONDS = 2.0
GATE_SECONDS = 120.0
MAX_BYTES = 1 << 20
_THREADS = 8
_PATIENCE_SECONDS = 0.1  # how long a round waits for what answers at once
_BUSY = 503


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A Replica to look at."""

    id: str
    """`rp_...`."""
    socket: str
    """Where it listens."""
    attempt: float
    """Start of its Run's last Attempt: what was seen of an earlier one does not count."""
    gate: bool
    """Whether it has still to answer a completion."""


@dataclass(slots=True)
class _Watched:
    attempt: float
    seen: Seen
    answered: float
    look: Future[Seen] | None = None


class Prober:
    """Keeps what was last seen of each Replica. Used from one thread; looks are made in others."""

    def __init__(self, clock: Clock) -> None:
        """Look at nothing yet."""
        self._clock = clock
        self._pool = ThreadPoolExecutor(max_workers=_THREADS, thread_name_prefix="probe")
        self._watched: dict[str, _Watched] = {}

    def look(self, targets: Sequence[Target]) -> dict[str, Seen]:
        """What is known of each target now; begins new looks, and waits a moment for those that come at once."""
        now = self._clock.now()
        known = self._watched
        self._watched = {one.id: self._follow(one, known.get(one.id), now) for one in targets}
        for one in targets:
            watched = self._watched[one.id]
            if watched.look is None:
                watched.look = self._pool.submit(_look, one, watched.seen, self._clock)
        wait([one.look for one in self._watched.values() if one.look is not None], timeout=_PATIENCE_SECONDS)
        for watched in self._watched.values():
            self._take(watched)
        return {name: watched.seen for name, watched in self._watched.items()}

    def close(self) -> None:
        """End; looks under way are left to their limits."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _follow(self, target: Target, known: _Watched | None, now: float) -> _Watched:
        if known is not None and known.attempt == target.attempt:
            return known
        return _Watched(attempt=target.attempt, seen=Seen(), answered=now)

    def _take(self, watched: _Watched) -> None:
        if watched.look is not None and watched.look.done():
            watched.seen, watched.look = watched.look.result(), None
        watched.answered = max(watched.answered, watched.seen.looked)
        watched.seen = replace(watched.seen, silent_seconds=max(0.0, self._clock.now() - watched.answered))


def _look(target: Target, before: Seen, clock: Clock) -> Seen:
    """Ask once; what does not answer is as it was before."""
    try:
        status, health = _ask(target.socket, "GET", "/healthz", None, HEALTH_SECONDS)
        if status != 200 or not isinstance(health, dict):
            return before
        active, waiting = (_count(health.get(name)) for name in ("active", "waiting"))
        seen = replace(before, answers=bool(health.get("ready")), active=active, waiting=waiting, looked=clock.now())
        return _pass(target, seen) if target.gate and seen.answers and not seen.passed else seen
    except (OSError, http.client.HTTPException, ValueError):
        return replace(before, answers=False)


def _pass(target: Target, seen: Seen) -> Seen:
    body = {"model": "gate", "prompt": "1", "max_tokens": 1, "temperature": 0}
    try:
        status, answer = _ask(target.socket, "POST", "/v1/completions", body, GATE_SECONDS)
    except TimeoutError:
        return replace(seen, refused=f"Its first completion took longer than {GATE_SECONDS:.0f} s.")
    if status == 200 and isinstance(answer, dict) and answer.get("choices"):
        return replace(seen, passed=True)
    if status == _BUSY:
        return seen
    error = answer.get("error") if isinstance(answer, dict) else None
    told = str(error.get("message", "")) if isinstance(error, dict) else ""
    return replace(seen, refused=f"Its first completion failed with status {status}: {told[:300]}")


def _ask(path: str, method: str, route: str, body: object, seconds: float) -> tuple[int, Any]:
    connection = _UnixConnection(path, seconds)
    try:
        data = None if body is None else json.dumps(body).encode()
        connection.request(method, route, data, {"Content-Type": "application/json", "X-Request-Id": "gate"})
        response = connection.getresponse()
        return response.status, json.loads(response.read(MAX_BYTES) or b"null")
    finally:
        connection.close()


def _count(value: object) -> int:
    return value if isinstance(value, int) and value >= 0 else 0


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str, seconds: float) -> None:
        super().__init__("replica", timeout=seconds)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)
