"""Time is passed in: a Clock tells wall time (seconds since 1970, UTC) and monotonic time."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Tells the time. Two adapters: the system's, and one that tests move by hand."""

    def now(self) -> float:
        """Seconds since 1970-01-01 UTC. May step backwards when an operator sets the clock."""

    def monotonic(self) -> float:
        """Seconds since some start; never steps back."""


class SystemClock:
    """The machine's clock."""

    def now(self) -> float:
        """Seconds since 1970-01-01 UTC."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds since an arbitrary start."""
        return time.monotonic()


class TestClock:
    """A clock that stands still until `advance` is called."""

    __test__ = False

    def __init__(self, start: float = 1_790_000_000.0) -> None:
        """Start at `start`, in seconds since 1970."""
        self._now = start

    def now(self) -> float:
        """Seconds since 1970-01-01 UTC."""
        return self._now

    def monotonic(self) -> float:
        """Seconds since the start of the clock."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Move the clock by `seconds`."""
        self._now += seconds


def iso_time(seconds: float) -> str:
    """`2026-11-21T08:00:00.123Z` of `seconds` since 1970."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def iso_date(seconds: float) -> str:
    """The UTC day `2026-11-21` of `seconds` since 1970."""
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()
