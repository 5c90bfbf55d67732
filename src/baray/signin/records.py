"""All statements of `signin`."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row, delete, insert, select, update

from baray.store import Tx, schema

credential = schema.credential

UNSEALED = (
    "SELECT id, actor_id, data FROM credential WHERE kind = 'code' AND json_extract(data, '$.secret') IS NOT NULL"
)
SEAL = "UPDATE credential SET data = ? WHERE id = ?"


def add(tx: Tx, row: dict[str, Any]) -> None:
    """Insert a credential."""
    tx.execute(insert(credential), row)


def of_actor(tx: Tx, actor_id: str, kind: str | None = None) -> list[Row[Any]]:
    """An actor's credentials, oldest first, of one kind or of all."""
    statement = select(credential).where(credential.c.actor_id == actor_id).order_by(credential.c.id)
    return list(tx.execute(statement if kind is None else statement.where(credential.c.kind == kind)))


def by_lookup(tx: Tx, lookup: str) -> Row[Any] | None:
    """The credential that is found by this, or None."""
    return tx.execute(select(credential).where(credential.c.lookup == lookup)).first()


def change(tx: Tx, credential_id: str, values: dict[str, Any]) -> None:
    """Change a credential's columns."""
    tx.execute(update(credential).where(credential.c.id == credential_id).values(values))


def remove(tx: Tx, credential_id: str) -> None:
    """Delete a credential."""
    tx.execute(delete(credential).where(credential.c.id == credential_id))
