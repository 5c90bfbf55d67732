"""How fast a build goes, for whoever waits: a line in the log, numbers for the curves, and how much is left."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from baray.runs import AttemptContext

_EVERY_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """How far the work is."""

    documents: int
    """Documents that came in, of all Attempts."""
    bytes: int
    """Bytes of files that are read, of all Attempts."""
    text: int
    """Characters of the file that is being read."""


class Pace:
    """Tells now and then how far the reading is."""

    def __init__(self, context: AttemptContext, *, files: int, total_bytes: int, begun: Count) -> None:
        """Begin at what earlier Attempts did."""
        self._context = context
        self._files = files
        self._total = total_bytes
        self._begun = begun
        self._since = self._told = context.now()

    def tell(self, files_done: int, count: Count, drops: Callable[[], Mapping[str, int]]) -> None:
        """Say how far it is; called as often as you like. `drops`: step -> Documents that it dropped so far."""
        self._context.progress(files_done, self._files, "files")
        now = self._context.now()
        if now - self._told < _EVERY_SECONDS:
            return
        self._told = now
        done = min(self._total, count.bytes + count.text)
        seconds = now - self._since
        documents = (count.documents - self._begun.documents) / seconds
        speed = (done - self._begun.bytes) / seconds
        left = f", about {_duration((self._total - done) / speed)} left" if speed > 0 else ""
        gone = ", ".join(f"{step} {number}" for step, number in drops().items()) or "none"
        self._context.log(
            f"{count.documents} Documents, {documents:.0f} a second, {speed / 1e6:.2f} MB/s,"
            f" {100 * done / max(1, self._total):.0f} % of {self._total / 1e6:.1f} MB{left}"
            + (f"; dropped: {gone}" if gone else "")
        )
        self._context.metric("documents.per_second", round(documents, 2), step=count.documents)
        self._context.metric("megabytes.per_second", round(speed / 1e6, 4), step=count.documents)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
