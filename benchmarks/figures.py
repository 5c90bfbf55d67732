"""What a benchmark is given and what it gives back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """One benchmark's surroundings."""

    folder: Path
    """Empty folder of its own, deleted afterwards."""
    quick: bool = False
    """Smaller work, coarser figures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured number."""

    name: str
    """As in the interface: `append_per_s`, `noop.p50_ms`."""
    value: float
    unit: str
    """`s`, `ms`, `MB`, `1/s`, or empty for a fraction."""
    peer: str = ""
    """What a user would pick instead, measured in the same run; empty without one."""
    peer_value: float | None = None

    def as_json(self) -> dict[str, Any]:
        """The figure as `--json` writes it; `ratio` is null without a peer."""
        ratio = self.value / self.peer_value if self.peer_value else None
        peer = {"peer": self.peer or None, "peer_value": self.peer_value, "ratio": ratio}
        return {"name": self.name, "value": self.value, "unit": self.unit, **peer}

    def __str__(self) -> str:
        """One line for a person."""
        beside = (
            f"  ({self.peer}: {self.peer_value:g}, ratio {self.value / self.peer_value:.2f})" if self.peer_value else ""
        )
        return f"{self.name} = {self.value:g} {self.unit}".rstrip() + beside
