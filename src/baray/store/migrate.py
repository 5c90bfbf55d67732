"""Bring a database to this version's schema: one linear chain of Alembic revisions.

Alembic is reached by name and only here, so that the processes that answer HTTP never load it.
"""

from __future__ import annotations

import importlib
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from baray.core import Refused


def revision_of(path: Path) -> str | None:
    """The schema revision of the database at `path`; None if there is none yet."""
    if not path.exists():
        return None
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        try:
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        except sqlite3.OperationalError:
            return None
        except sqlite3.DatabaseError as error:
            raise Refused(
                "bad_database",
                f"{path} is not a readable database: {error}.",
                fix="Restore it: baray backup restore FILE",
            ) from error
    return str(row[0]) if row else None


def migrate(path: Path, backup: Path | None = None) -> str:
    """Create or upgrade the database at `path` and return its revision; an older one is first copied to `backup`.

    The copy is made with VACUUM INTO: copying the file alone would miss what still lies in the write-ahead log.
    """
    if backup is not None and revision_of(path) is not None:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("VACUUM INTO ?", (str(backup),))
    config = _alembic_config(path)
    importlib.import_module("alembic.command").upgrade(config, "head")
    found = revision_of(path)
    assert found is not None
    return found


def _alembic_config(path: Path) -> Any:  # noqa: ANN401 - alembic.config.Config, loaded by name
    config = importlib.import_module("alembic.config").Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    config.set_main_option("sqlalchemy.url", f"sqlite:///{path}")
    return config
