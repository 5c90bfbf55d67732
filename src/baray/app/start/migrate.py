"""Bring a home's database to this version's schema."""

from __future__ import annotations

from argparse import Namespace

from baray.app.layout import Layout
from baray.core import SystemClock, iso_time
from baray.store import migrate, revision_of, schema


def start(arguments: Namespace) -> None:
    """Migrate if needed, keeping a copy of an older database."""
    layout = Layout(arguments.home)
    layout.make()
    if revision_of(layout.database) != schema.REVISION:
        stamp = iso_time(SystemClock().now()).replace(":", "")
        migrate(layout.database, layout.home / f"before-migration-{stamp}.db")
