"""Whether a word is an address of the web or of mail: such a word stays whole."""

from __future__ import annotations

from baray.data.kernel import characters as ch
from baray.data.kernel.compiled.jit import inner
from baray.data.kernel.compiled.texts import Codes

_DOT, _AT, _COLON, _SLASH, _QUESTION, _HASH, _MINUS, _UNDERSCORE, _PLUS = (
    0x2E,
    0x40,
    0x3A,
    0x2F,
    0x3F,
    0x23,
    0x2D,
    0x5F,
    0x2B,
)
_NAME, _DIGIT, _LOWER, _ALNUM, _MARK = ch.NAME, ch.DIGIT, ch.LOWER, ch.ALNUM, ch.MARK
_LABEL = 64


@inner
def is_address(codes: Codes, flags: Codes, start: int, end: int) -> bool:
    """A host with a domain, behind a scheme and a user where there are any, with a port and a path where there are any."""
    dotted = False
    for at in range(start, end):
        dotted |= codes[at] == _DOT
    if not dotted:
        return False
    if _host(codes, flags, start, end):
        return True
    scheme = _scheme(codes, flags, start, end)
    if scheme and _host(codes, flags, scheme, end):
        return True
    for at in range(start + 1, end):
        if codes[at] == _AT and _host(codes, flags, at + 1, end):
            return True
    return False


@inner
def _scheme(codes: Codes, flags: Codes, start: int, end: int) -> int:
    """Where the text behind `scheme://` begins, 0 without one."""
    at = start
    while at < end and (flags[at] & _ALNUM or codes[at] in (_PLUS, _MINUS, _DOT, _UNDERSCORE)):
        at += 1
    found = at - start >= 2 and at + 3 <= end
    return at + 3 if found and codes[at] == _COLON and codes[at + 1] == _SLASH and codes[at + 2] == _SLASH else 0


@inner
def _host(codes: Codes, flags: Codes, start: int, end: int) -> bool:
    """Whether a host begins at `start` and only a port and a path follow."""
    at = label = start
    dots = 0
    sound = True
    while at < end and (flags[at] & _NAME or codes[at] in (_DOT, _MINUS, _UNDERSCORE)):
        if codes[at] == _DOT:
            sound = sound and _is_label(flags, label, at)
            dots += 1
            label = at + 1
        at += 1
    if not sound or dots == 0:
        return False
    return (_is_domain(flags, label, at) or (dots == 3 and _is_number(codes, flags, start, at))) and _tail(
        codes, flags, at, end
    )


@inner
def _is_label(flags: Codes, start: int, end: int) -> bool:
    inside = 0 < end - start <= _LABEL
    return inside and bool(flags[start] & _NAME) and bool(flags[end - 1] & _NAME)


@inner
def _is_domain(flags: Codes, start: int, end: int) -> bool:
    if not 2 <= end - start <= 63:
        return False
    for at in range(start, end):
        if not flags[at] & _LOWER:
            return False
    return True


@inner
def _is_number(codes: Codes, flags: Codes, start: int, end: int) -> bool:
    """Whether four numbers are an address of the Internet that is nobody's private one."""
    numbers = (_number(codes, flags, start, end, 0), _number(codes, flags, start, end, 1))
    others = (_number(codes, flags, start, end, 2), _number(codes, flags, start, end, 3))
    first, second = numbers
    if not 1 <= first <= 223 or second < 0 or others[0] < 0 or not 1 <= others[1] <= 254:
        return False
    if first in (10, 127) or (first == 169 and second == 254) or (first == 192 and second == 168):
        return False
    return not (first == 172 and 16 <= second <= 31)


@inner
def _number(codes: Codes, flags: Codes, start: int, end: int, which: int) -> int:
    """The number between two full stops, -1 where there is no number up to 255."""
    dots, value, digits = 0, 0, 0
    for at in range(start, end):
        if codes[at] == _DOT:
            dots += 1
        elif dots == which:
            if not flags[at] & _DIGIT:
                return -1
            digits += 1
            value = value * 10 + codes[at] - 0x30
    return value if 1 <= digits <= 3 and value <= 255 else -1


@inner
def _tail(codes: Codes, flags: Codes, at: int, end: int) -> bool:
    if at < end and codes[at] == _COLON:
        port = at + 1
        while port < end and flags[port] & _DIGIT:
            port += 1
        if not 2 <= port - at - 1 <= 5:
            return False
        at = port
    return at == end or codes[at] in (_SLASH, _QUESTION, _HASH)
