"""Alembic's entry: runs the chain on the database that `baray.store.migrate` names."""

from alembic import context
from sqlalchemy import create_engine

from baray.store import schema

engine = create_engine(context.config.get_main_option("sqlalchemy.url") or "")
with engine.connect() as connection:
    context.configure(connection=connection, target_metadata=schema.metadata, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()
engine.dispose()
