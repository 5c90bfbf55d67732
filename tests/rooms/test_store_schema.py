"""The tables and their migrations."""

from __future__ import annotations

import importlib
import shutil
import sqlite3
from contextlib import closing

import pytest
from sqlalchemy import create_engine
from sqlalchemy.exc import OperationalError
from store_rows import Groups, keys, put

from baray.core import Refused
from baray.store import migrate, open_store, revision_of, schema


def tables(path):
    with closing(sqlite3.connect(path)) as connection:
        return {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def change(path, *statements):
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def test_the_chain_makes_the_tables_of_the_metadata(database):
    engine = create_engine(f"sqlite:///{database}")
    with engine.connect() as connection:
        context = importlib.import_module("alembic.runtime.migration").MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        differences = importlib.import_module("alembic.autogenerate").compare_metadata(context, schema.metadata)
    engine.dispose()
    assert differences == []


def test_the_chain_is_one_line_that_ends_at_this_versions_revision():
    folder = importlib.import_module("baray.store.migrate").__file__.replace("migrate.py", "migrations")
    scripts = importlib.import_module("alembic.script").ScriptDirectory(folder)
    revisions = list(scripts.walk_revisions())
    assert scripts.get_heads() == [schema.REVISION]
    assert [script.revision for script in revisions] == sorted((s.revision for s in revisions), reverse=True)
    assert all(len(script.revision) == 4 and not script.is_branch_point for script in revisions)


def test_only_the_table_entry_is_called_so(database):
    assert {name for name in tables(database) if "entr" in name} == {"entry"}
    with closing(sqlite3.connect(database)) as connection:
        columns = [row[1:3] for row in connection.execute("PRAGMA table_info(entry)")]
    assert columns == [("idx", "INTEGER"), ("data", "BLOB")]


def test_a_new_database_is_at_the_head(tmp_path):
    path = tmp_path / "baray.db"
    assert revision_of(path) is None
    assert migrate(path) == revision_of(path) == schema.REVISION
    assert tables(path) == {*schema.metadata.tables, "alembic_version"}


def test_migrating_again_changes_nothing(database):
    before = database.read_bytes()
    assert migrate(database) == schema.REVISION
    assert database.read_bytes() == before


@pytest.mark.parametrize("name", ["a b", "100%", "50%41", "q?mode=memory", "a#b", "ខ្មែរ", "it's"])
def test_any_folder_may_hold_a_home(tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    path = folder / "baray.db"
    migrate(path)
    assert revision_of(path) == schema.REVISION
    store = open_store(path, sealer=Groups())
    store.write(put("a"))
    store.close()
    assert "baray.db" in {file.name for file in folder.iterdir()}
    assert {file.name for file in tmp_path.iterdir()} == {name}


def test_a_migration_that_fails_half_way_leaves_nothing(tmp_path):
    path = tmp_path / "baray.db"
    change(path, "CREATE TABLE version (in_the_way)")
    with pytest.raises(OperationalError, match="version already exists"):
        migrate(path)
    assert tables(path) - {"alembic_version"} == {"version"}
    assert revision_of(path) is None
    change(path, "DROP TABLE version")
    assert migrate(path) == schema.REVISION


def test_the_copy_before_a_migration_holds_what_lies_in_the_log(database, tmp_path):
    copy = tmp_path / "before.db"
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("INSERT INTO meta (key, value) VALUES ('recent', '')")
        connection.commit()
        assert b"recent" not in database.read_bytes()
        migrate(database, copy)
    with closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("SELECT key FROM meta").fetchall() == [("recent",)]
    assert revision_of(copy) == schema.REVISION


def test_a_home_of_the_first_revision_keeps_its_people_and_tokens(tmp_path):
    path = tmp_path / "baray.db"
    environment = importlib.import_module("baray.store.migrate")
    script = importlib.import_module("alembic.script").ScriptDirectory(
        environment.__file__.replace("migrate.py", "migrations")
    )
    first = script.get_revision("0001").module
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        context = importlib.import_module("alembic.runtime.migration").MigrationContext.configure(connection)
        with importlib.import_module("alembic.operations").Operations.context(context):
            first.upgrade()
    engine.dispose()
    change(
        path,
        "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)",
        "INSERT INTO alembic_version VALUES ('0001')",
        "INSERT INTO project VALUES ('p', 'main', 'Main', 'internal', 1)",
        "INSERT INTO actor VALUES ('u', 'operator', 'person', 'operator', 'secret', 1, NULL)",
        "INSERT INTO actor VALUES ('v', 'dara', 'person', 'dara', 'internal', 1, NULL)",
        "INSERT INTO member VALUES ('p', 'v', 'manager')",
        "INSERT INTO token VALUES ('k', 'v', 'h', 'pat', NULL, 'n', '[]', 1, 2, NULL, NULL, NULL)",
    )
    assert migrate(path, tmp_path / "before.db") == schema.REVISION
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT site_role FROM actor ORDER BY name DESC").fetchall() == [
            ("operator",),
            (None,),
        ]
        assert connection.execute("SELECT role FROM member").fetchall() == [("steward",)]
        assert connection.execute("SELECT scopes FROM token").fetchall() == [('["admin","ask","read","run"]',)]


def test_a_copy_never_overwrites_a_file(database, tmp_path):
    copy = tmp_path / "before.db"
    copy.write_text("somebody's")
    with pytest.raises(sqlite3.DatabaseError):
        migrate(database, copy)
    assert copy.read_text() == "somebody's"


@pytest.mark.parametrize("made", ["nothing", "empty", "older"])
def test_a_database_that_is_not_migrated_is_refused(tmp_path, database, made):
    path = tmp_path / "other.db"
    if made == "empty":
        path.touch()
    if made == "older":
        shutil.copy(database, path)
        change(path, "UPDATE alembic_version SET version_num = '0000'")
    with pytest.raises(Refused) as refused:
        open_store(path, sealer=Groups())
    assert (refused.value.code, refused.value.status, refused.value.fix) == ("not_migrated", 409, "Run: baray migrate")
    assert path.exists() is (made != "nothing")


def test_a_newer_database_is_refused_and_left_as_it_is(database, tmp_path):
    change(database, "UPDATE alembic_version SET version_num = '9999'")
    before = database.read_bytes()
    for act in (lambda: open_store(database, sealer=Groups()), lambda: migrate(database, tmp_path / "copy.db")):
        with pytest.raises(Refused) as refused:
            act()
        assert refused.value.code == "newer_database"
        assert "9999" in refused.value.message
        assert "newer Baray" in refused.value.fix
    assert database.read_bytes() == before
    assert not (tmp_path / "copy.db").exists()


@pytest.mark.parametrize("data", [b"this is no database" * 100, b"SQLite format 3\x00" + b"\xff" * 4096])
def test_a_damaged_database_does_not_look_like_one_that_is_yet_to_be_made(tmp_path, data):
    path = tmp_path / "baray.db"
    path.write_bytes(data)
    for act in (lambda: revision_of(path), lambda: migrate(path), lambda: open_store(path, sealer=Groups())):
        with pytest.raises(Refused) as refused:
            act()
        assert refused.value.code == "bad_database"
        assert str(path) in refused.value.message
    assert path.read_bytes() == data


def test_what_one_process_stored_the_next_one_finds(database):
    first = open_store(database, sealer=Groups())
    first.write(put("a"))
    first.close()
    second = open_store(database, sealer=Groups())
    assert (second.write(put("b")), keys(second)) == (1, ["a", "b"])
    second.close()


def test_a_row_of_nobody_is_refused(database):
    store = open_store(database, sealer=Groups())
    with pytest.raises(Exception, match="FOREIGN KEY constraint failed"):
        store.write(lambda tx: tx.hot("INSERT INTO member (project_id, actor_id, role) VALUES ('p', 'u', 'owner')"))
    store.close()
