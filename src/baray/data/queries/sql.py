"""The program that answers SQL over Dataset versions; control starts one for each query, and one that only names tables.

One JSON object a line in, one a line out:

    {"op": "tables", "sql": "..."}                                  answer: {"tables": ["letters", "fees@v2/dropped"]}
    {"op": "query", "sql": "...", "tables": {NAME: {"paths": [...], "lowered": ""}}, "clearance": "internal",
     "projects": [...], "n": 1000}                                  answer: {"columns": [...], "rows": [[...]], "more": false}
    an error: {"error": {"code", "message", "fix"}}

Covered: one statement that reads (SELECT, WITH, DESCRIBE, SUMMARIZE, VALUES); the tables hold only rows that the asker is
cleared for, because DuckDB is given filtered Arrow data and no file: it can open none, load no extension, see no variable of
this process and change no setting; memory is bounded, and nothing spills to disk. Time is the caller's matter: it kills.
Not covered: a defect of DuckDB itself; the process runs as control's user.
"""

from __future__ import annotations

import json
import math
import resource
import sys
from collections.abc import Iterator
from functools import cache
from io import FileIO
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads

from baray.access import cleared, parse_label
from baray.core import BarayError, NotFound, Refused
from baray.data.queries.reader import IDLE_SECONDS, serve

MOST_ROWS = 10_000
_MOST_CHARACTERS = 8_000_000
"""Of an answer: what does not fit is cut off after a whole row, and said."""
_MEMORY = "1GB"
_ADDRESS_SPACE_BYTES = 6_000_000_000
_SETTINGS = {
    "temp_directory": "",
    "enable_external_access": False,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "python_enable_replacements": False,
    "python_scan_all_frames": False,
    "memory_limit": _MEMORY,
    "threads": 2,
    "lock_configuration": True,
}
"""In this order: some cannot be set once files are out of reach, none once the configuration is locked."""
_MOST_NESTED = 300
"""Brackets inside one another. The parser takes gigabytes for thousands that are left open, and its tree is walked by recursion."""
_FIX = "Ask with one SELECT, for example: SELECT language, count(*) FROM letters GROUP BY ALL"


def answer(question: dict[str, Any]) -> dict[str, Any]:
    """Answer one question. Raises Refused `bad_query`, `bad_question`."""
    sql = str(question.get("sql", ""))
    if question.get("op") == "tables":
        return {"tables": tables(sql)}
    if question.get("op") == "query":
        return _query(sql, question)
    raise Refused("bad_question", f"There is no operation '{question.get('op')}'.", fix="Ask for tables or query.")


def tables(sql: str) -> list[str]:
    """Names of the tables that `sql` reads, sorted. Raises Refused `bad_query` for anything but one statement that reads."""
    if _nested(sql) > _MOST_NESTED:
        raise Refused("bad_query", f"There are more than {_MOST_NESTED} brackets inside one another.", fix=_FIX)
    found = _parser().execute("SELECT json_serialize_sql(?)", [sql]).fetchone()
    tree = json.loads(found[0]) if found else {}
    if tree.get("error"):
        said = (
            "it does more than read" if tree.get("error_type") == "not implemented" else tree.get("error_message", "")
        )
        raise Refused("bad_query", f"The SQL cannot be used: {said}.", fix=_FIX)
    if len(tree.get("statements", ())) != 1:
        raise Refused("bad_query", f"There are {len(tree.get('statements', ()))} statements, not one.", fix=_FIX)
    own = {str(name).casefold() for name in _common_names(tree)}
    return sorted({name for name in _base_tables(tree) if name.casefold() not in own})


def _nested(sql: str) -> int:
    """How many brackets are open at most; those in texts, names and comments are none."""
    data = sql.encode()
    deepest = depth = 0
    for at, kind in duckdb.tokenize(sql):
        if kind == duckdb.token_type.operator:
            sign = data[at : at + 1]
            depth += (sign in (b"(", b"[", b"{")) - (sign in (b")", b"]", b"}"))
            deepest = max(deepest, depth)
    return deepest


def _base_tables(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        if node.get("type") == "BASE_TABLE":
            yield ".".join(node["qualified_name"]["path"])
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from _base_tables(child)


def _common_names(node: object) -> Iterator[str]:
    """Names that WITH gives to parts of the statement."""
    if isinstance(node, dict):
        yield from (entry["key"] for entry in (node.get("cte_map") or {}).get("map", ()))
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from _common_names(child)


def _query(sql: str, question: dict[str, Any]) -> dict[str, Any]:
    tables(sql)  # refuses what is not one statement that reads
    limit = min(max(0, int(question.get("n", 1000))), MOST_ROWS)
    with _connected() as connection:
        for name, table in question["tables"].items():
            connection.register(name, _visible(table, question))
        cursor = connection.execute(sql)
        columns = [{"name": column[0], "type": str(column[1])} for column in cursor.description or ()]
        rows: list[list[object]] = []
        characters, more = 0, False
        while not more and (row := cursor.fetchone()) is not None:
            kept = [_plain(value) for value in row]
            characters += len(json.dumps(kept, ensure_ascii=False))
            more = len(rows) == limit or characters > _MOST_CHARACTERS
            if not more:
                rows.append(kept)
    return {"columns": columns, "rows": rows, "more": more}


def _connected() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(":memory:")
    for name, value in _SETTINGS.items():
        connection.execute(f"SET {name} = {_literal(value)}")
    return connection


@cache
def _parser() -> duckdb.DuckDBPyConnection:
    """A connection that only parses: it holds no rows, so that one does for all questions."""
    return _connected()


def _literal(value: object) -> str:
    return str(value).lower() if isinstance(value, bool | int) else f"'{value}'"


def _visible(table: dict[str, Any], question: dict[str, Any]) -> pads.Dataset:
    """Rows that the asker is cleared for, as Arrow data that is read while DuckDB asks for it."""
    paths = [str(Path(path)) for path in table["paths"]]
    if not paths:
        raise NotFound("file", "parquet")
    rows = pads.dataset(paths, format="parquet")
    if table.get("lowered"):
        # Two people lowered every row to the label of the whole, for which the asker is cleared.
        return rows
    clearance, projects = parse_label(str(question["clearance"])), [str(name) for name in question.get("projects", ())]
    labels = pc.unique(rows.to_table(columns=["label"])["label"]).to_pylist()
    allowed = [one for one in labels if one is not None and cleared(parse_label(one), clearance, projects)]
    return rows.filter(pc.field("label").isin(pa.array(allowed, pa.string())))


def _plain(value: object) -> object:
    """A value as JSON has it: numbers and texts as they are, everything else as DuckDB or Python would print it."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return value if abs(value) < 2**53 else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, bytes):
        return value.hex()
    return str(value)


def _safe(line: bytes) -> dict[str, Any]:
    try:
        return answer(json.loads(line))
    except BarayError as error:
        return _error(error.code, error.message, error.fix)
    except (duckdb.OutOfMemoryException, MemoryError):
        fix = "Ask for fewer rows or columns, or group before you sort."
        return _error("query_too_large", f"The query needs more than {_MEMORY} of memory.", fix)
    except RecursionError:
        return _error("bad_query", "The SQL is nested too deeply, or joins too many tables.", _FIX)
    except duckdb.Error as error:
        if "'pytz'" in str(error):
            fix = "Write CAST(... AS VARCHAR) around it, or CAST(... AS TIMESTAMP) for UTC."
            return _error("bad_query", "A column of the answer is a time with a zone, which has no form here.", fix)
        return _error("bad_query", f"The SQL cannot be answered: {error}.", _FIX)
    except (ValueError, KeyError, TypeError) as error:
        return _error("bad_question", f"The question is malformed: {error}.", "")
    except (pa.ArrowException, OSError) as error:
        return _error("unreadable", f"The Dataset cannot be read: {error}.", "Verify the files: baray ledger verify")


def _error(code: str, message: str, fix: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "fix": fix}}


def main() -> None:
    """Answer standard input on standard output until it ends, or nobody asked for a minute."""
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE_BYTES, _ADDRESS_SPACE_BYTES))
    with FileIO(sys.stdin.fileno(), closefd=False) as questions:
        serve(questions, sys.stdout, idle_seconds=IDLE_SECONDS, answering=_safe)


if __name__ == "__main__":
    main()
