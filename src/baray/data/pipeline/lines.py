"""Lines that stand in many Documents (a menu, a footer, a letterhead) are taken out of all of them.

A line is compared without the spaces around it, by 128 bits of BLAKE2b; each Document counts it once. The digests are counted on
disk, a part of them at a time, so that memory holds one part and the lines that are found.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from baray.data.documents import compared_digest
from baray.data.duplicates.minhash import band_keys
from baray.data.pipeline.output import drop_rows
from baray.data.pipeline.shards import Shard, Survivors

_PARTS = 64
_BYTES = 16
_BLANK_LINES = re.compile("\n{3,}")
_CONTENT = r"[\p{L}\p{M}\p{N}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class LinesLeft:
    """What is left without those lines."""

    survivors: Survivors
    """The Documents that still say something."""
    dropped: Path
    """A spill of the others, with step, reason and detail."""
    report: dict[str, int]
    """How many different lines, lines and Documents that was."""


def without_common_lines(survivors: Survivors, work: Path, *, most: int, min_letters: int) -> LinesLeft:
    """Take out lines that stand in more than `most` Documents; one with fewer than `min_letters` left is dropped."""
    work.mkdir(parents=True, exist_ok=True)
    common = _common(survivors, work, most)
    shard = Shard(work / "left")
    lines = documents = 0
    for frame in survivors.frames():
        texts = frame["text"].to_list()
        left = [_without(text, common) for text in texts]
        touched = [number > 0 for _, number in left]
        lines += sum(number for _, number in left)
        documents += sum(touched)
        new = frame.with_columns(
            text=pl.Series([text for text, _ in left], dtype=pl.String),
            key=pl.Series(
                [
                    compared_digest(text) if number else key
                    for (text, number), key in zip(left, frame["key"], strict=True)
                ],
                dtype=pl.String,
            ),
        )
        empty = pl.Series(touched) & (new["text"].str.count_matches(_CONTENT) < min_letters)
        stay = new.filter(~empty)
        shard.write(stay, band_keys(stay["text"].to_list())[0])
        shard.dropped.write(drop_rows(_reasons(frame.filter(empty))))
    shard.close(durable=False)
    return LinesLeft(
        survivors=Survivors([shard.folder]),
        dropped=shard.folder / "dropped.arrow",
        report={"different": len(common), "lines": lines, "documents": documents, "more_than": most},
    )


def _reasons(frame: pl.DataFrame) -> pl.DataFrame:
    told = {
        "step": "duplicate_lines",
        "reason": "only_common_lines",
        "detail": "All that it says stands in many Documents.",
    }
    return frame.with_columns(**{name: pl.lit(value) for name, value in told.items()})


def _without(text: str, common: frozenset[bytes]) -> tuple[str, int]:
    """A text without the lines in `common`, and how many they were."""
    if not common:
        return text, 0
    lines = text.split("\n")
    kept = [line for line in lines if not line.strip() or _digest(line) not in common]
    gone = len(lines) - len(kept)
    return (_BLANK_LINES.sub("\n\n", "\n".join(kept)).strip(), gone) if gone else (text, 0)


def _common(survivors: Survivors, work: Path, most: int) -> frozenset[bytes]:
    """Digests of the lines that stand in more than `most` Documents."""
    paths = [work / f"lines-{part:02d}" for part in range(_PARTS)]
    for path in paths:
        path.unlink(missing_ok=True)
    for frame in survivors.frames():
        parts = [bytearray() for _ in paths]
        for text in frame["text"]:
            for digest in {_digest(line) for line in text.split("\n") if line.strip()}:
                parts[digest[0] % _PARTS] += digest
        for path, part in zip(paths, parts, strict=True):
            with path.open("ab") as file:
                file.write(part)
    return frozenset(digest for path in paths if path.exists() for digest in _many(path, most))


def _many(path: Path, most: int) -> Iterator[bytes]:
    """Digests that stand in one file more than `most` times; the file goes."""
    # As two numbers each: NumPy takes zeros at the end of bytes for padding.
    halves = np.fromfile(path, dtype=[("first", ">u8"), ("second", ">u8")])
    found, counts = np.unique(halves, return_counts=True)
    path.unlink()
    yield from (digest.tobytes() for digest in found[counts > most])


def _digest(line: str) -> bytes:
    return hashlib.blake2b(line.strip().encode(), digest_size=_BYTES).digest()
