"""Quotas of keys: requests a minute and tokens a day, counted for all router processes of a home together.

The counts lie in one small file that every process maps; a lock (flock) is held for the microseconds of a change, and
the kernel frees it when its holder dies. So the limit on requests is exact, however many processes answer. Tokens are
counted when an answer has ended: what is on its way when the limit is reached still goes through.

What is covered: restarts of routers and of the machine. Not covered: a file that somebody deletes starts again at
nothing; more than 4,096 bounded keys at once evict those that were used longest ago.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import zlib
from pathlib import Path

from baray.access import Bounds
from baray.core import Clock, Fault, Refused

SLOTS = 4096
SLOT = struct.Struct("<40sddqq")  # key's id; requests left; when that was so; day of the tokens; tokens of that day
MINUTE_SECONDS = 60.0
DAY_SECONDS = 86400
_PROBES = 32
_NOWHERE = (b"\xff", 0)  # no key's id begins so


class Quotas:
    """The counts of all keys. Used from one event loop of each process."""

    def __init__(self, path: Path, *, clock: Clock) -> None:
        """Count in the file at `path`, which is made by the first key that is bounded."""
        self._path = path
        self._clock = clock
        self._handle = -1
        self._map: mmap.mmap | None = None
        self._places: dict[str, tuple[bytes, int]] = {}

    def take(self, key_id: str, bounds: Bounds) -> None:
        """Count a request. Raises Refused `too_many_requests`, `quota_spent` (both 429, with Retry-After)."""
        if not bounds.requests_per_minute and not bounds.tokens_per_day:
            return
        now = self._clock.now()
        slots = self._lock()
        try:
            at = self._place(slots, key_id)
            _, left, then, day, tokens = SLOT.unpack_from(slots, at)
            spent = tokens if day == int(now // DAY_SECONDS) else 0
            if bounds.tokens_per_day and spent >= bounds.tokens_per_day:
                raise _spent(spent, bounds, now)
            most = bounds.requests_per_minute
            if most:
                # A key that is new has all; a clock that was set back gives nothing.
                gained = max(0.0, now - then) * most / MINUTE_SECONDS if then else float(most)
                left = min(float(most), left + gained)
                if left < 1.0:
                    raise _too_many(bounds, (1.0 - left) * MINUTE_SECONDS / most)
                SLOT.pack_into(slots, at, key_id.encode(), left - 1.0, now, day, tokens)
        finally:
            self._unlock()

    def spend(self, key_id: str, bounds: Bounds, tokens: int) -> None:
        """Count the tokens of an answer that has ended."""
        if not bounds.tokens_per_day or not tokens:
            return
        today = int(self._clock.now() // DAY_SECONDS)
        slots = self._lock()
        try:
            at = self._place(slots, key_id)
            _, left, then, day, before = SLOT.unpack_from(slots, at)
            SLOT.pack_into(slots, at, key_id.encode(), left, then, today, tokens + (before if day == today else 0))
        finally:
            self._unlock()

    def close(self) -> None:
        """Let go of the file."""
        if self._map is not None:
            self._map.close()
            os.close(self._handle)
            self._map = None

    def _place(self, slots: mmap.mmap, key_id: str) -> int:
        """Where the key is counted; the caller holds the lock. Where it was before is looked at first."""
        wanted, at = self._places.get(key_id, _NOWHERE)
        if slots[at : at + len(wanted)] != wanted:
            wanted = key_id.encode().ljust(40, b"\0")
            at = _find(slots, wanted)
            if len(self._places) >= SLOTS:
                self._places.clear()
            self._places[key_id] = wanted, at
        return at

    def _lock(self) -> mmap.mmap:
        if self._map is None:
            self._map = self._open()
        fcntl.flock(self._handle, fcntl.LOCK_EX)
        return self._map

    def _unlock(self) -> None:
        fcntl.flock(self._handle, fcntl.LOCK_UN)

    def _open(self) -> mmap.mmap:
        """Map the file, every byte of it on the disk: writing to a hole of a full disk would kill the process.

        Raises Fault `receipt_not_kept` (503).
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._handle = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            os.posix_fallocate(self._handle, 0, SLOTS * SLOT.size)
            return mmap.mmap(self._handle, SLOTS * SLOT.size)
        except OSError as error:
            if self._handle >= 0:
                os.close(self._handle)
                self._handle = -1
            raise Fault(
                "receipt_not_kept",
                "What the key has used could not be counted, so nothing is asked.",
                fix="Free space on the disk of the home, then ask again.",
                status=503,
            ) from error


def _find(slots: mmap.mmap, wanted: bytes) -> int:
    """Place of a key's slot by its padded id; the caller holds the lock. A slot that is taken over is emptied."""
    first = zlib.crc32(wanted)
    oldest, oldest_then = -1, 0.0
    for step in range(_PROBES):
        at = (first + step) % SLOTS * SLOT.size
        held, _, then, *_ = SLOT.unpack_from(slots, at)
        if held == wanted or held[0] == 0:
            return at
        if oldest < 0 or then < oldest_then:
            oldest, oldest_then = at, then
    SLOT.pack_into(slots, oldest, b"", 0.0, 0.0, 0, 0)
    return oldest


def _too_many(bounds: Bounds, seconds: float) -> Refused:
    error = Refused(
        "too_many_requests",
        f"This key asks more than {bounds.requests_per_minute} times a minute.",
        fix="Ask more slowly, or ask for a key with a higher limit.",
        status=429,
    )
    return _later(error, seconds)


def _spent(spent: int, bounds: Bounds, now: float) -> Refused:
    error = Refused(
        "quota_spent",
        f"This key has used {spent} of its {bounds.tokens_per_day} tokens of today.",
        fix="Ask after midnight UTC, or ask for a key with a higher limit.",
        status=429,
    )
    return _later(error, DAY_SECONDS - now % DAY_SECONDS)


def _later(error: Refused, seconds: float) -> Refused:
    error.headers["retry-after"] = str(max(1, -int(-seconds // 1)))
    return error
