"""Lines in which a personal number or address may stand: few, so that the rules of `baray.text.redact` see few lines."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from baray.data.kernel.compiled.jit import entry, inner
from baray.data.kernel.compiled.texts import Bytes, code_at, whole

Offsets = npt.NDArray[np.int64]
LEAST_DIGITS = 6
"""Of the shortest number that is looked for."""
LEAST_DIGITS_OF_ADDRESS, DOTS_OF_ADDRESS, COLONS_OF_ADDRESS = 4, 3, 7
MOST_BETWEEN = 4
"""Marks between two digits of one number: `) (` and the like."""
_AT, _COLON, _DOT, _NEWLINE = 0x40, 0x3A, 0x2E, 0x0A
_BETWEEN = (0x20, 0x28, 0x29, 0x2B, 0x2D, 0x2E, 0x2F, 0xA0, 0x2011, 0x2013)


@entry
def numbered_lines(data: Bytes, offsets: Offsets, lines: npt.NDArray[np.int64]) -> int:
    """Write (text, start, end) of every line that may hold one. Returns their number, room or not."""
    told = 0
    for text in range(len(offsets) - 1):
        at, stop = offsets[text], offsets[text + 1]
        while at < stop:
            end, found = _line(data, at, stop)
            if found:
                if told < len(lines):
                    lines[told, 0], lines[told, 1], lines[told, 2] = text, at, end
                told += 1
            at = end
    return told


@inner
def _line(data: Bytes, at: int, stop: int) -> tuple[int, bool]:
    """Where the line ends, its newline included, and whether it may hold a number or an address."""
    found = False
    digits = dots = between = colons = 0
    last = 0
    while at < stop:
        code, width = whole(data[at]), 1
        if code >= 0x80:
            code, width = code_at(data, at)
        at += width
        if code == _NEWLINE:
            break
        if 0x30 <= code <= 0x39 or 0x17E0 <= code <= 0x17E9:
            digits, between = digits + 1, 0
            found = found or digits >= LEAST_DIGITS or (digits >= LEAST_DIGITS_OF_ADDRESS and dots >= DOTS_OF_ADDRESS)
        elif code in _BETWEEN and between < MOST_BETWEEN:
            between += 1
            dots += code == _DOT
        else:
            digits = dots = between = 0
            colons += code == _COLON
            found = found or _is_sign(code, last, colons)
        last = code
    return at, found


@inner
def _is_sign(code: int, last: int, colons: int) -> bool:
    """Whether a mark alone makes the line one to look at."""
    return code == _AT or (code == _COLON and (last == _COLON or colons >= COLONS_OF_ADDRESS))
