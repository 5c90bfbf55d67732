"""Control's side of the worker protocol, and the bell that a worker's long poll waits on, so that nothing sleeps in a loop."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

from baray.access import Site
from baray.catalog import provenance
from baray.core import BarayError, NotFound
from baray.runs import records
from baray.runs.leases import apply, lease, renew
from baray.runs.protocol import (
    MAX_WAIT_SECONDS,
    LeaseAnswer,
    Leave,
    RenewAnswer,
    ResultAnswer,
    WorkerOffer,
    encode,
    read_leave,
    read_message,
    read_offer,
    read_renewal,
    read_result,
)


class Bell:
    """Counts rings. A waiter gives the count it has seen, so a ring between its look and its wait is never missed."""

    def __init__(self) -> None:
        """Start silent."""
        self._condition = threading.Condition()
        self._rings = 0
        self._told: dict[str, str] = {}
        self._polls: dict[str, int] = {}
        self._closed = False
        self.waiting = 0
        """Waiters."""

    def ring(self) -> None:
        """Wake every waiter. Rung after a commit that made, freed or cancelled work."""
        with self._condition:
            self._rings += 1
            self._condition.notify_all()

    def count(self) -> int:
        """Rings so far."""
        with self._condition:
            return self._rings

    def wait(self, worker: str, poll: int, seen: int, seconds: float) -> None:
        """Return once the count is past `seen`, or the worker polls anew, or after `seconds`."""
        with self._condition:
            self.waiting += 1
            self._condition.wait_for(
                lambda: self._rings > seen or self._polls[worker] != poll or self._closed, timeout=seconds
            )
            self.waiting -= 1

    def close(self) -> None:
        """Control ends: waiters return, and nobody waits again."""
        with self._condition:
            self._closed = True
        self.ring()

    @property
    def closed(self) -> bool:
        """Whether control is ending."""
        with self._condition:
            return self._closed

    def new_poll(self, worker: str) -> int:
        """A worker began to wait: whatever waited under its name before is nobody's any more."""
        with self._condition:
            self._polls[worker] = self._polls.get(worker, 0) + 1
            self._condition.notify_all()
            return self._polls[worker]

    def is_newest_poll(self, worker: str, number: int) -> bool:
        """Whether the worker still waits under this number."""
        with self._condition:
            return self._polls[worker] == number

    def is_news(self, worker: str, text: str) -> bool:
        """Whether `text` differs from what was last told of `worker` in this process's life."""
        with self._condition:
            if self._told.get(worker) == text:
                return False
            self._told[worker] = text
            return True


def handle_worker(site: Site, bell: Bell, path: str, body: bytes) -> tuple[int, bytes]:
    """Answer one message of a worker: HTTP status and JSON. The caller has checked who is at the other end."""
    answers: dict[str, Callable[[dict[str, Any]], Any]] = {
        "/worker/lease": lambda found: _lease(site, bell, read_offer(found)),
        "/worker/renew": lambda found: _renew(site, bell, found),
        "/worker/result": lambda found: _result(site, bell, found),
        "/worker/leave": lambda found: _leave(bell, read_leave(found)),
    }
    try:
        if path not in answers:
            raise NotFound("route", path)
        return 200, encode(answers[path](read_message(body)))
    except BarayError as error:
        told = {"code": error.code, "detail": error.message, "fix": error.fix, "status": error.status}
        return error.status, json.dumps(told).encode()


def _lease(site: Site, bell: Bell, offer: WorkerOffer) -> LeaseAnswer:
    _remember(site, bell, offer)
    poll = bell.new_poll(offer.worker)
    deadline = site.clock.monotonic() + min(offer.wait_seconds, MAX_WAIT_SECONDS)
    while True:
        seen = bell.count()
        answer = lease(site, offer, lambda: bell.is_newest_poll(offer.worker, poll))
        left = deadline - site.clock.monotonic()
        over = left <= 0 or bell.closed or not bell.is_newest_poll(offer.worker, poll)
        if answer.grant is not None or answer.cancel or over:
            return answer
        bell.wait(offer.worker, poll, seen, left)


def _leave(bell: Bell, leave: Leave) -> LeaseAnswer:
    """End the poll of a worker that stops: it would wait for nobody, and keep control from ending."""
    bell.new_poll(leave.worker)
    return LeaseAnswer()


def _renew(site: Site, bell: Bell, found: dict[str, Any]) -> RenewAnswer:
    answer = renew(site, read_renewal(found))
    if answer.stale:
        bell.ring()
    return answer


def _result(site: Site, bell: Bell, found: dict[str, Any]) -> ResultAnswer:
    result = read_result(found)
    applied = apply(site, result)
    if applied:
        bell.ring()  # room was freed, and Runs that come after this one may start
    signed = site.store.read(lambda tx: provenance(tx, result.run_id)) if result.outcome == "succeeded" else None
    return ResultAnswer(applied=applied, provenance=(signed or b"").decode())


def _remember(site: Site, bell: Bell, offer: WorkerOffer) -> None:
    """Keep what a worker said of its machine, for `why` and for refusing at submit; written when it changes."""
    text = records.to_json(
        {
            name: getattr(offer, name)
            for name in ("cpus", "memory_bytes", "tier", "limits", "missing", "fix", "clearance")
        }
    )
    if bell.is_news(offer.worker, text):
        site.store.write(lambda tx: records.set_meta(tx, f"worker:{offer.worker}", text))
