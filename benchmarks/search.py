"""Search: what a desk finds and refuses on the sample's test questions, and how fast, beside FTS5 with its own tokenizer.

The documents are the sample's files as recipe `text` reads them, with their labels and days. The peer searches the same
texts: one FTS5 table, default tokenizer, the question's words joined by OR, bm25. It has no way to refuse.
"""

from __future__ import annotations

import csv
import json
import re
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from figures import Context, Figure

import baray
from baray.core import digest_bytes, digest_file
from baray.data.pipeline import handler as pipeline
from baray.runs import AttemptContext, Input, InputFile
from baray.serve import desk
from baray.text import DocumentRow, open_index, write_index

SAMPLE = Path(baray.__file__).parent / "samples" / "one-window"
TODAY = "2026-11-21"
PEER = "FTS5, default tokenizer"
COLUMNS = ["id", "path", "text", "label", "title", "language", "office", "valid_from", "valid_until"]
Result = tuple[Mapping[str, Any], Mapping[str, Any], float]


def measure(context: Context) -> Iterator[Figure]:
    """Yield hit rates by language, refusals, and the median time of a question."""
    documents = sample_documents(context.folder)
    asked = [
        json.loads(line) for path in sorted((SAMPLE / "tests").glob("*.jsonl")) for line in path.open(encoding="utf-8")
    ]
    write_index(context.folder / "index", documents)
    index = open_index(context.folder / "index")

    def ours(question: str) -> dict[str, Any]:
        said = desk.answer(index, question, labels={"public"}, today=TODAY)
        return {"outcome": said.outcome, "found": [{"document": found.document} for found in said.found]}

    got = desk.evaluate(ask_all(asked, ours))
    peer = desk.evaluate(ask_all(asked, full_text_search([row for row in documents if row.label == "public"])))
    for language in ("km", "en"):
        for depth in ("1", "5"):
            name = f"hit_at_{depth}"
            theirs = peer["by_language"][language][name]
            yield Figure(
                name=f"hit{depth}.{language}",
                value=got["by_language"][language][name],
                unit="",
                peer=PEER,
                peer_value=theirs,
            )
    for name in ("refused_right", "refused_wrong"):
        yield Figure(name=name, value=got[name], unit="", peer=PEER, peer_value=peer[name])
    yield Figure(name="p50_ms", value=got["p50_ms"], unit="ms", peer=PEER, peer_value=peer["p50_ms"])


def ask_all(asked: list[dict[str, Any]], answer: Callable[[str], dict[str, Any]]) -> list[Result]:
    """Ask each question once, after one that opens the files."""
    answer("?")
    results: list[Result] = []
    for question in asked:
        started = time.perf_counter()
        given = answer(question["question"])
        results.append((question, given, 1000 * (time.perf_counter() - started)))
    return results


def full_text_search(documents: list[DocumentRow]) -> Callable[[str], dict[str, Any]]:
    """What a user would do first: a table of texts, the words of the question, the database's own ranking."""
    base = sqlite3.connect(":memory:")
    base.execute("CREATE VIRTUAL TABLE document USING fts5(path UNINDEXED, title, text)")
    base.executemany("INSERT INTO document VALUES (?, ?, ?)", [(row.path, row.title, row.text) for row in documents])

    def answer(question: str) -> dict[str, Any]:
        words = re.findall(r"[^\s?!.,;:\"()«»។៕៖]+", question)
        query = " OR ".join(f'"{word}"' for word in words)
        statement = "SELECT path FROM document WHERE document MATCH ? ORDER BY bm25(document) LIMIT 5"
        found = base.execute(statement, (query,)).fetchall() if words else []
        return {"outcome": "answered" if found else "out-of-scope", "found": [{"document": path} for (path,) in found]}

    return answer


def sample_documents(folder: Path) -> list[DocumentRow]:
    """The sample's Documents as recipe `text` gives them."""
    root = SAMPLE / "documents"
    with (root / "documents.csv").open(encoding="utf-8", newline="") as file:
        known = {row["path"]: row for row in csv.DictReader(file)}
    paths = [path for path in sorted(root.rglob("*")) if path.is_file() and path.name != "documents.csv"]
    files = tuple(input_file(path, known.get(path.relative_to(root).as_posix(), {}), root=root) for path in paths)
    source = Input(
        name="papers", ref="source:papers@v1", kind="source", digest=digest_bytes(b""), label="public", files=files
    )
    for name in ("out", "work"):
        (folder / name).mkdir()
    pipeline.build(
        AttemptContext(
            run_id="r_bench",
            spec={"recipe": "text", "options": {}, "name": "papers", "today": TODAY},
            inputs={"papers": source},
            out=folder / "out",
            work=folder / "work",
            run_dir=folder,
            cpus=1,
            memory_bytes=10**9,
            print_line=lambda _line: None,
            now=time.time,
        )
    )
    shards = sorted((folder / "out" / "papers" / "data").glob("*.parquet"))
    return [DocumentRow(**row) for shard in shards for row in pq.read_table(shard, columns=COLUMNS).to_pylist()]


def input_file(path: Path, row: Mapping[str, str], *, root: Path) -> InputFile:
    """A sample file as an input, with what `documents.csv` says of it."""
    return InputFile(
        path=path.relative_to(root).as_posix(),
        digest=digest_file(path),
        bytes=path.stat().st_size,
        blob=path,
        label=row.get("label") or "public",
        valid_from=row.get("valid_from") or None,
        valid_until=row.get("valid_until") or None,
        office=row.get("office") or None,
    )
