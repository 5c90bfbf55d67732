"""All statements about Replicas, and the Service's columns that speak of them."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Row, delete, insert, select, update

from baray.serve.replicas.decide import ENDED, READY, Replica
from baray.store import Tx, schema

KEPT_ENDED = 20
_replica, _run, _service, _revision = schema.replica, schema.run, schema.service, schema.revision
_WITH_RUN = (
    select(*_replica.c, _run.c.state.label("run"), _run.c.started.label("run_started"), _run.c.error)
    .join(_run, _run.c.id == _replica.c.run_id, isouter=True)
    .order_by(_replica.c.made, _replica.c.id)
)


def wishes(tx: Tx) -> list[Row[Any]]:
    """Services that have Replicas, or still have some to let go (hot enough: one statement, a row for each)."""
    live = select(_replica.c.service_id).where(_replica.c.state != ENDED)
    has = _service.c.least_replicas.is_not(None) | _service.c.id.in_(live)
    return list(tx.execute(select(_service).where(has).order_by(_service.c.id)))


def of_service(tx: Tx, service_id: str) -> list[Replica]:
    """The Replicas of a Service, the oldest first."""
    return [_read(row) for row in tx.execute(_WITH_RUN.where(_replica.c.service_id == service_id))]


def ready(tx: Tx, revision_id: str) -> list[tuple[str, str]]:
    """(Run, socket) of the Replicas of a Revision that routers may send to."""
    found = select(_replica.c.run_id, _replica.c.socket).where(
        _replica.c.revision_id == revision_id, _replica.c.state == READY
    )
    return [(row.run_id, row.socket) for row in tx.execute(found.order_by(_replica.c.made, _replica.c.id))]


def add(tx: Tx, row: dict[str, Any]) -> None:
    """Insert a Replica."""
    tx.execute(insert(_replica), row)


def set_state(tx: Tx, replica_id: str, values: dict[str, Any]) -> None:
    """Change a Replica's columns."""
    tx.execute(update(_replica).where(_replica.c.id == replica_id).values(values))


def hand_over(tx: Tx, service_id: str, before: str, after: str) -> None:
    """Give the Replicas of a Revision to another one that differs in nothing that runs."""
    where = (_replica.c.service_id == service_id) & (_replica.c.revision_id == before) & (_replica.c.state != ENDED)
    tx.execute(update(_replica).where(where).values(revision_id=after))


def prune(tx: Tx, service_id: str) -> None:
    """Forget ended Replicas but for the newest."""
    own = (_replica.c.service_id == service_id) & (_replica.c.state == ENDED)
    kept = select(_replica.c.id).where(own).order_by(_replica.c.made.desc()).limit(KEPT_ENDED)
    tx.execute(delete(_replica).where(own, _replica.c.id.not_in(kept)))


def set_service(tx: Tx, service_id: str, values: dict[str, Any]) -> None:
    """Change a Service's columns."""
    tx.execute(update(_service).where(_service.c.id == service_id).values(values))


def service(tx: Tx, service_id: str) -> Row[Any] | None:
    """A Service's row."""
    return tx.execute(select(_service).where(_service.c.id == service_id)).first()


def revision(tx: Tx, revision_id: str) -> Row[Any] | None:
    """A Revision's row."""
    return tx.execute(select(_revision).where(_revision.c.id == revision_id)).first()


def revision_numbered(tx: Tx, service_id: str, number: int) -> Row[Any] | None:
    """The Revision of a Service with a number."""
    where = (_revision.c.service_id == service_id) & (_revision.c.number == number)
    return tx.execute(select(_revision).where(where)).first()


def last_asked(tx: Tx, service_id: str) -> float:
    """When the newest Answer of a Service was given, 0 if there is none (hot)."""
    found = tx.hot("SELECT created FROM answer WHERE service_id = ? ORDER BY id DESC LIMIT 1", (service_id,)).scalar()
    return float(found or 0.0)


def _read(row: Row[Any]) -> Replica:
    error = json.loads(row.error) if row.error else {}
    return Replica(
        id=row.id,
        revision_id=row.revision_id,
        run_id=row.run_id or "",
        socket=row.socket,
        state=row.state,
        since=row.since,
        made=row.made,
        failed=bool(row.failed),
        served=bool(row.served),
        reason=row.reason or "",
        run=row.run or "",
        run_started=row.run_started or 0.0,
        trouble=str(error.get("message", "")),
    )
