"""The two functions that Python calls: one measures texts by the rules of the filters, one signs them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from baray.data.kernel import characters as ch
from baray.data.kernel.compiled import c4, lines, repetition
from baray.data.kernel.compiled.jit import entry, inner
from baray.data.kernel.compiled.repetition import Seen
from baray.data.kernel.compiled.signature import Folding, Permutations, sign, text_hash
from baray.data.kernel.compiled.texts import Bytes, Codes, Places, Text, Words, decode, span_hash, whole
from baray.data.kernel.compiled.words import Found, split

Counts = npt.NDArray[np.int64]

REPETITION, QUALITY, C4, FINEWEB = 1, 2, 4, 8
"""Groups of measures, to be added."""
COLUMNS = (
    "characters words newlines paragraphs repeated_paragraphs repeated_paragraph_letters"
    " lines repeated_lines repeated_line_letters top_2 top_3 top_4"
    " repeated_5 repeated_6 repeated_7 repeated_8 repeated_9 repeated_10"
    " plain_words plain_letters alphabetic_words hashes ellipses split_lines bullet_lines open_lines stop_words"
    " c4_state c4_lines c4_kept c4_changed c4_sentences c4_words c4_letters c4_ended c4_short c4_repeated"
    " inked_lines ended_lines short_lines repeated_letters"
).split()
_WORDS, _PARAGRAPHS, _LINES, _TOP, _REPEATED, _QUALITY, _C4, _FINEWEB = 1, 3, 6, 9, 12, 18, 27, 37
_NEWLINE, _NUMBER_SIGN, _ELLIPSIS, _DOT = 0x0A, 0x23, 0x2026, 0x2E
_PLAIN, _ALPHABETIC, _BREAK = ch.PLAIN, ch.ALPHABETIC, ch.BREAK


class Scratch(NamedTuple):
    """Room for one text at a time."""

    text: Text
    found: Found
    hashes: Words
    """Of words."""
    joined: Words
    """Of all letters before each word."""
    letters: Places
    """Letters before each word."""
    seen: Seen
    again: Places
    """Whether a run that begins at a word may come more than once, and while it is found out, its slot."""
    room: c4.Room


class Tables(NamedTuple):
    """What is known before any text is read."""

    flags: Codes
    stop_words: Words
    """Hashes of stop words, a run for each language."""
    stop_places: Codes
    """Where the run of each language begins."""
    rules: Codes
    """For C4 and FineWeb: short line, least words of a line, then what may end a line, a run for each language."""
    rule_places: Codes


class Verdicts(NamedTuple):
    """What C4 says of the lines."""

    keep: Bytes
    """1 for a line that stays; lines of all texts."""
    places: Counts
    """Where the lines of each text begin; one more than there are texts."""


@entry
def measure(
    data: Bytes, offsets: Counts, languages: Bytes, groups: int, tables: Tables, scratch: Scratch, out: tuple[Counts, Verdicts]
) -> None:  # fmt: skip
    """Fill a row of `out` for each text: `COLUMNS`."""
    counts, verdicts = out
    for row in range(len(offsets) - 1):
        line = counts[row]
        length = decode(data, (offsets[row], offsets[row + 1]), tables.flags, scratch.text)
        count = split(scratch.text, length, scratch.found)
        line[0], line[1] = length, count
        breaks = _count_signs(scratch.text, length, line)
        if groups & REPETITION:
            _repetition(scratch, (length, count), line)
        if groups & QUALITY:
            low, high = tables.stop_places[languages[row]], tables.stop_places[languages[row] + 1]
            _quality(scratch, (length, count), tables.stop_words[low:high], line)
        low, high = tables.rule_places[languages[row]], tables.rule_places[languages[row] + 1]
        rules = tables.rules[low:high]
        verdicts.places[row + 1] = verdicts.places[row]
        if groups & C4:
            kept = verdicts.keep[verdicts.places[row] :]
            verdicts.places[row + 1] += _c4(scratch, (length, count, breaks), rules, kept, line)
        if groups & FINEWEB:
            found = lines.fineweb(scratch.text, (length, whole(line[2])), whole(rules[0]), scratch.seen)
            line[_FINEWEB], line[_FINEWEB + 1], line[_FINEWEB + 2], line[_FINEWEB + 3] = found


@inner
def _count_signs(text: Text, length: int, line: Counts) -> int:
    """Count single signs. Returns how many may end a line."""
    codes, flags = text.codes, text.flags
    newlines, hashes, ellipses, dots, breaks = 0, 0, 0, 0, 0
    for at in range(length):
        code = codes[at]
        newlines += code == _NEWLINE
        breaks += (flags[at] & _BREAK) != 0
        hashes += code == _NUMBER_SIGN
        ellipses += code == _ELLIPSIS
        dots = dots + 1 if code == _DOT else 0
        if dots == 3:
            ellipses += 1
            dots = 0
    line[2], line[_QUALITY + 3], line[_QUALITY + 4] = newlines, hashes, ellipses
    return breaks


@inner
def _repetition(scratch: Scratch, size: tuple[int, int], line: Counts) -> None:
    text, seen = scratch.text, scratch.seen
    length, count = size
    most = line[2] + 1
    span = repetition.stripped(text.flags, 0, length)
    found = repetition.repeated_parts(text.codes, text.rolling, span, 2, seen, most)
    line[_PARAGRAPHS], line[_PARAGRAPHS + 1], line[_PARAGRAPHS + 2] = found
    found = repetition.repeated_parts(text.codes, text.rolling, (0, length), 1, seen, most)
    line[_LINES], line[_LINES + 1], line[_LINES + 2] = found
    hashes, joined, letters = scratch.hashes, scratch.joined, scratch.letters
    repetition.prepare(text.rolling, scratch.found, count, hashes, joined, letters)
    again = scratch.again
    for run in range(2, 5):
        line[_TOP + run - 2] = repetition.top_letters(hashes, letters, count, run, seen, again)
    again[: count + 1] = 1
    for run in range(5, 11):
        repeated = repetition.repeated_letters(joined, letters, count, run, seen, again)
        line[_REPEATED + run - 5] = repeated
        if repeated == 0:
            break  # a longer run cannot repeat where none of its parts does
        if run < 10:
            repetition.mark_again(joined, letters, count, run, seen, again)


@inner
def _quality(scratch: Scratch, size: tuple[int, int], stop_words: Words, line: Counts) -> None:
    text, found = scratch.text, scratch.found
    rolling = text.rolling
    length, count = size
    plain, letters, alphabetic = 0, 0, 0
    stopped = np.uint64(0)
    for word in range(count):
        seen = found[word, 2]
        alphabetic += (seen & _ALPHABETIC) != 0
        if seen & _PLAIN:
            start, end = whole(found[word, 0]), whole(found[word, 1])
            plain += 1
            letters += end - start
            key = span_hash(rolling, start, end)
            for place in range(len(stop_words)):
                if stop_words[place] == key:
                    stopped |= np.uint64(1) << np.uint64(place)
    line[_QUALITY], line[_QUALITY + 1], line[_QUALITY + 2] = plain, letters, alphabetic
    of_lines = lines.bullets(text.codes, text.flags, length)
    line[_QUALITY + 5], line[_QUALITY + 6], line[_QUALITY + 7] = of_lines
    different = 0
    while stopped:
        different += 1
        stopped &= stopped - np.uint64(1)
    line[_QUALITY + 8] = different


@inner
def _c4(scratch: Scratch, size: tuple[int, int, int], rules: Codes, verdicts: Bytes, line: Counts) -> int:
    length, count, breaks = size
    state = repetition.clear(scratch.seen, breaks + 1)
    places = c4.Places(scratch.found, verdicts, scratch.seen)
    kept = c4.keep(scratch.text, (length, count), places, state, scratch.room, rules)
    for at in range(len(kept)):
        line[_C4 + at] = kept[at]
    return kept.lines


@entry
def signatures(
    data: Bytes, offsets: Counts, tables: Folding, permutations: Permutations, out: tuple[Codes, Counts, Words]
) -> None:  # fmt: skip
    """Fill for each text its signature, its number of tokens and the 128 bits of its hash."""
    rows, tokens, hashes = out
    for row in range(len(offsets) - 1):
        span = (offsets[row], offsets[row + 1])
        tokens[row] = sign(data, span, tables, permutations, rows[row])
        hashes[row, 0], hashes[row, 1] = text_hash(data, span)


@entry
def places(data: Bytes, offsets: Counts, tables: Tables, scratch: Scratch, out: tuple[Codes, Codes]) -> int:
    """Write where the words of one text begin and end. Returns how many, for tests and for other tools' sake."""
    length = decode(data, (offsets[0], offsets[1]), tables.flags, scratch.text)
    count = split(scratch.text, length, scratch.found)
    for word in range(count):
        out[0][word], out[1][word] = scratch.found[word, 0], scratch.found[word, 1]
    return count
