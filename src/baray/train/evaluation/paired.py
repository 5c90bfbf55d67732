"""A score as a ratio of sums over Documents, with its uncertainty; two versions on the same Documents.

The bootstrap resamples Documents with replacement (Efron 1979; percentile interval); both versions are scored on the same
resamples. Covered: chance in which Documents were measured. Not covered: text of another office, year or kind.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A number with its 95 % interval."""

    value: float
    low: float
    high: float

    def as_json(self) -> dict[str, float]:
        """Rounded for people."""
        return {"value": round(self.value, 5), "low": round(self.low, 5), "high": round(self.high, 5)}


class Resamples:
    """The same resamples of Documents for every score: `weights_d` is what each Document counts (bytes, characters)."""

    def __init__(self, weights_d: NDArray[np.float64], *, resamples: int, seed: int) -> None:
        """Draw them."""
        chance = np.random.default_rng(seed)
        size = len(weights_d)
        # Multinomial counts say how often a Document was drawn: the same as drawing its number `size` times.
        self._draws_rd = chance.multinomial(size, np.full(size, 1 / size), size=resamples).astype(np.float64)
        self._weights_d = weights_d
        self._total_r = self._draws_rd @ weights_d

    def ratio(self, sums_d: NDArray[np.float64]) -> Interval:
        """Sum of `sums_d` over the sum of the weights."""
        total = float(self._weights_d.sum())
        found_r = self._draws_rd @ sums_d / np.maximum(self._total_r, 1e-12)
        low, high = np.quantile(found_r, (0.025, 0.975))
        return Interval(value=float(sums_d.sum()) / max(total, 1e-12), low=float(low), high=float(high))


def verdict(difference: Interval, *, model: str, other: str, unit: str, less_is_better: bool) -> str:
    """One plain sentence on model minus other."""
    sign = -1 if less_is_better else 1
    interval = f"{difference.value:+.4f} {unit}, 95 % interval {difference.low:+.4f} to {difference.high:+.4f}"
    if difference.low > 0 or difference.high < 0:
        better = difference.value * sign > 0
        return f"{model} is {'better' if better else 'worse'} than {other} ({interval})."
    return f"{model} and {other} cannot be told apart on these Documents ({interval})."
