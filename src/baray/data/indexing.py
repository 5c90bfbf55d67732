"""The handler of recipe `desk`: a Dataset version becomes the Index that a Desk searches."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from baray.catalog import FileEntry, Output
from baray.core import Refused
from baray.data.recipes import DeskIndexRecipe, read_options
from baray.text import DocumentRow, write_index

if TYPE_CHECKING:
    from baray.runs import AttemptContext, InputFile

_BATCH_ROWS = 512
_COLUMNS = ["id", "path", "text", "label", "title", "language", "office", "valid_from", "valid_until"]


def build(context: AttemptContext) -> list[Output]:
    """Make the Index that `context.spec` asks for. Raises Refused `no_dataset` without a Dataset input."""
    read_options(DeskIndexRecipe, context.spec.get("options") or {})
    name = context.spec["name"]
    datasets = [found for _, found in sorted(context.inputs.items()) if found.kind == "dataset"]
    if not datasets:
        raise Refused("no_dataset", f"Index '{name}' has no Dataset to read.", fix="Name one with dataset=REF.")
    shards = [file for found in datasets for file in found.files if _is_shard(file.path)]
    folder = context.out / name
    facts = write_index(folder, _documents(context, sorted(shards, key=lambda file: file.path)))
    context.log(f"{facts.documents} documents, {facts.spans} spans, labels {', '.join(facts.labels) or 'none'}")
    return [
        Output(
            kind="index",
            name=name,
            digest=facts.digest,
            labels=facts.labels,
            files=tuple(FileEntry(path=file.path, digest=file.digest, bytes=file.bytes) for file in facts.files),
            summary={"documents": facts.documents, "spans": facts.spans},
        )
    ]


def _is_shard(path: str) -> bool:
    return path.startswith("data/") and path.endswith(".parquet")


def _documents(context: AttemptContext, shards: list[InputFile]) -> Iterator[DocumentRow]:
    done, total = 0, sum(pq.read_metadata(Path(shard.blob)).num_rows for shard in shards)
    for shard in shards:
        with pq.ParquetFile(Path(shard.blob)) as file:
            for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=_COLUMNS):
                rows: list[dict[str, Any]] = batch.to_pylist()
                for row in rows:
                    yield DocumentRow(**row)
                done += len(rows)
                context.progress(done, total, "documents")
