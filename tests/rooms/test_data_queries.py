"""The program that answers SQL, as control uses it: only rows that the asker is cleared for, and no way to the files."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import polars as pl
import pytest

from baray.data import QUERY_MODULE


@pytest.fixture
def letters(tmp_path):
    blob = tmp_path / "blob"
    rows = {"id": ["a", "b", "c"], "text": ["x", "y", "z"], "label": ["public", "internal", "internal:land@ministry"]}
    pl.DataFrame(rows).write_parquet(blob)
    return {"paths": [str(blob)]}


def ask(*questions: dict[str, object]) -> list[dict]:
    lines = "".join(json.dumps(one) + "\n" for one in questions)
    argv = [sys.executable, "-m", QUERY_MODULE]
    done = subprocess.run(argv, input=lines, capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == ""
    return [json.loads(line) for line in done.stdout.splitlines()]


def query(letters, sql: str, **more: object) -> dict[str, object]:
    return {"op": "query", "sql": sql, "tables": {"letters": letters}, "clearance": "public", "projects": []} | more


@pytest.mark.parametrize("table", ["letters", "query_table('letters')", "query('FROM letters')", "(FROM letters)"])
def test_rows_by_clearance(letters, table):
    sql = f"SELECT string_agg(id, '' ORDER BY id), count(*) FROM {table}"
    clearances = ["public", "internal", "internal:land"]
    answers = ask(*[query(letters, sql, clearance=one, projects=["ministry"]) for one in clearances])
    assert [answer["rows"] for answer in answers] == [[["a", 1]], [["ab", 2]], [["abc", 3]]]
    lowered = query(letters | {"lowered": "public"}, sql)
    assert ask(lowered)[0]["rows"] == [["abc", 3]]


def test_a_known_path_does_not_help(letters):
    path = letters["paths"][0]
    for sql in (f"FROM read_parquet('{path}')", f"FROM '{path}'", f"FROM read_blob('{path}')", f"FROM glob('{path}')"):
        (answer,) = ask(query(letters, sql))
        assert answer["error"]["code"] == "bad_query", sql


def test_variables_of_the_program_are_no_tables(letters):
    for name in ("question", "rows", "_SETTINGS", "connection"):
        assert ask(query(letters, f"FROM {name}"))[0]["error"]["code"] == "bad_query"


def test_tables_are_those_that_are_read():
    sql = 'WITH own AS (FROM fees) SELECT * FROM own JOIN "letters@v2" USING (id) WHERE id IN (FROM "letters/dropped" SELECT id)'
    told, many, none = ask(*[{"op": "tables", "sql": one} for one in (sql, "SELECT 1; SELECT 2", "")])
    assert told["tables"] == ["fees", "letters/dropped", "letters@v2"]
    assert many["error"]["code"] == none["error"]["code"] == "bad_query"


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT " + "(" * 40_000,
        "SELECT 'ខ្មែរ', " + "(/*)*/" * 15_000,
        "SELECT " + "f(" * 400 + "1" + ")" * 400,
        "SELECT * FROM " + ",".join(f"t{number}" for number in range(2000)),
    ],
)
def test_deep_questions_are_refused_and_the_next_is_answered(sql):
    started = time.monotonic()
    deep, next_one = ask({"op": "tables", "sql": sql}, {"op": "tables", "sql": "FROM fees"})
    assert deep["error"]["code"] == "bad_query"
    assert next_one["tables"] == ["fees"]
    assert time.monotonic() - started < 10


def test_brackets_in_texts_do_not_nest():
    sql = "SELECT '" + "(" * 1000 + "' FROM fees WHERE id IN (" + ",".join(["(1)"] * 1000) + ")"
    assert ask({"op": "tables", "sql": sql})[0]["tables"] == ["fees"]


def test_a_time_with_a_zone_is_refused_in_words(letters):
    plain, as_text = ask(query(letters, "SELECT now()"), query(letters, "SELECT CAST(now() AS VARCHAR) LIKE '20%'"))
    assert "zone" in plain["error"]["message"]
    assert as_text["rows"] == [[True]]


def test_values_are_json(letters):
    sql = "SELECT DATE '2026-01-02' d, 1.50::DECIMAL(4,2) e, 'nan'::DOUBLE f, 9007199254740993 g, {'a': [1, NULL]} h, 'x'::BLOB i"
    assert ask(query(letters, sql))[0]["rows"] == [
        ["2026-01-02", "1.50", "nan", "9007199254740993", {"a": [1, None]}, "78"]
    ]


def test_malformed_questions_are_answered(letters):
    asked = [{"op": "else"}, {"op": "query", "sql": "SELECT 1"}, query({"paths": ["/nowhere"]}, "FROM letters")]
    codes = [answer["error"]["code"] for answer in ask(*asked)]
    assert codes == ["bad_question", "bad_question", "unreadable"]
