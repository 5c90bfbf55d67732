"""All statements about labels that change."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, insert, select, update

from baray.store import Tx, schema

raised, lowering, approval, approval_key = schema.raised, schema.lowering, schema.approval, schema.approval_key
edge, run, revision, service, version = schema.edge, schema.run, schema.revision, schema.service, schema.version

FLOWS = ("input", "made-by", "answers-from", "lowered-from")
"""Roles of the edges along which content goes; `after` only orders Runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lowering:
    """A request to lower a version's label."""

    id: str
    """`lw_...`."""
    project_id: str
    """Owner of the version."""
    version_id: str
    """What is to be lowered."""
    digest: str
    """Its identity when it was asked: nothing else is lowered."""
    manifest_digest: str
    """Of its manifest then."""
    source_label: str
    """Its label in force then."""
    target_label: str
    """What it is to become."""
    reason: str
    """In the requester's words."""
    actor_id: str
    """Who asked."""
    created: float
    """Seconds since 1970."""
    expires: float
    """Not after this."""
    state: str
    """`pending`, `used` or `refused`."""
    made_version: str | None
    """The version that came of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """What one person signed about a request."""

    lowering_id: str
    """The request."""
    actor_id: str
    """Who."""
    verdict: str
    """`approve` or `refuse`."""
    way: str
    """How it was signed: the public key, `ed25519.HEX`."""
    signed: str
    """Digest of the request's statement."""
    signature: str
    """`ed25519.HEX`."""
    created: float
    """Seconds since 1970."""


def followers(tx: Tx, node_id: str) -> list[str]:
    """Ids of what content went into directly."""
    statement = select(edge.c.child).where(edge.c.parent == node_id, edge.c.role.in_(FLOWS))
    return [str(row.child) for row in tx.execute(statement.order_by(edge.c.child).distinct())]


def add_raise(tx: Tx, row: dict[str, Any]) -> None:
    """Insert a raise of a version."""
    tx.execute(insert(raised), row)


def raises_of(tx: Tx, version_id: str) -> list[Row[Any]]:
    """The raises of a version, newest first."""
    statement = select(raised, schema.actor.c.name.label("by"))
    statement = statement.outerjoin(schema.actor, schema.actor.c.id == raised.c.actor_id)
    return list(tx.execute(statement.where(raised.c.version_id == version_id).order_by(raised.c.created.desc())))


def raised_versions(tx: Tx, project_id: str, limit: int) -> list[Row[Any]]:
    """Raises in a project, newest first."""
    owner = select(version.c.id)
    owner = owner.outerjoin(schema.thing, schema.thing.c.id == version.c.thing_id)
    owner = owner.outerjoin(schema.source, schema.source.c.id == version.c.source_id)
    owner = owner.where((schema.thing.c.project_id == project_id) | (schema.source.c.project_id == project_id))
    statement = select(raised, schema.actor.c.name.label("by"))
    statement = statement.outerjoin(schema.actor, schema.actor.c.id == raised.c.actor_id)
    statement = statement.where(raised.c.version_id.in_(owner))
    return list(tx.execute(statement.order_by(raised.c.created.desc(), raised.c.id.desc()).limit(limit)))


def labelled_run(tx: Tx, run_id: str) -> Row[Any] | None:
    """(id, label, state, name, kind, project) of a Run."""
    columns = (run.c.id, run.c.label, run.c.state, run.c.name, run.c.kind, run.c.project_id)
    return tx.execute(select(*columns).where(run.c.id == run_id)).first()


def set_run_label(tx: Tx, run_id: str, label: str) -> None:
    """Give a Run, its log and its metrics a higher label."""
    tx.execute(update(run).where(run.c.id == run_id).values(label=label))


def labelled_revision(tx: Tx, revision_id: str) -> Row[Any] | None:
    """A Revision with its Service, and whether it is the one that answers."""
    statement = select(
        revision.c.id, revision.c.label, service.c.name, service.c.kind, service.c.state, service.c.audience,
        service.c.project_id, (service.c.current_revision == revision.c.id).label("current"),
    ).join(service, service.c.id == revision.c.service_id)  # fmt: skip
    return tx.execute(statement.where(revision.c.id == revision_id)).first()


def set_revision_label(tx: Tx, revision_id: str, label: str) -> None:
    """Give a Revision a higher label."""
    tx.execute(update(revision).where(revision.c.id == revision_id).values(label=label))


def owner_of(tx: Tx, version_id: str) -> dict[str, str | None]:
    """`thing_id` and `source_id` of a version: the thing or the Source it is one of."""
    row = tx.execute(select(version.c.thing_id, version.c.source_id).where(version.c.id == version_id)).one()
    return {"thing_id": row.thing_id, "source_id": row.source_id}


def add_lowering(tx: Tx, row: dict[str, Any]) -> None:
    """Insert a request."""
    tx.execute(insert(lowering), row)


def get_lowering(tx: Tx, lowering_id: str) -> Lowering | None:
    """The request with an id."""
    row = tx.execute(select(lowering).where(lowering.c.id == lowering_id)).mappings().first()
    return None if row is None else Lowering(**row)


def lowerings(tx: Tx, project_id: str, states: Sequence[str], limit: int = 200) -> list[Lowering]:
    """Requests of a project, newest first."""
    statement = select(lowering).where(lowering.c.project_id == project_id, lowering.c.state.in_(states))
    found = tx.execute(statement.order_by(lowering.c.created.desc(), lowering.c.id.desc()).limit(limit))
    return [Lowering(**row) for row in found.mappings()]


def set_lowering(tx: Tx, lowering_id: str, values: dict[str, Any]) -> bool:
    """Change a pending request; False if it is pending no more."""
    where = (lowering.c.id == lowering_id) & (lowering.c.state == "pending")
    return tx.execute(update(lowering).where(where).values(values)).rowcount == 1


def approvals(tx: Tx, lowering_id: str) -> list[Approval]:
    """What was signed about a request, in order."""
    statement = select(approval).where(approval.c.lowering_id == lowering_id).order_by(approval.c.created)
    return [Approval(**row) for row in tx.execute(statement).mappings()]


def add_approval(tx: Tx, row: dict[str, Any]) -> None:
    """Keep what one person signed."""
    tx.execute(insert(approval), row)


def live_key(tx: Tx, actor_id: str) -> str | None:
    """The public key that an actor signs approvals with, `ed25519.HEX`."""
    where = (approval_key.c.actor_id == actor_id) & approval_key.c.revoked.is_(None)
    found = tx.execute(select(approval_key.c.public).where(where)).scalar()
    return None if found is None else str(found)


def live_passkeys(tx: Tx, actor_id: str) -> list[str]:
    """The COSE keys, base64url, of an actor's passkeys."""
    where = (schema.credential.c.actor_id == actor_id) & (schema.credential.c.kind == "passkey")
    rows = tx.execute(select(schema.credential.c.data).where(where))
    return [str(json.loads(row.data)["key"]) for row in rows]


def put_key(tx: Tx, row: dict[str, Any]) -> None:
    """Give an actor another key; the one before is revoked."""
    where = (approval_key.c.actor_id == row["actor_id"]) & approval_key.c.revoked.is_(None)
    tx.execute(update(approval_key).where(where).values(revoked=row["created"]))
    tx.execute(insert(approval_key), row)


def audience_of(row: Row[Any]) -> list[str]:
    """Who may ask a Service."""
    return [str(name) for name in json.loads(row.audience)]
