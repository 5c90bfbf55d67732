"""SQL over Datasets and the difference of two versions, through the command line."""

from __future__ import annotations

import json
import shutil

import pytest
from homes import Home

LETTER = "The office on the corner of the market opens at seven, and closes at five. Queue number {number}."


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = Home(tmp_path_factory.mktemp("query") / "home")
    folder = home.path.parent / "letters"
    folder.mkdir()
    for number in range(4):
        (folder / f"letter-{number}.txt").write_text(LETTER.format(number=number * 371))
    (folder / "empty.txt").write_text("")
    (folder / "documents.csv").write_text("path,label\nletter-3.txt,restricted\n")
    build(home)
    shutil.move(folder / "letter-0.txt", folder / "letter-9.txt")
    (folder / "letter-1.txt").write_text(LETTER.format(number=5000))
    build(home)
    yield home
    home.stop()


@pytest.fixture(scope="module")
def reader(home):
    """What somebody needs to act who is cleared for `internal` alone."""
    home.run("user", "create", "reader", "--clearance", "internal", "--role", "viewer")
    token = home.json("token", "create", "reading", "--for", "reader")["token"]
    return {"BARAY_TOKEN": token, "BARAY_SERVER": json.loads((home.path / "endpoint.json").read_text())["url"]}


def build(home: Home) -> None:
    home.run(
        "dataset", "build", "text", "--name", "letters", "--input", "letters", "--set", "near_duplicates=0", "--follow"
    )


def ask(home: Home, sql: str, *more: str, **how) -> dict:
    return home.json("dataset", "query", sql, *more, **how)


def test_a_select_gives_rows_with_the_label_they_came_from(home):
    found = ask(home, 'SELECT path, length(text) AS characters FROM "letters@v1" ORDER BY path LIMIT 1')
    assert [column["name"] for column in found["columns"]] == ["path", "characters"]
    assert found["rows"] == [["letter-0.txt", len(LETTER.format(number=0))]]
    assert (found["datasets"], found["label"], found["more"]) == (["dataset:letters@v1"], "restricted", False)
    shown, _ = home.run("dataset", "query", "FROM letters SELECT count(*) AS letters")
    assert "letters\n4\n" in shown
    assert ask(home, "SELECT * FROM range(10)", "-n", "3")["more"] is True


def test_dropped_documents_are_a_table_too(home):
    joined = 'SELECT reason, count(*) AS n FROM "letters@v2/dropped" GROUP BY reason'
    assert ask(home, joined)["rows"] == [["empty_file", 1]]


def test_a_dataset_above_the_clearance_is_not_there(home, reader):
    assert ask(home, "SELECT count(*) FROM letters", code=1, **reader)["error"]["code"] == "not_found"
    assert ask(home, "SELECT 1 AS one", **reader)["rows"] == [[1]]


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        ("DROP VIEW letters", "bad_query"),
        ("SELECT 1; SELECT 2", "bad_query"),
        ("SELEC 1", "bad_query"),
        ("SELECT * FROM letters WHERE nothing = 1", "bad_query"),
        ("SELECT * FROM read_text('/etc/passwd')", "bad_query"),
        ("SELECT * FROM '/etc/passwd'", "bad_ref"),
        ("SELECT * FROM read_parquet('data/*.parquet')", "bad_query"),
        ("COPY (SELECT 1) TO '/tmp/out.csv'", "bad_query"),
        ("ATTACH 'other.db'", "bad_query"),
        ("SET memory_limit = '90GB'", "bad_query"),
        ("SELECT list(a) FROM range(100000000) t(a)", "query_too_large"),
        ("SELECT * FROM missing", "not_found"),
    ],
)
def test_what_does_more_than_read_datasets_is_refused(home, sql, code):
    error = ask(home, sql, code=1)["error"]
    assert error["code"] == code
    assert error["fix"]


def test_a_diff_names_the_documents(home):
    found = home.json("dataset", "diff", "letters@v1", "letters@v2")
    changes = [(one["change"], one["path"]) for one in found["documents"]]
    assert changes == [("added", "letter-9.txt"), ("removed", "letter-0.txt"), ("text", "letter-1.txt")]
    assert found["same"] is False
    assert "letter-9.txt" in home.run("dataset", "diff", "letters@v1", "letters@v2")[0]
    assert home.json("dataset", "diff", "letters@v1", "letters@v1")["documents"] == []


def test_a_table_has_typed_columns(home):
    fees = home.path.parent / "fees.csv"
    fees.write_text("service,fee,opened\nBirth certificate,5000,2026-01-02\nLand title,20000,3/2/2026\n")
    home.run("dataset", "build", "table", "--name", "fees", "--input", "fees.csv", "--set", "units=fee=KHR", "--follow")
    found = ask(home, "SELECT max(fee) AS most, min(opened) AS first FROM fees")
    assert found["rows"] == [[20000, "2026-01-02"]]
    assert [column["type"] for column in found["columns"]] == ["BIGINT", "DATE"]
    assert "integer (KHR)" in home.run("dataset", "show", "fees")[0]
