"""The band index of a text Dataset: what a later build needs to find, among new Documents, those that are in it already.

Format `baray-bands/1`: `bands/*.parquet`, a row for each row of `data/*.parquet`, in the same order.

    id, path, record, label, valid_from, valid_until   as in `data`
    hash    16 bytes: the first of the SHA-256 of the text as exact duplicates are compared
    bands   160 bytes: 20 band keys of 8 bytes, little-endian; zeros for a text that has no tokens

A key tells nothing of a text but whether it is like another; its row has the label of the text, and the file that of the
Dataset.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from baray.access import flows, join, parse_label
from baray.core import Refused
from baray.data.documents import compared_digest
from baray.data.duplicates.minhash import BANDS, Words, band_keys
from baray.data.duplicates.near import mapped
from baray.data.duplicates.rules import FACTS, Rows

if TYPE_CHECKING:
    from baray.runs import Input

FORMAT = "baray-bands/1"
INDEX = pa.schema(
    [
        ("id", pa.string()),
        ("path", pa.string()),
        ("record", pa.int32()),
        ("hash", pa.binary(16)),
        ("bands", pa.binary(8 * BANDS)),
        ("label", pa.string()),
        ("valid_from", pa.string()),
        ("valid_until", pa.string()),
    ],
    metadata={"format": FORMAT},
)
"""Columns of `bands/*.parquet`."""
_TOLD = ("id", "path", "record", "label", "valid_from", "valid_until")
_BATCH_ROWS = 512


def index_table(stay: pl.DataFrame, hashes: Words, keys: Words) -> pa.Table:
    """Rows of the index: of Documents, the halves of their hashes (rows x 2) and their band keys (rows x BANDS)."""
    told = stay.select(_TOLD).to_arrow().cast(pa.schema([INDEX.field(name) for name in _TOLD]))
    columns = {name: told.column(name) for name in _TOLD}
    columns["hash"] = _binary(hashes.astype(">u8"), 16)
    columns["bands"] = _binary(keys.astype("<u8"), 8 * BANDS)
    return pa.table([columns[name] for name in INDEX.names], schema=INDEX)


class KeyColumns:
    """Band keys of any number of rows, in a file, a column a band."""

    def __init__(self, path: Path, rows: int) -> None:
        """Room for `rows` rows."""
        self._columns: Words = mapped(path, np.uint64, (BANDS, max(1, rows)))
        self._rows = rows
        self._filled = 0

    def add(self, keys: Words) -> None:
        """The next rows (rows x BANDS)."""
        self._columns[:, self._filled : self._filled + len(keys)] = keys.T
        self._filled += len(keys)

    def band(self, band: int) -> Words:
        """Keys of one band, of all rows."""
        return np.array(self._columns[band, : self._rows])

    def rows(self, start: int, end: int) -> Words:
        """Keys of some rows (rows x BANDS)."""
        return np.ascontiguousarray(self._columns[:, start:end].T)


class Earlier:
    """An earlier Dataset as a build sees it that is to leave out what is in it."""

    def __init__(self, source: Input) -> None:
        """Look at a version. Raises Refused `not_text` for one that is no text Dataset."""
        self.ref = source.ref
        self._label = source.label
        self._data = _parts(source, "data/")
        columns = {name for path in self._data for name in pq.read_schema(path).names}
        if not {"text", "source_digest", *_TOLD} <= columns:
            raise Refused(
                "not_text",
                f"{source.ref} is no text Dataset: this needs Documents with an id and a text.",
                fix="Build one: baray dataset build text --name NAME --source NAME",
            )
        bands = _parts(source, "bands/")
        known = bool(bands) and all(
            (pq.read_schema(path).metadata or {}).get(b"format") == FORMAT.encode() for path in bands
        )
        self._bands = bands if known else []
        self.rows = sum(pq.read_metadata(path).num_rows for path in self._data)

    def read(self, columns: KeyColumns) -> pl.DataFrame:
        """FACTS and id of every row; its band keys go to `columns`. A Dataset that has no index is read itself."""
        found = []
        for table in _batches(self._bands or self._data, INDEX.names if self._bands else [*_TOLD, "text"]):
            hashes, keys = _indexed(table) if self._bands else _signed(table.column("text").to_pylist())
            columns.add(keys)
            told = pl.DataFrame({name: table.column(name).to_pylist() for name in _TOLD})
            found.append(
                told.with_columns(
                    hash_0=pl.Series(hashes[:, 0], dtype=pl.UInt64), hash_1=pl.Series(hashes[:, 1], dtype=pl.UInt64)
                ).select(pl.col(name).cast(kind) for name, kind in {**FACTS, "id": pl.String}.items())
            )
        facts = pl.concat(found) if found else pl.DataFrame(schema={**FACTS, "id": pl.String})
        return facts.with_columns(label=self._effective(facts["label"].fill_null(self._label)))

    def texts(self, rows: Rows) -> Iterator[pl.DataFrame]:
        """Texts of some rows, which ascend: batches of the column `text`."""
        start = 0
        for path in self._data:
            with pq.ParquetFile(path) as file:
                for group in range(file.num_row_groups):
                    end = start + file.metadata.row_group(group).num_rows
                    wanted = rows[np.searchsorted(rows, start) : np.searchsorted(rows, end)] - start
                    if len(wanted):
                        column = file.read_row_group(group, columns=["text"]).column("text")
                        yield pl.DataFrame(
                            {"text": column.take(pa.array(wanted)).to_pylist()}, schema={"text": pl.String}
                        )
                    start = end

    def _effective(self, labels: pl.Series) -> pl.Series:
        """Labels of rows, each joined with the version's where that was raised since."""
        distinct = {label: parse_label(label) for label in labels.unique()}
        version = parse_label(self._label)
        if not distinct or flows(version, join(distinct.values())):
            return labels
        raised = {label: str(join([parsed, version])) for label, parsed in distinct.items()}
        return labels.replace_strict(raised, return_dtype=pl.String)


def _parts(source: Input, folder: str) -> list[Path]:
    found = [file for file in source.files if file.path.startswith(folder) and file.path.endswith(".parquet")]
    return [Path(file.blob) for file in sorted(found, key=lambda file: file.path)]


def _batches(paths: list[Path], columns: list[str]) -> Iterator[pa.RecordBatch]:
    for path in paths:
        with pq.ParquetFile(path) as file:
            yield from file.iter_batches(batch_size=_BATCH_ROWS, columns=columns)


def _indexed(table: pa.RecordBatch) -> tuple[Words, Words]:
    hashes = np.frombuffer(b"".join(table.column("hash").to_pylist()), dtype=">u8").astype(np.uint64)
    keys = np.frombuffer(b"".join(table.column("bands").to_pylist()), dtype="<u8").astype(np.uint64)
    return hashes.reshape(-1, 2), keys.reshape(-1, BANDS)


def _signed(texts: list[str]) -> tuple[Words, Words]:
    hashes = b"".join(bytes.fromhex(compared_digest(text))[:16] for text in texts)
    return np.frombuffer(hashes, dtype=">u8").astype(np.uint64).reshape(-1, 2), band_keys(texts)[0]


def _binary(rows: Words, width: int) -> pa.Array:
    data = rows.tobytes()
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), len(data) // width, [None, pa.py_buffer(data)])
