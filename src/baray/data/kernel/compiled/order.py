"""The gate of normalisation: what is not seen is left out while texts are copied, and lines that may need more are told.

A line that is not told is in NFC and in the order of the Khmer Encoding Structure; one that is told may still be. All others
are copied as they are, so that clean text costs one look at each byte.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from baray.data.kernel.compiled.jit import entry, inner
from baray.data.kernel.compiled.texts import Bytes, code_at, whole

Offsets = npt.NDArray[np.int64]

PLAIN, BASE, COENG, SHIFTER, ROBAT, VOWEL, SIGN, FINAL, HIDDEN, SUSPECT = range(10)
"""Classes of code points. SUSPECT: NFC may change it or what stands before it, or it is deprecated."""
_RO, _DEPENDENT_U, _SAMYOK = 0x179A, 0x17BB, 0x17D0
_NEWLINE = 0x0A


class Cleaned(NamedTuple):
    """Where the result is written."""

    data: Bytes
    """Texts without invisible characters, one behind the other."""
    ends: Offsets
    """Where each text ends, after a leading 0."""
    hidden: Offsets
    """Invisible characters of each text."""
    lines: npt.NDArray[np.int64]
    """Lines to be looked at: text, start and end in `data`."""


@entry
def clean(data: Bytes, offsets: Offsets, classes: Bytes, out: Cleaned) -> int:
    """Copy all texts. Returns the number of lines told: those beyond the room for them are only counted."""
    size, told = 0, 0
    written, ends, hidden, lines = out.data, out.ends, out.hidden, out.lines
    for text in range(len(offsets) - 1):
        at, end, line = offsets[text], offsets[text + 1], size
        before, last, state, suspect = 0, 0, PLAIN, False
        while at < end:
            code, width = whole(data[at]), 1
            if code >= 0x80:
                code, width = code_at(data, at)
                kind = classes[code]
                if kind == HIDDEN:
                    hidden[text] += 1
                    at += width
                    continue
                suspect = suspect or (kind != PLAIN and _wrong(kind, code, state, last, before))
                before, last, state = last, code, kind
            else:
                before, last, state = last, code, PLAIN
            for place in range(at, at + width):
                written[size] = data[place]
                size += 1
            at += width
            if suspect and (code == _NEWLINE or at == end):
                told = _tell(lines, told, (text, line, size))
                suspect = False
            line = size if code == _NEWLINE else line
        # What is not seen may end a text.
        if suspect:
            told = _tell(lines, told, (text, line, size))
        ends[text + 1] = size
    return told


@inner
def _tell(lines: npt.NDArray[np.int64], told: int, line: tuple[int, int, int]) -> int:
    if told < len(lines):
        lines[told, 0], lines[told, 1], lines[told, 2] = line
    return told + 1


@inner
def _wrong(kind: int, code: int, state: int, last: int, before: int) -> bool:
    """Whether a code point of class `kind` may not stand behind `last`, of class `state`, behind `before`."""
    if kind == SUSPECT:
        return True
    below = state == BASE and before == 0x17D2
    if kind == COENG:
        return state in (COENG, SHIFTER) or VOWEL <= state <= FINAL or (below and last == _RO)
    if kind == ROBAT:
        return below or state == SHIFTER or VOWEL <= state <= FINAL
    if kind in (SHIFTER, VOWEL):
        return VOWEL <= state <= FINAL
    if kind == SIGN:
        return state == FINAL or (code == _SAMYOK and last == _DEPENDENT_U)
    return False
