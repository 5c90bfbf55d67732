"""Curves as SVG paths on one scale, with the words of both axes beside them, so that a phone can read these."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from baray.web.api.curves import Point, thinned

WIDTH, HEIGHT = 1000, 400
"""Of the drawing, in its own units: the page stretches it."""
_MOST_POINTS = 240
_INTERVALS = 4
_NICE = (1.0, 2.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One curve."""

    key: str
    """What it is called beside its colour."""
    href: str
    """Where its name leads; empty: nowhere."""
    path: str
    """The `d` of an SVG path."""
    first: str
    """Its first value."""
    last: str
    """Its last value, not thinned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """Curves on one scale."""

    lines: tuple[Line, ...]
    """In the order of their colours."""
    heights: tuple[str, ...]
    """Values at the horizontal lines, highest first, evenly spaced."""
    steps: tuple[str, ...]
    """Steps at the vertical lines, evenly spaced."""

    @property
    def levels(self) -> list[float]:
        """Where the horizontal lines are."""
        return [HEIGHT * number / (len(self.heights) - 1) for number in range(len(self.heights))]


def draw(curves: Mapping[str, Sequence[Point]], hrefs: Mapping[str, str] | None = None) -> Plot | None:
    """Draw curves of two points or more; None where there is none."""
    shown = {key: points for key, points in curves.items() if len(points) > 1}
    if not shown:
        return None
    drawn = {key: thinned(points, _MOST_POINTS) for key, points in shown.items()}
    values = [value for points in drawn.values() for _, value in points]
    heights = _levels(min(values), max(values))
    left = min(points[0][0] for points in shown.values())
    left = 0.0 if 0 < left <= 1 else left
    right = max(points[-1][0] for points in shown.values())
    lines = tuple(
        Line(
            key=key,
            href=(hrefs or {}).get(key, ""),
            path=_path(drawn[key], (left, right), (heights[0], heights[-1])),
            first=f"{points[0][1]:.4g}",
            last=f"{points[-1][1]:.4g}",
        )
        for key, points in shown.items()
    )
    quarters = [left + (right - left) * number / _INTERVALS for number in range(_INTERVALS + 1)]
    return Plot(
        lines=lines,
        heights=tuple(f"{height:.6g}" for height in heights),
        steps=tuple(f"{round(step):,}" for step in quarters),
    )


def _levels(low: float, high: float) -> list[float]:
    """Round values from above `high` to below `low`, evenly spaced."""
    span = (high - low) or abs(high) or 1.0
    scale = 10.0 ** math.floor(math.log10(span / _INTERVALS))
    step = next(nice * scale for nice in _NICE if nice * scale >= span / _INTERVALS * 0.999)
    bottom, top = math.floor(low / step), max(math.ceil(high / step), math.floor(low / step) + 1)
    return [number * step for number in range(top, bottom - 1, -1)]


def _path(points: Sequence[Point], across: tuple[float, float], down: tuple[float, float]) -> str:
    width, height = (across[1] - across[0]) or 1.0, down[1] - down[0]
    places = [
        f"{WIDTH * (step - across[0]) / width:.1f} {HEIGHT * (value - down[0]) / height:.1f}" for step, value in points
    ]
    return "M" + "L".join(places)
