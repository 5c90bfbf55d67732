"""All statements of `access`."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row, func, insert, select, update

from baray.store import Tx, schema

actor, member, project, token, leave = schema.actor, schema.member, schema.project, schema.token, schema.leave


def add_project(tx: Tx, row: dict[str, Any]) -> None:
    """Insert a project."""
    tx.execute(insert(project), row)


def project_named(tx: Tx, name: str) -> Any:  # noqa: ANN401 - a row
    """The project called `name`, or None."""
    return tx.execute(select(project).where(project.c.name == name)).first()


def project_by_id(tx: Tx, project_id: str) -> Row[Any]:
    """The project with an id."""
    return tx.execute(select(project).where(project.c.id == project_id)).one()


def set_project(tx: Tx, project_id: str, values: dict[str, Any]) -> None:
    """Change a project's columns."""
    tx.execute(update(project).where(project.c.id == project_id).values(values))


def projects(tx: Tx) -> list[Any]:
    """All projects by name."""
    return list(tx.execute(select(project).order_by(project.c.name)))


def add_actor(tx: Tx, row: dict[str, Any]) -> None:
    """Insert an actor."""
    tx.execute(insert(actor), row)


def actor_named(tx: Tx, name: str) -> Any:  # noqa: ANN401 - a row
    """The actor called `name`, or None."""
    return tx.execute(select(actor).where(actor.c.name == name)).first()


def actor_by_id(tx: Tx, actor_id: str) -> Any:  # noqa: ANN401 - a row
    """The actor with an id, or None."""
    return tx.execute(select(actor).where(actor.c.id == actor_id)).first()


def actors(tx: Tx) -> list[Any]:
    """All actors by name."""
    return list(tx.execute(select(actor).order_by(actor.c.name)))


def operators(tx: Tx) -> int:
    """How many enabled operators the home has."""
    where = (actor.c.site_role == "operator") & actor.c.disabled.is_(None)
    return int(tx.execute(select(func.count()).select_from(actor).where(where)).scalar_one())


def set_actor(tx: Tx, actor_id: str, values: dict[str, Any]) -> None:
    """Change an actor's columns."""
    tx.execute(update(actor).where(actor.c.id == actor_id).values(values))


def set_member(tx: Tx, project_id: str, actor_id: str, role: str | None) -> None:
    """Give an actor a role in a project, or take it away."""
    where = (member.c.project_id == project_id) & (member.c.actor_id == actor_id)
    tx.execute(member.delete().where(where))
    if role is not None:
        tx.execute(insert(member), {"project_id": project_id, "actor_id": actor_id, "role": role})


def roles_of(tx: Tx, actor_id: str) -> list[Any]:
    """(project id, project name, role) of an actor."""
    statement = (
        select(member.c.project_id, project.c.name, member.c.role)
        .join(project, project.c.id == member.c.project_id)
        .where(member.c.actor_id == actor_id)
    )
    return list(tx.execute(statement))


def members(tx: Tx, project_id: str) -> list[Any]:
    """(name, kind, clearance, role) of a project's members."""
    statement = (
        select(actor.c.id, actor.c.name, actor.c.kind, actor.c.clearance, member.c.role)
        .join(actor, actor.c.id == member.c.actor_id)
        .where(member.c.project_id == project_id)
        .order_by(actor.c.name)
    )
    return list(tx.execute(statement))


def add_token(tx: Tx, row: dict[str, Any]) -> None:
    """Insert a token."""
    tx.execute(insert(token), row)


def token_by_hash(tx: Tx, hashed: str) -> Row[Any] | None:
    """The token whose secret has this hash, or None."""
    return tx.execute(select(token).where(token.c.hash == hashed)).first()


def token_by_id(tx: Tx, token_id: str) -> Row[Any] | None:
    """The token with an id, or None."""
    return tx.execute(select(token).where(token.c.id == token_id)).first()


def tokens_of(tx: Tx, actor_id: str) -> list[Any]:
    """An actor's tokens, newest first."""
    return list(tx.execute(select(token).where(token.c.actor_id == actor_id).order_by(token.c.id.desc())))


def live_sessions(tx: Tx, now: float) -> list[Any]:
    """Every session that has not ended, with its actor's name, newest first."""
    statement = (
        select(token, actor.c.name.label("actor_name"))
        .join(actor, actor.c.id == token.c.actor_id)
        .where(token.c.kind == "ses", token.c.revoked.is_(None), token.c.expires > now)
        .order_by(token.c.id.desc())
    )
    return list(tx.execute(statement))


def service_keys(tx: Tx) -> list[Any]:
    """Every key of every service account, with its actor's name, newest first."""
    statement = (
        select(token, actor.c.name.label("actor_name"))
        .join(actor, actor.c.id == token.c.actor_id)
        .where(token.c.kind == "svc")
        .order_by(token.c.id.desc())
    )
    return list(tx.execute(statement))


def live_tokens(tx: Tx, now: float) -> list[Any]:
    """Every token that may be used at the router, which knows no project's own tokens."""
    columns = (
        token.c.hash,
        token.c.id,
        token.c.actor_id,
        token.c.expires,
        token.c.scopes,
        token.c.max_label,
        token.c.bounds,
    )
    statement = select(*columns).where(
        token.c.revoked.is_(None),
        token.c.expires > now,
        token.c.kind.in_(["pat", "svc"]),
        token.c.project_id.is_(None),
        token.c.scopes.contains('"ask"'),
    )
    return list(tx.execute(statement))


def set_token(tx: Tx, token_id: str, values: dict[str, Any]) -> None:
    """Change a token's columns."""
    tx.execute(update(token).where(token.c.id == token_id).values(values))


def add_leave(tx: Tx, row: dict[str, Any]) -> None:
    """Insert a leave."""
    tx.execute(insert(leave), row)


def leaves(tx: Tx, project_id: str | None) -> list[Row[Any]]:
    """The leaves that stand, of a project or of all, by target."""
    statement = select(leave).where(leave.c.revoked.is_(None)).order_by(leave.c.target, leave.c.id)
    return list(tx.execute(statement if project_id is None else statement.where(leave.c.project_id == project_id)))


def end_leave(tx: Tx, leave_id: str, now: float) -> None:
    """Mark a leave as revoked."""
    tx.execute(update(leave).where(leave.c.id == leave_id).values(revoked=now))
