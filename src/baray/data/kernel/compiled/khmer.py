"""Words of Khmer in the compiled pass: units, then the cheapest reading; step by step what `text.segmentation` does."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from baray.data.kernel.compiled.jit import inner
from baray.data.kernel.compiled.texts import Bytes, Codes, Places, Words, code_at, mix, power, whole
from baray.data.kernel.specials import MULTIPLIER as _BASE

Costs = npt.NDArray[np.int32]
Sums = npt.NDArray[np.int64]

OTHER, BASE, SIGN, COENG, MARK, SPACE, RUN, APOSTROPHE, HIDDEN, BREAK, JOINER = range(11)
"""Kinds of code points. SIGN is a Khmer mark, BREAK the zero-width space, JOINER what ties though it is not seen; from HIDDEN
on nothing is seen."""
EMPTY = -(1 << 31)
"""Value of a free slot, and answer where a key is not there."""
PREFIX = -(1 << 30)
MULTIPLIER = np.uint64(_BASE)
PAIR = np.uint64(0xD6E8FEB86659FD93)
BEGINNING, ENDING, BACK, SINGLE = range(4)
_NEVER = np.int64(1 << 60)
_ONE = np.uint64(1)
_FIRST_LETTER = 0x1780


class Lookup(NamedTuple):
    """Hashed keys and their values; the length is a power of two, and some slots are free."""

    keys: Words
    values: Costs


class WordTables(NamedTuple):
    """A model of words, as `text.segmentation` makes it, over hashes."""

    kinds: Bytes
    """Kind of each code point."""
    words: Lookup
    """Word of the lexicon -> cost, what begins one -> PREFIX."""
    clusters: Lookup
    """Cluster -> its row."""
    pairs: Lookup
    """Two clusters -> cost of the second after the first."""
    rows: Costs
    """Cluster x (beginning, ending, back, single); the last row is of those that no word holds."""
    letters: Costs
    """Cost of each letter of the Khmer block in a cluster that no word holds."""
    constants: Costs
    """Cost of a new cluster, of beginning with one that begins no word, of what is no Khmer."""


class Scratch(NamedTuple):
    """Room for one text; each array is longer by one than the longest text has code points."""

    codes: Codes
    begins: Places
    """Where each unit begins; behind the last, the number of code points."""
    kinds: Bytes
    """Of units: BASE for a cluster, RUN, SPACE or OTHER."""
    parted: Bytes
    """1 where a word ends behind the unit in any case."""
    firsts: Bytes
    """1 where a word begins with the unit."""
    hashes: Words
    lengths: Places
    """Code points of each unit that are seen."""
    fresh: Costs
    """Cost of each cluster as the first of an unknown word."""
    more: Costs
    """As one behind another."""
    ending: Costs
    """Of ending the word behind it."""
    best: Sums
    starts: Places


@inner
def find(keys: Words, values: Costs, key: np.uint64) -> int:
    """The value of a key, EMPTY where it is not there."""
    mask = np.uint64(len(keys) - 1)
    at = mix(key) & mask
    while values[at] != EMPTY and keys[at] != key:
        at = (at + _ONE) & mask
    return whole(values[at])


@inner
def decode(data: Bytes, start: int, end: int, codes: Codes) -> int:
    """Write the code points between two bytes into `codes`. Returns how many."""
    at, count = start, 0
    while at < end:
        code = whole(data[at])
        width = 1
        if code >= 0x80:
            code, width = code_at(data, at)
        codes[count] = code
        at += width
        count += 1
    return count


@inner
def find_words(count: int, tables: WordTables, scratch: Scratch) -> int:
    """Cut `count` code points into units and mark those with which words begin. Returns the number of units.

    Without a word in the lexicon, every unit is a word.
    """
    number = find_units(count, tables, scratch)
    plain = tables.rows.shape[0] <= 1
    at = 0
    while at < number:
        if scratch.kinds[at] == SPACE:
            scratch.firsts[at] = 0
            at += 1
            continue
        end = at + 1
        while end < number and scratch.kinds[end] != SPACE and not scratch.parted[end - 1]:
            end += 1
        if plain:
            scratch.firsts[at:end] = 1
        else:
            _read(at, end, tables, scratch)
        at = end
    return number


@inner
def find_units(count: int, tables: WordTables, scratch: Scratch) -> int:
    """Cut `count` code points into units. Returns how many."""
    # Arrays are taken out of their tuples once: in a loop, each time would count references.
    codes, kinds = scratch.codes, tables.kinds
    begins, of_unit, parted, hashes, lengths = (
        scratch.begins,
        scratch.kinds,
        scratch.parted,
        scratch.hashes,
        scratch.lengths,
    )
    last = -1
    joined = False
    at = 0
    while at < count:
        kind = kinds[codes[at]]
        if kind >= HIDDEN and last >= 0:
            end, breaks = _skip_hidden(codes, count, at, kinds)
            parted[last] |= breaks
            joined = kinds[codes[end - 1]] == JOINER
            at = end
            continue
        end, value, length = _extent(codes, count, at, kinds)
        goes_on = (
            last >= 0 and not parted[last] and kind != SPACE and (joined or (kind == RUN and of_unit[last] == RUN))
        )
        belongs = goes_on or COENG >= kind >= SIGN or kind == MARK
        joined = False
        if belongs and last >= 0 and of_unit[last] != SPACE:
            hashes[last] = hashes[last] * power(length) + value
            lengths[last] += length
        else:
            last += 1
            begins[last] = at
            of_unit[last] = _unit_kind(kind)
            parted[last] = 0
            hashes[last] = value
            lengths[last] = length
        at = end
    begins[last + 1] = count
    return last + 1


@inner
def _unit_kind(kind: int) -> int:
    if kind in (BASE, SPACE, RUN):
        return kind
    return SPACE if kind >= HIDDEN else OTHER


@inner
def _extent(codes: Codes, count: int, at: int, kinds: Bytes) -> tuple[int, np.uint64, int]:
    """Where what begins at `at` ends, the hash of what is seen of it, and how many code points that are."""
    kind = kinds[codes[at]]
    value, length, end = np.uint64(codes[at]), 1, at + 1
    if kind == BASE:
        return _cluster(codes, count, at, kinds)
    if kind == SPACE:
        while end < count and kinds[codes[end]] == SPACE:
            end += 1
    elif kind == RUN:
        while end < count and _runs_on(codes, count, end, kinds):
            value = value * MULTIPLIER + np.uint64(codes[end])
            length += 1
            end += 1
    elif kind >= HIDDEN:
        end, _ = _skip_hidden(codes, count, at, kinds)
    return end, value, length


@inner
def _runs_on(codes: Codes, count: int, at: int, kinds: Bytes) -> bool:
    if kinds[codes[at]] == RUN:
        return True
    return kinds[codes[at]] == APOSTROPHE and at + 1 < count and kinds[codes[at + 1]] == RUN


@inner
def _skip_hidden(codes: Codes, count: int, at: int, kinds: Bytes) -> tuple[int, int]:
    """Where the code points that are not seen end, and 1 where a zero-width space is among them."""
    breaks = 0
    while at < count and kinds[codes[at]] >= HIDDEN:
        if kinds[codes[at]] == BREAK:
            breaks = 1
        at += 1
    return at, breaks


@inner
def _cluster(codes: Codes, count: int, at: int, kinds: Bytes) -> tuple[int, np.uint64, int]:
    value, length, end = np.uint64(codes[at]), 1, at + 1
    while end < count:
        mark = end
        if kinds[codes[mark]] >= HIDDEN:
            mark, _ = _skip_hidden(codes, count, mark, kinds)
        if mark < count and kinds[codes[mark]] == SIGN:
            value = value * MULTIPLIER + np.uint64(codes[mark])
            length += 1
            end = mark + 1
        elif (
            mark + 1 < count
            and kinds[codes[mark]] == COENG
            and kinds[codes[mark + 1]] == BASE
            and codes[mark + 1] != 0x25CC
        ):
            value = (value * MULTIPLIER + np.uint64(codes[mark])) * MULTIPLIER + np.uint64(codes[mark + 1])
            length += 2
            end = mark + 2
        else:
            break
    return end, value, length


@inner
def _read(start: int, end: int, tables: WordTables, scratch: Scratch) -> None:
    """Mark the words of the cheapest reading of the units between `start` and `end`."""
    best, starts, kinds = scratch.best, scratch.starts, scratch.kinds
    best[start] = 0
    best[start + 1 : end + 1] = _NEVER
    _price_clusters(start, end, tables, scratch)
    fresh_costs, more_costs, end_costs = scratch.fresh, scratch.more, scratch.ending
    other = np.int64(tables.constants[2])
    unknown, unknown_start = _NEVER, start  # the cheapest unknown word that reaches this unit, its end not paid
    for at in range(start, end):
        here = best[at]
        _push_known((at, end, here), tables.words, (scratch.lengths, scratch.hashes), (best, starts))
        if kinds[at] == BASE:
            if unknown < _NEVER:
                unknown += more_costs[at]
            fresh = here + fresh_costs[at]
            if fresh < unknown:
                unknown, unknown_start = fresh, at
            cost, begin = unknown + end_costs[at], unknown_start
        else:
            unknown, cost, begin = _NEVER, here + other, at
        if cost < best[at + 1]:
            best[at + 1], starts[at + 1] = cost, begin
    scratch.firsts[start:end] = 0
    while end > start:
        end = starts[end]
        scratch.firsts[end] = 1


@inner
def _push_known(
    span: tuple[int, int, int], table: Lookup, units: tuple[Places, Words], reached: tuple[Sums, Places]
) -> None:
    """Let every word of the lexicon that begins at a unit reach its end."""
    at, end, here = span
    keys, values = table
    lengths, hashes = units
    best, starts = reached
    word = np.uint64(0)
    for last in range(at, end):
        word = word * power(lengths[last]) + hashes[last]
        cost = find(keys, values, word)
        if cost == EMPTY:
            break
        if cost != PREFIX and here + cost < best[last + 1]:
            best[last + 1], starts[last + 1] = here + cost, at


@inner
def _price_clusters(start: int, end: int, tables: WordTables, scratch: Scratch) -> None:
    """What each cluster costs as the first, a further and the last of an unknown word."""
    hashes, kinds, rows = scratch.hashes, scratch.kinds, tables.rows
    cluster_keys, cluster_values = tables.clusters
    pair_keys, pair_values = tables.pairs
    fresh, more, ending = scratch.fresh, scratch.more, scratch.ending
    none = rows.shape[0] - 1
    back = np.int32(0)
    for at in range(start, end):
        if kinds[at] != BASE:
            continue
        row = find(cluster_keys, cluster_values, hashes[at])
        if row == EMPTY:
            row = none
            single = _new(at, tables, scratch)
            fresh[at] = tables.constants[1] + single
        else:
            single = rows[row, SINGLE]
            fresh[at] = rows[row, BEGINNING]
        ending[at] = rows[row, ENDING]
        more[at] = back + single
        if at > start and kinds[at - 1] == BASE:
            pair = find(pair_keys, pair_values, hashes[at - 1] * PAIR + hashes[at])
            more[at] = more[at] if pair == EMPTY else pair
        back = rows[row, BACK]


@inner
def _new(at: int, tables: WordTables, scratch: Scratch) -> int:
    """Cost of a cluster that no word holds: of its letters."""
    cost = whole(tables.constants[0])
    for place in range(scratch.begins[at], scratch.begins[at + 1]):
        code = whole(scratch.codes[place])
        if tables.kinds[code] < HIDDEN:
            letter = code - _FIRST_LETTER
            cost += whole(tables.letters[letter if 0 <= letter < len(tables.letters) else len(tables.letters) - 1])
    return cost


@inner
def put(keys: Words, values: Costs, key: np.uint64, value: int) -> None:
    """Write a value; the first of a key stays."""
    mask = np.uint64(len(keys) - 1)
    at = mix(key) & mask
    while values[at] != EMPTY and keys[at] != key:
        at = (at + _ONE) & mask
    if values[at] == EMPTY:
        keys[at], values[at] = key, value
