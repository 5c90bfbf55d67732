"""The loss of a Run while it goes down: one line of a terminal, and several Runs on one scale."""

from __future__ import annotations

from collections.abc import Sequence

from baray.client.cli import Cli
from baray.client.sdk.transport import Json
from baray.core import format_seconds

LOSS, SPEED = "loss", "tokens_per_second"
_BARS = "▁▂▃▄▅▆▇█"
_CELLS = 28
_RECENT = 50  # steps by which the rest is estimated

Point = tuple[float, float]
"""Step and value."""


class Curve:
    """Follows the numbers of a Run, asking only for what is new."""

    def __init__(self, cli: Cli, run: str) -> None:
        """Nothing known yet."""
        self._cli, self._run, self._offset = cli, run, 0
        self._losses: dict[float, tuple[float, float]] = {}  # step -> value, time
        self._speed = 0.0

    @property
    def points(self) -> list[Point]:
        """Steps and losses, by step."""
        return [(step, value) for step, (value, _) in sorted(self._losses.items())]

    @property
    def step(self) -> float:
        """The last step that is known; 0 before the first."""
        return max(self._losses, default=0.0)

    def look(self) -> None:
        """Take over what came since. A resumed Run does steps again: what is sent anew replaces what was."""
        page = self._cli.client.get(f"runs/{self._run}/metrics", offset=self._offset)
        losses = [one for one in page["items"] if one["name"] == LOSS]
        if losses:
            again = float(losses[0]["step"])
            self._losses = {step: known for step, known in self._losses.items() if step < again}
        self._losses |= {float(one["step"]): (float(one["value"]), float(one["time"])) for one in losses}
        self._speed = next((one["value"] for one in reversed(page["items"]) if one["name"] == SPEED), self._speed)
        self._offset = page["offset"]

    def line(self, progress: Json | None) -> str:
        """A sparkline with loss, speed and the time that is left; empty before the first loss."""
        if not self._losses:
            return ""
        points = self.points
        total = steps_of(progress)
        done = f"{points[-1][0]:,.0f}/{total:,.0f}" if total else f"{points[-1][0]:,.0f}"
        told = [sparkline(points), f"loss {points[-1][1]:.4f}", done]
        if self._speed:
            told.append(f"{self._speed:,.0f} tokens/s")
        left = self._left(total)
        return "  ".join([*told, f"{format_seconds(left)} left"] if left else told)

    def _left(self, total: float) -> float:
        recent = sorted(self._losses.items())[-_RECENT:]
        (first, (_, began)), (last, (_, now)) = recent[0], recent[-1]
        return (total - last) * (now - began) / (last - first) if last > first and total > last else 0.0


def steps_of(progress: Json | None) -> float:
    """How many steps a training has, where its progress counts steps; else 0."""
    return float(progress.get("total") or 0.0) if progress and progress.get("unit") == "steps" else 0.0


def sparkline(points: Sequence[Point], *, low: float | None = None, high: float | None = None, end: float = 0.0) -> str:
    """Bars for stretches of steps of equal length; on the scale `low` to `high`, up to step `end`, where these are given."""
    values = [value for _, value in points]
    bottom = min(values) if low is None else low
    span = ((max(values) if high is None else high) - bottom) or 1.0
    first, last = points[0][0], max(end, points[-1][0])
    cells = min(_CELLS, max(1, len(points)))
    stretches: dict[int, list[float]] = {}
    for step, value in points:
        place = int((step - first) / ((last - first) or 1.0) * cells)
        stretches.setdefault(min(cells - 1, place), []).append(value)
    means = {place: sum(part) / len(part) for place, part in stretches.items()}
    return "".join(_bar((means[place] - bottom) / span) if place in means else " " for place in range(cells))


def compared(curves: Sequence[Sequence[Point]]) -> list[str]:
    """Sparklines of several Runs on one scale; empty text for one without a curve."""
    known = [curve for curve in curves if curve]
    if not known:
        return ["" for _ in curves]
    values = [value for curve in known for _, value in curve]
    end = max(curve[-1][0] for curve in known)
    return [sparkline(curve, low=min(values), high=max(values), end=end) if curve else "" for curve in curves]


def _bar(share: float) -> str:
    return _BARS[min(len(_BARS) - 1, max(0, int(share * len(_BARS))))]
