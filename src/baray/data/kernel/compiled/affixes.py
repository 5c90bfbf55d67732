"""What is cut off in front of a word, behind it and inside it: lengths in code points, 0 for nothing."""

from __future__ import annotations

import numpy as np

from baray.data.kernel import characters as ch
from baray.data.kernel import specials
from baray.data.kernel.compiled.jit import inner
from baray.data.kernel.compiled.texts import Codes, Words, mix, span_hash, whole

_DOT, _PLUS, _DOLLAR, _ELLIPSIS, _MINUS, _COMMA, _TILDE, _DEGREE = 0x2E, 0x2B, 0x24, 0x2026, 0x2D, 0x2C, 0x7E, 0xB0
_EN_DASH, _EM_DASH, _APOSTROPHE, _CURLED = 0x2013, 0x2014, 0x27, 0x2019
_DIGIT, _LOWER, _UPPER, _LETTER, _QUOTE, _ICON = ch.DIGIT, ch.LOWER, ch.UPPER, ch.LETTER, ch.QUOTE, ch.ICON
_PREFIX, _SUFFIX, _STOP_LEFT, _INFIX = ch.PREFIX, ch.SUFFIX, ch.STOP_LEFT, ch.INFIX
_SALT = np.uint64(specials.UNIT_SALT)
_SLOTS = specials.SLOTS
_KEYS, _ = specials.tables()
_LONGEST_UNIT = 4


@inner
def prefix(codes: Codes, flags: Codes, start: int, end: int) -> int:
    """Marks in front of the word from `start` to `end`."""
    code = codes[start]
    if flags[start] & _PREFIX:
        return 1
    if code == _DOT:
        run = _dots(codes, start, end)
        return run if run > 1 else 0
    if code == _PLUS:
        return 0 if start + 1 < end and flags[start + 1] & _DIGIT else 1
    if (code in (0x41, 0x43)) and start + 1 < end and codes[start + 1] == _DOLLAR:  # A$, C$
        return 2
    if code == 0x55 and start + 2 < end and codes[start + 1] == 0x53 and codes[start + 2] == _DOLLAR:  # US$
        return 3
    return 0


@inner
def _dots(codes: Codes, start: int, end: int) -> int:
    at = start
    while at < end and codes[at] == _DOT:
        at += 1
    return at - start


@inner
def suffix(codes: Codes, flags: Codes, rolling: Words, start: int, end: int) -> int:
    """Marks behind the word from `start` to `end`; of several rules the one that cuts most."""
    last = end - 1
    if last < start:
        return 0
    code = codes[last]
    if code == _DOT:
        return _full_stop(codes, flags, start, last)
    if code in (0x73, 0x53) and last > start and codes[last - 1] in (_APOSTROPHE, _CURLED):
        return 2
    if flags[last] & _SUFFIX:
        return 2 if code == _ELLIPSIS and last > start and codes[last - 1] == _ELLIPSIS else 1
    if code == _PLUS:
        return 1 if last > start and flags[last - 1] & _DIGIT else 0
    return _unit(flags, rolling, start, end)


@inner
def _full_stop(codes: Codes, flags: Codes, start: int, last: int) -> int:
    run = 1
    while last - run >= start and codes[last - run] == _DOT:
        run += 1
    if run > 1 or last == start:
        return run if run > 1 else 0
    left = flags[last - 1]
    if left & _STOP_LEFT:
        return 1
    if last - 2 < start:
        return 0
    if left & _UPPER and flags[last - 2] & _UPPER:
        return 1
    return 1 if codes[last - 2] == _DEGREE and codes[last - 1] in (0x46, 0x43, 0x4B) else 0


@inner
def _unit(flags: Codes, rolling: Words, start: int, end: int) -> int:
    """A unit of measure or a currency right behind a digit."""
    at = end - 1
    while at >= start and at >= end - _LONGEST_UNIT - 1 and not flags[at] & _DIGIT:
        at -= 1
    at += 1
    if at >= end or at <= start or not flags[at - 1] & _DIGIT:
        return 0
    key = span_hash(rolling, at, end) ^ _SALT
    slot = whole(mix(key) & np.uint64(_SLOTS - 1))
    while _KEYS[slot] != np.uint64(0):
        if _KEYS[slot] == key:
            return end - at
        slot = (slot + 1) & (_SLOTS - 1)
    return 0


@inner
def infix(codes: Codes, flags: Codes, span: tuple[int, int], at: int) -> int:
    """A sign at `at` that parts the word of `span`."""
    start, end = span
    if not flags[at] & _INFIX:
        return 0
    code = codes[at]
    if code == _ELLIPSIS or flags[at] & _ICON:
        return 1
    if code == _DOT:
        run = _dots(codes, at, end)
        parts = at > start and at + 1 < end and flags[at - 1] & (_LOWER | _QUOTE) and flags[at + 1] & (_UPPER | _QUOTE)
        return run if run > 1 or parts else 0
    if at == start or at + 1 >= end:
        return 0
    left, right = flags[at - 1], flags[at + 1]
    if left & _DIGIT and code in (_PLUS, _MINUS, 0x2A, 0x5E) and (right & _DIGIT or codes[at + 1] == _MINUS):
        return 1
    if code == _COMMA:
        return 1 if left & _LETTER and right & _LETTER else 0
    if not left & (_LETTER | _DIGIT):
        return 0
    return _between(codes, flags, at, end)


@inner
def _between(codes: Codes, flags: Codes, at: int, end: int) -> int:
    """A hyphen, dash, slash or the like before a letter."""
    code = codes[at]
    if code in (_MINUS, _EM_DASH):
        most = 3 if code == _MINUS else 2
        width = 1
        while width < most and at + width < end and codes[at + width] == code:
            width += 1
        return width if at + width < end and flags[at + width] & _LETTER else 0
    if code in (_EN_DASH, _TILDE, 0x3A, 0x3C, 0x3D, 0x3E, 0x2F):
        return 1 if flags[at + 1] & _LETTER else 0
    return 0
