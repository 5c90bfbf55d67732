"""Offline verification: every damage is found and named, nothing is written, nothing raises."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledger_homes import ACTOR, full_home, opened

from baray.ledger import verify_home
from baray.ledger import witness as outside

COLUMNS = [
    ("entry", "data"),
    ("tile", "data"),
    ("checkpoint", "note"),
    ("witness", "note"),
    ("witness", "vkey"),
    ("witness", "name"),
    ("meta", "value"),
    ("version", "digest"),
    ("version", "manifest_digest"),
    ("version", "label"),
    ("source_file", "path"),
    ("source_file", "digest"),
    ("source_file", "label"),
    ("source_file", "office"),
    ("thing", "name"),
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    full_home(folder / "home", folder)
    return folder / "home"


@pytest.fixture
def home(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "home")


def change(home, sql, *parameters):
    with closing(sqlite3.connect(home / "baray.db")) as connection, connection:
        assert connection.execute(sql, parameters).rowcount != 0


def ask(home, sql):
    with closing(sqlite3.connect(home / "baray.db")) as connection:
        return connection.execute(sql).fetchall()


def wheres(home, **given):
    return [finding.where for finding in verify_home(home, **given).findings]


def test_a_whole_home_is_good(home):
    report = verify_home(home)
    assert report.findings == ()
    assert (report.ok, report.entries, report.witnessed) == (True, 300, True)
    assert report.checked["versions"] == 3
    assert report.checked["files"] == 5
    assert report.checked["blobs"] == 8
    assert json.dumps(report.as_json())


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_flipped_bit_in_a_row_is_found(whole, tmp_path, data):
    table, column = data.draw(st.sampled_from(COLUMNS))
    (tmp_path / "home").mkdir(exist_ok=True)
    shutil.copy(whole / "baray.db", tmp_path / "home")
    if not (tmp_path / "home" / "blobs").exists():
        (tmp_path / "home" / "blobs").symlink_to(whole / "blobs")
    home = tmp_path / "home"
    rows = ask(home, f"SELECT rowid, CAST({column} AS BLOB) FROM {table} WHERE {column} IS NOT NULL")
    rowid, value = data.draw(st.sampled_from(rows))
    at = data.draw(st.integers(0, len(value) * 8 - 1))
    changed = bytearray(value)
    changed[at >> 3] ^= 1 << (at & 7)
    text = table not in {"entry", "tile"}
    change(
        home,
        f"UPDATE {table} SET {column} = {'CAST(? AS TEXT)' if text else '?'} WHERE rowid = ?",
        bytes(changed),
        rowid,
    )
    report = verify_home(home)
    assert not report.ok, (table, column, rowid, at)


@pytest.mark.parametrize("index", [0, 17, 255, 256, 299])
def test_a_changed_entry_is_named_alone(home, index):
    change(
        home,
        "UPDATE entry SET data = CAST(replace(data, 'run.started', 'run.stopped') || ' ' AS BLOB) WHERE idx = ?",
        index,
    )
    assert wheres(home) == [f"entry {index}"]


@pytest.mark.parametrize(("level", "n"), [(0, 0), (0, 1), (1, 0)])
def test_a_changed_tile_is_named_alone(home, level, n):
    data = bytearray(ask(home, f"SELECT data FROM tile WHERE level = {level} AND n = {n}")[0][0])
    data[5] ^= 1
    change(home, "UPDATE tile SET data = ? WHERE level = ? AND n = ?", bytes(data), level, n)
    assert wheres(home) == [f"tile {level}/{n}"]


def test_missing_and_foreign_rows_are_named(home):
    change(home, "DELETE FROM entry WHERE idx = 40")
    change(home, "UPDATE entry SET data = 'text' WHERE idx = 41")
    change(home, "DELETE FROM tile WHERE level = 0 AND n = 0")
    change(home, "INSERT INTO tile VALUES (0, 9, x'00'), (7, 0, x'00')")
    change(home, "INSERT INTO entry VALUES (-1, x'00')")
    found = wheres(home)
    assert {"entry 40", "entry 41", "tile 0/0", "tile 0/9", "tile 7/0", "entries below 0"} == set(found)


def test_swapped_rows_are_named(home):
    change(home, "UPDATE entry SET idx = -idx WHERE idx IN (20, 30)")
    change(home, "UPDATE entry SET idx = 50 + idx WHERE idx < 0")
    assert ask(home, "SELECT count(*) FROM entry") == [(300,)]
    assert wheres(home) == ["entry 20", "entry 30"]


def test_a_cut_off_end_is_named(home):
    change(home, "DELETE FROM entry WHERE idx >= 290")
    assert "entries 290 to 299" in wheres(home)


def test_an_unsigned_end_is_named(home):
    change(home, "INSERT INTO entry VALUES (300, x'7b7d')")
    assert wheres(home) == ["entries 300 to 300"]


@pytest.mark.parametrize("sql", ["note = replace(note, 'test', 'tess')", "size = 301", "note = 7", "note = ''"])
def test_a_changed_head_is_named(home, sql):
    change(home, f"UPDATE checkpoint SET {sql} WHERE size = 300")
    assert any(where in {"head at size 300", "head at size 301"} for where in wheres(home))


def test_a_changed_log_key_is_named(home):
    change(home, "UPDATE meta SET value = 'x' WHERE key = 'ledger.vkey'")
    assert "log key in table meta" in wheres(home)


def test_a_history_rewritten_with_the_stolen_key_is_seen_by_a_witness_and_by_an_outside_head(whole, tmp_path):
    kept = ask(whole, "SELECT note FROM checkpoint ORDER BY size DESC")[0][0]
    log = ask(whole, "SELECT value FROM meta WHERE key = 'ledger.vkey'")[0][0]
    with opened(tmp_path / "forged") as forged:
        forged.append(299)
        forged.append(20)
        assert forged.ledger.vkey == log
    home = tmp_path / "forged"
    assert verify_home(home).ok
    assert wheres(home, heads=[kept]) == ["outside head at size 300"]
    rows = ask(whole, "SELECT name, vkey, size, note, added FROM witness")
    change(home, "INSERT INTO witness VALUES (?, ?, ?, ?, ?)", *rows[0])
    report = verify_home(home)
    assert {finding.where for finding in report.findings} == {"witness court.example/w1"}
    assert any("rewritten" in finding.what for finding in report.findings)
    assert not report.witnessed


def test_a_rollback_is_seen_by_an_outside_head(home, whole, tmp_path):
    with opened(home) as again:
        again.append(5)
        kept = again.head().note
    assert wheres(home, heads=[kept]) == []
    assert "rolled back" in verify_home(whole, heads=[kept]).findings[0].what
    assert wheres(home, heads=["nonsense"]) == ["outside head 1"]


def test_another_key_than_the_reader_holds_is_named(home, tmp_path):
    other = outside.create_key(tmp_path / "k", "baray.example/test", outside.LOG_KEY, bytes(32))
    assert "log key in table meta" in wheres(home, log=other)


@pytest.mark.parametrize(
    ("column", "value"),
    [("digest", "sha256:" + "0" * 64), ("label", "secret"), ("manifest_digest", "sha256:" + "1" * 64)],
)
def test_a_changed_version_row_is_named(home, column, value):
    change(home, f"UPDATE version SET {column} = ? WHERE thing_id LIKE 'd_%'", value)
    report = verify_home(home)
    assert any(f.where == "row of dataset:letters@v1" and f.what.startswith(column) for f in report.findings)


def test_missing_and_foreign_version_rows_are_named(home):
    (version,) = [row[0] for row in ask(home, "SELECT id FROM version WHERE thing_id LIKE 'd_%'")]
    change(home, "UPDATE version SET id = ? WHERE id = ?", "v_" + "z" * 26, version)
    found = wheres(home)
    assert "row of dataset:letters@v1" in found
    assert f"row of version {version}" in found


def test_a_changed_number_or_thing_is_named(home):
    change(home, "UPDATE version SET number = -1 WHERE thing_id LIKE 'd_%'")
    assert wheres(home) == ["row of dataset:letters@v-1"]
    change(
        home, "UPDATE version SET number = 2, thing_id = (SELECT id FROM thing WHERE kind = 'index') WHERE number = -1"
    )
    assert "row of index:desk@v2" in wheres(home)


def test_a_changed_source_file_row_is_named(home):
    change(home, "UPDATE source_file SET label = 'public' WHERE path = 'fee.txt'")
    assert wheres(home) == ["row of file fee.txt of source:papers@v1"]


def blob(home, digest):
    return home / "blobs" / digest[7:9] / digest[9:]


@pytest.mark.parametrize(
    ("content", "where"),
    [
        (b"5000 riel", "file fee.txt of source:papers@v1"),
        (b"rows", "dataset file data/part-00000.parquet of dataset:letters@v1"),
        (b"spans", "index file segments/public.idx of index:desk@v1"),
    ],
)
def test_a_changed_blob_is_named_and_a_missing_one_too(home, content, where):
    path = blob(home, "sha256:" + hashlib.sha256(content).hexdigest())
    path.chmod(0o644)
    path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    assert wheres(home) == [where]
    path.unlink()
    assert wheres(home) == [where]
    path.mkdir()
    assert wheres(home) == [where]


def test_a_changed_manifest_is_named(home):
    digest = ask(home, "SELECT manifest_digest FROM version WHERE thing_id LIKE 'd_%'")[0][0]
    path = blob(home, digest)
    path.chmod(0o644)
    path.write_bytes(path.read_bytes().replace(b"public", b"PUBLIC"))
    assert wheres(home) == ["manifest of dataset:letters@v1"]


def test_a_manifest_that_is_something_else_is_named(home):
    digest = "sha256:" + hashlib.sha256(b"5000 riel").hexdigest()
    change(home, "UPDATE version SET manifest_digest = ? WHERE thing_id LIKE 'd_%'", digest)
    assert "manifest of dataset:letters@v1" in wheres(home)


@pytest.mark.parametrize("damage", ["missing", "empty", "garbage", "truncated", "schema", "folder", "no home"])
def test_a_broken_database_gives_findings(home, damage):
    path = home / "baray.db"
    data = path.read_bytes()
    if damage in {"missing", "folder", "no home"}:
        path.unlink()
    if damage == "no home":
        shutil.rmtree(home)
    if damage == "folder":
        path.mkdir()
    if damage == "empty":
        path.write_bytes(b"")
    if damage == "garbage":
        path.write_bytes(bytes(range(256)) * 400)
    if damage == "truncated":
        path.write_bytes(data[: len(data) // 2])
    if damage == "schema":
        change(home, "ALTER TABLE tile RENAME TO tiles")
    report = verify_home(home)
    assert not report.ok
    assert report.findings[0].where == "baray.db"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.floats(0, 0.999), junk=st.binary(min_size=1, max_size=64))
def test_junk_anywhere_in_the_file_never_raises(whole, tmp_path, at, junk):
    folder = tmp_path / "home"
    folder.mkdir(exist_ok=True)
    data = bytearray((whole / "baray.db").read_bytes())
    start = int(at * len(data))
    data[start : start + len(junk)] = junk
    (folder / "baray.db").write_bytes(data)
    if not (folder / "blobs").exists():
        (folder / "blobs").symlink_to(whole / "blobs")
    assert verify_home(folder).findings is not None


CHECK = """
import json, pathlib, sys
from baray.ledger import verify_home
report = verify_home(pathlib.Path(sys.argv[1]))
print(json.dumps([report.ok, report.entries, sorted({name.split(".")[0] for name in sys.modules})]))
"""
WRITER = """
import sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from ledger_homes import opened
with opened(Path(sys.argv[1])) as home:
    home.append(300)
    print("ready", flush=True)
    sys.stdin.read()
"""


def state_of(folder):
    return {
        path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in sorted(folder.iterdir()) if path.is_file()
    }


def test_it_writes_nothing_beside_a_live_killed_or_closed_writer(tmp_path):
    home = tmp_path / "home"
    script = [sys.executable, "-c", WRITER, str(home), str(Path(__file__).parent)]
    with subprocess.Popen(script, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"ready\n"
        assert (home / "baray.db-wal").exists()
        check_without_traces(home)
        writer.kill()
    check_without_traces(home)
    (home / "baray.db-shm").unlink()
    check_without_traces(home)
    with opened(home) as again:
        again.append()
    check_without_traces(home, entries=301)


def check_without_traces(home, entries=300):
    before = state_of(home)
    done = subprocess.run([sys.executable, "-c", CHECK, str(home)], capture_output=True, check=True, text=True)
    ok, found, modules = json.loads(done.stdout)
    assert (ok, found) == (True, entries)
    assert not {"sqlalchemy", "alembic", "fastapi"} & set(modules)
    assert state_of(home) == before


def test_it_reads_a_home_it_may_not_write(whole):
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        home = shutil.copytree(whole, Path(folder) / "home")
        (home / "baray.db").chmod(0o444)
        home.chmod(0o555)
        was = os.geteuid()
        if was == 0:
            os.seteuid(65534)  # root could write anyway
        try:
            report = verify_home(home)
        finally:
            os.seteuid(was)
            home.chmod(0o755)
    assert report.ok


def test_the_actor_of_an_entry_is_never_a_name(home):
    said = [json.loads(data) for (data,) in ask(home, "SELECT data FROM entry")]
    assert {body["actor"] for body in said} == {ACTOR}
