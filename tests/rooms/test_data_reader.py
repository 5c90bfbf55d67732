"""The reader process, as control uses it; and the Index that is made of a Dataset."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from io import FileIO, StringIO
from pathlib import Path

import pytest
from data_papers import NOTICE_EN, NOTICE_KM, Made, Paper, context_of, make

from baray.core import Refused
from baray.data import HANDLERS, READER_MODULE, indexing
from baray.data.queries.reader import serve
from baray.runs import Input, InputFile
from baray.text import open_index


@pytest.fixture
def made(tmp_path):
    papers = {
        "a.txt": Paper(data=NOTICE_KM.encode()),
        "b.txt": Paper(data=NOTICE_EN.encode(), label="internal", office="Secretariat"),
        "c.txt": Paper(data=b"A note on the building of the new market hall.", label="internal:land@ministry"),
        "short.txt": Paper(data=b"Hm."),
        "inside.txt": Paper(data=b"Eh.", label="internal"),
        "empty.txt": Paper(data=b""),
    }
    return make(tmp_path, papers)


def paths(made: Made, folder: str) -> list[str]:
    """Blobs have no name that tells what they are: copies without a suffix."""
    found = []
    for path in sorted((made.folder / folder).iterdir()):
        blob = path.with_name(path.name.removesuffix(".parquet") + "-blob")
        blob.write_bytes(path.read_bytes())
        found.append(str(blob))
    return found


def ask(*questions: dict[str, object] | str) -> list[dict[str, object]]:
    lines = "".join((one if isinstance(one, str) else json.dumps(one)) + "\n" for one in questions)
    done = subprocess.run(
        [sys.executable, "-m", READER_MODULE], input=lines, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stderr == ""
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_rows_by_clearance(made):
    question = {"op": "rows", "paths": paths(made, "data"), "n": 10, "projects": ["ministry"]}
    answers = ask(*[question | {"clearance": clearance} for clearance in ("public", "internal", "internal:land")])
    assert [sorted(row["path"] for row in answer["items"]) for answer in answers] == [
        ["a.txt"],
        ["a.txt", "b.txt"],
        ["a.txt", "b.txt", "c.txt"],
    ]
    assert [answer["total"] for answer in answers] == [1, 2, 3]
    (other,) = ask(question | {"clearance": "internal:land", "projects": ["elsewhere"]})
    assert other["total"] == 2


def test_rows_of_a_version_that_was_lowered_carry_that_label(made):
    asked = {"op": "rows", "paths": paths(made, "data"), "clearance": "internal", "projects": [], "lowered": "internal"}
    (answer,) = ask(asked)
    assert [row["label"] for row in answer["items"]] == ["internal"] * 3


def test_pages(made):
    question = {
        "op": "rows",
        "paths": paths(made, "data"),
        "clearance": "secret:land",
        "projects": ["ministry"],
        "n": 2,
    }
    first, second = ask(question, question | {"offset": 2})
    assert (len(first["items"]), first["next"], len(second["items"]), second["next"]) == (2, 2, 1, None)


def test_drops_by_reason_and_clearance(made):
    question = {"op": "dropped", "paths": paths(made, "dropped"), "clearance": "internal"}
    everything, short, public = ask(question, question | {"reason": "too_short"}, question | {"clearance": "public"})
    assert sorted(row["reason"] for row in everything["items"]) == ["empty_file", "too_short", "too_short"]
    assert sorted(row["path"] for row in short["items"]) == ["inside.txt", "short.txt"]
    assert sorted(row["path"] for row in public["items"]) == ["empty.txt", "short.txt"]
    assert {row["fate"] for row in everything["items"]} == {"dropped", "refused"}


def test_errors_are_answers(made, tmp_path):
    damaged = tmp_path / "damaged"
    damaged.write_bytes(b"PAR1 no more")
    question = {"op": "rows", "clearance": "public"}
    answers = ask("{broken", {"op": "drop table"}, question, question | {"paths": []}, question | {"paths": [str(damaged)]},
                  question | {"paths": [str(tmp_path / "gone")]}, question | {"paths": paths(made, "data")})  # fmt: skip
    codes = [answer.get("error", {}).get("code") for answer in answers]
    assert codes == ["bad_question", "bad_question", "bad_question", "not_found", "unreadable", "unreadable", None]


def test_it_leaves_when_nobody_asks():
    read, write = os.pipe()
    with FileIO(read) as questions:
        began = time.monotonic()
        serve(questions, StringIO(), idle_seconds=0.05)
        assert 0.04 <= time.monotonic() - began < 5
    os.close(write)


def dataset_of(made: Made) -> Input:
    files = tuple(
        InputFile(path=entry.path, digest=entry.digest, bytes=entry.bytes, blob=made.folder / entry.path)
        for entry in made.output.files
    )
    return Input(
        name="dataset",
        ref="dataset:letters@v1",
        kind="dataset",
        digest=made.output.digest,
        label="internal",
        files=files,
    )


def test_index_of_a_dataset(made, tmp_path):
    place = tmp_path / "index"
    context, log = context_of(place, {"name": "letters", "options": {}}, {"dataset": dataset_of(made)})
    (output,) = indexing.build(context)
    assert output.kind == "index"
    assert output.labels == ("internal", "internal:land@ministry", "public")
    assert output.summary["documents"] == 3
    assert sorted(entry.path for entry in output.files) == sorted(
        path.name for path in Path(context.out / "letters").iterdir()
    )
    assert "3 documents" in log[-1]
    index = open_index(context.out / "letters")
    assert index is not None
    again, _ = context_of(tmp_path / "again", {"name": "letters", "options": {}}, {"dataset": dataset_of(made)})
    assert indexing.build(again)[0].digest == output.digest


def test_index_needs_a_dataset(tmp_path):
    context, _ = context_of(tmp_path, {"name": "letters", "options": {}}, {})
    with pytest.raises(Refused, match="no Dataset"):
        indexing.build(context)


def test_the_door_loads_nothing_heavy():
    heavy = ("polars", "pyarrow", "numpy", "numba", "duckdb", "PIL", "lxml")
    code = f"import sys, baray.data; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert set(HANDLERS) == {"text", "tokens", "table", "images", "desk"}
