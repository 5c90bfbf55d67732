"""Answers: each row gives its Receipt again, and the Receipts of a batch must give the root that its entry holds.

An Answer that was erased leaves no row. The entries of batches then say how many rows are missing, and the batches that
are whole say between which of them; a batch that lost a row cannot be computed any more, and the report says so.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass, field
from typing import Any

from baray.core import canonical_json, digest_bytes
from baray.ledger import tree
from baray.ledger.verify.report import Notebook
from baray.ledger.verify.told import Told
from baray.ledger.witness import HASH_BYTES

_ANSWERS = """
    SELECT id, service_id, revision_id, project_id, actor_id, created, outcome, question, language, label, answer,
           citations, ms, receipt_digest
    FROM answer ORDER BY rowid
"""
_VERSION = 1
_MOST_HASHES = 20_000_000
"""Most leaves that are hashed in search of the batches that are whole, where rows were erased."""


@dataclass(slots=True, kw_only=True)
class _Rows:
    """The rows of Answers, in the order in which they were taken in."""

    leaves: bytearray = field(default_factory=bytearray)
    changed: dict[int, str] = field(default_factory=dict)
    """Ids of rows, by place, that do not give the Receipt whose digest they hold."""
    work: int = 0

    @property
    def count(self) -> int:
        return len(self.leaves) // HASH_BYTES

    def root(self, start: int, count: int) -> str:
        self.work += count
        return "sha256:" + tree.hash_row(bytes(self.leaves[start * HASH_BYTES : (start + count) * HASH_BYTES])).hex()


def check_answers(connection: sqlite3.Connection, told: Told, notes: Notebook, *, damaged: bool) -> None:
    """Compare Answers with the batches in the ledger. Where entries are damaged, which rows they bind is not known."""
    rows = _read(connection, notes)
    for answer in rows.changed.values():
        notes.add(f"answer {answer}", "its row is not what its receipt's digest was taken of")
    if damaged:
        notes.leave("answers: entries are damaged, and with them which rows a batch holds")
        return
    erased = sum(count for _index, count, _root in told.batches) - rows.count
    if erased < 0:
        notes.add("answers", f"{-erased} rows more than the ledger's batches hold")
    places = _places(rows, told.batches, max(0, erased))
    _judge(rows, told.batches, places, notes)


def _read(connection: sqlite3.Connection, notes: Notebook) -> _Rows:
    found = _Rows()
    cursor = connection.execute(_ANSWERS)
    names = [column[0] for column in cursor.description]
    for place, values in enumerate(cursor):
        notes.count("answers")
        row = dict(zip(names, values, strict=True))
        stored = row.pop("receipt_digest")
        digest = _receipt_digest(row)
        if digest != stored:
            found.changed[place] = str(row["id"])
        found.leaves += tree.hash_leaves([digest.encode()])
    return found


def _receipt_digest(row: dict[str, Any]) -> str:
    try:
        return digest_bytes(canonical_json(row | {"citations": json.loads(row["citations"]), "v": _VERSION}))
    except (ValueError, TypeError, RecursionError):
        return "damaged"


def _places(rows: _Rows, batches: list[tuple[int, int, str]], erased: int) -> list[int | None]:
    """Where the rows of each batch begin; None where they are not all there, or are not what they were.

    Every batch is looked for after the rows that were found erased so far, and then after as many more as the batches
    since the last whole one could have lost.
    """
    places: list[int | None] = []
    start = gone = open_rows = 0
    for _index, count, root in batches:
        most = min(erased - gone, open_rows)
        at = next(
            (
                start - gone - more
                for more in range(most + 1)
                if rows.work < _MOST_HASHES and rows.root(start - gone - more, count) == root
            ),
            None,
        )
        places.append(at)
        start += count
        if at is None:
            open_rows += count
        else:
            gone, open_rows = start - count - at, 0
    return places


def _judge(rows: _Rows, batches: list[tuple[int, int, str]], places: list[int | None], notes: Notebook) -> None:
    """Between two whole batches: as many rows as were entered means that some were changed, fewer that some were erased."""
    end, run = 0, list[tuple[int, int, str]]()
    for batch, at in [*zip(batches, places, strict=True), ((0, 0, ""), rows.count)]:
        if at is None:
            run.append(batch)
            continue
        if run:
            _name(rows, run, (end, at), notes)
        end, run = at + batch[1], []


def _name(rows: _Rows, run: list[tuple[int, int, str]], span: tuple[int, int], notes: Notebook) -> None:
    first, last = span
    missing = sum(count for _index, count, _root in run) - (last - first)
    entries = f"entry {run[0][0]}" if len(run) == 1 else f"entries {run[0][0]} to {run[-1][0]}"
    if missing > 0:
        notes.leave(
            f"answers of {entries}: {missing} rows were erased, so the others cannot be compared with the batch"
        )
    elif not any(first <= place < last for place in rows.changed):
        notes.add(f"answers of {entries}", "its rows were replaced: they do not give the root of the batch")
