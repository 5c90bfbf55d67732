"""Text Datasets made for tests without a Run of recipe `text`, and a Run's context for the handlers that read them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from baray.catalog import Output
from baray.core import digest_bytes, digest_file
from baray.runs import AttemptContext, Input, InputFile

KM = (
    "មន្ត្រី ស្វាគមន៍ ពលរដ្ឋ ហើយ សួរ លេខរៀង តម្លៃ សេវា រៀល ត្រូវ ប្រាប់ មុនពេល ចាប់ផ្ដើម ការងារ ការិយាល័យ បិទ នៅ ថ្ងៃសុក្រ សូម មក វិញ"
    " ថ្ងៃចន្ទ ឯកសារ សំបុត្រ កំណើត អាពាហ៍ពិពាហ៍ ដីធ្លី ទឹកស្អាត ភ្លើង ផ្លូវ ស្រុក ខេត្ត ឃុំ ភូមិ គ្រួសារ សិស្ស សាលារៀន មន្ទីរពេទ្យ ពេទ្យ ថ្នាំ"
).split()
EN = (
    "the clerk greets citizens and asks for queue number fee service is named before any work begins office closes on friday"
    " please come back monday papers birth letter marriage land water light road district province commune village family"
).split()


def sentences(number: int, *, lines: int = 8) -> list[dict[str, str]]:
    """Rows of `number` Documents, every other one Khmer: words in an order of chance, the same each time."""
    chance = random.Random(7)
    rows = []
    for at in range(number):
        words, between, end = (KM, "", "។") if at % 2 else (EN, " ", ".")
        text = "\n".join(
            between.join(chance.choices(words, k=9)) + f" {chance.randrange(1000)}{end}" for _ in range(lines)
        )
        rows.append({"id": f"doc-{at:04d}", "text": text, "language": "km" if at % 2 else "en", "label": "public"})
    return rows


def text_input(folder: Path, rows: Sequence[dict[str, Any]], *, label: str = "internal", shards: int = 1) -> Input:
    """A text Dataset version of these rows."""
    folder.mkdir(parents=True, exist_ok=True)
    size = -(-len(rows) // shards)
    paths = {}
    for number in range(shards):
        blob = folder / f"part-{number}"
        columns = ("id", "text", "language", "label", "path")
        part = [{name: row.get(name) for name in columns} for row in rows[number * size : (number + 1) * size]]
        pq.write_table(pa.Table.from_pylist(part, schema=pa.schema([(name, pa.string()) for name in columns])), blob)
        paths[f"data/part-{number:05d}.parquet"] = blob
    digest = digest_bytes(repr(list(rows)).encode())
    return made_input("dataset", "dataset:circulars@v1", paths, name="dataset", digest=digest, label=label)


def made_input(
    kind: str, ref: str, paths: dict[str, Path], *, name: str, digest: str, label: str = "internal"
) -> Input:
    """A version whose files lie at `paths`."""
    files = tuple(
        InputFile(path=path, digest=digest_file(blob), bytes=blob.stat().st_size, blob=blob, label=label)
        for path, blob in sorted(paths.items())
    )
    return Input(name=name, ref=ref, kind=kind, digest=digest, label=label, files=files, title="Circulars")


def output_input(folder: Path, output: Output, *, ref: str, name: str, label: str = "internal") -> Input:
    """What a handler made below `folder`, as the input of another."""
    paths = {file.path: folder / file.path for file in output.files}
    return made_input(output.kind, ref, paths, name=name, digest=output.digest, label=label)


def context_for(
    folder: Path, recipe: str, inputs: Sequence[Input], options: dict[str, Any] | None = None
) -> AttemptContext:
    """A Run's context; its log is `context.run_dir/log`."""
    for part in ("out", "work"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    log = folder / "log"
    log.touch()

    def say(text: str) -> None:
        with log.open("a", encoding="utf-8") as file:
            file.write(text + "\n")

    return AttemptContext(
        run_id="r_test",
        spec={"recipe": recipe, "name": "made", "options": options or {}, "today": "2026-11-21"},
        inputs={one.name: one for one in inputs},
        out=folder / "out",
        work=folder / "work",
        run_dir=folder,
        cpus=1,
        memory_bytes=2**31,
        print_line=say,
        now=lambda: 0.0,
    )
