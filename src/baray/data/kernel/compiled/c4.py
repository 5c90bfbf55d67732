"""The lines of a text by the rules of C4: which stay, how many sentences they hold, and what FineWeb would see of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from baray.data.kernel import characters as ch
from baray.data.kernel.compiled.jit import inner
from baray.data.kernel.compiled.lines import ends_open, if_seen, line_end, next_line
from baray.data.kernel.compiled.repetition import Seen, State, stripped
from baray.data.kernel.compiled.texts import Bytes, Codes, Text, Words, whole
from baray.data.kernel.compiled.words import Found, split
from baray.data.kernel.specials import MULTIPLIER

_SPACE, _TERMINAL, _SENTENCE, _NOT_PUNCTUATION, _DIGIT = (
    ch.SPACE,
    ch.TERMINAL,
    ch.SENTENCE,
    ch.NOT_PUNCTUATION,
    ch.DIGIT,
)
_OPEN, _CLOSED, _BRACE, _BLANK = 0x5B, 0x5D, 0x7B, 0x20
_MULTIPLIER = np.uint64(MULTIPLIER)
KEPT, REMOVED, LOREM_IPSUM, CURLY_BRACKET = 0, 1, 2, 3
"""What becomes of a line; the last two end the whole Document."""
_LONGEST_WORD = 1000


def _flat(phrases: tuple[str, ...]) -> tuple[Codes, Codes]:
    places = np.cumsum([0, *map(len, phrases)]).astype(np.uint32)
    return np.array([ord(one) for one in "".join(phrases)], dtype=np.uint32), places


_PHRASES, _PHRASE_PLACES = _flat(
    ("lorem ipsum", "javascript", "terms of use", "privacy policy", "cookie policy",
     "uses cookies", "use of cookies", "use cookies")
)  # fmt: skip
_FIRST_LETTERS = np.isin(np.arange(128), [ord(one) for one in "ljtpcuLJTPCU{"])
_CITATIONS, _CITATION_PLACES = _flat(("edit]", "citation needed]"))
_NUM_PHRASES = len(_PHRASE_PLACES) - 1


class Room(NamedTuple):
    """Where a line is put without its citations."""

    text: Text
    found: Found


class Places(NamedTuple):
    """Where the words of a text are, and what is found out of its lines."""

    found: Found
    verdicts: Bytes
    """1 for each line that stays."""
    seen: Seen


class Kept(NamedTuple):
    """What is known of the lines that stay."""

    state: int
    """KEPT, or what ends the Document."""
    lines: int
    """All lines."""
    kept: int
    changed: int
    """Whether a line was removed, or loses a citation or white space at its edges."""
    sentences: int
    words: int
    letters: int
    ended: int
    """Lines that end well, for FineWeb."""
    shorts: int
    """Short lines, for FineWeb."""
    repeated: int
    """Letters of lines that stood before, for FineWeb."""


@inner
def keep(text: Text, size: tuple[int, int], places: Places, state: State, room: Room, rules: Codes) -> Kept:
    """Judge each line. `size`: code points and words; `rules`: short line, least words, then what may end a line."""
    codes, flags, rolling, found = text.codes, text.flags, text.rolling, places.found
    length, count = size
    lines, kept, changed, sentences, words, letters, ended, shorts, repeated = 0, 0, 0, 0, 0, 0, 0, 0, 0
    verdict = KEPT
    at, word = 0, 0
    while at < length and verdict <= REMOVED:
        end = line_end(flags, at, length)
        start, stop = stripped(flags, at, end)
        first = word
        while word < count and found[word, 0] < end:
            word += 1
        verdict = REMOVED
        if _has_words(flags, start, stop, rules[1]):
            if _first_citation(codes, flags, start, stop) < stop:
                changed = 1
                line = _cited(text, (start, stop), room, rules, places.seen, state)
            else:
                line = _line(codes, flags, rolling, (start, stop), rules, places.seen, state)
                if line[0] == KEPT:
                    line = _with_words(line, count_sentences(codes, flags, found, first, word), word - first)
            verdict = line[0]
            if verdict == KEPT:
                kept, letters, sentences, words = kept + 1, letters + line[1], sentences + line[2], words + line[3]
                ended, shorts, repeated = ended + line[4], shorts + line[5], repeated + line[6]
        places.verdicts[lines] = verdict == KEPT
        lines += 1
        changed |= verdict != KEPT or start > at or stop < end
        at = next_line(codes, end, length)
    state_of_all = verdict if verdict > REMOVED else KEPT
    return Kept(state_of_all, lines, kept, changed, sentences, words, letters, ended, shorts, repeated)


Line = tuple[int, int, int, int, int, int, int]
"""Verdict, letters, sentences, words, whether it ends well, whether it is short, letters if it repeats."""


@inner
def _line(
    codes: Codes, flags: Codes, rolling: Words, span: tuple[int, int], rules: Codes, seen: Seen, state: State
) -> Line:
    start, end = span
    if not _ends_well(codes, start, end, rules):
        return REMOVED, 0, 0, 0, 0, 0, 0
    verdict = _phrases(codes, start, end)
    if verdict != KEPT:
        return verdict, 0, 0, 0, 0, 0, 0
    short = 1 if end - start <= rules[0] else 0
    ended = 1 if flags[end - 1] & _TERMINAL else 0
    return KEPT, end - start, 0, 0, ended, short, if_seen(rolling, start, end, seen, state)


@inner
def _cited(text: Text, span: tuple[int, int], room: Room, rules: Codes, seen: Seen, state: State) -> Line:
    """A line that holds citations, without them."""
    length = _without_citations(text, span, room.text)
    codes, flags, rolling = room.text.codes, room.text.flags, room.text.rolling
    line = _line(codes, flags, rolling, (0, length), rules, seen, state)
    if line[0] != KEPT:
        return line
    words = split(room.text, length, room.found)
    return _with_words(line, count_sentences(codes, flags, room.found, 0, words), words)


@inner
def _with_words(line: Line, sentences: int, words: int) -> Line:
    return line[0], line[1], sentences, words, line[4], line[5], line[6]


@inner
def _ends_well(codes: Codes, start: int, end: int, rules: Codes) -> bool:
    if len(rules) == 2:
        return True
    if end <= start:
        return False
    last = codes[end - 1]
    for at in range(2, len(rules)):
        if last == rules[at]:
            return last != 0x2E or not ends_open(codes, start, end)
    return False


@inner
def _has_words(flags: Codes, start: int, end: int, least: int) -> bool:
    """Whether a line has so many words between white space, and none that no word can be."""
    count, run = 0, 0
    for at in range(start, end):
        if flags[at] & _SPACE:
            run = 0
        else:
            count += run == 0
            run += 1
            if run > _LONGEST_WORD:
                return False
    return count >= least


@inner
def _phrases(codes: Codes, start: int, end: int) -> int:
    """What the phrases in a line make of it: the first rule that one breaks, in the order of the rules."""
    found = _NUM_PHRASES + 1
    for at in range(start, end):
        code = codes[at]
        if code < 128 and _FIRST_LETTERS[code]:
            found = min(found, _phrase_at(codes, at, end))
    if found == 0:
        return LOREM_IPSUM
    if found == 1:
        return REMOVED
    if found == 2:
        return CURLY_BRACKET
    return KEPT if found > _NUM_PHRASES else REMOVED


@inner
def _phrase_at(codes: Codes, at: int, end: int) -> int:
    """The rule broken at `at`: 0 lorem ipsum, 1 JavaScript, 2 a curly bracket, then the policies."""
    if codes[at] == _BRACE:
        return 2
    for number in range(_NUM_PHRASES):
        if _matches(codes, at, end, number):
            return number if number < 2 else number + 1
    return _NUM_PHRASES + 1


@inner
def _matches(codes: Codes, at: int, end: int, number: int) -> bool:
    low, high = whole(_PHRASE_PLACES[number]), whole(_PHRASE_PLACES[number + 1])
    if at + high - low > end:
        return False
    for place in range(low, high):
        code = whole(codes[at + place - low])
        small = code + 32 if 0x41 <= code <= 0x5A else code
        if small != _PHRASES[place]:
            return False
    return True


@inner
def _first_citation(codes: Codes, flags: Codes, start: int, end: int) -> int:
    at = start
    while at < end and not (codes[at] == _OPEN and _citation(codes, flags, at, end)):
        at += 1
    return at


@inner
def _citation(codes: Codes, flags: Codes, at: int, end: int) -> int:
    """Length of a citation of an encyclopedia at `at`: `[12]`, `[edit]`, `[citation needed]`."""
    place = at + 1
    while place < end and flags[place] & _DIGIT:
        place += 1
    if place < end and codes[place] == _CLOSED:
        return place + 1 - at
    for number in range(2):
        low, high = whole(_CITATION_PLACES[number]), whole(_CITATION_PLACES[number + 1])
        same = at + 1 + high - low <= end
        for inside in range(low, high):
            same = same and codes[at + 1 + inside - low] == _CITATIONS[inside]
        if same:
            return high - low + 1
    return 0


@inner
def _without_citations(text: Text, span: tuple[int, int], into: Text) -> int:
    """Copy a span without its citations. Returns its length."""
    at, end = span
    count = 0
    value = np.uint64(0)
    into.rolling[0] = value
    while at < end:
        width = _citation(text.codes, text.flags, at, end) if text.codes[at] == _OPEN else 0
        if width:
            at += width
            continue
        into.codes[count], into.flags[count] = text.codes[at], text.flags[at]
        value = value * _MULTIPLIER + np.uint64(text.codes[at])
        count += 1
        into.rolling[count] = value
        at += 1
    return count


@inner
def count_sentences(codes: Codes, flags: Codes, found: Found, first: int, last: int) -> int:
    """Sentences among words: a new one begins behind a full stop and the marks that follow it."""
    sentences = 1 if last > first else 0
    ended = False
    for word in range(first, last):
        start, end = whole(found[word, 0]), whole(found[word, 1])
        if ended and word > first and _is_wide(codes, whole(found[word - 1, 1]), start):
            sentences += 1
            ended = False
        ends = end - start == 1 and (flags[start] & _SENTENCE) != 0
        if ended and not ends and not _is_punctuation(flags, start, end):
            sentences += 1
            ended = False
        ended = ended or ends
    return sentences


@inner
def _is_wide(codes: Codes, start: int, end: int) -> bool:
    """Whether white space between two words is more than one plain space: spaCy takes the rest for a word."""
    return end - start > 1 or (end - start == 1 and codes[start] != _BLANK)


@inner
def _is_punctuation(flags: Codes, start: int, end: int) -> bool:
    for at in range(start, end):
        if flags[at] & _NOT_PUNCTUATION:
            return False
    return True
