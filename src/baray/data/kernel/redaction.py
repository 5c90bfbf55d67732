"""`baray.text.redact` over whole columns: the rules see only lines in which something may stand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from baray.data.kernel.compiled.digits import numbered_lines
from baray.data.kernel.khmer import buffers
from baray.text import Names, redact

Lines = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Redacted:
    """A column of texts without what was found in them."""

    texts: pl.Series
    counts: tuple[dict[str, int], ...]
    """How many of each kind were found in each text."""
    lines_looked_at: int
    """Lines in which something might have stood."""


def redact_all(texts: pl.Series, names: Names | None = None) -> Redacted:
    """Redact a column without nulls. Each text comes out as `baray.text.redact` gives it, with the same counts."""
    data, offsets = buffers(texts.to_arrow().cast(pa.large_string()))
    lines = _lines(data, offsets)
    if names is not None:
        lines = np.concatenate([lines, _named_lines(texts, names, data, offsets)])
        lines = np.unique(lines, axis=0)
    counts: list[Counter[str]] = [Counter() for _ in range(len(texts))]
    changed: list[tuple[int, int, int, bytes]] = []
    for text, start, end in lines.tolist():
        after, found = redact(data[start:end].tobytes().decode(), names)
        if found:
            counts[text].update(found)
            changed.append((text, start, end, after.encode()))
    found_texts = pl.Series(texts.name, splice(data, offsets, changed), dtype=pl.String)
    return Redacted(texts=found_texts, counts=tuple(dict(count) for count in counts), lines_looked_at=len(lines))


def redact_lines(lines: Sequence[str], names: Names | None) -> list[tuple[str, dict[str, int]]]:
    """`baray.text.redact` for each line."""
    done = redact_all(pl.Series(lines, dtype=pl.String), names)
    return list(zip(done.texts.to_list(), done.counts, strict=True))


def splice(
    data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], changed: list[tuple[int, int, int, bytes]]
) -> pa.LargeStringArray:
    """The column with some spans replaced: text, start, end, and what stands there now; in order."""
    first, last = int(offsets[0]), int(offsets[-1])
    ends = offsets - first
    parts: list[bytes | memoryview] = []
    whole = data.data
    at, grown, text = first, 0, 0
    for owner, start, end, now in changed:
        ends[text + 1 : owner + 1] += grown
        text = owner
        parts += [whole[at:start], now]
        at, grown = end, grown + len(now) - (end - start)
    ends[text + 1 :] += grown
    joined = b"".join([*parts, whole[at:last]])
    return pa.LargeStringArray.from_buffers(len(ends) - 1, pa.py_buffer(ends), pa.py_buffer(joined))


def _lines(data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> Lines:
    lines = np.empty((max(1024, len(offsets)), 3), np.int64)
    told = numbered_lines(data, offsets, lines)
    if told > len(lines):
        lines = np.empty((told, 3), np.int64)
        numbered_lines(data, offsets, lines)
    return lines[:told]


def _named_lines(texts: pl.Series, names: Names, data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> Lines:
    """Lines of the texts in which the first part of a name stands."""
    firsts = sorted({entry.split(" ")[0] for entry in names.entries})
    named = texts.str.contains_any(firsts, ascii_case_insensitive=True)
    rows = []
    for text in named.arg_true().to_list():
        at = int(offsets[text])
        for line in data[at : int(offsets[text + 1])].tobytes().split(b"\n"):
            end = min(at + len(line) + 1, int(offsets[text + 1]))  # the newline belongs to its line
            if names.pattern.search(line.decode()):
                rows.append((text, at, end))
            at = end
    return np.array(rows, np.int64).reshape(-1, 3)
