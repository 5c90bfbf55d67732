"""`baray.text.normalise` over whole columns: the compiled gate copies clean lines, the rules see only the others."""

from __future__ import annotations

import functools
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from baray.data.kernel.compiled import filters, order
from baray.data.kernel.khmer import HIDDEN, buffers, kinds
from baray.text import Digits, normalise, normalise_recorded

_CLASSES = {
    order.BASE: [*range(0x1780, 0x17B4), 0x25CC],
    order.COENG: [0x17D2],
    order.SHIFTER: [0x17C9, 0x17CA],
    order.ROBAT: [0x17CC],
    order.VOWEL: [*range(0x17B6, 0x17C6)],
    order.SIGN: [0x17C6, 0x17CB, *range(0x17CD, 0x17D2), 0x17D3, 0x17DD],
    order.FINAL: [0x17C7, 0x17C8],
    order.HIDDEN: sorted(HIDDEN),
    order.SUSPECT: [0x17A3, 0x17A4],
}
_DIGITS = dict(zip("០១២៣៤៥៦៧៨៩", "0123456789", strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalised:
    """A column of normalised texts."""

    texts: pl.Series
    hidden: npt.NDArray[np.int64]
    """Invisible characters that each text held."""
    word_breaks: pl.Series | None
    """Places, in code points of each text, at which a zero-width space ended a word; only where they were asked for."""
    lines_looked_at: int
    """Lines that the gate did not let through as they are."""


def normalise_all(
    texts: pl.Series, *, fold_coeng_da: bool = False, digits: Digits = "keep", record: bool = False
) -> Normalised:
    """Normalise a column without nulls. Each text comes out as `baray.text.normalise` gives it.

    With `record`, word breaks come with it, as `normalise_recorded` gives them.
    """
    data, offsets = buffers(texts.to_arrow().cast(pa.large_string()))
    cleaned = order.Cleaned(
        data=np.empty(int(offsets[-1] - offsets[0]), np.uint8),
        ends=np.zeros(len(offsets), np.int64),
        hidden=np.zeros(len(texts), np.int64),
        lines=np.empty((max(1024, len(texts)), 3), np.int64),
    )
    told = order.clean(data, offsets, classes(), cleaned)
    if told > len(cleaned.lines):  # more lines than there was room for: once more, with room for all
        cleaned.hidden[:] = 0
        cleaned = cleaned._replace(lines=np.empty((told, 3), np.int64))
        order.clean(data, offsets, classes(), cleaned)
    found = pl.Series(texts.name, _spliced(cleaned, told), dtype=pl.String)
    if digits != "keep":
        old, new = (
            (list(_DIGITS), list(_DIGITS.values())) if digits == "ascii" else (list(_DIGITS.values()), list(_DIGITS))
        )
        found = found.str.replace_many(old, new)
    if fold_coeng_da:
        found = found.str.replace_all("\u17d2\u178a", "\u17d2\u178f", literal=True)
    breaks = _word_breaks(texts, (data, offsets), cleaned.lines[:told, 0]) if record else None
    return Normalised(texts=found, hidden=cleaned.hidden, word_breaks=breaks, lines_looked_at=told)


def _word_breaks(
    texts: pl.Series, column: tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]], disorderly: npt.NDArray[np.int64]
) -> pl.Series:
    """Word breaks of each text; those of texts with lines that may be in disorder, where places move, by the rules."""
    data, offsets = column
    places = np.empty(int(texts.str.count_matches("\u200b", literal=True).sum()), np.int64)
    ends = np.zeros(len(offsets), np.int64)
    count = filters.word_breaks(data, offsets, kinds(), places, ends)
    rows = pl.Series("word_breaks", pa.LargeListArray.from_arrays(pa.array(ends), pa.array(places[:count]))).to_list()
    for text in np.unique(disorderly).tolist():
        rows[text] = list(normalise_recorded(texts[text]).word_breaks)
    return pl.Series("word_breaks", rows, dtype=pl.List(pl.Int64))


def normalise_lines(lines: Sequence[str], *, fold_coeng_da: bool, digits: Digits) -> list[str]:
    """`baray.text.normalise` for each line."""
    done = normalise_all(pl.Series(lines, dtype=pl.String), fold_coeng_da=fold_coeng_da, digits=digits)
    return done.texts.to_list()


def _spliced(cleaned: order.Cleaned, told: int) -> pa.LargeStringArray:
    """The texts, with the lines that were told brought in order."""
    size = int(cleaned.ends[-1])
    whole = cleaned.data.data[:size]
    ends = cleaned.ends.copy()
    parts: list[bytes | memoryview] = []
    at = grown = text = 0
    for owner, start, end, line in _put_right(cleaned, told):
        ends[text + 1 : owner + 1] += grown
        text = owner
        parts += [whole[at:start], line]
        at, grown = end, grown + len(line) - (end - start)
    ends[text + 1 :] += grown
    joined = pa.py_buffer(b"".join([*parts, whole[at:]])) if parts else pa.py_buffer(whole)
    return pa.LargeStringArray.from_buffers(len(ends) - 1, pa.py_buffer(ends), joined)


def _put_right(cleaned: order.Cleaned, told: int) -> Iterator[tuple[int, int, int, bytes]]:
    """Lines that the rules changed: text, start, end, and what stands there now."""
    for owner, start, end in cleaned.lines[:told].tolist():
        before = cleaned.data[start:end].tobytes()
        after = normalise(before.decode()).encode()
        if after != before:
            yield owner, start, end, after


@functools.cache
def classes() -> npt.NDArray[np.uint8]:
    """Class of every code point."""
    found = np.full(sys.maxunicode + 1, order.PLAIN, np.uint8)
    for code in range(0x80, 0x30000):  # above, nothing is combined and nothing has a combining class
        character = chr(code)
        if unicodedata.combining(character) or not unicodedata.is_normalized("NFC", character):
            found[code] = order.SUSPECT
        mapped = unicodedata.decomposition(character).split()
        if len(mapped) == 2 and not mapped[0].startswith("<"):
            found[int(mapped[1], 16)] = order.SUSPECT
    found[0x1161:0x1176] = found[0x11A8:0x11C3] = order.SUSPECT  # parts of Hangul syllables
    for kind, codes in _CLASSES.items():
        found[codes] = kind
    return found
