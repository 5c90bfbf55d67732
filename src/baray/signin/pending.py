"""Ceremonies that have begun and not ended: challenges, states, keys to confirm. Each is taken once.

Held in memory, bounded in number and time: beginning one writes nothing, so that a visitor cannot fill the database.
"""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from typing import Any

from baray.core import Clock, Refused

SECONDS = 600.0
_MAX_KEPT = 5000


class Pending:
    """Remembers what a ceremony needs at its end."""

    def __init__(self, clock: Clock) -> None:
        """Begin with none."""
        self._clock = clock
        self._kept: OrderedDict[str, tuple[float, str, dict[str, Any]]] = OrderedDict()
        self._lock = threading.Lock()  # guards _kept

    def begin(self, kind: str, values: dict[str, Any]) -> str:
        """Remember `values`; returns the name under which `take` gives them once."""
        flow = secrets.token_urlsafe(32)
        with self._lock:
            self._kept[flow] = (self._clock.monotonic() + SECONDS, kind, values)
            while len(self._kept) > _MAX_KEPT:
                self._kept.popitem(last=False)
        return flow

    def take(self, flow: str, kind: str) -> dict[str, Any]:
        """What was remembered. Raises Refused `bad_flow` where it is unknown, taken, too old or another kind's."""
        with self._lock:
            until, known, values = self._kept.pop(flow, (0.0, "", {}))
        if known != kind or until <= self._clock.monotonic():
            raise Refused("bad_flow", "This sign-in was begun too long ago, or elsewhere.", fix="Begin again.")
        return values
