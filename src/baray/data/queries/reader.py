"""The reader: a program that shows rows of a Dataset version to control, which never loads Polars itself.

One JSON object a line in, one a line out; it leaves after a minute without a question, or when its input ends.

    {"op": "rows", "paths": [...], "clearance": "internal", "projects": [...], "n": 20, "offset": 0}
    {"op": "rows", ..., "lowered": "internal"}              of a version whose label was lowered to that
    {"op": "dropped", ..., "reason": "near_duplicate"}      answer: {"items": [...], "total": n, "next": offset or null}
    an error: {"error": {"code", "message", "fix"}}

Covered: rows above the clearance are neither shown nor counted. Not covered: whether the caller may see the Dataset at
all; control decides that before it asks. There is no SQL here, because Polars' SQL can open any file of this process.
"""

from __future__ import annotations

import json
import selectors
import sys
from collections.abc import Callable
from io import FileIO
from pathlib import Path
from typing import Any, TextIO

import polars as pl

from baray.access import cleared, parse_label
from baray.core import BarayError, NotFound, Refused

IDLE_SECONDS = 60.0
_MOST_ROWS = 1000


def answer(question: dict[str, Any]) -> dict[str, Any]:
    """Answer one question. Raises Refused `bad_question` for one that is none."""
    found = _OPERATIONS.get(str(question.get("op")))
    if found is None:
        raise Refused("bad_question", f"There is no operation '{question.get('op')}'.", fix="Ask for rows or dropped.")
    return found(question)


def serve(
    questions: FileIO,
    answers: TextIO,
    *,
    idle_seconds: float,
    answering: Callable[[bytes], dict[str, Any]] | None = None,
) -> None:
    """Answer until the input ends or nobody asks for `idle_seconds`; `answering`, else rows, makes an answer of a line."""
    with selectors.DefaultSelector() as selector:
        selector.register(questions, selectors.EVENT_READ)
        while selector.select(idle_seconds):
            line = questions.readline()
            if not line:
                return
            answers.write(json.dumps((answering or _safe)(line), ensure_ascii=False) + "\n")
            answers.flush()


def main() -> None:
    """Serve standard input and output."""
    # Unbuffered input: a question must not lie in a buffer of ours where select cannot see it.
    with FileIO(sys.stdin.fileno(), closefd=False) as questions:
        serve(questions, sys.stdout, idle_seconds=IDLE_SECONDS)


def _safe(line: bytes) -> dict[str, Any]:
    try:
        return answer(json.loads(line))
    except BarayError as error:
        return {"error": {"code": error.code, "message": error.message, "fix": error.fix}}
    except (ValueError, KeyError, TypeError) as error:
        return {"error": {"code": "bad_question", "message": f"The question is malformed: {error}.", "fix": ""}}
    except (pl.exceptions.PolarsError, OSError) as error:
        fix = "Verify the files: baray ledger verify"
        return {"error": {"code": "unreadable", "message": f"The Dataset cannot be read: {error}.", "fix": fix}}


def _rows(question: dict[str, Any]) -> dict[str, Any]:
    return _page(_visible(question), question)


def _dropped(question: dict[str, Any]) -> dict[str, Any]:
    frame = _visible(question)
    if question.get("reason"):
        frame = frame.filter(pl.col("reason") == str(question["reason"]))
    return _page(frame, question)


def _visible(question: dict[str, Any]) -> pl.LazyFrame:
    """Rows that the asker is cleared for."""
    paths = [Path(path) for path in question["paths"]]
    if not paths:
        raise NotFound("file", "parquet")
    frame = pl.scan_parquet(paths, glob=False)
    if question.get("lowered"):
        # Two people lowered every row to the label of the whole, for which the asker is cleared.
        return frame.with_columns(pl.lit(str(question["lowered"])).alias("label"))
    clearance, projects = parse_label(str(question["clearance"])), [str(name) for name in question.get("projects", ())]
    labels = frame.select(pl.col("label").unique()).collect()["label"].to_list()
    allowed = [label for label in labels if label is not None and cleared(parse_label(label), clearance, projects)]
    return frame.filter(pl.col("label").is_in(allowed))


def _page(frame: pl.LazyFrame, question: dict[str, Any]) -> dict[str, Any]:
    offset = max(0, int(question.get("offset", 0)))
    number = min(max(0, int(question.get("n", 20))), _MOST_ROWS)
    total = int(frame.select(pl.len()).collect().item())
    told = [name for name, kind in frame.collect_schema().items() if not isinstance(kind, pl.Struct | pl.Binary)]
    items = frame.select(told).slice(offset, number).collect().to_dicts()
    after = offset + len(items)
    return {"items": items, "total": total, "next": after if after < total and items else None}


_OPERATIONS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {"rows": _rows, "dropped": _dropped}


if __name__ == "__main__":
    main()
