"""The Documents of a text Dataset as the recipe `tokens` reads them, in order, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow.parquet as pq

from baray.core import Refused
from baray.text import FEW_DOCUMENTS, HeldOut, Part, choose, parts

if TYPE_CHECKING:
    from baray.runs import Input, InputFile

HELD_OUT_FILE = "data/held_out.parquet"
_BATCH_ROWS = 256
_COLUMNS = ("id", "text", "language", "label", "path")


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A Document, or a part of a long one."""

    part: Part
    """Id and text."""
    language: str
    """km, en or other."""
    label: str
    """Its own; the Dataset's where rows have none."""
    path: str
    """The file it came from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextDataset:
    """The shards of a text Dataset version."""

    label: str
    """Of the version."""
    shards: tuple[InputFile, ...]
    """By path."""
    columns: tuple[str, ...]
    """Those of its columns that are read."""
    num_documents: int
    """Rows of all shards."""

    @property
    def few(self) -> bool:
        """Whether long Documents are cut into short parts, each chosen by itself."""
        return self.num_documents < FEW_DOCUMENTS

    def rows(self) -> Iterator[tuple[dict[str, str | None], list[Document]]]:
        """Each row with its parts; there are none where it has no text."""
        for shard in self.shards:
            with pq.ParquetFile(shard.blob) as file:
                for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=list(self.columns)):
                    for row in batch.to_pylist():
                        yield row, self._parts(row)

    def held_out(self, percent: float) -> HeldOut:
        """The choice of Documents to measure on. Raises Refused `too_few_documents`."""
        if self.few:
            return choose((document.part.key for _, row in self.rows() for document in row), percent)
        return choose(self._ids(), percent)

    def _ids(self) -> Iterator[str]:
        for shard in self.shards:
            with pq.ParquetFile(shard.blob) as file:
                for batch in file.iter_batches(columns=["id"]):
                    yield from map(str, batch.column("id").to_pylist())

    def _parts(self, row: dict[str, str | None]) -> list[Document]:
        text = row["text"] or ""
        if not text.strip():
            return []
        language, label = row.get("language") or "other", row.get("label") or self.label
        found = parts(str(row["id"]), text, few=self.few)
        return [Document(part=part, language=language, label=label, path=row.get("path") or "") for part in found]


def open_text(source: Input) -> TextDataset:
    """Look at the files of a text Dataset. Raises Refused `not_text` for one that holds no Documents."""
    files = [file for file in source.files if file.path.startswith("data/") and file.path.endswith(".parquet")]
    shards = tuple(sorted(files, key=lambda file: file.path))
    columns = {name for shard in shards for name in pq.read_schema(shard.blob).names}
    if any(file.path == HELD_OUT_FILE for file in shards) or not {"id", "text"} <= columns:
        raise Refused(
            "not_text",
            f"{source.ref} is no text Dataset: this needs Documents with an id and a text.",
            fix="Build one: baray dataset build text --name NAME --source NAME",
        )
    return TextDataset(
        label=source.label,
        shards=shards,
        columns=tuple(name for name in _COLUMNS if name in columns),
        num_documents=sum(pq.read_metadata(shard.blob).num_rows for shard in shards),
    )
