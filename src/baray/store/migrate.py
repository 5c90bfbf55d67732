"""Bring a database to this version's schema: one linear chain of Alembic revisions, in one transaction.

Alembic is reached by name and only here, so that the processes that answer HTTP never load it.
"""

from __future__ import annotations

import importlib
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from baray.core import Refused
from baray.store import schema


def revision_of(path: Path) -> str | None:
    """The schema revision of the database at `path`; None if there is none yet. Raises Refused `bad_database`."""
    if not path.exists():
        return None
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        try:
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        except sqlite3.DatabaseError as error:
            if "no such table" in str(error):
                return None
            # Above all not None: a database that is damaged or locked must not look like one that is yet to be made.
            raise Refused(
                "bad_database",
                f"{path} cannot be read as a database: {error}.",
                fix="Restore it: baray backup restore FILE",
            ) from error
    return str(row[0]) if row else None


def refuse_newer(path: Path, found: str | None) -> None:
    """Raise Refused `newer_database` if revision `found` was made by a later Baray: the chain only goes up."""
    if found is not None and found > schema.REVISION:
        raise Refused(
            "newer_database",
            f"The database {path} has schema {found}, this Baray knows {schema.REVISION}.",
            fix="Start it with the newer Baray, or restore the copy that was made before its migration.",
            status=409,
        )


def migrate(path: Path, backup: Path | None = None) -> str:
    """Create or upgrade the database at `path` and return its revision; an older one is first copied to `backup`.

    The copy is made with VACUUM INTO: copying the file alone would miss what still lies in the write-ahead log. SQLite
    does not sync such a copy, so that is done here, before anything is changed. Raises Refused `newer_database`.
    """
    found = revision_of(path)
    refuse_newer(path, found)
    if backup is not None and found is not None:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("VACUUM INTO ?", (str(backup),))
        for place in (backup, backup.parent):
            _sync(place)
    importlib.import_module("alembic.command").upgrade(_alembic_config(path), "head")
    return schema.REVISION


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _alembic_config(path: Path) -> Any:  # noqa: ANN401 - alembic.config.Config, loaded by name
    config = importlib.import_module("alembic.config").Config()
    # Options are interpolated, so a '%' in a folder's name is doubled; attributes are taken as they are.
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    config.attributes["database"] = str(path)
    return config
