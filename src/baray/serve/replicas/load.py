"""How many Replicas a Service should have, by its load. Pure: what is remembered between looks stands in `Load`."""

from __future__ import annotations

from dataclasses import dataclass

BUSY_SECONDS = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the Service allows."""

    least: int
    """Replicas at least; 0 lets it sleep."""
    most: int
    """Replicas at most."""
    idle_seconds: float
    """Without requests for so long it shrinks to the least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What was seen of one Service up to now; times in seconds since 1970."""

    used: float
    """When there was last a request."""
    waits_since: float | None = None
    """Since when requests wait in line without a break."""


def look(load: Load, *, now: float, active: int, waiting: int, asked: float, woken: bool) -> Load:
    """Take in what was just seen; `asked` is the time of the last Answer, 0 if there was none."""
    busy = now if active or waiting or woken else max(load.used, asked)
    waits = (now if load.waits_since is None else load.waits_since) if waiting else None
    return Load(used=busy, waits_since=waits)


def number(load: Load, limits: Limits, *, now: float, wanted: int, ready: int, woken: bool) -> int:
    """How many Replicas there should be, when `wanted` were wanted before and `ready` are ready."""
    if woken and wanted == 0:
        wanted = 1
    elif load.waits_since is not None and now - load.waits_since >= BUSY_SECONDS and ready >= wanted:
        wanted += 1
    elif now - load.used >= limits.idle_seconds:
        wanted = limits.least
    return min(limits.most, max(limits.least, wanted))
