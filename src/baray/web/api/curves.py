"""A Run's numbers as curves: read while they are being written, thinned to what a picture can show."""

from __future__ import annotations

import json
import math
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

METRICS_FILE = "metrics.jsonl"
_MOST_READ = 4000  # numbers of one name that are parsed; a Run of a month writes millions
_NAME = re.compile(rb'"name": ("(?:[^"\\]|\\.)*")')

Point = tuple[float, float]
"""Step and value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """The whole lines of one metrics.jsonl."""

    lines: tuple[bytes, ...]
    """As they were written."""

    def counts(self) -> dict[str, int]:
        """How many numbers each name has, in the order of their first."""
        found = Counter(match[1] for line in self.lines if (match := _NAME.search(line)))
        return {str(json.loads(name)): count for name, count in found.items()}

    def last(self) -> dict[str, dict[str, Any]]:
        """The last line of each name."""
        found = {match[1]: line for line in self.lines if (match := _NAME.search(line))}
        return {str(one["name"]): one for one in map(json.loads, found.values())}

    def curve(self, name: str) -> list[Point]:
        """Steps and values of `name`, by step; of very many a part, spread evenly, and the last."""
        mark = b'"name": ' + json.dumps(name).encode()
        mine = [line for line in self.lines if mark in line]
        stride = -(-len(mine) // _MOST_READ) or 1
        chosen = mine[::stride] if (len(mine) - 1) % stride == 0 else [*mine[::stride], mine[-1]]
        found = [json.loads(line) for line in chosen]
        points = {float(one["step"]): float(one["value"]) for one in found if one["name"] == name}
        return sorted((step, value) for step, value in points.items() if math.isfinite(value))


def read_numbers(folder: Path) -> Numbers:
    """What the Run of `folder` has written down; nothing where it has measured nothing. A line in writing is left out."""
    path = folder / METRICS_FILE
    return Numbers(lines=_whole_lines(path.read_bytes() if path.exists() else b""))


def read_since(folder: Path, offset: int) -> tuple[list[dict[str, Any]], int]:
    """The lines from byte `offset`, and where the last whole one ends; all of them where the file became shorter."""
    path = folder / METRICS_FILE
    if not path.exists():
        return [], 0
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        start = offset if 0 < offset <= size else 0
        file.seek(max(0, start - 1))
        if start and file.read(1) != b"\n":
            file.seek(0)
            start = 0
        data = file.read()
    whole = data.rfind(b"\n") + 1
    return [json.loads(line) for line in _whole_lines(data[:whole])], start + whole


def size_of(folder: Path) -> int:
    """Bytes of the numbers of a Run."""
    path = folder / METRICS_FILE
    return path.stat().st_size if path.exists() else 0


def _whole_lines(data: bytes) -> tuple[bytes, ...]:
    return tuple(line for line in data.splitlines() if line.endswith(b"}"))


def thinned(points: Sequence[Point], most: int) -> list[Point]:
    """At most `most` points: means of stretches of steps of equal length, each at the middle of its own."""
    if len(points) <= most:
        return list(points)
    first, last = points[0][0], points[-1][0]
    width = (last - first) / most or 1.0
    stretches: dict[int, list[Point]] = {}
    for step, value in points:
        stretches.setdefault(min(most - 1, int((step - first) / width)), []).append((step, value))
    return [
        (sum(step for step, _ in part) / len(part), sum(value for _, value in part) / len(part))
        for part in stretches.values()
    ]
