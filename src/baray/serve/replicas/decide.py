"""What to do about the Replicas of one Service: a pure function of what is wanted, what there is, and what was seen.

Blue/green: the next Revision's Replicas come up beside the current ones; it takes over only when all it needs are
healthy, and the old ones answer until then. What is drained leaves the routes first, is left alone until it has nothing
to do, and is cancelled after that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

# States of a Replica:
STARTING = "starting"  # its Run waits or loads; nothing is sent to it
READY = "ready"  # it has answered a completion: routers send to it
DRAINING = "draining"  # out of the routes; it finishes what it has
STOPPING = "stopping"  # its Run is asked to stop
ENDED = "ended"  # its Run has ended; kept for a while, for counting failures and for people
LIVE = frozenset({STARTING, READY})

MAX_FAILED_STARTS = 3
MAX_WAIT_SECONDS = 60.0
STEADY_SECONDS = 60.0  # a Replica that served so long was no failed start
START_SECONDS = 900.0  # for loading a Model, from the start of its Run
SILENT_SECONDS = 15.0  # a ready Replica that does not answer for so long is given up
DRAIN_SECONDS = 30.0
ROUTES_SECONDS = 1.0  # until every router follows a new snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What one Service should have."""

    service_id: str
    """`e_...`."""
    stopped: bool
    """Nothing should answer."""
    current: str
    """Revision that answers; empty if no Replicas answer for it."""
    following: str
    """Revision that waits at the gate, or empty."""
    proposed: float
    """Since when it waits, seconds since 1970; its earlier failures do not count."""
    wanted: int
    """Replicas that the load asks for now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """One row, with the state of its Run."""

    id: str
    """`rp_...`."""
    revision_id: str
    """Whose it is."""
    run_id: str
    """`r_...`; empty where the Run was refused."""
    socket: str
    """Where it listens."""
    state: str
    """One of the states above."""
    since: float
    """In this state since, seconds since 1970."""
    made: float
    """When it was asked for."""
    failed: bool
    """It ended, or is ending, through a fault."""
    served: bool
    """It was ready once."""
    reason: str
    """Why it ended or is not ready, for people."""
    run: str
    """State of its Run; empty if there is none."""
    run_started: float
    """Start of its Run's last Attempt; 0 before the first."""
    trouble: str
    """Why its Run ended, for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What the last looks at a Replica's socket told."""

    answers: bool = False
    """It answered a look at its health and said that it is ready."""
    passed: bool = False
    """It answered a completion."""
    refused: str = ""
    """Why its first completion failed."""
    active: int = 0
    """Requests that it works on."""
    waiting: int = 0
    """Requests in its line."""
    looked: float = 0.0
    """When `active` and `waiting` were told, seconds since 1970."""
    silent_seconds: float = 0.0
    """How long it has not answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One step to take."""

    what: str
    """start, ready, again, drain, cancel, fail, end, switch, or reject."""
    replica: str = ""
    """Which one; empty for start, switch, reject."""
    revision: str = ""
    """For start, switch, reject."""
    failed: bool = False
    """For end: whether it counts as a failed start."""
    reason: str = ""
    """For people."""


@dataclass(slots=True)
class _Plan:
    """Changes so far, and the states that they lead to."""

    changes: list[Change] = field(default_factory=list)
    states: dict[str, str] = field(default_factory=dict)


def decide(wish: Wish, replicas: Sequence[Replica], seen: Mapping[str, Seen], now: float) -> list[Change]:
    """The changes to make now, in their order. Repeating it after they were made gives none."""
    plan = _Plan(states={one.id: one.state for one in replicas})
    for one in replicas:
        _judge(plan, one, seen.get(one.id, Seen()), now)
    current = _pass_gate(plan, wish, replicas)
    targets = {} if wish.stopped else {current[0]: wish.wanted, current[1]: max(1, wish.wanted)}
    targets.pop("", None)
    for one in replicas:
        if plan.states[one.id] in LIVE and one.revision_id not in targets:
            _let_go(plan, one)
    for revision, target in targets.items():
        own = [one for one in replicas if one.revision_id == revision]
        _level(plan, revision, own, target, since=wish.proposed if revision == current[1] else 0.0, now=now)
    return plan.changes


def failures(replicas: Sequence[Replica], *, since: float = 0.0) -> list[Replica]:
    """Failed starts of a Revision in a row, the newest first; those of before `since` do not count."""
    ended = sorted((one for one in replicas if one.state == ENDED), key=lambda one: one.made, reverse=True)
    found: list[Replica] = []
    for one in ended:
        if not one.failed or one.made < since or (one.served and one.since - one.made >= STEADY_SECONDS):
            break
        found.append(one)
    return found


def state_of(own: Sequence[Replica], *, least: int, wanted: int) -> str:
    """How the Revision that answers stands: `ready`, `starting`, or `degraded` where something fell or does not come up."""
    if sum(one.state == READY for one in own) >= max(least, min(1, wanted)):
        return "ready"
    if len(failures(own)) >= MAX_FAILED_STARTS:
        return "degraded"
    # Some may answer while others come up for the first time: that is a start, and who deploys waits for its end.
    fell = any(one.failed or (one.state == STARTING and one.served) for one in own)
    return "degraded" if fell and any(one.served for one in own) else "starting"


def wait_seconds(number: int) -> float:
    """How long to wait after `number` failed starts: 1, 2, 4 ... 60 s."""
    return min(MAX_WAIT_SECONDS, 2.0 ** min(number - 1, 10)) if number else 0.0


def _judge(plan: _Plan, one: Replica, seen: Seen, now: float) -> None:
    """What became of one Replica by itself."""
    if one.state == ENDED:
        return
    if one.run not in {"queued", "running"}:
        failed = one.failed or (one.state in LIVE and one.run != "cancelled")
        _change(plan, one, "end", ENDED, failed=failed, reason=one.reason or one.trouble)
    elif one.state == DRAINING:
        idle = seen.looked > one.since + ROUTES_SECONDS and not seen.active and not seen.waiting
        if idle or one.run != "running" or now - one.since > DRAIN_SECONDS or seen.silent_seconds > SILENT_SECONDS:
            _change(plan, one, "cancel", STOPPING)
    elif one.state == READY:
        if one.run != "running":
            _change(plan, one, "again", STARTING)
        elif seen.silent_seconds > SILENT_SECONDS:
            _change(plan, one, "fail", STOPPING, reason=f"It did not answer for {seen.silent_seconds:.0f} s.")
    elif one.state == STARTING and one.run == "running":
        _judge_start(plan, one, seen, now)


def _judge_start(plan: _Plan, one: Replica, seen: Seen, now: float) -> None:
    if seen.passed:
        _change(plan, one, "ready", READY)
    elif seen.refused:
        _change(plan, one, "fail", STOPPING, reason=seen.refused)
    elif one.run_started and now - one.run_started > START_SECONDS:
        _change(plan, one, "fail", STOPPING, reason=f"It was not ready within {START_SECONDS:.0f} s.")


def _pass_gate(plan: _Plan, wish: Wish, replicas: Sequence[Replica]) -> tuple[str, str]:
    """(current, following) after the gate has looked at the Revision that waits."""
    if wish.stopped or not wish.following:
        return wish.current, wish.following
    own = [one for one in replicas if one.revision_id == wish.following]
    ready = sum(plan.states[one.id] == READY for one in own)
    if ready >= max(1, wish.wanted):
        plan.changes.append(Change(what="switch", revision=wish.following))
        return wish.following, ""
    failed = failures(own, since=wish.proposed)
    if len(failed) >= MAX_FAILED_STARTS:
        reason = f"It failed to start {len(failed)} times: {failed[0].reason}"
        plan.changes.append(Change(what="reject", revision=wish.following, reason=reason))
        return wish.current, ""
    return wish.current, wish.following


def _level(plan: _Plan, revision: str, own: Sequence[Replica], target: int, *, since: float, now: float) -> None:
    """Start what is missing of one Revision, after its wait; let go what is too many, the newest first."""
    live = [one for one in own if plan.states[one.id] in LIVE]
    failed = failures(own, since=since)
    if len(live) < target and (not failed or now >= failed[0].since + wait_seconds(len(failed))):
        plan.changes += [Change(what="start", revision=revision) for _ in range(target - len(live))]
    order = sorted(live, key=lambda one: (plan.states[one.id] == READY, -one.made))
    for one in order[: max(0, len(live) - target)]:
        _let_go(plan, one)


def _let_go(plan: _Plan, one: Replica) -> None:
    """What serves is drained; what has not begun to serve is stopped at once."""
    serves = plan.states[one.id] == READY
    _change(plan, one, "drain" if serves else "cancel", DRAINING if serves else STOPPING)


def _change(plan: _Plan, one: Replica, what: str, state: str, *, failed: bool = False, reason: str = "") -> None:
    plan.states[one.id] = state
    plan.changes.append(Change(what=what, replica=one.id, revision=one.revision_id, failed=failed, reason=reason))
