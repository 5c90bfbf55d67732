"""All statements of `serve` on the control side."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Row, Select, func, insert, select, update

from baray.access import join, parse_label
from baray.store import Tx, schema

service, revision, answer, usage, version = (
    schema.service,
    schema.revision,
    schema.answer,
    schema.usage,
    schema.version,
)


def _services() -> Select[Any]:
    """Services with their current Revision and the name of their project."""
    return (
        select(
            *service.c,
            revision.c.number,
            revision.c.spec,
            revision.c.label,
            schema.project.c.name.label("project"),
        )
        .join(revision, revision.c.id == service.c.current_revision)
        .join(schema.project, schema.project.c.id == service.c.project_id)
    )


def find_service(tx: Tx, project_id: str, name: str) -> Row[Any] | None:
    """A Service with its current Revision, or None."""
    return tx.execute(_services().where(service.c.project_id == project_id, service.c.name == name)).first()


def services(tx: Tx, project_id: str | None) -> list[Row[Any]]:
    """The Services of a project, or all, by project and name."""
    statement = _services().order_by(schema.project.c.name, service.c.name)
    if project_id is not None:
        statement = statement.where(service.c.project_id == project_id)
    return list(tx.execute(statement))


def revisions(tx: Tx, service_id: str) -> list[Row[Any]]:
    """The Revisions of a Service, newest first."""
    statement = select(revision).where(revision.c.service_id == service_id).order_by(revision.c.number.desc())
    return list(tx.execute(statement))


def add_service(tx: Tx, row: dict[str, Any]) -> None:
    """Insert a Service."""
    tx.execute(insert(service), row)


def set_service(tx: Tx, service_id: str, values: dict[str, Any]) -> None:
    """Change a Service's columns."""
    tx.execute(update(service).where(service.c.id == service_id).values(values))


def add_revision(tx: Tx, row: dict[str, Any]) -> int:
    """Insert a Revision with the next number of its Service; return the number."""
    top = tx.execute(select(func.max(revision.c.number)).where(revision.c.service_id == row["service_id"])).scalar()
    number = int(top or 0) + 1
    tx.execute(insert(revision), row | {"number": number})
    return number


def known_answers(tx: Tx, ids: Sequence[str]) -> set[str]:
    """Which of `ids` are stored already."""
    known: set[str] = set()
    for start in range(0, len(ids), 500):
        statement = select(answer.c.id).where(answer.c.id.in_(ids[start : start + 500]))
        known.update(str(row.id) for row in tx.execute(statement))
    return known


def known_revisions(tx: Tx, ids: Sequence[str]) -> set[tuple[str, str, str]]:
    """(revision, service, project) of the `ids` that exist."""
    statement = (
        select(revision.c.id, revision.c.service_id, service.c.project_id)
        .join(service, service.c.id == revision.c.service_id)
        .where(revision.c.id.in_(ids))
    )
    return {(row.id, row.service_id, row.project_id) for row in tx.execute(statement)}


ANSWER_COLUMNS = (
    "id", "service_id", "revision_id", "project_id", "actor_id", "created", "outcome", "question", "language", "label",
    "answer", "citations", "ms", "receipt_digest",
)  # fmt: skip
_ADD_ANSWER = f"INSERT INTO answer ({', '.join(ANSWER_COLUMNS)}) VALUES ({', '.join('?' * len(ANSWER_COLUMNS))})"  # noqa: S608 - constants
_ADD_USAGE = (
    "INSERT INTO usage (day, project_id, service_id, key_id, requests, tokens_in, tokens_out, ms) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (day, project_id, service_id, key_id) "
    "DO UPDATE SET requests = requests + excluded.requests, tokens_in = tokens_in + excluded.tokens_in, "
    "tokens_out = tokens_out + excluded.tokens_out, ms = ms + excluded.ms"
)


def add_answers(tx: Tx, rows: list[dict[str, Any]]) -> None:
    """Insert Answers."""
    if rows:
        tx.hot(_ADD_ANSWER, [tuple(row[column] for column in ANSWER_COLUMNS) for row in rows])


def add_usage(tx: Tx, rows: list[tuple[str, str, str, str, int, int, int, float]]) -> None:
    """Add (day, project, service, key, requests, tokens in, tokens out, ms) to the counts of the day."""
    if rows:
        tx.hot(_ADD_USAGE, rows)


# What the version that an Answer came from was raised to, label after label.
_RAISED = (
    select(func.aggregate_strings(schema.raised.c.label, " "))
    .join(schema.edge, schema.edge.c.parent == schema.raised.c.version_id)
    .where(schema.edge.c.child == answer.c.revision_id, schema.edge.c.role == "answers-from")
    .correlate(answer)
    .scalar_subquery()
    .label("raised")
)


def answer_by_id(tx: Tx, answer_id: str) -> Row[Any] | None:
    """An Answer, or None."""
    return tx.execute(select(answer, _RAISED).where(answer.c.id == answer_id)).first()


def answers(tx: Tx, service_id: str, *, outcome: str | None, after: str | None, limit: int) -> list[Row[Any]]:
    """Answers of a Service, newest first, older than the Answer `after`."""
    statement = select(answer, _RAISED).where(answer.c.service_id == service_id)
    if outcome is not None:
        statement = statement.where(answer.c.outcome == outcome)
    if after is not None:
        statement = statement.where(answer.c.id < after)
    return list(tx.execute(statement.order_by(answer.c.id.desc()).limit(limit)))


def count_answers(tx: Tx, service_id: str) -> dict[str, int]:
    """Outcome -> number of Answers of a Service."""
    statement = (
        select(answer.c.outcome, func.count().label("number"))
        .where(answer.c.service_id == service_id)
        .group_by(answer.c.outcome)
    )
    return {row.outcome: row.number for row in tx.execute(statement)}


def usage_by(tx: Tx, project_id: str, column: str, services: Collection[str] | None) -> list[Row[Any]]:
    """(key, requests, tokens_in, tokens_out, ms) by `service_id`, `key_id` or `project_id`, of a project or of some `services`."""
    own = usage.c[column]
    statement = (
        select(
            own.label("key"),
            *(func.sum(usage.c[name]).label(name) for name in ("requests", "tokens_in", "tokens_out", "ms")),
        )
        .where(usage.c.project_id == project_id)
        .group_by(own)
        .order_by(own)
    )
    if services is not None:
        statement = statement.where(usage.c.service_id.in_(services))
    return list(tx.execute(statement))


# What the version behind a Revision was raised to, label after label.
_REVISION_RAISED = (
    select(func.aggregate_strings(schema.raised.c.label, " "))
    .join(schema.edge, schema.edge.c.parent == schema.raised.c.version_id)
    .where(schema.edge.c.child == revision.c.id, schema.edge.c.role == "answers-from")
    .correlate(revision)
    .scalar_subquery()
    .label("raised")
)


def holdings(tx: Tx) -> list[tuple[str, str, int]]:
    """(label, `service` or `answer`, how many) of all projects; stopped Services count, as their files are still there."""
    of_services = (
        select(revision.c.label, _REVISION_RAISED, func.count().label("number"))
        .join(service, service.c.current_revision == revision.c.id)
        .group_by(revision.c.label, "raised")
    )
    of_answers = select(answer.c.label, _RAISED, func.count().label("number")).group_by(answer.c.label, "raised")
    found = [("service", row) for row in tx.execute(of_services)] + [("answer", row) for row in tx.execute(of_answers)]
    return [
        (str(join(parse_label(one) for one in (row.label, *(row.raised or "").split()))), kind, int(row.number))
        for kind, row in found
    ]
