"""What a machine may hold at most: assigned by control, with an entry for each change.

A machine that nobody assigned anything to holds what is public and no more. A worker says of its own machine what it will
hold at most (its setting); that can lower what was assigned, and never raises it.

What is covered: a worker that says too much, or nothing. What is not: a machine that lies about which one it is; the
socket's peer check and, between machines, the node's key say that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row

from baray.access import PUBLIC, Label, Site, parse_label
from baray.fleet import records
from baray.store import Tx

BY_SETTING = "system"
"""Who assigned it where no person did: the deployment's own setting, read by control."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One machine of the fleet, as control knows it."""

    id: str
    """`n_...`."""
    name: str
    """That of its worker."""
    clearance: Label | None
    """What control lets it hold at most; None: everything."""
    by: str
    """Id of who assigned that, or BY_SETTING."""
    changed: float
    """When, seconds since 1970."""


def nodes(tx: Tx) -> dict[str, Node]:
    """Every Node that was assigned a clearance, by name."""
    return {row.name: _node(row) for row in records.nodes(tx)}


def node_named(tx: Tx, name: str) -> Node | None:
    """The Node called `name`, or None."""
    row = records.node_named(tx, name)
    return None if row is None else _node(row)


def admit(tx: Tx, site: Site, *, name: str, clearance: Label | None) -> None:
    """Take in the machine that control itself runs on, with the clearance of its setting.

    What a person assigned stands; a setting that changed since is taken over where no person did.
    """
    known = node_named(tx, name)
    if known is None or (known.by == BY_SETTING and known.clearance != clearance):
        assign(tx, site, name=name, clearance=clearance, by=BY_SETTING)


def assign(
    tx: Tx, site: Site, *, name: str, clearance: Label | None, by: str, facts: dict[str, Any] | None = None
) -> Node:
    """Say what a machine may hold at most from its next lease on; None takes the limit away."""
    known = records.node_named(tx, name)
    text = None if clearance is None else str(clearance)
    now = site.clock.now()
    values = {"clearance": text, "by": by, "changed": now}
    if known is None:
        node_id = site.ids.new("n")
        records.add_node(tx, values | {"id": node_id, "name": name})
    else:
        node_id = known.id
        records.set_node(tx, node_id, values)
    said = {"clearance": text or "none"} | (facts or {})
    site.ledger.append(tx, "node.changed", actor=by, subject=node_id, facts=said)
    return Node(id=node_id, name=name, clearance=clearance, by=by, changed=now)


def in_force(node: Node | None, said: str) -> Label | None:
    """What counts on a machine whose worker says `said` (empty: everything): no more than assigned, no more than it says."""
    given = PUBLIC if node is None else node.clearance
    stated = parse_label(said) if said else None
    if given is None or stated is None:
        return given if stated is None else stated
    return Label(level=min(given.level, stated.level), categories=given.categories & stated.categories)


def _node(row: Row[Any]) -> Node:
    clearance = None if row.clearance is None else parse_label(row.clearance)
    return Node(id=row.id, name=row.name, clearance=clearance, by=row.by, changed=row.changed)
