"""The Documents of a text Dataset, in order and a batch at a time, and which of them are held out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow.compute as pc
import pyarrow.parquet as pq

from baray.core import Refused
from baray.runs import Input
from baray.text import FEW_DOCUMENTS, HeldOut, Part, choose, parts

_BATCH_ROWS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A Document, or a part of a long one."""

    part: Part
    """Id and text."""
    language: str
    """km, en or other."""


class Corpus:
    """A text Dataset version. Reading it twice gives the same Documents in the same order."""

    def __init__(self, source: Input) -> None:
        """Look at its files. Raises Refused `not_text` for a Dataset that holds no Documents."""
        self._shards = sorted(
            (file for file in source.files if file.path.startswith("data/") and file.path.endswith(".parquet")),
            key=lambda file: file.path,
        )
        held_out = any(file.path == "data/held_out.parquet" for file in source.files)
        columns = {name for shard in self._shards for name in pq.read_schema(shard.blob).names}
        if held_out or not {"id", "text"} <= columns:
            raise Refused(
                "not_text",
                f"{source.ref} is no text Dataset: this needs Documents with an id and a text.",
                fix="Build one: baray dataset build text --name NAME --source NAME",
            )
        self._columns = ["id", "text"] + (["language"] if "language" in columns else [])
        self.num_documents: int = sum(pq.read_metadata(shard.blob).num_rows for shard in self._shards)

    @property
    def few(self) -> bool:
        """Whether long Documents are cut into short parts, each chosen by itself."""
        return self.num_documents < FEW_DOCUMENTS

    def documents(self) -> Iterator[Document]:
        """Its Documents in the order of the version; long ones in parts; without those that have no text."""
        for shard in self._shards:
            with pq.ParquetFile(shard.blob) as file:
                for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=self._columns):
                    for row in batch.to_pylist():
                        if (row["text"] or "").strip():
                            language = row.get("language") or "other"
                            for part in parts(str(row["id"]), row["text"], few=self.few):
                                yield Document(part=part, language=language)

    def num_bytes(self) -> int:
        """Bytes of all text."""
        total = 0
        for shard in self._shards:
            with pq.ParquetFile(shard.blob) as file:
                for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=["text"]):
                    total += pc.sum(pc.binary_length(batch.column("text"))).as_py() or 0
        return total

    def new_share(self, sample_bytes: int = 5_000_000) -> float:
        """How much of the text is words not seen before, by its beginning: little in English, nearly all in Khmer."""
        seen: set[int] = set()
        new = total = 0
        for document in self.documents():
            for word in document.part.text.split():
                size = len(word.encode())
                total += size
                if hash(word) not in seen:
                    seen.add(hash(word))
                    new += size
            if total >= sample_bytes:
                break
        return new / max(1, total)

    def held_out(self, percent: float) -> HeldOut:
        """The choice of Documents to measure on. Raises Refused `too_few_documents`."""
        if self.few:
            return choose((document.part.key for document in self.documents()), percent)
        return choose(self._ids(), percent)

    def _ids(self) -> Iterator[str]:
        for shard in self._shards:
            with pq.ParquetFile(shard.blob) as file:
                for batch in file.iter_batches(columns=["id"]):
                    yield from map(str, batch.column("id").to_pylist())
