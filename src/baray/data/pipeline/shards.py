"""What the first pass put on disk, in shards that outlive the Attempt: a second one goes on behind the last whole shard.

    RUN/checkpoints/text/00000/survivors.arrow   rows that the filters left, with text
                              /dropped.arrow     rows that they did not
                              /bands.bin         BANDS keys of 8 bytes for each survivor
                              /done.json         written last: how far this shard brings the Run, and its counts so far

Order of durability: rows and keys, then done.json, each with fsync. A shard without done.json is as good as none, and
so is everything of another spec, other inputs or another version of the software.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from baray.data.duplicates.minhash import BANDS, Words
from baray.data.duplicates.rules import FACTS

_HASH_LETTERS = 32
"""Hexadecimal digits of a key that are compared: 128 bits of SHA-256."""
_MOST_OPEN = 32


class Spill:
    """Rows written aside, a batch at a time; all batches have the same columns. No rows make no file."""

    def __init__(self, path: Path) -> None:
        """Write to `path`."""
        self.path = path
        self.rows = 0
        self._writer: pa.RecordBatchFileWriter | None = None
        self._file: pa.OSFile | None = None

    def write(self, frame: pl.DataFrame) -> None:
        """Add one batch."""
        if frame.height == 0:
            return
        table = frame.to_arrow(compat_level=pl.CompatLevel.oldest()).combine_chunks()
        if self._writer is None:
            self._file = pa.OSFile(str(self.path), "wb")
            self._writer = pa.ipc.new_file(self._file, table.schema)
        batches = table.to_batches()
        self._writer.write_batch(batches[0] if len(batches) == 1 else pa.concat_batches(batches))
        self.rows += frame.height

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None and self._file is not None:
            self._writer.close()
            self._file.close()
        self._writer = None

    def read(self) -> Spilled:
        """Finish the file and read it."""
        self.close()
        return Spilled([self.path])


class Spilled:
    """Rows of several spills in their order, by batch or one text at a time, without loading the rest."""

    def __init__(self, paths: Sequence[Path]) -> None:
        """Read what stands at `paths`; one that is not there had no rows."""
        self._open: dict[Path, pa.RecordBatchFileReader] = {}
        self._batches: list[tuple[Path, int]] = []
        starts = [0]
        for path in paths:
            if path.exists():
                reader = self._reader(path)
                for at in range(reader.num_record_batches):
                    self._batches.append((path, at))
                    starts.append(starts[-1] + reader.get_batch(at).num_rows)
        self._starts = np.array(starts)
        self.rows = starts[-1]

    def frames(self) -> Iterator[pl.DataFrame]:
        """The batches, in order."""
        for path, at in self._batches:
            frame = pl.from_arrow(self._reader(path).get_batch(at))
            if isinstance(frame, pl.DataFrame):
                yield frame

    def text(self, row: int) -> str:
        """Text of one row."""
        batch = int(np.searchsorted(self._starts, row, side="right")) - 1
        path, at = self._batches[batch]
        return str(self._reader(path).get_batch(at).column("text")[row - int(self._starts[batch])].as_py())

    def _reader(self, path: Path) -> pa.RecordBatchFileReader:
        if path not in self._open:
            while len(self._open) >= _MOST_OPEN:
                self._open.pop(next(iter(self._open)))
            self._open[path] = pa.ipc.open_file(pa.memory_map(str(path)))
        return self._open[path]


class Survivors(Spilled):
    """Rows that the filters left, with their band keys."""

    def __init__(self, folders: Sequence[Path]) -> None:
        """Read the shards in `folders`."""
        super().__init__([folder / "survivors.arrow" for folder in folders])
        self._keys = [folder / "bands.bin" for folder in folders]

    def facts(self) -> pl.DataFrame:
        """FACTS of every row."""
        found = [facts_of(frame) for frame in self.frames()]
        return pl.concat(found) if found else pl.DataFrame(schema=FACTS)

    def keys(self) -> Iterator[Words]:
        """Band keys of the rows (rows x BANDS), in order, a shard at a time."""
        for path in self._keys:
            if path.exists():
                yield np.fromfile(path, dtype="<u8").reshape(-1, BANDS)


def facts_of(frame: pl.DataFrame) -> pl.DataFrame:
    """FACTS of rows with a key."""
    halves = hashes_of(frame["key"])
    return frame.with_columns(
        hash_0=pl.Series(halves[:, 0], dtype=pl.UInt64), hash_1=pl.Series(halves[:, 1], dtype=pl.UInt64)
    ).select(pl.col(name).cast(kind) for name, kind in FACTS.items())


def hashes_of(keys: pl.Series) -> Words:
    """128 bits of each key, in two halves."""
    letters = b"".join(bytes.fromhex(key[:_HASH_LETTERS]) for key in keys)
    return np.frombuffer(letters, dtype=">u8").astype(np.uint64).reshape(-1, 2)


class Shard:
    """One shard as it is written."""

    def __init__(self, folder: Path) -> None:
        """Write into `folder`, which is made."""
        folder.mkdir(parents=True)
        self.folder = folder
        self.survivors = Spill(folder / "survivors.arrow")
        self.dropped = Spill(folder / "dropped.arrow")
        self._bands = (folder / "bands.bin").open("wb")

    def write(self, stay: pl.DataFrame, keys: Words) -> None:
        """Add rows with their band keys."""
        self.survivors.write(stay)
        self._bands.write(keys.astype("<u8").tobytes())

    def close(self, *, durable: bool) -> None:
        """Finish the files."""
        self.survivors.close()
        self.dropped.close()
        self._bands.close()
        for path in self.folder.iterdir() if durable else ():
            _sync(path)


class Shards:
    """The shards of a Run."""

    def __init__(self, folder: Path, fingerprint: str) -> None:
        """Find what earlier Attempts of the same work left in `folder`; anything else there is removed."""
        self._folder = folder
        self._fingerprint = fingerprint
        self.folders: list[Path] = []
        self.told: dict[str, Any] = {}
        """What was told with the last whole shard; empty where there is none."""
        folder.mkdir(parents=True, exist_ok=True)
        while (found := _read_done(self._next())).get("fingerprint") == fingerprint:
            self.told = found["told"]
            self.folders.append(self._next())
        for path in folder.iterdir():
            if path not in self.folders:
                shutil.rmtree(path)

    def begin(self) -> Shard:
        """The next shard."""
        return Shard(self._next())

    def finish(self, shard: Shard, told: dict[str, Any]) -> None:
        """Make a shard that is closed count, with what a next Attempt needs to know."""
        path = shard.folder / "done.json"
        new = path.with_name("done.json.new")
        new.write_text(json.dumps({"fingerprint": self._fingerprint, "told": told}), encoding="utf-8")
        _sync(new)
        _sync(shard.folder)
        new.rename(path)
        _sync(shard.folder)
        _sync(self._folder)
        self.folders.append(shard.folder)
        self.told = told

    def _next(self) -> Path:
        return self._folder / f"{len(self.folders):05d}"


def _read_done(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / "done.json").read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
