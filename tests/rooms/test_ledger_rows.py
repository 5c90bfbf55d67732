"""Rows that were rewritten in a copied home are named, of every table that entries bind; what is not bound is told."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

from baray import access, fleet, runs, serve
from baray.access import TokenRequest, parse_label
from baray.catalog import FileEntry, SourceRequest, add_source
from baray.ledger import verify_home
from baray.serve.receipts import Line, Receipt, encode_line

sys.path.insert(0, str(Path(__file__).parents[1]))
from serve_house import new_house

ZERO = "sha256:" + "0" * 64
HALVES = (5, 9, 3)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A home with people, a Source, a Run, a desk and three batches of Answers."""
    house = new_house(tmp_path_factory.mktemp("rows") / "home")
    site = house.site
    house.token(house.officer)
    gone = house.site.store.write(
        lambda tx: access.create_token(
            tx,
            site,
            actor_id=house.officer,
            request=TokenRequest(kind="pat", name="g", seconds=60.0),
            by=house.operator,
        )
    )[0]
    owner = house.actor(house.operator)
    site.store.write(lambda tx: access.revoke_token(tx, site, token_id=gone, by=owner))
    source = add_papers(house)
    request = runs.RunRequest(
        project_id=house.project, actor_id=house.operator, kind="dataset", name="d", recipe="text",
        handler="none:none", inputs={"source": source}, label=parse_label("internal"),
    )  # fmt: skip
    site.store.write(lambda tx: runs.submit(tx, site, request))
    desk = house.desk(house.add_index())
    other = house.desk(house.add_index("other"), name="other")
    site.store.write(lambda tx: serve.stop_service(tx, site, other, actor_id=house.operator))
    site.store.write(lambda tx: fleet.admit(tx, site, name="local", clearance=parse_label("internal")))
    for target, up_to in (("a.example:443", "internal"), ("b.example:443", "public")):
        given = {"project_id": house.project, "target": target, "up_to": parse_label(up_to), "by": house.operator}
        site.store.write(lambda tx, given=given: access.give_leave(tx, site, **given))
    taken = {"project_id": house.project, "target": "b.example:443", "by": house.operator}
    site.store.write(lambda tx: access.revoke_leave(tx, site, **taken))
    for part, count in enumerate(HALVES):
        answers(house, desk, part, count)
    house.close()
    return house.path


def add_papers(house):
    files = {"fee.txt": b"5000 riel", "documents.csv": b"path,label\nfee.txt,internal\n"}
    entries = tuple(
        FileEntry(path=path, digest=house.site.blobs.put_bytes(data), bytes=len(data)) for path, data in files.items()
    )
    return add_source(
        house.site,
        SourceRequest(
            project_id=house.project, actor_id=house.operator, name="papers", title="", label=parse_label("public"),
            licence=None, files=entries, held=frozenset(entry.digest for entry in entries),
        ),
    )[0]  # fmt: skip


def answers(house, desk, part, count):
    spool = house.path / "spool" / f"r-{part:020d}.jsonl"
    receipts = [
        Receipt(
            id=house.site.ids.new("a"), service_id=desk.id, revision_id=desk.revision_id, project_id=house.project,
            actor_id="public", created=1_790_000_000.25 + n, outcome="answered", question=f"How much is fee {n}?",
            language="en", label="public", answer="5000 riel", citations=({"document": "d1", "span": [0, 9]},), ms=1.5,
        )
        for n in range(count)
    ]  # fmt: skip
    spool.write_bytes(b"".join(encode_line(Line(key_id="public", receipt=one)) for one in receipts))
    house.ingest()


@pytest.fixture
def home(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "home")


def change(home, *statements):
    with closing(sqlite3.connect(home / "baray.db")) as connection, connection:
        for sql in statements:
            assert connection.execute(sql).rowcount != 0, sql


def found(home):
    return [str(finding) for finding in verify_home(home).findings]


def test_a_whole_home_is_quiet_and_tells_what_it_does_not_cover(home):
    report = verify_home(home)
    assert report.findings == ()
    assert report.checked["answers"] == sum(HALVES)
    assert report.checked["rows"] >= 16
    assert any("audience" in one or "names" in one for one in report.as_json()["not_checked"])
    assert sum(line.startswith("Not covered: ") for line in report.lines()) == 1


OFFICER = "(SELECT id FROM actor WHERE name = 'officer')"
CHANGES = [
    (f"UPDATE actor SET clearance = 'secret' WHERE id = {OFFICER}", "actor u_", "clearance is 'secret', entry"),
    (f"UPDATE actor SET site_role = 'operator' WHERE id = {OFFICER}", "actor u_", "site_role is 'operator', no entry"),
    (f"UPDATE actor SET disabled = 1.0 WHERE id = {OFFICER}", "actor u_", "disabled is True"),
    ("UPDATE actor SET id = 'u_x' WHERE name = 'officer'", "actor u_x", "no entry created it"),
    (f"UPDATE member SET role = 'owner' WHERE actor_id = {OFFICER}", "member u_", "role is 'owner', entry"),
    (f"DELETE FROM member WHERE actor_id = {OFFICER}", "member u_", "is missing, entry"),
    ("INSERT INTO member SELECT 'p_2', id, 'owner' FROM actor LIMIT 1", "member u_", "no entry gave it"),
    ("UPDATE project SET label = 'public'", "project p_", "label is 'public'"),
    ("UPDATE token SET revoked = NULL WHERE revoked IS NOT NULL", "token k_", "revoked is False"),
    ("UPDATE token SET actor_id = (SELECT id FROM actor WHERE name = 'operator')", "token k_", "actor_id is 'u_"),
    ("UPDATE token SET id = 'k_x' WHERE revoked IS NULL", "token k_x", "no entry created it"),
    ("UPDATE run SET label = 'public'", "run r_", "label is 'public'"),
    ("UPDATE run SET spec = replace(spec, 'text', 'test')", "run r_", "digest of the spec is"),
    (f"UPDATE run SET memo_key = '{ZERO}'", "run r_", "memo_key is"),
    ("UPDATE run SET state = 'succeeded'", "run r_", "state is 'succeeded', entry"),
    ("DELETE FROM run", "run r_", "its row is missing"),
    ("UPDATE service SET state = 'ready' WHERE state = 'stopped'", "service e_", "state is 'ready'"),
    ("UPDATE service SET current_revision = 'w_x' WHERE name = 'other'", "service e_", "current_revision is 'w_x'"),
    ("UPDATE revision SET label = 'public'", "revision w_", "label is 'public'"),
    ("UPDATE revision SET spec = replace(spec, 'office', 'offıce')", "revision w_", "digest of the spec is"),
    ("UPDATE edge SET parent = 'v_x' WHERE role = 'input'", "edge r_", "nothing that the ledger binds"),
    ("DELETE FROM edge WHERE role = 'answers-from'", "edge w_", "is missing, though entry"),
    ("INSERT INTO edge SELECT id, 'r_x', 'made-by' FROM version LIMIT 1", "edge v_", "nothing that the ledger binds"),
    ("UPDATE node SET clearance = NULL", "node n_", "clearance is None, entry"),
    ("UPDATE node SET id = 'n_x'", "node n_x", "no entry tells of it"),
    ("DELETE FROM node", "node n_", "its row is missing"),
    ("UPDATE leave SET label = 'internal:land' WHERE revoked IS NULL", "leave el_", "label is 'internal:land', entry"),
    ("UPDATE leave SET revoked = NULL WHERE revoked IS NOT NULL", "leave el_", "revoked is False, entry"),
    ("UPDATE leave SET id = 'el_x' WHERE revoked IS NULL", "leave el_x", "no entry gave it"),
    ("DELETE FROM leave", "leave el_", "its row is missing"),
    ("UPDATE version SET number = 5 WHERE source_id IS NOT NULL", "row of source:papers@v5", "number is 5"),
    ("UPDATE version SET summary = '{\"files\":7}' WHERE source_id IS NOT NULL", "row of source:papers", "summary is not"),
    ("UPDATE version SET run_id = 'r_x' WHERE thing_id IS NOT NULL", "row of index:", "run_id is r_x"),
    ("UPDATE version SET bytes = 1", "row of source:papers@v1", "bytes is 1"),
    ("UPDATE thing SET project_id = 'p_x' WHERE name = 'other'", "row of index:other@v1", "project_id is p_x"),
    *[
        (f"UPDATE answer SET {column} = {value} WHERE rowid = 7", "answer a_", "its row is not what its receipt's")
        for column, value in {
            "question": "'another'", "answer": "'6000 riel'", "citations": "'[]'", "label": "'secret'", "ms": 2.5,
            "outcome": "'expired'", "actor_id": "'u_x'", "created": 1.0, "receipt_digest": f"'{ZERO}'",
        }.items()
    ],
]  # fmt: skip


@pytest.mark.parametrize(("sql", "where", "what"), CHANGES, ids=[sql[:50] for sql, _, _ in CHANGES])
def test_a_rewritten_row_is_named(home, sql, where, what):
    change(home, sql)
    assert any(one.startswith(where) and what in one for one in found(home)), found(home)


def receipt_digest(home, rowid):
    columns = Receipt.__slots__
    with closing(sqlite3.connect(home / "baray.db")) as connection:
        row = connection.execute(f"SELECT {', '.join(columns)} FROM answer WHERE rowid = {rowid}").fetchone()
    values = dict(zip(columns, row, strict=True))
    return Receipt(**values | {"citations": tuple(json.loads(values["citations"]))}).digest()


def test_an_answer_with_a_forged_receipt_digest_is_found_by_its_batch(home):
    change(home, "UPDATE answer SET answer = '6000 riel' WHERE rowid = 7")
    change(home, f"UPDATE answer SET receipt_digest = '{receipt_digest(home, 7)}' WHERE rowid = 7")
    (line,) = found(home)
    assert line.startswith("answers of entry ")
    assert "were replaced" in line


def test_swapped_and_added_answers_are_found(home):
    change(home, "UPDATE answer SET rowid = 100 WHERE rowid = 6", "UPDATE answer SET rowid = 6 WHERE rowid = 7")
    assert any(one.startswith("answers of ent") for one in found(home))


@pytest.mark.parametrize("rows", ["rowid = 7", "rowid IN (1, 8)", "rowid <= 5", "rowid > 14", "rowid IN (5, 6, 17)"])
def test_an_erased_answer_leaves_its_batch_not_checkable_and_the_others_checked(home, rows):
    change(home, f"DELETE FROM answer WHERE {rows}")
    report = verify_home(home)
    assert report.findings == ()
    assert any("were erased" in one for one in report.not_checked)
    whole_row = 16 if rows in {"rowid = 7", "rowid IN (1, 8)", "rowid <= 5"} else 2
    if rows != "rowid IN (5, 6, 17)":
        change(home, f"UPDATE answer SET answer = 'x' WHERE rowid = {whole_row}")
        assert any(one.startswith("answer a_") for one in found(home))
        change(
            home, f"UPDATE answer SET receipt_digest = '{receipt_digest(home, whole_row)}' WHERE rowid = {whole_row}"
        )
        named = verify_home(home)
        assert named.findings or any("cannot be compared" in one for one in named.not_checked)


def test_the_table_of_documents_is_bound(home):
    digest = "sha256:" + hashlib.sha256(b"path,label\nfee.txt,internal\n").hexdigest()
    path = home / "blobs" / digest[7:9] / digest[9:]
    path.chmod(0o644)
    path.write_bytes(b"path,label\nfee.txt,public\n")
    (line,) = found(home)
    assert line.startswith("file documents.csv of source:papers@v1")


def test_a_changed_entry_does_not_make_good_rows_suspect_of_having_none(home):
    change(home, "UPDATE entry SET data = x'7b7d' WHERE idx = 1")
    lines = found(home)
    assert any(line.startswith("entry 1:") for line in lines)
    assert not any("no entry" in line for line in lines)
