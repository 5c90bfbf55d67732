"""How often somebody may fail to sign in: per address, per account from an address, and per account.

After five failures for an account from one address (ten for the account, twenty from an address, which a whole office may
share) each further one doubles the wait. An attempt counts as failed until it has succeeded, so that many at
once gain nothing. The wait per account alone is capped at a minute and does not hold at addresses from which the account
has come in before; links and passkeys, which nobody guesses, are never held up by an account's failures. So no
flood of guesses keeps an operator out: `baray login` on the server always works.

Held in memory: a restart forgets, and no attacker can cause one from here.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from baray.core import Clock, Refused

FORGET_SECONDS = 3600.0
_MAX_KEPT = 20_000


@dataclass(slots=True)
class _Count:
    failures: int = 0
    last: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """One thing that failures are counted of."""

    kind: str
    """`address`, `pair` or `account`."""
    key: str
    """Which."""
    free: int
    """So many failures cost nothing."""
    max_seconds: float
    """The longest wait."""


class Limits:
    """Counts failures, and says how long to wait."""

    def __init__(self, clock: Clock) -> None:
        """Count from nothing."""
        self._clock = clock
        self._counts: OrderedDict[str, _Count] = OrderedDict()
        self._known: OrderedDict[str, None] = OrderedDict()
        self._lock = threading.Lock()  # guards both

    def begin(self, account: str, address: str) -> list[Held]:
        """Count an attempt as failed. Raises Refused `too_many` (429); returns what has just reached its limit."""
        held = self._held(account, address)
        with self._lock:
            now = self._clock.monotonic()
            waits = [wait for one in held if (wait := self._wait(one, now)) > 0]
            if waits:
                raise _too_many(max(waits))
            return [one for one in held if self._add(one, now) == one.free]

    def succeed(self, account: str, address: str) -> None:
        """The attempt was right: forget the account's failures, take the address's back, and know the two together."""
        with self._lock:
            for one in self._held(account, address):
                if one.kind == "address":
                    count = self._counts.get(one.key)
                    if count is not None:
                        count.failures -= 1
                else:
                    self._counts.pop(one.key, None)
            self._known[_pair(account, address)] = None
            _trim(self._known)

    def _held(self, account: str, address: str) -> list[Held]:
        found = [Held(kind="address", key=f"address {address}", free=20, max_seconds=900.0)] if address else []
        if account:
            found.append(Held(kind="pair", key=_pair(account, address), free=5, max_seconds=900.0))
            if _pair(account, address) not in self._known:
                found.append(Held(kind="account", key=f"account {account}", free=10, max_seconds=60.0))
        return found

    def _wait(self, held: Held, now: float) -> float:
        count = self._counts.get(held.key)
        if count is None or count.failures < held.free:
            return 0.0
        if now - count.last > FORGET_SECONDS:
            del self._counts[held.key]
            return 0.0
        wait: float = min(held.max_seconds, 2.0 ** min(count.failures - held.free, 20))
        return count.last + wait - now

    def _add(self, held: Held, now: float) -> int:
        count = self._counts.setdefault(held.key, _Count())
        self._counts.move_to_end(held.key)
        count.failures, count.last = count.failures + 1, now
        _trim(self._counts)
        return count.failures


def kinds(held: Iterable[Held]) -> list[str]:
    """What reached its limit, for the ledger."""
    return sorted({one.kind for one in held})


def _pair(account: str, address: str) -> str:
    return f"pair {address} {account}"


def _trim(kept: OrderedDict[str, _Count] | OrderedDict[str, None]) -> None:
    while len(kept) > _MAX_KEPT:
        kept.popitem(last=False)


def _too_many(seconds: float) -> Refused:
    whole = max(1, int(seconds + 0.999))
    message = f"Too many sign-ins failed; the next one is possible in {whole} s."
    error = Refused("too_many", message, fix="Wait, or make a link on the server: baray login", status=429)
    error.headers["Retry-After"] = str(whole)
    return error
