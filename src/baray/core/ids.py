"""Ids: a prefix, `_`, and 26 characters of Crockford base 32 that sort by time (the layout of ULID).

Prefixes: `w` Revision, `p` project, `u` actor, `s` source, `d` dataset, `i` index, `m` model, `v` version, `r` Run, `t` Attempt,
`l` Lease, `e` Service, `n` Node, `a` Answer, `k` key or token, `g` session, `rp` Replica.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable

from baray.core.clock import Clock

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = tuple(one + other for one in _ALPHABET for other in _ALPHABET)
_SHIFTS = tuple(range(120, -1, -10))
_ID = re.compile(rf"[a-z]{{1,3}}_[{_ALPHABET}]{{26}}\Z")


class Ids:
    """Makes ids of the form `r_` + 10 characters of milliseconds + 16 of chance."""

    def __init__(self, clock: Clock, random_bits: Callable[[int], int] = secrets.randbits) -> None:
        """Take time from `clock` and chance from `random_bits(number of bits)`."""
        self._clock = clock
        self._random_bits = random_bits

    def new(self, prefix: str) -> str:
        """A fresh id with `prefix` (one to three letters)."""
        number = (int(self._clock.now() * 1000) << 80) | self._random_bits(80)
        return prefix + "_" + "".join([_PAIRS[(number >> shift) & 1023] for shift in _SHIFTS])


def made_at(text: str) -> float | None:
    """When an id says it was made, seconds since 1970; None for what is no id."""
    if _ID.match(text) is None:
        return None
    number = 0
    for character in text.partition("_")[2][:10]:
        number = number << 5 | _ALPHABET.index(character)
    return number / 1000


def is_id(text: str, prefix: str) -> bool:
    """Whether `text` is an id with `prefix`."""
    return text.startswith(prefix + "_") and _ID.match(text) is not None
