"""What a worker and control say to each other: JSON over HTTP, each message one of these records.

POST /worker/lease   WorkerOffer   -> LeaseAnswer    long poll: answers when there is work or a cancel, at most `wait_seconds`
POST /worker/renew   Renewal       -> RenewAnswer
POST /worker/result  AttemptResult -> ResultAnswer   repeating is free: the lease token makes it idempotent
POST /worker/leave   Leave         -> LeaseAnswer    it stops asking; what it started goes on
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

from baray.core import Refused

LOCAL_WORKER = "local"
"""Name of the worker on the machine that control runs on."""
LEASE_SECONDS = 60.0
RENEW_SECONDS = 10.0
MAX_WAIT_SECONDS = 20.0

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


def _checked(kind: type[_Record], found: dict[str, Any]) -> _Record:
    try:
        return kind(**found)
    except TypeError as error:
        raise Refused(
            "bad_message", f"The worker's message does not fit: {error}.", fix="Update the worker."
        ) from error
