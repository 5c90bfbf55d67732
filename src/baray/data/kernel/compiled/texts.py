"""From bytes of UTF-8 to code points, their bits, and a rolling hash by which any two spans are compared in one step."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from baray.data.kernel import characters
from baray.data.kernel.compiled.jit import inner
from baray.data.kernel.specials import MULTIPLIER

Bytes = npt.NDArray[np.uint8]
Codes = npt.NDArray[np.uint32]
Places = npt.NDArray[np.int32]
Words = npt.NDArray[np.uint64]

if TYPE_CHECKING:

    def whole(value: object) -> int:
        """A number of 64 bits with a sign: with one that has none, numba would make a floating-point number of both."""
else:
    whole = np.int64

POWERS = 1024
"""Powers of the multiplier that are kept; longer spans cost some multiplications."""
_MULTIPLIER = np.uint64(MULTIPLIER)
_ONE = np.uint64(1)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31 = np.uint64(30), np.uint64(27), np.uint64(31)
_TABLE = characters.TABLE
_CHINESE_END = characters.CHINESE_END


class Text(NamedTuple):
    """One text, decoded; the arrays are as long as the longest text of the batch.

    Inner functions take the arrays one by one: to take one out of a tuple costs more than most of them do.
    """

    codes: Codes
    """Code points."""
    flags: Codes
    """Bits of each: `characters`."""
    rolling: Words
    """Hash of all code points before a place; one more than there are code points."""


def _powers() -> Words:
    powers = np.ones(POWERS, dtype=np.uint64)
    for at in range(1, POWERS):
        powers[at] = int(powers[at - 1]) * MULTIPLIER % 2**64
    return powers


_KEPT_POWERS = _powers()


@inner
def mix(value: np.uint64) -> np.uint64:
    """The finaliser of SplitMix64: every bit of the input moves every bit of the output."""
    value = (value ^ (value >> _S30)) * _FIRST
    value = (value ^ (value >> _S27)) * _SECOND
    return value ^ (value >> _S31)


@inner
def power(exponent: int) -> np.uint64:
    """The multiplier to a power, modulo 2^64."""
    if exponent < POWERS:
        return np.uint64(_KEPT_POWERS[exponent])
    found, base = _ONE, _MULTIPLIER
    while exponent:
        if exponent & 1:
            found = found * base
        base = base * base
        exponent >>= 1
    return found


@inner
def span_hash(rolling: Words, start: int, end: int) -> np.uint64:
    """Hash of the code points from `start` to `end`: equal spans have equal ones."""
    return np.uint64(rolling[end] - rolling[start] * power(end - start))


@inner
def code_at(data: Bytes, at: int) -> tuple[int, int]:
    """Code point of two bytes or more that begins at `at`, and its number of bytes. The text is sound UTF-8."""
    first = whole(data[at])
    if first < 0xE0:
        return ((first & 0x1F) << 6) | (whole(data[at + 1]) & 0x3F), 2
    second = whole(data[at + 1]) & 0x3F
    third = whole(data[at + 2]) & 0x3F
    if first < 0xF0:
        return ((first & 0x0F) << 12) | (second << 6) | third, 3
    return ((first & 0x07) << 18) | (second << 12) | (third << 6) | (whole(data[at + 3]) & 0x3F), 4


@inner
def table_place(code: int) -> int:
    """Where the bits of a code point stand in the table."""
    if code < _TABLE:
        return code
    return _TABLE if code < _CHINESE_END else _TABLE + 1


@inner
def decode(data: Bytes, span: tuple[int, int], table: Codes, text: Text) -> int:
    """Write the code points between two bytes into `text`, at most as many as it holds. Returns how many."""
    codes, flags, rolling = text.codes, text.flags, text.rolling
    at, end = span
    count, most = 0, len(codes)
    value = np.uint64(0)
    rolling[0] = value
    while at < end and count < most:
        code = whole(data[at])
        if code < 0x80:
            at += 1
            flags[count] = table[code]
        else:
            code, width = code_at(data, at)
            at += width
            flags[count] = table[table_place(code)]
        codes[count] = code
        value = value * _MULTIPLIER + np.uint64(code)
        count += 1
        rolling[count] = value
    return count
