"""The files of a Dataset version, and its identity."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

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
_NO_LICENCE = "NOASSERTION"
_SPDX = re.compile(r"[A-Za-z0-9.+-]+")


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
        if self._writer is None:
            path = self._folder / f"part-{self._number:05d}.parquet"
            self._writer = pq.ParquetWriter(path, self._schema, compression="zstd", compression_level=3)
            self._number += 1
        table = frame.select(self._schema.names).to_arrow().cast(self._schema)
        self._writer.write_table(table)
        self._written += table.nbytes
        if self._written >= _PART_BYTES:
            self._finish()

    def close(self) -> None:
        """Finish the last file; with no rows at all, one empty file is written."""
        if self._number == 0:
            self.write(pl.DataFrame(schema=dict.fromkeys(self._schema.names, pl.Null)))
        self._finish()

    def _finish(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._writer, self._written = None, 0


class Spill:
    """Rows put aside on disk between the passes, read back by batch or one text at a time without loading the rest."""

    def __init__(self, path: Path) -> None:
        """Write to `path`."""
        self._path = path
        self._writer: pa.RecordBatchFileWriter | None = None
        self._reader: pa.RecordBatchFileReader | None = None
        self._starts: list[int] = [0]

    def write(self, frame: pl.DataFrame) -> None:
        """Add one batch; all batches have the same columns."""
        if frame.height == 0:
            return
        table = frame.to_arrow(compat_level=pl.CompatLevel.oldest()).combine_chunks()
        if self._writer is None:
            self._writer = pa.ipc.new_file(str(self._path), table.schema)
        batches = table.to_batches()
        self._writer.write_batch(batches[0] if len(batches) == 1 else pa.concat_batches(batches))
        self._starts.append(self._starts[-1] + frame.height)

    def frames(self) -> Iterator[pl.DataFrame]:
        """The batches, in order."""
        for at in range(len(self._starts) - 1):
            frame = pl.from_arrow(self._open().get_batch(at))
            if isinstance(frame, pl.DataFrame):
                yield frame

    def text(self, row: int) -> str:
        """Text of one row."""
        at = _bisect(self._starts, row)
        return str(self._open().get_batch(at).column("text")[row - self._starts[at]].as_py())

    def _open(self) -> pa.RecordBatchFileReader:
        if self._reader is None:
            if self._writer is not None:
                self._writer.close()
            self._reader = pa.ipc.open_file(pa.memory_map(str(self._path)))
        return self._reader


def _bisect(starts: list[int], row: int) -> int:
    low, high = 0, len(starts) - 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if starts[middle] <= row else (low, middle)
    return low


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """One of the Sources that a Dataset is made of, as its description tells of it."""

    title: str
    """Any script."""
    ref: str
    """For example source:letters@v1."""
    digest: str
    """Identity of the version."""
    licences: tuple[str, ...]
    """SPDX identifiers, or whatever text its owner gave; NOASSERTION for none."""
    owner: str
    """Who answers for it."""


def croissant(
    *, name: str, digest: str, folder: Path, report: dict[str, Any], date: str, origins: list[Origin]
) -> dict[str, Any]:
    """Metadata in the Croissant format 1.0 (MLCommons), which loaders of other tools read."""
    titles = list(dict.fromkeys(origin.title for origin in origins if origin.title)) or [name]
    owners = list(dict.fromkeys(origin.owner for origin in origins if origin.owner)) or [name]
    files = [
        {
            "@type": "cr:FileObject",
            "@id": path.name,
            "name": path.name,
            "contentUrl": f"data/{path.name}",
            "encodingFormat": "application/x-parquet",
            "sha256": digest_file(path).removeprefix("sha256:"),
            "contentSize": f"{path.stat().st_size} B",
        }
        for path in sorted((folder / "data").glob("*.parquet"))
    ]
    parts = {"@type": "cr:FileSet", "@id": "parts", "name": "parts", "includes": "data/*.parquet"}
    parts |= {"encodingFormat": "application/x-parquet"}
    return {
        "@context": _CROISSANT_CONTEXT,
        "@type": "sc:Dataset",
        "name": name,
        "alternateName": titles,
        "description": f"{report['kept']} cleaned and deduplicated Documents of: {', '.join(titles)}.",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "version": f"1.0.0+{digest.replace(':', '.')}",
        "identifier": digest,
        "url": f"urn:baray:dataset:{name}",
        "license": sorted({_licence(one) for origin in origins for one in origin.licences}) or [_NO_LICENCE],
        "creator": [{"@type": "sc:Organization", "name": owner} for owner in owners],
        "citeAs": f"{', '.join(owners)}: {', '.join(titles)} ({name}), {date}, {digest}",
        "isBasedOn": [
            {
                "@type": "sc:CreativeWork",
                "name": origin.title,
                "identifier": origin.digest,
                "url": f"urn:baray:{origin.ref}",
            }
            for origin in origins
        ],
        "datePublished": date,
        "inLanguage": sorted(language for language in report["languages"] if language != "other"),
        "distribution": [*files, parts],
        "recordSet": [{"@type": "cr:RecordSet", "@id": "documents", "name": "documents", "field": _fields()}],
    }


def _licence(text: str) -> str:
    """The address that SPDX gives an identifier; other text stays as its owner wrote it."""
    known = text != _NO_LICENCE and _SPDX.fullmatch(text) is not None
    return f"https://spdx.org/licenses/{text}" if known else text


def _fields() -> list[dict[str, Any]]:
    types = {pa.string(): "sc:Text", pa.int32(): "sc:Integer", pa.float64(): "sc:Float"}
    return [
        {
            "@type": "cr:Field",
            "@id": f"documents/{column.name}",
            "name": column.name,
            "dataType": types[column.type],
            "source": {"fileSet": {"@id": "parts"}, "extract": {"column": column.name}},
        }
        for column in ROWS
    ]


_CROISSANT_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "equivalentProperty": "cr:equivalentProperty",
    "samplingRate": "cr:samplingRate",
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}


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
