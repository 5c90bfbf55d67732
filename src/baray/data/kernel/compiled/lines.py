"""What the lines of a text are like: bullets and open ends (Gopher), and how they end and repeat (FineWeb).

Rae et al. 2021, appendix A1.1; Penedo et al., "The FineWeb Datasets", 2024, section 3.6. Where the papers leave a question
open, the answer is datatrove's.
"""

from __future__ import annotations

from baray.data.kernel import characters as ch
from baray.data.kernel.compiled.jit import inner
from baray.data.kernel.compiled.repetition import Seen, add, clear, marked, stripped
from baray.data.kernel.compiled.texts import Codes, Text, Words, span_hash

_NEWLINE, _RETURN, _DOT, _ELLIPSIS, _MINUS, _BULLET = 0x0A, 0x0D, 0x2E, 0x2026, 0x2D, 0x2022
_SPACE, _BREAK, _TERMINAL = ch.SPACE, ch.BREAK, ch.TERMINAL


@inner
def line_end(flags: Codes, start: int, length: int) -> int:
    """Where the line that begins at `start` ends, for `str.splitlines`."""
    at = start
    while at < length and not flags[at] & _BREAK:
        at += 1
    return at


@inner
def next_line(codes: Codes, end: int, length: int) -> int:
    """Where the line behind the break at `end` begins."""
    if end + 1 < length and codes[end] == _RETURN and codes[end + 1] == _NEWLINE:
        return end + 2
    return end + 1


@inner
def bullets(codes: Codes, flags: Codes, length: int) -> tuple[int, int, int]:
    """Lines; those that begin with a bullet; those that end with an ellipsis."""
    lines, starred, open_ended = 0, 0, 0
    at = 0
    while at < length:
        end = line_end(flags, at, length)
        start, stop = stripped(flags, at, end)
        lines += 1
        if start < stop:
            starred += codes[start] == _BULLET or codes[start] == _MINUS
            open_ended += ends_open(codes, start, stop)
        at = next_line(codes, end, length)
    return lines, starred, open_ended


@inner
def ends_open(codes: Codes, start: int, end: int) -> bool:
    """Whether a span ends with an ellipsis, as one sign or as three full stops."""
    if end > start and codes[end - 1] == _ELLIPSIS:
        return True
    return end - start >= 3 and codes[end - 1] == _DOT and codes[end - 2] == _DOT and codes[end - 3] == _DOT


@inner
def fineweb(text: Text, size: tuple[int, int], short: int, seen: Seen) -> tuple[int, int, int, int]:
    """Lines that are not blank; those that end well; those of at most `short` letters; letters of repeated ones.

    `size`: code points and line feeds.
    """
    codes, flags, rolling = text.codes, text.flags, text.rolling
    length = size[0]
    state = clear(seen, size[1] + 1)
    lines, ended, shorts, repeated = 0, 0, 0, 0
    at = 0
    while at <= length:
        end = at
        inked = False
        while end < length and codes[end] != _NEWLINE:
            inked |= not flags[end] & _SPACE
            end += 1
        if inked:
            lines += 1
            ended += (flags[end - 1] & _TERMINAL) != 0
            shorts += end - at <= short
            repeated += if_seen(rolling, at, end, seen, state)
        at = end + 1
    return lines, ended, shorts, repeated


@inner
def if_seen(rolling: Words, start: int, end: int, seen: Seen, state: tuple[int, int]) -> int:
    """Letters of a span that came before, 0 where it is new."""
    return end - start if add(seen, marked(span_hash(rolling, start, end), end - start), state) > 1 else 0
