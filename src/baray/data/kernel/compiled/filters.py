"""The functions on Khmer that Python calls: texts in, texts out, over Arrow's offsets and bytes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from baray.data.kernel.compiled.jit import entry, inner
from baray.data.kernel.compiled.khmer import (
    BREAK,
    COENG,
    HIDDEN,
    MARK,
    SIGN,
    SPACE,
    Costs,
    Scratch,
    WordTables,
    decode,
    find_words,
    put,
)
from baray.data.kernel.compiled.texts import Bytes, Words, code_at, whole

Offsets = npt.NDArray[np.int64]
_SPACE_BYTE = 0x20


@entry
def fill(keys: Words, values: Costs, new_keys: Words, new_values: Costs) -> None:
    """Put keys and their values into a table that is empty."""
    for at in range(len(new_keys)):
        put(keys, values, new_keys[at], new_values[at])


@entry
def separate(data: Bytes, offsets: Offsets, tables: WordTables, scratch: Scratch, out: tuple[Bytes, Offsets]) -> int:
    """Copy texts into `out` with a space between two words that nothing parts yet. Returns the bytes written."""
    written, ends = out
    size = 0
    for text in range(len(offsets) - 1):
        count = decode(data, offsets[text], offsets[text + 1], scratch.codes)
        number = find_words(count, tables, scratch)
        at, code = offsets[text], 0
        for unit in range(number):
            if unit and scratch.firsts[unit] and scratch.kinds[unit - 1] != SPACE:
                written[size] = _SPACE_BYTE
                size += 1
            while code < scratch.begins[unit + 1]:
                width = (
                    1
                    if scratch.codes[code] < 0x80
                    else 2
                    if scratch.codes[code] < 0x800
                    else 3
                    if scratch.codes[code] < 0x10000
                    else 4
                )
                for byte in range(at, at + width):
                    written[size] = data[byte]
                    size += 1
                at += width
                code += 1
        ends[text + 1] = size
    return size


@entry
def count_words(data: Bytes, offsets: Offsets, tables: WordTables, scratch: Scratch, counts: Offsets) -> None:
    """Words of each text."""
    for text in range(len(offsets) - 1):
        count = decode(data, offsets[text], offsets[text + 1], scratch.codes)
        number = find_words(count, tables, scratch)
        for unit in range(number):
            counts[text] += scratch.firsts[unit]


@entry
def count_letters(data: Bytes, offsets: Offsets, letters: Bytes, counts: npt.NDArray[np.int64]) -> None:
    """Khmer, basic Latin and other letters of each text."""
    for text in range(len(offsets) - 1):
        at, end = offsets[text], offsets[text + 1]
        while at < end:
            code, width = whole(data[at]), 1
            if code >= 0x80:
                code, width = code_at(data, at)
            kind = letters[code]
            if kind:
                counts[text, kind - 1] += 1
            at += width


@entry
def word_breaks(data: Bytes, offsets: Offsets, kinds: Bytes, places: Offsets, ends: Offsets) -> int:
    """Write where zero-width spaces ended a word, in code points of the text without what is not seen. Returns how many.

    `places` has room for as many as there are zero-width spaces; `ends` says where the places of each text end.
    """
    found = 0
    for text in range(len(offsets) - 1):
        at, end = offsets[text], offsets[text + 1]
        seen, last, pending = 0, 0, False
        while at < end:
            code, width = whole(data[at]), 1
            if code >= 0x80:
                code, width = code_at(data, at)
            at += width
            kind = kinds[code]
            if kind >= HIDDEN:
                pending = pending or kind == BREAK
                continue
            if pending and not _belongs_to_last(code, kind, last):
                pending = False
                if seen:
                    places[found] = seen
                    found += 1
            seen, last = seen + 1, kind
        ends[text + 1] = found
    return found


@inner
def _belongs_to_last(code: int, kind: int, last: int) -> bool:
    """Whether a code point may change with what stands before it: a mark, a subscript's letter, a part of a Hangul syllable."""
    return SIGN <= kind <= MARK or last == COENG or 0x1160 <= code < 0x1200
