"""What an Evaluation found: Scores with their intervals, the comparison, what the model may have seen before."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from baray.train.evaluation.paired import Interval, Resamples, verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One way to score: the sum of `sums` over the sum of `weights`, both one number a Document."""

    name: str
    """As in `--metric`."""
    unit: str
    """Of its Score."""
    sums: NDArray[np.float64]
    """Bits, tokens, hits."""
    weights: NDArray[np.float64]
    """Bytes, characters, letters."""
    less_is_better: bool
    """Whether a lower Score is the better one."""
    shown: Callable[[float], float] = field(default=float)
    """From the ratio to the Score; it only grows or only falls."""

    def interval(self, resamples: int, seed: int) -> Interval:
        """The Score with its interval."""
        found = Resamples(self.weights, resamples=resamples, seed=seed).ratio(self.sums)
        low, high = sorted((self.shown(found.low), self.shown(found.high)))
        return Interval(value=self.shown(found.value), low=low, high=high)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One Model version measured on some Documents."""

    ids: Sequence[str]
    """Of the Documents."""
    metrics: Mapping[str, Metric]
    """By name; the first is what versions are compared by."""
    overlap: NDArray[np.float64] | None = None
    """Of each Document the share of its runs of tokens that the model learnt from; None where nobody could look."""
    beside: Mapping[str, Any] = field(default_factory=dict)
    """What else goes into evaluation.json: baselines, classes."""

    @property
    def first(self) -> Metric:
        """What versions are compared by."""
        return next(iter(self.metrics.values()))


def scores(found: Measured, names: Sequence[str], *, resamples: int, seed: int) -> list[dict[str, Any]]:
    """Scores of the metrics that were asked for, all where none was."""
    chosen = [metric for name, metric in found.metrics.items() if not names or name in names]
    return [
        {"metric": metric.name, "unit": metric.unit} | metric.interval(resamples, seed).as_json() for metric in chosen
    ]


def difference(
    found: Measured, other: Measured, *, model: str, against: str, resamples: int, seed: int
) -> dict[str, Any]:
    """Both versions on the same Documents by the first metric: model minus other, with a sentence."""
    mine, theirs = found.first, other.first
    draws = Resamples(mine.weights, resamples=resamples, seed=seed)
    gap = draws.ratio(mine.sums - theirs.sums)
    told = verdict(gap, model=model, other=against, unit=mine.unit, less_is_better=mine.less_is_better)
    return {
        "against": against,
        "metric": mine.name,
        "score": draws.ratio(theirs.sums).as_json(),
        "difference": gap.as_json(),
        "verdict": told,
    }


def seen_before(found: Measured) -> dict[str, Any] | None:
    """How many Documents the model may have learnt from, and the first metric's Score without them."""
    if found.overlap is None:
        return None
    clean = found.overlap == 0
    metric = found.first
    without = metric.shown(metric.sums[clean].sum() / max(1e-12, metric.weights[clean].sum())) if clean.any() else None
    return {
        "documents": len(found.overlap),
        "by": "13 tokens in a row",
        "some": int((found.overlap > 0).sum()),
        "half": int((found.overlap >= 0.5).sum()),
        "score_without": None if without is None else round(without, 5),
    }
