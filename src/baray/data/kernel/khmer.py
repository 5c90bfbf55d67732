"""Khmer words over whole columns: the model of `baray.text` as tables for the compiled pass.

`WordTables` and `Scratch` are what other compiled functions hand to `compiled.khmer.find_words`.
"""

from __future__ import annotations

import functools
import sys
import unicodedata
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from baray.data.kernel.compiled import filters
from baray.data.kernel.compiled import khmer as compiled
from baray.data.kernel.compiled.khmer import Lookup, Scratch, WordTables
from baray.data.kernel.specials import MULTIPLIER
from baray.text import WordModel

Words = npt.NDArray[np.uint64]
_PAIR, _MASK = int(compiled.PAIR), (1 << 64) - 1
_KHMER = range(0x1780, 0x17DE)
_BASES = {*range(0x1780, 0x17B4), 0x25CC}
_SIGNS = {*range(0x17B6, 0x17D2), 0x17D3, 0x17DD}
HIDDEN = {
    0xAD, 0x17B4, 0x17B5, 0x180E, *range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2065),
    *range(0x2066, 0x206A), 0xFEFF,
}  # fmt: skip
"""What is not seen: `baray.text` leaves it out when it normalises."""
_SPECIAL = (
    dict.fromkeys(HIDDEN, compiled.HIDDEN)
    | dict.fromkeys(_BASES, compiled.BASE)
    | dict.fromkeys(_SIGNS, compiled.SIGN)
    | {0x17D2: compiled.COENG, 0x200B: compiled.BREAK, 0x27: compiled.APOSTROPHE, 0x2019: compiled.APOSTROPHE}
    | dict.fromkeys((0xAD, 0x200D, 0x2060), compiled.JOINER)
)


def word_tables(model: WordModel | None) -> WordTables:
    """Tables of a model; without one, every unit is a word."""
    if model is None:
        nothing = _lookup({})
        rows = np.zeros((1, 4), np.int32)
        return WordTables(kinds(), nothing, nothing, nothing, rows, np.zeros(128, np.int32), np.zeros(3, np.int32))
    clusters = sorted({*model.singles, *model.backs})
    rows = np.zeros((len(clusters) + 1, 4), np.int32)
    for row, cluster in enumerate(clusters):
        rows[row] = (
            model.beginning(cluster),
            model.ending(cluster),
            model.backs.get(cluster, 0),
            model.single(cluster),
        )
    rows[-1, compiled.ENDING] = model.ends_back
    pairs = {(hashed(first) * _PAIR + hashed(second)) & _MASK: cost for (first, second), cost in model.follows.items()}
    return WordTables(
        kinds=kinds(),
        words=_lookup({hashed(word): cost for word, cost in model.words.items()}),
        clusters=_lookup({hashed(cluster): row for row, cluster in enumerate(clusters)}),
        pairs=_lookup(pairs),
        rows=rows,
        letters=np.array(model.letters, np.int32),
        constants=np.array([model.new, model.begins_back, model.other], np.int32),
    )


def scratch(code_points: int) -> Scratch:
    """Room for texts of at most so many code points."""
    most = code_points + 2
    return Scratch(
        codes=np.empty(most, np.uint32),
        begins=np.empty(most, np.int32),
        kinds=np.empty(most, np.uint8),
        parted=np.empty(most, np.uint8),
        firsts=np.empty(most, np.uint8),
        hashes=np.empty(most, np.uint64),
        lengths=np.empty(most, np.int32),
        fresh=np.empty(most, np.int32),
        more=np.empty(most, np.int32),
        ending=np.empty(most, np.int32),
        best=np.empty(most, np.int64),
        starts=np.empty(most, np.int32),
    )


def segment(texts: pa.LargeStringArray, tables: WordTables) -> pa.LargeStringArray:
    """Put U+0020 between words: `baray.text.segment` for a column without nulls."""
    data, offsets = buffers(texts)
    most = max_code_points(offsets)
    out = np.empty(2 * (int(offsets[-1]) - int(offsets[0])), np.uint8)
    ends = np.zeros(len(offsets), np.int64)
    size = filters.separate(data, offsets, tables, scratch(most), (out, ends))
    return pa.LargeStringArray.from_buffers(len(texts), pa.py_buffer(ends), pa.py_buffer(out[:size]))


def segment_lines(lines: Sequence[str], model: WordModel | None) -> list[str]:
    """`baray.text.segment` for each line."""
    found: list[str] = segment(pa.array(lines, pa.large_string()), _tables_of(model)).to_pylist()
    return found


_tables_of = functools.lru_cache(maxsize=1)(word_tables)


def count_words(texts: pa.LargeStringArray, tables: WordTables) -> npt.NDArray[np.int64]:
    """Words of each text."""
    data, offsets = buffers(texts)
    counts = np.zeros(len(texts), np.int64)
    filters.count_words(data, offsets, tables, scratch(max_code_points(offsets)), counts)
    return counts


def buffers(texts: pa.LargeStringArray) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Bytes and offsets of a column, not copied."""
    offsets = np.frombuffer(texts.buffers()[1], np.int64)[texts.offset : texts.offset + len(texts) + 1]
    held = texts.buffers()[2]
    return (np.frombuffer(held, np.uint8) if held is not None else np.zeros(0, np.uint8)), offsets


def max_code_points(offsets: npt.NDArray[np.int64]) -> int:
    """No text has more code points than bytes."""
    return int(np.diff(offsets).max(initial=0))


@functools.cache
def kinds() -> npt.NDArray[np.uint8]:
    """Kind of every code point, as the regular expressions of `baray.text` see it."""
    found = np.full(sys.maxunicode + 1, compiled.OTHER, np.uint8)
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        if character.isspace():
            found[code] = compiled.SPACE
        elif character.isalnum():
            found[code] = compiled.RUN
        elif unicodedata.category(character)[0] == "M":
            found[code] = compiled.MARK
    found[_KHMER.start : _KHMER.stop] = compiled.OTHER
    for code, kind in _SPECIAL.items():
        found[code] = kind
    return found


def hashed(text: str) -> int:
    """The hash by which the compiled pass knows a string."""
    value = 0
    for character in text:
        value = (value * MULTIPLIER + ord(character)) & _MASK
    return value


def _lookup(entries: dict[int, int]) -> Lookup:
    size = 1 << (2 * len(entries) + 1).bit_length()
    keys, values = np.zeros(size, np.uint64), np.full(size, compiled.EMPTY, np.int32)
    new = np.fromiter(entries.keys(), np.uint64, len(entries))
    filters.fill(keys, values, new, np.fromiter(entries.values(), np.int32, len(entries)))
    return Lookup(keys, values)
