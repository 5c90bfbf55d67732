"""All statements of `fleet`."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row, insert, select, update

from baray.store import Tx, schema

node = schema.node


def nodes(tx: Tx) -> list[Row[Any]]:
    """All Nodes by name."""
    return list(tx.execute(select(node).order_by(node.c.name)))


def node_named(tx: Tx, name: str) -> Row[Any] | None:
    """The Node called `name`, or None (hot)."""
    return tx.hot("SELECT * FROM node WHERE name = ?", (name,)).first()


def add_node(tx: Tx, row: dict[str, Any]) -> None:
    """Insert a Node."""
    tx.execute(insert(node), row)


def set_node(tx: Tx, node_id: str, values: dict[str, Any]) -> None:
    """Change a Node's columns."""
    tx.execute(update(node).where(node.c.id == node_id).values(values))
