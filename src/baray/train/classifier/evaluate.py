"""Scores with their uncertainty: macro-F1, bootstrap intervals, and the comparison with the baseline.

The bootstrap resamples held-out letters with replacement (Efron, 1979; percentile interval). Model and baseline are
scored on the same resamples, so that their difference is paired. What it covers: chance in which letters were held
out. What it does not: letters of another office, another year, or written by another hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A number with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Model against baseline on the same letters, all macro-F1."""

    model: Estimate
    baseline: Estimate
    difference: Estimate
    """Model minus baseline, paired."""

    @property
    def beats_baseline(self) -> bool:
        """Whether the whole interval of the difference lies above 0."""
        return self.difference.low > 0

    @property
    def verdict(self) -> str:
        """One plain sentence."""
        gap = self.difference
        interval = f"{gap.value:.3f} macro-F1, 95 % interval {gap.low:.3f} to {gap.high:.3f}"
        if self.beats_baseline:
            return f"Beat the keyword baseline (by {interval})."
        return f"Did not beat the keyword baseline (difference {interval})."


def compare(
    truth: NDArray[np.int64],
    model: NDArray[np.int64],
    baseline: NDArray[np.int64],
    *,
    num_classes: int,
    resamples: int,
    seed: int,
) -> Comparison:
    """Score `model` and `baseline` (class numbers, one a letter) against `truth`."""
    everything = np.ones((1, len(truth)))
    draws = np.random.default_rng(seed).integers(0, len(truth), size=(resamples, len(truth)))
    weights = np.apply_along_axis(np.bincount, 1, draws, minlength=len(truth)).astype(np.float64)
    scores = [
        (macro_f1(truth, guess, everything, num_classes)[0], macro_f1(truth, guess, weights, num_classes))
        for guess in (model, baseline)
    ]
    (model_value, model_draws), (baseline_value, baseline_draws) = scores
    return Comparison(
        model=_estimate(model_value, model_draws),
        baseline=_estimate(baseline_value, baseline_draws),
        difference=_estimate(model_value - baseline_value, model_draws - baseline_draws),
    )


def macro_f1(
    truth: NDArray[np.int64], guess: NDArray[np.int64], weights_rn: NDArray[np.float64], num_classes: int
) -> NDArray[np.float64]:
    """Macro-F1 of each of R weightings of N letters; a class that one neither holds nor guesses does not count."""
    classes = np.arange(num_classes)
    true_nc = (truth[:, None] == classes).astype(np.float64)
    guess_nc = (guess[:, None] == classes).astype(np.float64)
    hits_rc = weights_rn @ (true_nc * guess_nc)
    total_rc = weights_rn @ true_nc + weights_rn @ guess_nc
    present_rc = total_rc > 0
    f1_rc = np.divide(2 * hits_rc, total_rc, out=np.zeros_like(hits_rc), where=present_rc)
    return np.asarray(f1_rc.sum(axis=1) / present_rc.sum(axis=1))


def per_class(
    truth: NDArray[np.int64], guess: NDArray[np.int64], classes: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Precision, recall, F1 and number of letters of each class."""
    table: dict[str, dict[str, float]] = {}
    for number, name in enumerate(classes):
        hits = int(((truth == number) & (guess == number)).sum())
        held, guessed = int((truth == number).sum()), int((guess == number).sum())
        table[name] = {
            "precision": round(hits / guessed, 4) if guessed else 0.0,
            "recall": round(hits / held, 4) if held else 0.0,
            "f1": round(2 * hits / (held + guessed), 4) if held + guessed else 0.0,
            "letters": held,
        }
    return table


def confusion(truth: NDArray[np.int64], guess: NDArray[np.int64], num_classes: int) -> list[list[int]]:
    """Rows: the true class; columns: the guessed one."""
    table = np.zeros((num_classes, num_classes), dtype=np.int64)
    np.add.at(table, (truth, guess), 1)
    return [[int(cell) for cell in row] for row in table]


def review_below(truth: NDArray[np.int64], probabilities_nc: NDArray[np.float64], *, wanted: float = 0.95) -> float:
    """The least probability from which on at least `wanted` of the guesses are right: below it a person should look."""
    guess = probabilities_nc.argmax(axis=1)
    order = np.argsort(-probabilities_nc.max(axis=1), kind="stable")
    right = (guess == truth)[order]
    share = np.cumsum(right) / np.arange(1, len(right) + 1)
    good = np.flatnonzero(share >= wanted)
    if not len(good):
        return 1.0
    return round(float(probabilities_nc.max(axis=1)[order][good[-1]]), 4)


def _estimate(value: float, draws: NDArray[np.float64]) -> Estimate:
    low, high = np.quantile(draws, (0.025, 0.975))
    return Estimate(value=round(float(value), 4), low=round(float(low), 4), high=round(float(high), 4))
