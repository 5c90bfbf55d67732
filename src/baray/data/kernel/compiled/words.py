"""Words: white space parts them, marks at their edges are cut off, signs inside part them, some stay whole.

English is cut as spaCy's rules cut it (a rule here is a rule there: what is cut off in front, behind and inside, addresses
of the web kept whole, contractions and abbreviations from `specials`). Khmer is cut into syllable clusters, since it is
written without spaces. Both may stand in one text.

A row of `found` is a word: its first code point, the place behind its last, and the bits of all its code points together.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from baray.data.kernel import characters as ch
from baray.data.kernel import specials
from baray.data.kernel.compiled import addresses, affixes
from baray.data.kernel.compiled.jit import inner
from baray.data.kernel.compiled.texts import Codes, Text, Words, mix, span_hash, whole

Found = npt.NDArray[np.int32]

_SLOTS = specials.SLOTS
_LONGEST = specials.LONGEST
_MERGES = specials.MERGES
_KEYS, _PIECES = specials.tables()
_SPACE, _UNPLAIN = ch.SPACE, ch.UNPLAIN_WORD
_BASE, _MARK, _KHMER = ch.BASE, ch.MARK, ch.BASE | ch.MARK
_COENG = 0x17D2


@inner
def split(text: Text, length: int, found: Found) -> int:
    """Write the words of the first `length` code points into `found`. Returns how many."""
    codes, flags, rolling = text.codes, text.flags, text.rolling
    count, at = 0, 0
    while at < length:
        if flags[at] & _SPACE:
            at += 1
            continue
        start = at
        seen = 0
        while at < length and not flags[at] & _SPACE:
            seen |= whole(flags[at])
            at += 1
        if seen & _KHMER:
            count = _mixed_scripts(codes, flags, rolling, (start, at), found, count)
        else:
            count = _piece(codes, flags, rolling, (start, at), seen, found, count)
    return count


@inner
def _piece(
    codes: Codes, flags: Codes, rolling: Words, span: tuple[int, int], seen: int, found: Found, count: int
) -> int:
    """Words of a run without white space and Khmer."""
    start, end = span
    if seen & _UNPLAIN:
        return _unplain(codes, flags, rolling, span, found, count)
    if end - start <= _LONGEST:
        pieces = special(rolling, start, end)
        if pieces:
            return _pieces(flags, start, pieces, found, count)
    found[count, 0], found[count, 1], found[count, 2] = start, end, seen
    return count + 1


@inner
def special(rolling: Words, start: int, end: int) -> int:
    """Pieces of the special word from `start` to `end`, 0 where it is none."""
    if end - start > _LONGEST or end <= start:
        return 0
    key = span_hash(rolling, start, end)
    slot = whole(mix(key) & np.uint64(_SLOTS - 1))
    while _KEYS[slot] != np.uint64(0):
        if _KEYS[slot] == key:
            return whole(_PIECES[slot])
        slot = (slot + 1) & (_SLOTS - 1)
    return 0


@inner
def _pieces(flags: Codes, start: int, pieces: int, found: Found, count: int) -> int:
    pieces &= _MERGES - 1
    while pieces:
        end = start + (pieces & 63)
        count = _add(flags, start, end, found, count)
        start = end
        pieces >>= 6
    return count


@inner
def _add(flags: Codes, start: int, end: int, found: Found, count: int) -> int:
    seen = 0
    for at in range(start, end):
        seen |= whole(flags[at])
    found[count, 0], found[count, 1], found[count, 2] = start, end, seen
    return count + 1


@inner
def _unplain(codes: Codes, flags: Codes, rolling: Words, span: tuple[int, int], found: Found, count: int) -> int:
    """Cut marks off both edges, then part what is left."""
    first = count
    start, end = span
    outer = end
    # Ends of marks behind the word wait at the far end of `found`: a word has no more marks than code points.
    stack, last = outer, -1
    while start < end and end - start != last:
        if special(rolling, start, end):
            break
        last = end - start
        before = affixes.prefix(codes, flags, start, end)
        if before and special(rolling, start + before, end):
            count = _add(flags, start, start + before, found, count)
            start += before
            break
        behind = affixes.suffix(codes, flags, rolling, start + before, end)
        stops = behind > 0 and special(rolling, start, end - behind) > 0
        if before and not stops:
            count = _add(flags, start, start + before, found, count)
            start += before
        if behind and behind <= end - start:
            stack -= 1
            found[stack, 1] = end
            end -= behind
        if stops:
            break
    count = _core(codes, flags, rolling, (start, end), found, count)
    for place in range(stack, outer):
        mark_end = whole(found[place, 1])
        count = _add(flags, end, mark_end, found, count)
        end = mark_end
    return _merged(rolling, found, first, count)


@inner
def _core(codes: Codes, flags: Codes, rolling: Words, span: tuple[int, int], found: Found, count: int) -> int:
    """What is left between the marks: a special word, an address, or parts with signs between them."""
    start, end = span
    if start >= end:
        return count
    pieces = special(rolling, start, end)
    if pieces:
        return _pieces(flags, start, pieces, found, count)
    if addresses.is_address(codes, flags, start, end):
        return _add(flags, start, end, found, count)
    begin, at = start, start
    while at < end:
        width = affixes.infix(codes, flags, span, at)
        if width == 0:
            at += 1
            continue
        if at > start:
            if at > begin:
                count = _add(flags, begin, at, found, count)
            count = _add(flags, at, at + width, found, count)
            begin = at + width
        at += width
    return _add(flags, begin, end, found, count) if begin < end else count


@inner
def _merged(rolling: Words, found: Found, first: int, count: int) -> int:
    """Put special words together again that the rules cut: `:)` behind a word, `Mr.` before a name."""
    if count - first < 2:
        return count
    kept, at = first, first
    while at < count:
        joined = _last_of_special(rolling, found, at, count)
        for after in range(at + 1, joined + 1):  # of two that overlap, the longer
            if _last_of_special(rolling, found, after, count) - after > joined - at:
                joined = at
                break
        seen = found[at, 2]
        for place in range(at + 1, joined + 1):
            seen |= found[place, 2]
        found[kept, 0], found[kept, 1], found[kept, 2] = found[at, 0], found[joined, 1], seen
        kept += 1
        at = joined + 1
    return kept


@inner
def _last_of_special(rolling: Words, found: Found, at: int, count: int) -> int:
    """The last of the words that together are a special one, `at` itself where there is none."""
    start = whole(found[at, 0])
    last = at + 1
    while last < count and found[last, 1] - start <= _LONGEST:
        last += 1
    for place in range(last - 1, at, -1):
        if special(rolling, start, whole(found[place, 1])) & _MERGES:
            return place
    return at


@inner
def _mixed_scripts(codes: Codes, flags: Codes, rolling: Words, span: tuple[int, int], found: Found, count: int) -> int:
    """Clusters of the Khmer in a run without white space, words of the rest."""
    at, end = span
    while at < end:
        start = at
        if flags[at] & _KHMER:
            at += 1
            while at < end and (flags[at] & _MARK or (flags[at] & _BASE and codes[at - 1] == _COENG)):
                at += 1
            count = _add(flags, start, at, found, count)
            continue
        seen = 0
        while at < end and not flags[at] & _KHMER:
            seen |= whole(flags[at])
            at += 1
        count = _piece(codes, flags, rolling, (start, at), seen, found, count)
    return count
