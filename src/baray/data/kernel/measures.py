"""What the compiled pass tells of texts, a row each, straight from the buffers in which they lie."""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl

from baray.data.kernel import characters, specials

Counts = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]

Room: TypeAlias = Any
"""A tuple of the compiled functions, whose types are only there once they are loaded."""
REPETITION, QUALITY, C4, FINEWEB = 1, 2, 4, 8
"""Groups of measures, to be added."""
_SHINGLE = 5
_COMPILED = "baray.data.kernel.compiled.entry"
LONGEST = 1_000_000
"""Code points of a text that are measured; what follows is not looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageRules:
    """What the pass must know of one language before it reads."""

    stop_words: tuple[str, ...]
    """Words of which a text of the language holds some; at most 64."""
    line_ends: str
    """Signs with which a line may end for C4; none lets every line pass."""
    least_words: int
    """White-space words that a line needs for C4."""
    short_line: int
    """Code points up to which a line is short for FineWeb."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """A row a text."""

    counts: Counts
    """By text and column: `compiled.entry.COLUMNS`. What was not asked for is 0."""
    columns: tuple[str, ...]
    kept_lines: npt.NDArray[np.uint8]
    """1 for each line that C4 keeps; lines of all texts."""
    line_places: Counts
    """Where the lines of each text begin in `kept_lines`; one more than there are texts."""

    def frame(self) -> pl.DataFrame:
        """The counts as columns."""
        return pl.DataFrame({name: self.counts[:, at] for at, name in enumerate(self.columns)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Signatures:
    """A row a text."""

    minima: npt.NDArray[np.uint32]
    """Least value of each permutation over the text's shingles."""
    tokens: Counts
    """Tokens; a text without any cannot be compared."""
    hashes: Words
    """128 bits of the text's bytes, in two halves."""


def measure(texts: pl.Series, languages: Sequence[int], rules: Sequence[LanguageRules], *, groups: int) -> Measures:
    """Measure `texts`; `languages` are places in `rules`."""
    entry = _compiled()
    data, offsets = _buffers(texts)
    scratch = _scratch(_room(offsets))
    counts = np.zeros((len(texts), len(entry.COLUMNS)), dtype=np.int64)
    places = np.zeros(len(texts) + 1, dtype=np.int64)
    most_lines = int(np.count_nonzero(_line_breaks()[data])) + 2 * len(texts) if groups & C4 else 0
    kept = np.zeros(most_lines, dtype=np.uint8)
    codes = np.asarray(languages, dtype=np.uint8)
    entry.measure(data, offsets, codes, groups, _tables(tuple(rules)), scratch, (counts, entry.Verdicts(kept, places)))
    return Measures(counts=counts, columns=tuple(entry.COLUMNS), kept_lines=kept, line_places=places)


def sign(texts: pl.Series, multipliers: Words, addends: Words) -> Signatures:
    """Signatures of `texts` under permutations modulo 2^64."""
    entry = _compiled()
    data, offsets = _buffers(texts)
    rows = np.empty((len(texts), len(multipliers)), dtype=np.uint32)
    tokens, hashes = np.zeros(len(texts), dtype=np.int64), np.zeros((len(texts), 2), dtype=np.uint64)
    recent = np.zeros(_SHINGLE, dtype=np.uint64)
    tables = entry.Folding(characters.flag_table(), characters.folded_table(), recent)
    entry.signatures(data, offsets, tables, entry.Permutations(multipliers, addends), (rows, tokens, hashes))
    return Signatures(minima=rows, tokens=tokens, hashes=hashes)


def words(text: str) -> list[str]:
    """The words of one text as the filters count them."""
    entry = _compiled()
    data, offsets = _buffers(pl.Series([text], dtype=pl.String))
    room = _room(offsets)
    starts, ends = np.zeros(room, dtype=np.uint32), np.zeros(room, dtype=np.uint32)
    count = entry.places(data, offsets, _tables(()), _scratch(room), (starts, ends))
    return [text[start:end] for start, end in zip(starts[:count].tolist(), ends[:count].tolist(), strict=True)]


def is_loaded() -> bool:
    """Whether the compiled functions are in this process."""
    return _COMPILED in sys.modules


def warm() -> None:
    """Compile everything, so that later processes only load it."""
    some = pl.Series(["The cat sat, and the dog ran.\nភាសាខ្មែរ។"])
    rule = LanguageRules(stop_words=("the",), line_ends=".", least_words=3, short_line=30)
    measure(some, [0], [rule], groups=REPETITION | QUALITY | C4 | FINEWEB)
    sign(some, np.ones(120, dtype=np.uint64), np.ones(120, dtype=np.uint64))
    words("a word")
    importlib.import_module("baray.data.kernel.columns").warm()


def _compiled() -> ModuleType:
    return importlib.import_module(_COMPILED)


def _buffers(texts: pl.Series) -> tuple[npt.NDArray[np.uint8], Counts]:
    """Bytes and offsets of a column of texts, without a copy where they already lie so."""
    array: Any = texts.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
    _, offsets, data = array.buffers()
    found = np.frombuffer(offsets, dtype=np.int64)[array.offset : array.offset + len(texts) + 1]
    return np.frombuffer(data or b"\0", dtype=np.uint8), found


def _room(offsets: Counts) -> int:
    """Code points to make room for: a power of two, so that few sizes occur."""
    longest = min(int(np.diff(offsets).max(initial=0)), LONGEST)
    return min(LONGEST, max(1 << 12, 1 << longest.bit_length()))


@functools.lru_cache(maxsize=1)
def _scratch(room: int) -> Room:
    entry = _compiled()
    slots = 1 << (2 * room + 4).bit_length()
    seen = np.zeros((slots + 1, 2), dtype=np.uint64)
    inside = entry.c4.Room(_text(entry, room), np.zeros((room + 1, 3), dtype=np.int32))
    found, letters = np.zeros((room + 1, 3), dtype=np.int32), np.zeros(room + 1, dtype=np.int32)
    again = np.zeros(room + 1, dtype=np.int32)
    return entry.Scratch(_text(entry, room), found, _words(room), _words(room), letters, seen, again, inside)


def _text(entry: ModuleType, room: int) -> Room:
    codes, flags = np.zeros(room, dtype=np.uint32), np.zeros(room, dtype=np.uint32)
    return entry.Text(codes, flags, _words(room))


def _words(room: int) -> Words:
    return np.zeros(room + 1, dtype=np.uint64)


@functools.cache
def _line_breaks() -> npt.NDArray[np.bool_]:
    """Bytes that may end a line: those of ASCII, and those with which the others of Unicode begin."""
    table = np.zeros(256, dtype=np.bool_)
    table[[0x0A, 0x0B, 0x0C, 0x0D, 0x1C, 0x1D, 0x1E, 0xC2, 0xE2]] = True
    return table


@functools.lru_cache(maxsize=8)
def _tables(rules: tuple[LanguageRules, ...]) -> Room:
    entry = _compiled()
    stops = [[specials.word_hash(word) for word in one.stop_words] for one in rules]
    lines = [[one.short_line, one.least_words, *map(ord, one.line_ends)] for one in rules]
    return entry.Tables(
        characters.flag_table(),
        np.array([key for keys in stops for key in keys], dtype=np.uint64),
        np.cumsum([0, *map(len, stops)]).astype(np.uint32),
        np.array([value for values in lines for value in values], dtype=np.uint32),
        np.cumsum([0, *map(len, lines)]).astype(np.uint32),
    )
