"""All statements of `runs`, and the Run as the rest of the platform sees it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, func, insert, select, update

from baray.core import canonical_json
from baray.store import Tx, schema

run, attempt, edge = schema.run, schema.attempt, schema.edge

# States of a Run:
QUEUED = "queued"  # waits for a worker, for a Run it comes after, or for its next try
RUNNING = "running"  # an Attempt of it holds a lease
SUCCEEDED = "succeeded"  # its outputs are published
FAILED = "failed"  # it will not be tried again by itself
CANCELLED = "cancelled"  # somebody asked, or a Run it comes after did not succeed
STATES = (QUEUED, RUNNING, SUCCEEDED, FAILED, CANCELLED)
ENDED = frozenset({SUCCEEDED, FAILED, CANCELLED})
# States of an Attempt: running, succeeded, failed, cancelled, and
LOST = "lost"  # its lease expired, or its supervisor died: nobody knows how far it came, nothing of it counts

_AFTER = "after"  # role of the edge Run -> Run it comes after


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One requested execution of a frozen spec."""

    id: str
    """`r_...`."""
    project_id: str
    """Owner."""
    actor_id: str
    """Who asked."""
    kind: str
    """dataset, index, model or command."""
    name: str
    """Of what it makes, or of the command."""
    state: str
    """One of STATES."""
    label: str
    """Label of everything it sees; of its log and metrics too."""
    spec: dict[str, Any]
    """Frozen at submit."""
    memo_key: str
    """Digest of the spec."""
    created: float
    """Seconds since 1970, as all times here."""
    started: float | None
    """Start of the last Attempt."""
    ended: float | None
    """When it came to one of ENDED."""
    attempts: int
    """Attempts so far."""
    max_attempts: int
    """Attempts that may fail before it fails; lost ones have a limit of their own."""
    priority: int
    """Higher goes first."""
    cancel_asked: float | None
    """When somebody asked to cancel it."""
    error: dict[str, Any] | None
    """`{code, message, fix}` of the last failure."""
    outputs: list[dict[str, Any]]
    """`{id, ref, kind, digest, label, summary}` of what it published."""
    progress: dict[str, Any] | None
    """`{done, total, unit}`."""
    retry_at: float | None
    """Not before this time."""
    reused: bool = False
    """Whether submit gave back an earlier Run."""


def run_from_row(row: Any, *, reused: bool = False) -> Run:  # noqa: ANN401 - a row
    """Read a row of `run`."""
    values = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for it
    for name in ("error", "progress"):
        values[name] = json.loads(values[name]) if values[name] else None
    values["outputs"] = json.loads(values["outputs"]) if values["outputs"] else []
    values["spec"] = json.loads(values["spec"])
    return Run(**values, reused=reused)


def get_run(tx: Tx, run_id: str) -> Run | None:
    """The Run with an id (hot)."""
    row = tx.hot("SELECT * FROM run WHERE id = ?", (run_id,)).first()
    return None if row is None else run_from_row(row)


def list_runs(
    tx: Tx, project_id: str, *, after: str | None = None, limit: int = 50, state: str | None = None
) -> list[Run]:
    """Runs of a project, newest first; `after` is the last id of the page before."""
    statement = select(run).where(run.c.project_id == project_id)
    if after is not None:
        statement = statement.where(run.c.id < after)
    if state is not None:
        statement = statement.where(run.c.state == state)
    return [run_from_row(row) for row in tx.execute(statement.order_by(run.c.id.desc()).limit(limit))]


def counts(tx: Tx, project_id: str, readable: Callable[[str], bool] = lambda _label: True) -> dict[str, int]:
    """Number of Runs of a project by state, of those whose label is `readable`."""
    statement = select(run.c.state, run.c.label, func.count().label("number")).where(run.c.project_id == project_id)
    numbers = dict.fromkeys(STATES, 0)
    for row in tx.execute(statement.group_by(run.c.state, run.c.label)):
        numbers[row.state] += int(row.number) if readable(row.label) else 0
    return numbers


def holdings(tx: Tx) -> list[tuple[str, int]]:
    """(label, Runs) of all projects: their logs and metrics carry it."""
    statement = select(run.c.label, func.count().label("number")).group_by(run.c.label)
    return [(row.label, int(row.number)) for row in tx.execute(statement)]


def active(tx: Tx) -> int:
    """Number of Runs that are queued or running, in all projects."""
    return int(tx.execute(select(func.count()).where(run.c.state.in_((QUEUED, RUNNING)))).scalar_one())


def count_projects(tx: Tx) -> int:
    """Number of projects (hot)."""
    return int(tx.hot("SELECT count(*) FROM project").scalar() or 0)


def find_memo(tx: Tx, project_id: str, memo_key: str) -> Run | None:
    """The Run with the same spec that succeeded, or else waits or runs."""
    statement = (
        select(run)
        .where(run.c.project_id == project_id, run.c.memo_key == memo_key)
        .where(run.c.state.in_((SUCCEEDED, QUEUED, RUNNING)), run.c.cancel_asked.is_(None))
        .order_by((run.c.state == SUCCEEDED).desc(), run.c.id.desc())
        .limit(1)
    )
    row = tx.execute(statement).first()
    return None if row is None else run_from_row(row, reused=True)


_RUN_COLUMNS = tuple(
    "id project_id actor_id kind name state label spec memo_key created max_attempts priority attempts".split()
)
_INSERT_RUN = f"INSERT INTO run ({', '.join(_RUN_COLUMNS)}) VALUES ({', '.join('?' * len(_RUN_COLUMNS))})"  # noqa: S608


def add_run(tx: Tx, values: dict[str, Any]) -> None:
    """Insert a queued Run (hot)."""
    tx.hot(_INSERT_RUN, tuple(values[name] for name in _RUN_COLUMNS))


def set_run(tx: Tx, run_id: str, values: dict[str, Any]) -> None:
    """Change a Run's columns."""
    tx.execute(update(run).where(run.c.id == run_id).values(values))


def add_after(tx: Tx, run_id: str, earlier: tuple[str, ...]) -> None:
    """Let a Run wait for others."""
    tx.hot("INSERT INTO edge (child, parent, role) VALUES (?, ?, ?)", [(run_id, other, _AFTER) for other in earlier])


def states_of(tx: Tx, run_ids: tuple[str, ...], project_id: str) -> dict[str, str]:
    """State by id of those Runs that are the project's."""
    found = tx.execute(select(run.c.id, run.c.state).where(run.c.id.in_(run_ids), run.c.project_id == project_id))
    return {str(row.id): str(row.state) for row in found}


def earlier_runs(tx: Tx, run_id: str) -> list[tuple[str, str]]:
    """(id, state) of the Runs that this one comes after."""
    statement = select(run.c.id, run.c.state).join(edge, edge.c.parent == run.c.id)
    found = tx.execute(statement.where(edge.c.child == run_id, edge.c.role == _AFTER))
    return [(str(row.id), str(row.state)) for row in found]


def later_runs(tx: Tx, run_id: str) -> list[Run]:
    """Queued Runs that come after this one."""
    statement = select(run).join(edge, edge.c.child == run.c.id)
    found = tx.execute(statement.where(edge.c.parent == run_id, edge.c.role == _AFTER, run.c.state == QUEUED))
    return [run_from_row(row) for row in found]


_READY = (
    "SELECT id, project_id, kind, spec, created, label FROM run WHERE state = 'queued' AND priority = ? AND cancel_asked IS NULL"
    " AND (retry_at IS NULL OR retry_at <= ?) AND NOT EXISTS (SELECT 1 FROM edge JOIN run AS earlier"
    " ON earlier.id = edge.parent WHERE edge.child = run.id AND edge.role = 'after' AND earlier.state <> 'succeeded')"
    " ORDER BY created, rowid LIMIT ?"
)


def ready(tx: Tx, now: float, limit: int) -> list[Any]:
    """(id, project_id, kind, spec, created, label) of Runs that may start, first the one whose turn it is (hot).

    One statement for each priority in use: so the index gives the order, and a long queue is not sorted every time.
    """
    found: list[Any] = []
    priority = tx.hot("SELECT max(priority) FROM run WHERE state = 'queued'").scalar()
    while priority is not None and len(found) < limit:
        found += tx.hot(_READY, (priority, now, limit - len(found)))
        priority = tx.hot("SELECT max(priority) FROM run WHERE state = 'queued' AND priority < ?", (priority,)).scalar()
    return found


def next_retry(tx: Tx) -> float | None:
    """The earliest `retry_at` of the queue."""
    found = tx.hot("SELECT min(retry_at) FROM run WHERE state = 'queued' AND retry_at IS NOT NULL").scalar()
    return None if found is None else float(found)


def held(tx: Tx, worker: str) -> list[Any]:
    """(attempt id, run id, lease token, cancel_asked, spec) of what a worker holds (hot)."""
    sql = "SELECT attempt.id, run_id, lease_token, cancel_asked, spec FROM attempt JOIN run ON run.id = run_id"
    return list(tx.hot(sql + " WHERE attempt.state = 'running' AND worker = ?", (worker,)))


def start(tx: Tx, run_id: str, now: float) -> Any:  # noqa: ANN401 - a row
    """Take a queued Run: its row with the new number of attempts (hot)."""
    sql = "UPDATE run SET state = 'running', started = ?, retry_at = NULL, error = NULL, progress = NULL,"
    sql += " attempts = attempts + 1 WHERE id = ? AND state = 'queued'"
    tx.hot(sql, (now, run_id))
    return tx.hot("SELECT id, project_id, actor_id, label, attempts, spec FROM run WHERE id = ?", (run_id,)).one()


def add_attempt(tx: Tx, values: dict[str, Any]) -> None:
    """Insert a running Attempt."""
    tx.execute(insert(attempt), values)


def renew(tx: Tx, worker: str, leases: list[tuple[str, str]], expires: float) -> set[str]:
    """Prolong leases; the ids of those that are still the worker's."""
    sql = "UPDATE attempt SET lease_expires = ? WHERE id = ? AND lease_token = ? AND worker = ? AND state = 'running'"
    return {found for found, token in leases if tx.hot(sql, (expires, found, token, worker)).rowcount}


def set_progress(tx: Tx, run_id: str, progress: str) -> None:
    """Keep how far a running Run is."""
    tx.hot("UPDATE run SET progress = ? WHERE id = ? AND state = 'running'", (progress, run_id))


def leased(tx: Tx, attempt_id: str, lease_token: str) -> Any:  # noqa: ANN401 - a row
    """The running Attempt with its Run if the token still holds, else None."""
    columns = (attempt.c.id.label("attempt_id"), attempt.c.number, *run.c)
    statement = select(*columns).join(run, run.c.id == attempt.c.run_id)
    where = (attempt.c.id == attempt_id) & (attempt.c.lease_token == lease_token)
    return tx.execute(statement.where(where, attempt.c.state == RUNNING, run.c.state == RUNNING)).first()


_LIVE = (
    "SELECT attempt.id AS attempt_id, attempt.number, attempt.points, run.* FROM attempt JOIN run ON run.id = run_id"
    " WHERE token_hash = ? AND attempt.state = 'running' AND lease_expires > ?"
    " AND run.state = 'running' AND cancel_asked IS NULL"
)


def of_token(tx: Tx, hashed: str, now: float) -> Row[Any] | None:
    """The Attempt, with its Run, whose lease is live and whose Run's own token has this hash, else None (hot)."""
    return tx.hot(_LIVE, (hashed, now)).first()


def add_points(tx: Tx, attempt_id: str, count: int) -> None:
    """Count what an Attempt reported."""
    tx.hot("UPDATE attempt SET points = points + ? WHERE id = ?", (count, attempt_id))


def end_attempt(tx: Tx, attempt_id: str, lease_token: str, values: dict[str, Any]) -> bool:
    """Close an Attempt if its token still holds; False means stale."""
    where = (attempt.c.id == attempt_id) & (attempt.c.lease_token == lease_token) & (attempt.c.state == RUNNING)
    return tx.execute(update(attempt).where(where).values(values)).rowcount == 1


def attempt_states(tx: Tx, run_id: str) -> list[str]:
    """States of a Run's Attempts."""
    return [str(row.state) for row in tx.execute(select(attempt.c.state).where(attempt.c.run_id == run_id))]


def attempts_of(tx: Tx, run_id: str) -> list[Any]:
    """The Attempts of a Run by number."""
    return list(tx.execute(select(attempt).where(attempt.c.run_id == run_id).order_by(attempt.c.number)))


def expired(tx: Tx, now: float) -> list[Any]:
    """(id, lease token, run id) of Attempts whose lease ran out."""
    sql = "SELECT id, lease_token, run_id FROM attempt WHERE state = 'running' AND lease_expires < ?"
    return list(tx.hot(sql, (now,)))


def prolong_all(tx: Tx, expires: float) -> None:
    """Give every running Attempt at least until `expires`."""
    tx.hot("UPDATE attempt SET lease_expires = max(lease_expires, ?) WHERE state = 'running'", (expires,))


def get_meta(tx: Tx, key: str) -> str | None:
    """A word of `meta`."""
    found = tx.hot("SELECT value FROM meta WHERE key = ?", (key,)).scalar()
    return None if found is None else str(found)


def set_meta(tx: Tx, key: str, value: str) -> None:
    """Keep a word in `meta`."""
    tx.hot(
        "INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        (key, value),
    )


def workers(tx: Tx) -> dict[str, dict[str, Any]]:
    """What each worker last said of its machine, by name (hot)."""
    found = tx.hot("SELECT key, value FROM meta WHERE key >= 'worker:' AND key < 'worker;'")
    return {str(row.key).removeprefix("worker:"): json.loads(row.value) for row in found}


_OF_REPLICAS = "SELECT spec FROM run WHERE kind = 'replica' AND state IN ('queued', 'running')"


def free_cpus(tx: Tx) -> int:
    """Cores of the largest worker that no Replica holds, at least one: what a Run gets that takes all there is."""
    most = max((int(worker["cpus"]) for worker in workers(tx).values()), default=1)
    held = sum(int(json.loads(row.spec)["resources"]["cpus"]) for row in tx.hot(_OF_REPLICAS))
    return max(1, most - held)


def to_json(value: Any) -> str:  # noqa: ANN401 - any JSON value
    """How JSON stands in a column."""
    return canonical_json(value).decode()
