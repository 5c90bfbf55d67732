"""The files of a Dataset version, and its identity."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from baray.access import flows, join, parse_label
from baray.catalog import FileEntry
from baray.core import canonical_json, digest_file

ROWS = pa.schema(
    [
        ("id", pa.string()),
        ("text", pa.string()),
        ("path", pa.string()),
        ("source_digest", pa.string()),
        ("record", pa.int32()),
        ("title", pa.string()),
        ("language", pa.string()),
        ("language_km", pa.float64()),
        ("language_en", pa.float64()),
        ("quality", pa.float64()),
        ("redactions", pa.int32()),
        ("label", pa.string()),
        ("valid_from", pa.string()),
        ("valid_until", pa.string()),
        ("office", pa.string()),
    ]
)
"""Columns of `data/*.parquet`."""
DROPPED = pa.schema(
    [
        ("id", pa.string()),
        ("path", pa.string()),
        ("step", pa.string()),
        ("reason", pa.string()),
        ("text", pa.string()),
        ("detail", pa.string()),
        ("fate", pa.string()),
        ("label", pa.string()),
        ("record", pa.int32()),
    ]
)
"""Columns of `dropped/*.parquet`; `fate` is `dropped` or `refused`."""
IDENTITY = (
    "id", "label", "language", "office", "path", "record", "source_digest", "text", "title", "valid_from", "valid_until",
)  # fmt: skip
"""Columns that make a Dataset what it is. Measures are left out: a better measure is no other text."""
_IDENTITY_HEAD = b"baray dataset rows 1\n"
_PART_BYTES = 256_000_000
_PREVIEW_ROWS = 100
_PREVIEW_CHARACTERS = 2000


DROP_COLUMNS = {
    **dict.fromkeys(("id", "path", "step", "reason", "text", "detail", "fix", "fate", "label"), pl.String),
    "record": pl.Int32,
}
"""Columns of what is left out, while the Run lasts."""


def drop_rows(frame: pl.DataFrame) -> pl.DataFrame:
    """Rows with step, reason and detail as they stand among the dropped ones."""
    return frame.with_columns(fate=pl.lit("dropped"), fix=pl.lit("")).select(DROP_COLUMNS.keys())


class Identity:
    """SHA-256 over the canonical encoding of rows, which come in the order of (source digest, record, path)."""

    def __init__(self) -> None:
        """No row yet."""
        self._hash = hashlib.sha256(_IDENTITY_HEAD)

    def add(self, rows: Iterable[dict[str, Any]]) -> None:
        """Take the next rows: one line of canonical JSON each."""
        for row in rows:
            self._hash.update(canonical_json({name: row[name] for name in IDENTITY}) + b"\n")

    def digest(self) -> str:
        """Digest of all rows so far."""
        return "sha256:" + self._hash.hexdigest()


class Parts:
    """Parquet files `part-00000.parquet`, ... of a bounded size in one folder."""

    def __init__(self, folder: Path, schema: pa.Schema) -> None:
        """Write into `folder`, which is made."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._schema = schema
        self._writer: pq.ParquetWriter | None = None
        self._written = 0
        self._number = 0

    def write(self, frame: pl.DataFrame) -> None:
        """Add rows; columns that are not in the schema are left out."""
        self.write_table(frame.select(self._schema.names).to_arrow().cast(self._schema))

    def write_table(self, table: pa.Table) -> None:
        """Add rows that have the schema."""
        if self._writer is None:
            path = self._folder / f"part-{self._number:05d}.parquet"
            self._writer = pq.ParquetWriter(path, self._schema, compression="zstd", compression_level=3)
            self._number += 1
        self._writer.write_table(table)
        self._written += table.nbytes
        if self._written >= _PART_BYTES:
            self._finish()

    def close(self) -> None:
        """Finish the last file; with no rows at all, one empty file is written."""
        if self._number == 0:
            self.write_table(self._schema.empty_table())
        self._finish()

    def _finish(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._writer, self._written = None, 0


class Preview:
    """`preview.jsonl`: the first rows, long texts cut."""

    def __init__(self, path: Path) -> None:
        """Write to `path`."""
        self._path = path
        self._lines: list[str] = []

    def add(self, rows: list[dict[str, Any]]) -> None:
        """Take rows until there are enough."""
        for row in rows[: max(0, _PREVIEW_ROWS - len(self._lines))]:
            cut = len(row["text"]) > _PREVIEW_CHARACTERS
            shown = {**row, "text": row["text"][:_PREVIEW_CHARACTERS] + ("…" if cut else "")}
            self._lines.append(json.dumps(shown, ensure_ascii=False))

    def close(self) -> None:
        """Write the file."""
        self._path.write_text("".join(line + "\n" for line in self._lines), encoding="utf-8")


@dataclass(slots=True, kw_only=True)
class Tally:
    """Counts that become `report.json`. In = kept + dropped + refused."""

    documents: int = 0
    kept: int = 0
    redacted: int = 0
    """Kept Documents with at least one redaction."""
    characters: int = 0
    text_bytes: int = 0
    files: int = 0
    dropped: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(step, reason) -> Documents."""
    refused: Counter[str] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)
    redactions: Counter[str] = field(default_factory=Counter)
    labels: set[str] = field(default_factory=set)
    """Labels of kept rows."""

    def drop(self, frame: pl.DataFrame) -> None:
        """Count dropped rows, which have step and reason."""
        for step, reason, count in frame.group_by("step", "reason").len().iter_rows():
            self.dropped[(step, reason)] += count

    def keep(self, frame: pl.DataFrame) -> None:
        """Count kept rows."""
        self.kept += frame.height
        self.redacted += frame.filter(pl.col("redactions") > 0).height
        self.characters += int(frame["text"].str.len_chars().sum())
        self.text_bytes += int(frame["text"].str.len_bytes().sum())
        self.labels.update(frame["label"].unique().to_list())
        for language, count in frame["language"].value_counts().iter_rows():
            self.languages[language] += count
        for kinds in frame.filter(pl.col("redactions") > 0)["kinds"].to_list():
            self.redactions.update(json.loads(kinds))

    def report(self, steps: tuple[str, ...]) -> dict[str, Any]:
        """Content of `report.json`."""
        dropped: Counter[str] = Counter()
        for (_, reason), count in self.dropped.items():
            dropped[reason] += count
        return {
            "in": self.documents,
            "kept": self.kept,
            "dropped": dict(sorted(dropped.items())),
            "refused": dict(sorted(self.refused.items())),
            "redacted": self.redacted,
            "redactions": dict(sorted(self.redactions.items())),
            "steps": self._by_step(steps),
            "languages": dict(sorted(self.languages.items())),
            "sizes": {
                "files": self.files,
                "characters": self.characters,
                "bytes": self.text_bytes,
                "mean_characters": round(self.characters / self.kept) if self.kept else 0,
            },
        }

    def _by_step(self, steps: tuple[str, ...]) -> list[dict[str, Any]]:
        left = self.documents
        found = []
        for step in steps:
            reasons = {reason: count for (at, reason), count in sorted(self.dropped.items()) if at == step}
            refused = dict(sorted(self.refused.items())) if step == "read" else {}
            gone = sum(reasons.values()) + sum(refused.values())
            found.append({"step": step, "in": left, "kept": left - gone, "dropped": reasons, "refused": refused})
            left -= gone
        return found


def write_dropped(dropped: Iterable[pl.DataFrame], labels: Iterable[str], folder: Path) -> None:
    """`dropped/*.parquet`. A row above the join of `labels`, the Dataset's own, shows only that it was there, and why it is not."""
    whole = join(parse_label(label) for label in labels)
    parts = Parts(folder / "dropped", DROPPED)
    for frame in dropped:
        hidden = [label for label in frame["label"].unique().to_list() if not flows(parse_label(label), whole)]
        withheld = pl.col("label").is_in(hidden)
        parts.write(
            frame.with_columns(
                pl.when(withheld).then(pl.lit("")).otherwise(pl.col(name)).alias(name)
                for name in ("id", "path", "text", "detail")
            )
        )
    parts.close()


def write_json(path: Path, value: dict[str, Any]) -> None:
    """A JSON file that people read too."""
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def entries(folder: Path) -> tuple[FileEntry, ...]:
    """All files below `folder`."""
    return tuple(
        FileEntry(path=path.relative_to(folder).as_posix(), digest=digest_file(path), bytes=path.stat().st_size)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    )
