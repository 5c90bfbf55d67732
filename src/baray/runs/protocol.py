"""What a worker and control say to each other: JSON over HTTP, each message one of these records.

POST /worker/lease   WorkerOffer   -> LeaseAnswer    long poll: answers when there is work or a cancel, at most `wait_seconds`
POST /worker/renew   Renewal       -> RenewAnswer
POST /worker/result  AttemptResult -> ResultAnswer   repeating is free: the lease token makes it idempotent
POST /worker/leave   Leave         -> LeaseAnswer    it stops asking; what it started goes on

And what a Run itself says, by its own token (`POST /api/v1/runs/self/metrics`): a Report.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

from baray.core import Refused

LOCAL_WORKER = "local"
"""Name of the worker on the machine that control runs on."""
LEASE_SECONDS = 60.0
RENEW_SECONDS = 10.0
MAX_WAIT_SECONDS = 20.0
MAX_REPORT_BYTES = 64 * 2**10
"""Of one report, as it is sent."""
MAX_REPORT_POINTS = 1000
MAX_POINTS = 200_000
"""Numbers that one Attempt may report: about 20 MB."""
_MAX_STEP = 2**53
_LARGEST = 1e300
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._/%@+-]{0,99}")  # name of a metric, or unit
_POINT, _PROGRESS = {"step", "name", "value"}, {"done", "total", "unit"}

_Record = TypeVar("_Record")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOffer:
    """A worker asks for work. Control knows what the worker holds; the worker says what its machine has."""

    worker: str
    """Name of the worker, the same after its restart."""
    cpus: int
    """Slots in all: one for each core it gives."""
    memory_bytes: int
    """Memory in all."""
    tier: str
    """"A" or "none": whether it may run tenants' commands."""
    limits: str
    """"cgroup v2", "cgroup v1" or "soft"."""
    missing: str = ""
    """What the sandbox lacks."""
    fix: str = ""
    """How to mend it."""
    clearance: str = ""
    """What the machine may hold at most; empty: everything."""
    wait_seconds: float = MAX_WAIT_SECONDS
    """How long control may wait before it answers with nothing."""
    held: tuple[str, ...] = ()
    """Attempts that it answers for: one that control granted and that is not here was lost on the way."""
    known: tuple[str, ...] = ()
    """Attempts whose cancel was heard: not told again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseGrant:
    """One Attempt to make."""

    attempt_id: str
    """`t_...`."""
    lease_token: str
    """Shown with every renewal and the result."""
    run_id: str
    """`r_...`."""
    number: int
    """Attempt's number, from 1."""
    spec: Mapping[str, Any]
    """The frozen spec."""
    inputs: tuple[Mapping[str, Any], ...]
    """Inputs with their files, as context.Input without the blobs' paths."""
    devices: tuple[str, ...] = ()
    """Device nodes that it may use: those of its GPUs."""
    run_token: str = ""
    """The Run's own, for the hatch of its sandbox; empty for what has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseAnswer:
    """Answer to an offer."""

    grant: LeaseGrant | None = None
    """Work, or None."""
    cancel: tuple[str, ...] = ()
    """Attempts to stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leave:
    """A worker stops asking for work."""

    worker: str
    """Name of the worker."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldLease:
    """One lease that a worker holds on to."""

    attempt_id: str
    """The Attempt."""
    lease_token: str
    """Its token."""
    progress: Mapping[str, Any] | None = None
    """As the handler last told it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewal:
    """A worker still works on these."""

    worker: str
    """Name of the worker."""
    leases: tuple[HeldLease, ...]
    """Its leases."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewAnswer:
    """What became of the leases."""

    stale: tuple[str, ...] = ()
    """Attempts that are no longer this worker's: stop them, drop their results."""
    cancel: tuple[str, ...] = ()
    """Attempts to stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptResult:
    """How an Attempt ended."""

    attempt_id: str
    """The Attempt."""
    run_id: str
    """Its Run."""
    lease_token: str
    """Its token."""
    outcome: str
    """succeeded, failed (may be tried again), refused (may not), cancelled, or lost (supervisor died)."""
    exit_code: int | None = None
    """Of the process."""
    reason: str = ""
    """The supervisor's word: exited, signalled, time, memory, disk, cancelled, start_failed, lost."""
    error: Mapping[str, Any] | None = None
    """`{code, message, fix}` unless it succeeded."""
    outputs: tuple[Mapping[str, Any], ...] = field(default_factory=tuple)
    """catalog.Output records; their blobs are durable already."""
    progress: Mapping[str, Any] | None = None
    """The last one."""
    egress: tuple[Mapping[str, Any], ...] = ()
    """What it tried to reach: `{target, decision, reason, count, sent, received}`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultAnswer:
    """Whether the result counted."""

    applied: bool
    """False: the lease was no longer this worker's, or the result came before."""
    provenance: str = ""
    """The signed statement about a Run that succeeded, for its directory; also when the result came before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One number that a Run wrote down."""

    step: int
    """0..2^53."""
    name: str
    """What it measures."""
    value: float
    """Finite, within 1e300 of zero."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a Run says of itself."""

    points: tuple[Point, ...]
    """Numbers."""
    progress: Mapping[str, Any] | None = None
    """`{done, total, unit}`."""


def encode(message: Any) -> bytes:  # noqa: ANN401 - one of the records above
    """JSON of a message."""
    return json.dumps(asdict(message), ensure_ascii=False).encode()


def read_message(body: bytes) -> dict[str, Any]:
    """Parse a message. Raises Refused `bad_message`."""
    try:
        found = json.loads(body)
    except ValueError as error:
        raise Refused("bad_message", f"The worker's message is not JSON: {error}.") from error
    if not isinstance(found, dict):
        raise Refused("bad_message", "The worker's message is not an object.")
    return found


def read_offer(found: dict[str, Any]) -> WorkerOffer:
    """An offer from its JSON."""
    return _checked(WorkerOffer, found | {name: tuple(found.get(name, ())) for name in ("held", "known")})


def read_leave(found: dict[str, Any]) -> Leave:
    """A leave from its JSON."""
    return _checked(Leave, found)


def read_renewal(found: dict[str, Any]) -> Renewal:
    """A renewal from its JSON."""
    leases = tuple(_checked(HeldLease, lease) for lease in found.get("leases", ()))
    return _checked(Renewal, found | {"leases": leases})


def read_result(found: dict[str, Any]) -> AttemptResult:
    """A result from its JSON."""
    return _checked(AttemptResult, found | {name: tuple(found.get(name, ())) for name in ("outputs", "egress")})


def read_answer(found: dict[str, Any]) -> LeaseAnswer:
    """A lease answer from its JSON."""
    grant = found.get("grant")
    if grant is not None:
        grant = _checked(LeaseGrant, grant | {name: tuple(grant.get(name, ())) for name in ("inputs", "devices")})
    return LeaseAnswer(grant=grant, cancel=tuple(found.get("cancel", ())))


def read_report(body: bytes) -> Report:
    """A report from its JSON: one point, a list of them, or `{"metrics": [...], "progress": {...}}`.

    Raises Refused `bad_report`, `too_large`.
    """
    if len(body) > MAX_REPORT_BYTES:
        raise Refused(
            "too_large", f"A report may have {MAX_REPORT_BYTES} bytes at most.", fix="Send several.", status=413
        )
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise _bad_report("it is not JSON") from error
    progress = None
    if isinstance(found, dict) and not found.keys() & _POINT:
        if not found or found.keys() - {"metrics", "progress"}:
            raise _bad_report(f"it has {', '.join(sorted(map(repr, found))) or 'nothing'}")
        progress = None if found.get("progress") is None else _read_progress(found["progress"])
        found = found.get("metrics", [])
    points = found if isinstance(found, list) else [found]
    if len(points) > MAX_REPORT_POINTS:
        raise _bad_report(f"it holds {len(points)} numbers, {MAX_REPORT_POINTS} at most go into one")
    return Report(points=tuple(_read_point(one) for one in points), progress=progress)


def _read_point(found: object) -> Point:
    if not isinstance(found, dict) or found.keys() != _POINT:
        raise _bad_report("a number has exactly step, name and value")
    step, name, value = found["step"], found["name"], found["value"]
    if isinstance(step, bool) or not isinstance(step, int) or not 0 <= step <= _MAX_STEP:
        raise _bad_report("a step is a whole number from 0 to 2^53")
    if not isinstance(name, str) or not _WORD.fullmatch(name):
        raise _bad_report("a name has 1 to 100 of A-Z a-z 0-9 . _ / % @ + - and spaces")
    return Point(step=step, name=name, value=_number(value, "a value"))


def _read_progress(found: object) -> dict[str, Any]:
    if not isinstance(found, dict) or found.keys() - _PROGRESS or not {"done", "total"} <= found.keys():
        raise _bad_report("progress has done, total and a unit")
    unit = found.get("unit", "")
    if not isinstance(unit, str) or (unit and not _WORD.fullmatch(unit)):
        raise _bad_report("a unit is a short word")
    return {"done": _number(found["done"], "done"), "total": _number(found["total"], "total"), "unit": unit}


def _number(found: object, what: str) -> float:
    if isinstance(found, bool) or not isinstance(found, int | float) or not abs(found) < _LARGEST:
        raise _bad_report(f"{what} is a number within 1e300 of zero")
    return found


def _bad_report(why: str) -> Refused:
    return Refused(
        "bad_report", f"The report cannot be read: {why}.", fix='Send {"step": 1, "name": "loss", "value": 0.5}'
    )


def _checked(kind: type[_Record], found: dict[str, Any]) -> _Record:
    try:
        return kind(**found)
    except TypeError as error:
        raise Refused(
            "bad_message", f"The worker's message does not fit: {error}.", fix="Update the worker."
        ) from error
