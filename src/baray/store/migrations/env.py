"""Alembic's entry: runs the chain on the database that `baray.store.migrate` names, in one transaction or not at all."""

import sqlite3

from alembic import context
from sqlalchemy import URL, Connection, create_engine, event

from baray.store import schema

engine = create_engine(URL.create("sqlite", database=context.config.attributes["database"]))


@event.listens_for(engine, "connect")
def on_connect(connection: sqlite3.Connection, _record: object) -> None:
    """Leave BEGIN to us: the driver's own comes too late, after the first CREATE TABLE."""
    connection.isolation_level = None


@event.listens_for(engine, "begin")
def on_begin(connection: Connection) -> None:
    """Take the lock at once."""
    connection.exec_driver_sql("BEGIN IMMEDIATE")


with engine.connect() as connection:
    context.configure(
        connection=connection, target_metadata=schema.metadata, render_as_batch=True, transactional_ddl=True
    )
    with context.begin_transaction():
        context.run_migrations()
engine.dispose()
