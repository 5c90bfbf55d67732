"""Control's side: of the worker protocol, with the bell that a long poll waits on; and of what a Run says by its own token.

A Run's token is good for its own Run and for as long as the lease of its Attempt: that stands in one statement
(`records.of_token`), so there is no list of tokens that somebody could forget to clear.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from baray.access import Site, hash_secret, load_actor
from baray.catalog import provenance
from baray.core import BarayError, NotFound, Refused
from baray.runs import records
from baray.runs.context import append_metrics, replace_json
from baray.runs.leases import apply, lease, renew
from baray.runs.protocol import (
    MAX_POINTS,
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
    read_report,
    read_result,
)
from baray.runs.records import Run
from baray.store import Tx

REPORTS_EACH_SECOND = 20.0
_BURST = 40.0


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


class Pace:
    """How often a Run may report: one bucket for each Attempt, and none for what has ended."""

    def __init__(self) -> None:
        """Start with full buckets."""
        self._lock = threading.Lock()
        self._levels: dict[str, tuple[float, float]] = {}

    def take(self, attempt_id: str, now: float) -> None:
        """Take one place at `now`, monotonic. Raises Refused `too_fast` (429)."""
        with self._lock:
            level, then = self._levels.get(attempt_id, (_BURST, now))
            level = min(_BURST, level + (now - then) * REPORTS_EACH_SECOND)
            if level < 1.0:
                refused = Refused(
                    "too_fast",
                    f"This Run reports more than {REPORTS_EACH_SECOND:.0f} times a second.",
                    fix="Send several numbers in one report.",
                    status=429,
                )
                refused.headers["Retry-After"] = "1"
                raise refused
            self._levels[attempt_id] = (level - 1.0, now)
            full = [
                one for one, (left, at) in self._levels.items() if left + (now - at) * REPORTS_EACH_SECOND >= _BURST
            ]
            for one in full:
                del self._levels[one]


@dataclass(frozen=True, slots=True, kw_only=True)
class Delegate:
    """A Run that acts by its own token, for the actor who asked for it."""

    run: Run
    """The Run."""
    attempt_id: str
    """The Attempt whose lease is live."""
    number: int
    """Which Attempt it is."""
    points: int
    """Numbers that it has reported."""

    def facts(self) -> dict[str, Any]:
        """Of an entry that the Run is the actor of: for whom it acts."""
        return {"for": self.run.actor_id, "attempt": self.attempt_id}


def by_token(tx: Tx, secret: str, now: float) -> Delegate:
    """The Run whose own token this is. Raises Refused `bad_token` (401) once its Attempt's lease has ended in any way."""
    row = records.of_token(tx, hash_secret(secret), now)
    run = None if row is None else records.get_run(tx, row.id)
    if row is None or run is None:
        raise Refused(
            "bad_token",
            "The token is not valid: the Attempt that it was made for has ended.",
            fix="A Run's token lives no longer than its Attempt.",
            status=401,
        )
    load_actor(tx, run.actor_id)  # refuses where the account is disabled
    return Delegate(run=run, attempt_id=row.attempt_id, number=row.number, points=row.points)


def report(site: Site, run_dir: Path, secret: str, body: bytes) -> int:
    """Add to a Run's metrics and progress what it sends by its own token; how many numbers.

    Raises Refused `bad_token`, `bad_report`, `too_large`, `too_many_points`.
    """
    told = read_report(body)
    now = site.clock.now()
    lines = [{"step": one.step, "time": round(now, 3), "name": one.name, "value": one.value} for one in told.points]

    def write(tx: Tx) -> None:
        # The lease is looked at where its end is written, too: nothing is added to a Run after its Attempt.
        found = by_token(tx, secret, now)
        if found.points + len(lines) > MAX_POINTS:
            raise Refused(
                "too_many_points",
                f"One Attempt may report {MAX_POINTS} numbers; it has reported {found.points}.",
                fix="Report every tenth or hundredth step.",
                status=413,
            )
        if lines and not found.points:
            site.ledger.append(
                tx,
                "run.reported",
                actor=found.run.id,
                subject=found.run.id,
                project=found.run.project_id,
                label=found.run.label,
                facts=found.facts(),
            )
        run_dir.mkdir(mode=0o2750, exist_ok=True)
        if lines:
            records.add_points(tx, found.attempt_id, len(lines))
            append_metrics(run_dir, lines)
        if told.progress is not None:
            replace_json(run_dir / "progress.json", told.progress, durable=False)  # its worker tells it on

    site.store.write(write)
    return len(lines)


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
