"""How much of a text repeats: lines, paragraphs, and runs of two to ten words.

Rae et al., "Scaling Language Models: Methods, Analysis & Insights from Training Gopher", 2021, table A1. Where the table
leaves a question open, the answer is datatrove's: a duplicate is what stood before; runs of two to four words are told
apart word by word, of five to ten by their letters alone, and behind a run that repeats the search goes on after its end.
"""

from __future__ import annotations

import numpy as np

from baray.data.kernel import characters as ch
from baray.data.kernel.compiled.jit import inner
from baray.data.kernel.compiled.texts import Codes, Places, Words, mix, power, span_hash, whole
from baray.data.kernel.compiled.words import Found

Seen = Words
"""A set of hashes: a row a slot, its key, and below the number of its round how often the key came. A slot of an older round
is empty, so that the set is emptied in one step. The last row holds the present round."""
State = tuple[int, int]
"""Mask of the slots in use, and the round."""

_NEWLINE = 0x0A
_SPACE = ch.SPACE
_LARGE = np.uint64(0x9E3779B97F4A7C15)
_HALF = np.uint64(32)
_COUNT = np.uint64(0xFFFFFFFF)
_ONE = np.uint64(1)


@inner
def clear(seen: Seen, most: int) -> State:
    """Empty the set for at most `most` members."""
    last = len(seen) - 1
    seen[last, 0] += _ONE
    slots = 16
    while slots < 2 * most:
        slots *= 2
    return slots - 1, whole(seen[last, 0])


@inner
def add(seen: Seen, key: np.uint64, state: State) -> int:
    """Count a member. Returns how often it has come, this time included."""
    mask, number = state
    current = np.uint64(number)
    slot = whole(mix(key) & np.uint64(mask))
    while seen[slot, 1] >> _HALF == current:
        if seen[slot, 0] == key:
            seen[slot, 1] += _ONE
            return whole(seen[slot, 1] & _COUNT)
        slot = (slot + 1) & mask
    seen[slot, 0], seen[slot, 1] = key, (current << _HALF) | _ONE
    return 1


@inner
def repeated_parts(
    codes: Codes, rolling: Words, span: tuple[int, int], least: int, seen: Seen, most: int
) -> tuple[int, int, int]:
    """Parts between runs of at least `least` line feeds; how many stood before, and how many letters those have."""
    start, end = span
    state = clear(seen, most)
    parts, repeated, letters = 0, 0, 0
    at = start
    while at <= end:
        run = 0
        while at + run < end and codes[at + run] == _NEWLINE:
            run += 1
        if at < end and run < least:
            at += max(run, 1)
            continue
        parts += 1
        if add(seen, marked(span_hash(rolling, start, at), at - start), state) > 1:
            repeated += 1
            letters += at - start
        if at == end:
            break
        at += run
        start = at
    return parts, repeated, letters


@inner
def marked(value: np.uint64, length: int) -> np.uint64:
    """A hash that also tells the length."""
    return value ^ (np.uint64(length) * _LARGE)


@inner
def stripped(flags: Codes, start: int, end: int) -> tuple[int, int]:
    """A span without white space at its edges."""
    while start < end and flags[start] & _SPACE:
        start += 1
    while end > start and flags[end - 1] & _SPACE:
        end -= 1
    return start, end


@inner
def prepare(rolling: Words, found: Found, count: int, hashes: Words, joined: Words, letters: Places) -> None:
    """Hashes of words; rolling hashes over their letters alone, and how many letters stand before each."""
    value, before = np.uint64(0), 0
    joined[0], letters[0] = value, 0
    for word in range(count):
        start, end = whole(found[word, 0]), whole(found[word, 1])
        key = span_hash(rolling, start, end)
        value = value * power(end - start) + key
        before += end - start
        hashes[word] = mix(marked(key, end - start))
        joined[word + 1], letters[word + 1] = value, before


@inner
def top_letters(hashes: Words, letters: Places, count: int, size: int, seen: Seen, again: Places) -> int:
    """Letters of the most frequent run of `size` words, spaces between them counted, times how often it comes.

    `again` tells of each word whether the run of one word less that begins there comes more than once, and is told so of
    this size: a run can only repeat where both of its parts do, so that each size looks at fewer places.
    """
    last = count - size + 1
    if last <= 0:
        return -1
    state = clear(seen, last)
    for word in range(last):
        if size > 2 and not (again[word] and again[word + 1]):
            again[word] = -1
        else:
            again[word] = slot_of(seen, _run_key(hashes, word, size), state)
    most, first = 1, 0
    for word in range(last):
        times = 1 if again[word] < 0 else whole(seen[again[word], 1] & _COUNT)
        if times > most:
            most, first = times, word
        again[word] = 1 if times > 1 else 0
    again[last] = 0
    return (whole(letters[first + size]) - whole(letters[first]) + size - 1) * most


@inner
def slot_of(seen: Seen, key: np.uint64, state: State) -> int:
    """Count a member. Returns its slot."""
    mask, number = state
    current = np.uint64(number)
    slot = whole(mix(key) & np.uint64(mask))
    while seen[slot, 1] >> _HALF == current:
        if seen[slot, 0] == key:
            seen[slot, 1] += _ONE
            return slot
        slot = (slot + 1) & mask
    seen[slot, 0], seen[slot, 1] = key, (current << _HALF) | _ONE
    return slot


@inner
def _run_key(hashes: Words, word: int, size: int) -> np.uint64:
    value = hashes[word]
    for at in range(word + 1, word + size):
        value = (value ^ (value >> _HALF)) * _LARGE + hashes[at]
    return np.uint64(value)


@inner
def repeated_letters(joined: Words, letters: Places, count: int, size: int, seen: Seen, again: Places) -> int:
    """Letters of the runs of `size` words that came before; where `again` is not set, a run is new."""
    last = count - size + 1
    if last <= 0:
        return 0
    state = clear(seen, last)
    repeated, word = 0, 0
    while word < last:
        if not (again[word] and again[word + 1]):
            word += 1
            continue
        length = whole(letters[word + size]) - whole(letters[word])
        key = joined[word + size] - joined[word] * power(length)
        if add(seen, marked(key, length), state) > 1:
            repeated += length
            word += size
        else:
            word += 1
    return repeated


@inner
def mark_again(joined: Words, letters: Places, count: int, size: int, seen: Seen, again: Places) -> None:
    """Set `again` where a run of `size` words begins that comes more than once, by its letters alone."""
    last = count - size + 1
    state = clear(seen, last)
    for word in range(last):
        if again[word] and again[word + 1]:
            length = whole(letters[word + size]) - whole(letters[word])
            key = joined[word + size] - joined[word] * power(length)
            again[word] = slot_of(seen, marked(key, length), state)
        else:
            again[word] = -1
    for word in range(last):
        again[word] = 1 if again[word] >= 0 and seen[again[word], 1] & _COUNT > _ONE else 0
    again[last] = 0
