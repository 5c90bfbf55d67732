"""Languages over whole columns: shares of scripts in a compiled pass, then CLD2 for what is not Khmer.

Khmer is told by its script, as `baray.text.language` tells it. Of all else the first letters are shown to CLD2. What it is not
sure of is told by its script again: basic Latin is `en`, all else `other`.
"""

from __future__ import annotations

import functools
import sys
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from baray.data.kernel.cld2 import SAMPLE_CHARACTERS, told
from baray.data.kernel.compiled import filters
from baray.data.kernel.khmer import buffers

Shares = npt.NDArray[np.float64]
KHMER_SHARE = 1 / 3
"""As in `baray.text.language`: names and terms of a Khmer text are often Latin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Languages:
    """What a column's texts are written in."""

    codes: pl.Series
    """ISO 639 of each text: `km`, `en`, `fr` ...; `other` where nothing tells."""
    khmer: Shares
    """Share of each text's letters that are Khmer, 0..1."""
    latin: Shares
    """Share that are A to Z."""
    other: Shares
    """Share of all other letters."""


def languages_all(texts: pl.Series) -> Languages:
    """Tell the language of each text of a column without nulls."""
    data, offsets = buffers(texts.to_arrow().cast(pa.large_string()))
    counts = np.zeros((len(texts), 3), np.int64)
    filters.count_letters(data, offsets, letters(), counts)
    totals = counts.sum(axis=1)
    shares = counts / np.maximum(totals, 1)[:, None]
    codes = np.where(totals == 0, "other", "km").tolist()
    rows = np.flatnonzero((totals > 0) & ~(shares[:, 0] > KHMER_SHARE))
    asked = texts.gather(rows).str.slice(0, SAMPLE_CHARACTERS) if len(rows) else ()
    for row, sample in zip(rows.tolist(), asked, strict=True):
        codes[row] = told(sample) or ("en" if shares[row, 1] >= 0.5 else "other")
    return Languages(
        codes=pl.Series("language", codes, dtype=pl.String), khmer=shares[:, 0], latin=shares[:, 1], other=shares[:, 2]
    )


@functools.cache
def letters() -> npt.NDArray[np.uint8]:
    """For every code point: 1 Khmer letter or mark, 2 A to Z, 3 another letter, 0 all else."""
    found = np.zeros(sys.maxunicode + 1, np.uint8)
    for code in range(0x80, 0x33480):  # above are no letters
        character = chr(code)
        if character.isalnum() and not character.isdecimal():
            found[code] = 3
    found[0x1780:0x17D4] = 1
    found[[0x17DC, 0x17DD]] = 0
    for code in (*range(0x41, 0x5B), *range(0x61, 0x7B)):
        found[code] = 2
    return found
