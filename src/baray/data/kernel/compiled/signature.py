"""Shingles of five tokens, the least values of 120 permutations of them, and a hash of the whole text.

A token is a run of letters and digits without capitals, or one Khmer syllable cluster. `duplicates.minhash` says the same
in arrays, for one text at a time and for tests: both give the same numbers.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from baray.data.kernel import characters as ch
from baray.data.kernel.compiled.jit import inner
from baray.data.kernel.compiled.texts import Bytes, Codes, Words, code_at, mix, table_place, whole

SHINGLE = 5
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_ALNUM, _BASE, _MARK = ch.ALNUM, ch.BASE, ch.MARK
_COENG, _DA, _TA = 0x17D2, 0x178A, 0x178F
_TABLE = ch.TABLE
_HALF = np.uint64(32)


class Folding(NamedTuple):
    """How code points are compared."""

    flags: Codes
    folded: Codes
    recent: Words
    """Room for the last `SHINGLE` tokens."""


class Permutations(NamedTuple):
    """Multipliers, which are odd, and addends, modulo 2^64: the upper half of a product is as good as a permutation."""

    multipliers: Words
    addends: Words


@inner
def sign(data: Bytes, span: tuple[int, int], tables: Folding, permutations: Permutations, row: Codes) -> int:
    """Write the signature of the text between two bytes into `row`. Returns the number of tokens."""
    flags, folded, recent = tables.flags, tables.folded, tables.recent
    row[:] = np.uint32(0xFFFFFFFF)
    at, end = span
    tokens, before, inside, offset = 0, 0, 0, 0
    value = np.uint64(0)
    while at < end:
        code = whole(data[at])
        width = 1
        if code >= 0x80:
            code, width = code_at(data, at)
        at += width
        code, kind, begins = _token_part(code, before, inside, flags, folded)
        before = code
        if inside and (begins or kind == 0):
            tokens = _shingle(mix(value), tokens, recent, permutations, row)
            value, offset = np.uint64(0), 0
        inside = kind
        if kind:
            value += mix(np.uint64(code) + np.uint64(offset) * _GOLDEN)
            offset += 1
    if inside:
        tokens = _shingle(mix(value), tokens, recent, permutations, row)
    if 0 < tokens < SHINGLE:
        _permute(_run(recent, tokens, tokens), permutations, row)
    return tokens


@inner
def _token_part(code: int, before: int, inside: int, flags: Codes, folded: Codes) -> tuple[int, int, bool]:
    """A code point as it is compared, its kind (0 no part of a token, 1 letter or digit, 2 Khmer), and if it begins one."""
    bits = flags[table_place(code)]
    if code < _TABLE:
        code = whole(folded[code])
    if bits & _BASE:
        behind = before == _COENG
        return (_TA if behind and code == _DA else code), 2, not (behind and inside == 2)
    if bits & _MARK:
        return code, 2, inside != 2
    if bits & _ALNUM:
        return code, 1, inside != 1
    return code, 0, False


@inner
def _shingle(token: np.uint64, tokens: int, recent: Words, permutations: Permutations, row: Codes) -> int:
    recent[tokens % SHINGLE] = token
    tokens += 1
    if tokens >= SHINGLE:
        _permute(_run(recent, tokens, SHINGLE), permutations, row)
    return tokens


@inner
def _run(recent: Words, tokens: int, size: int) -> np.uint64:
    value = np.uint64(0)
    for at in range(tokens - size, tokens):
        value = mix(value + recent[at % SHINGLE])
    return value


@inner
def _permute(shingle: np.uint64, permutations: Permutations, row: Codes) -> None:
    multipliers, addends = permutations.multipliers, permutations.addends
    for at in range(len(row)):
        row[at] = min(row[at], np.uint32((shingle * multipliers[at] + addends[at]) >> _HALF))


@inner
def text_hash(data: Bytes, span: tuple[int, int]) -> tuple[np.uint64, np.uint64]:
    """128 bits of the bytes between two places: two lanes, each fed with every eight bytes and with the other lane."""
    at, end = span
    first, second = np.uint64(end - at) * _GOLDEN, np.uint64(0x62617261795F6D68)
    while at < end:
        word = np.uint64(0)
        for place in range(min(8, end - at)):
            word |= np.uint64(data[at + place]) << np.uint64(8 * place)
        first = mix(first ^ word) + second
        second = mix(second + word * _GOLDEN) ^ first
        at += 8
    return mix(first + second), mix(second ^ (first >> np.uint64(1)))
