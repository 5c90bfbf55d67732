"""The worker: pulls leases, keeps them alive, and brings each Attempt to its end.

It holds no truth of its own: what it answers for stands in its journal, and a worker that starts again goes on where
the last one was killed.

Threads: the main one waits for work; one renews; one for each Attempt waits for its supervisor and sends its result.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from baray.core import Refused, SystemClock
from baray.runs.protocol import (
    LEASE_SECONDS,
    RENEW_SECONDS,
    AttemptResult,
    HeldLease,
    LeaseGrant,
    Leave,
    Renewal,
    WorkerOffer,
    read_answer,
)
from baray.runs.sandbox import TierReport
from baray.runs.worker.attempts import Held, Machine, is_alive, kill_leftovers, wait_for_end
from baray.runs.worker.client import Control, ControlDownError
from baray.runs.worker.metrics import take_metrics

_LOG = logging.getLogger("baray.worker")
_BACKOFF_SECONDS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
_POLL_SECONDS = 5.0
_TICK_SECONDS = 1.0
_TIMEOUT_SECONDS = 30.0
_ERRORS = {
    "time": ("time_limit", "It ran longer than its time limit.", "Ask for more time: --time."),
    "memory": ("memory_limit", "It used more memory than its limit.", "Ask for more memory: --memory."),
    "disk": ("disk_limit", "It filled the disk to its limit.", "Write less, or free space on the disk of the home."),
    "start_failed": ("start_failed", "It could not be started: {message}.", "See its log: baray run logs {run}"),
    "root_refused": ("root_refused", "The sandbox is never launched as root: {message}.", "Run: baray doctor"),
    "signalled": ("signalled", "It was ended by signal {signal}.", "See its log: baray run logs {run}"),
    "exited": ("exit_code", "It ended with exit code {code}.", "See its log: baray run logs {run}"),
}


@dataclass(slots=True, kw_only=True)
class _Job:
    """An Attempt in this process: what it holds, and what was heard about it."""

    held: Held
    """The Attempt."""
    stale: bool = False
    """Control gave it to another, or gave it up: its result is dropped."""
    told: str = ""
    """The progress last sent."""


@dataclass(slots=True, kw_only=True)
class Worker:
    """One worker of one home."""

    name: str
    """The same after a restart: leases belong to it."""
    machine: Machine
    """Where it runs Attempts."""
    socket: Path
    """Control's socket."""
    slots: int
    """Cores it gives."""
    memory_bytes: int
    """Memory it gives."""
    report: TierReport
    """What the sandbox can do here."""
    clearance: str = ""
    """What the machine may hold at most; empty: everything."""
    _jobs: dict[str, _Job] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stop: threading.Event = field(default_factory=threading.Event)
    _poll: Control | None = None

    def run(self) -> None:
        """Adopt what is there, then work until told to stop; supervisors go on without us."""
        for held in self.machine.open_attempts():
            self._begin(_Job(held=held), None)
        threading.Thread(target=self._renew_forever, name="renew", daemon=True).start()
        self._poll = Control(self.socket, _TIMEOUT_SECONDS)
        failures = 0
        while not self._stop.is_set():
            try:
                self._ask(self._poll)
                failures = 0
            except ControlDownError as error:
                if not failures and not self._stop.is_set():
                    _LOG.warning("%s", error)
                self._stop.wait(_BACKOFF_SECONDS[min(failures, len(_BACKOFF_SECONDS) - 1)])
                failures += 1
        self._leave()

    def _leave(self) -> None:
        control = Control(self.socket, _TICK_SECONDS)
        try:
            control.post("/worker/leave", Leave(worker=self.name))
        except ControlDownError as error:
            _LOG.debug("left without a word: %s", error)
        control.close()

    def stop(self) -> None:
        """Ask for no more work and leave. Called by a signal handler."""
        self._stop.set()
        if self._poll is not None:
            self._poll.interrupt()

    def _ask(self, control: Control) -> None:
        jobs = self._snapshot()
        offer = WorkerOffer(
            worker=self.name,
            cpus=self.slots,
            memory_bytes=self.memory_bytes,
            tier=self.report.tier,
            limits=self.report.limits,
            missing=self.report.missing,
            fix=self.report.fix,
            clearance=self.clearance,
            wait_seconds=_POLL_SECONDS,
            held=tuple(name for name, _ in jobs),
            known=tuple(name for name, job in jobs if (job.held.folder / "cancel").exists()),
        )
        reply = control.post("/worker/lease", offer)
        if reply.status != 200:
            raise ControlDownError(str(reply.body.get("code", "refused")), str(reply.body.get("detail", reply.status)))
        answer = read_answer(reply.body)
        for attempt_id in answer.cancel:
            self._cancel(attempt_id)
        if answer.grant is not None:
            held = self.machine.held(answer.grant, self._free_slot())
            self._begin(_Job(held=held), answer.grant)

    def _begin(self, job: _Job, grant: LeaseGrant | None) -> None:
        with self._lock:
            self._jobs[job.held.attempt_id] = job
        thread = threading.Thread(target=self._attend, args=(job, grant), name=job.held.attempt_id, daemon=True)
        thread.start()

    def _attend(self, job: _Job, grant: LeaseGrant | None) -> None:
        """See one Attempt to its end; whatever goes wrong with it is its result."""
        try:
            result = self._wait(job.held, grant)
        except Refused as refused:
            error = {"code": refused.code, "message": refused.message, "fix": refused.fix}
            result = _result(job.held, "refused", {}, error)
        except Exception as error:  # noqa: BLE001 - recorded as the Attempt's result; the others go on
            _LOG.exception("attempt %s", job.held.attempt_id)
            told = {"code": getattr(error, "code", "worker_failed"), "message": f"{type(error).__name__}: {error}"}
            result = _result(job.held, "failed", {}, told | {"fix": "See the worker's log: baray doctor"})
        if not self._send(job, result):
            return  # told to stop: the next worker finds the journal and tells
        self.machine.forget(job.held)
        with self._lock:
            del self._jobs[job.held.attempt_id]

    def _wait(self, held: Held, grant: LeaseGrant | None) -> AttemptResult:
        if grant is not None:
            if held.command and self.report.tier == "none":
                raise Refused(
                    "no_sandbox",
                    f"Commands cannot be run here: {self.report.missing}.",
                    fix=self.report.fix,
                    status=503,
                )
            self.machine.launch(held, grant).wait()
        elif held.state().get("phase") != "ended" and is_alive(held):
            wait_for_end(held)
        state = held.state()
        if state.get("phase") != "ended" or state["reason"] == "terminated":
            kill_leftovers(held)
            return _result(held, "lost", state, _lost_error(state))
        if held.command and self.machine.reduced:
            take_metrics(held.folder, SystemClock().now())
        if held.outputs and state["reason"] == "exited" and state["exit_code"] == 0 and not held.result():
            argv = [sys.executable, "-m", "baray.runs.worker.outputs", held.directory]
            taken = subprocess.run(argv, capture_output=True, text=True, check=False, env={"LANG": "C.UTF-8"})
            if taken.returncode:
                raise Refused("bad_output", f"The outputs could not be taken: {taken.stderr.strip()[-500:]}")
        return judge(held, state)

    def _send(self, job: _Job, result: AttemptResult) -> bool:
        """Tell control, as often as it takes; False if told to stop first.

        While control is down the result waits in the Run directory.
        """
        control = Control(self.socket, _TIMEOUT_SECONDS)
        failures = 0
        while not job.stale:
            try:
                reply = control.post("/worker/result", result)
                if reply.status < 500:
                    job.held.keep_provenance(str(reply.body.get("provenance", "")))
                    break
                _LOG.warning("control could not take the result of %s: %s", job.held.attempt_id, reply.body)
            except ControlDownError as error:
                _LOG.debug("the result of %s waits: %s", job.held.attempt_id, error)
            if self._stop.wait(_BACKOFF_SECONDS[min(failures, len(_BACKOFF_SECONDS) - 1)]):
                return False
            failures += 1
        control.close()
        return True

    def _renew_forever(self) -> None:
        control = Control(self.socket, LEASE_SECONDS / 3)
        last = float("-inf")
        while not self._stop.wait(_TICK_SECONDS):
            leases = tuple(self._lease_of(job) for _, job in self._snapshot())
            now = time.monotonic()
            if not leases or (now - last < RENEW_SECONDS and not any(one.progress for one in leases)):
                continue
            try:
                reply = control.post("/worker/renew", Renewal(worker=self.name, leases=leases))
            except ControlDownError:
                continue
            last = now
            for attempt_id in reply.body.get("stale", ()):
                self._drop(attempt_id)
            for attempt_id in reply.body.get("cancel", ()):
                self._cancel(attempt_id)

    def _lease_of(self, job: _Job) -> HeldLease:
        progress = job.held.progress()
        news = progress if progress is not None and str(progress) != job.told else None
        job.told = str(progress)
        return HeldLease(attempt_id=job.held.attempt_id, lease_token=job.held.lease_token, progress=news)

    def _cancel(self, attempt_id: str) -> None:
        with self._lock:
            job = self._jobs.get(attempt_id)
        if job is not None and job.held.folder.is_dir():
            (job.held.folder / "cancel").touch()

    def _drop(self, attempt_id: str) -> None:
        with self._lock:
            job = self._jobs.get(attempt_id)
            if job is not None:
                job.stale = True
        self._cancel(attempt_id)

    def _snapshot(self) -> list[tuple[str, _Job]]:
        with self._lock:
            return list(self._jobs.items())

    def _free_slot(self) -> int:
        with self._lock:
            taken = {job.held.slot for job in self._jobs.values()}
        return next(number for number in range(len(taken) + 1) if number not in taken)


def judge(held: Held, state: dict[str, Any]) -> AttemptResult:
    """What an ended Attempt's files say: its result for control."""
    reason, left = state["reason"], held.result()
    if reason == "cancelled":
        told = {
            "code": "cancelled",
            "message": "It was cancelled.",
            "fix": f"To run it again: baray run retry {held.run_id}",
        }
        return _result(held, "cancelled", state, told)
    if reason == "exited" and state["exit_code"] == 0 and not (held.command and not held.outputs):
        if not left:
            told = {"code": "no_result", "message": "The handler ended without a result.", "fix": ""}
            return _result(held, "failed", state, told)
        if left["error"] is None:
            return _result(held, "succeeded", state, None, left["outputs"])
    elif reason == "exited" and state["exit_code"] == 0:
        return _result(held, "succeeded", state, None)
    if left.get("error") and reason == "exited":
        return _result(held, "refused" if left["refused"] else "failed", state, left["error"])
    code, message, fix = _ERRORS[reason]
    words = {"run": held.run_id, "code": state["exit_code"], "signal": -state["exit_code"], "message": state["message"]}
    return _result(
        held, "failed", state, {"code": code, "message": message.format(**words), "fix": fix.format(**words)}
    )


def _lost_error(state: dict[str, Any]) -> dict[str, Any]:
    message = "Its supervisor was killed." if state else "It was given up before it started."
    return {"code": "attempt_lost", "message": message, "fix": "It is tried again by itself."}


def _result(
    held: Held,
    outcome: str,
    state: Mapping[str, Any],
    error: Mapping[str, Any] | None,
    outputs: Sequence[Mapping[str, Any]] = (),
) -> AttemptResult:
    return AttemptResult(
        attempt_id=held.attempt_id,
        run_id=held.run_id,
        lease_token=held.lease_token,
        outcome=outcome,
        exit_code=state.get("exit_code"),
        reason=str(state.get("reason", "lost" if outcome == "lost" else "")),
        error=error,
        outputs=tuple(outputs),
        progress=held.progress(),
        egress=held.egress(),
    )


def install_signals(worker: Worker) -> None:
    """SIGTERM and SIGINT stop the worker; what it started goes on."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: worker.stop())
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def machine_memory_bytes() -> int:
    """Physical memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
