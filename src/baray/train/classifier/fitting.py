"""Fitting: multinomial logistic regression, with n-grams and penalty chosen on the validation letters.

One thread and a fixed order of letters: the same letters give the same weights, bit for bit, on the same machine.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from baray.train.classifier.evaluate import macro_f1, review_below
from baray.train.classifier.features import Grams, Vocabulary, count_buckets, learn_vocabulary, rows
from baray.train.classifier.letters import Letter, Split

LENGTHS = ((1, 3), (1, 4))
POWERS = (1.0, 2.0, 3.0)
"""Of the scale of a bucket."""
PENALTIES = (3.0, 30.0)
"""Inverse strength C of the L2 penalty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A model in memory: what the version's files hold."""

    classes: tuple[str, ...]
    vocabulary: Vocabulary
    weights_nc: NDArray[np.float32]
    """One row a known bucket, one column a class."""
    intercept_c: NDArray[np.float32]
    review_below: float
    """Below this probability of the best class a person should look; chosen on the validation letters."""
    candidates: tuple[dict[str, float], ...]
    """What was tried, with its validation scores."""
    chosen: dict[str, float]
    """The candidate that was taken."""


def fit(split: Split, *, bits: int, progress: Callable[[int, int], None]) -> Fitted:
    """Choose on train against validation, then fit the chosen one on both."""
    classes = tuple(sorted({letter.target for letter in split.train}))
    tried: list[tuple[dict[str, float], float]] = []
    total = len(LENGTHS) * len(POWERS) * len(PENALTIES) + 1
    with threadpool_limits(limits=1):
        for shortest, longest in LENGTHS:
            for candidate in _try_lengths(split, classes, Grams(shortest=shortest, longest=longest, bits=bits)):
                tried.append(candidate)
                progress(len(tried), total)
        chosen, review = max(tried, key=lambda pair: (pair[0]["macro_f1"], -pair[0]["log_loss"]))
        grams = Grams(shortest=int(chosen["shortest"]), longest=int(chosen["longest"]), bits=bits)
        both = split.train + split.validation
        counts, truth = _counts(both, grams), numbers(both, classes)
        vocabulary = learn_vocabulary(counts, truth, grams=grams, power=chosen["power"])
        weights, intercept = _fit_one(rows(counts, vocabulary), truth, chosen["c"], len(classes))
    progress(total, total)
    return Fitted(
        classes=classes,
        vocabulary=vocabulary,
        weights_nc=weights.astype(np.float32),
        intercept_c=intercept.astype(np.float32),
        review_below=review,
        candidates=tuple(candidate for candidate, _ in tried),
        chosen=chosen,
    )


def _try_lengths(split: Split, classes: Sequence[str], grams: Grams) -> Iterator[tuple[dict[str, float], float]]:
    """Each power and penalty: (settings with validation scores, probability below which a person should look)."""
    train, validation = _counts(split.train, grams), _counts(split.validation, grams)
    known_truth, held_truth = numbers(split.train, classes), numbers(split.validation, classes)
    for power in POWERS:
        vocabulary = learn_vocabulary(train, known_truth, grams=grams, power=power)
        known, held = rows(train, vocabulary), rows(validation, vocabulary)
        for penalty in PENALTIES:
            weights, intercept = _fit_one(known, known_truth, penalty, len(classes))
            probabilities = softmax(held @ weights + intercept)
            settings = {"shortest": grams.shortest, "longest": grams.longest, "power": power, "c": penalty}
            yield settings | _scores(held_truth, probabilities), review_below(held_truth, probabilities)


def predict(model: Fitted, letters: Sequence[Letter]) -> NDArray[np.float64]:
    """Probabilities, one row a letter, from the float32 weights that the version holds."""
    matrix = letter_rows(model, letters)
    return softmax(matrix @ model.weights_nc.astype(np.float64) + model.intercept_c.astype(np.float64))


def letter_rows(model: Fitted, letters: Sequence[Letter]) -> sparse.csr_matrix:
    """The letters' rows in the model's vocabulary."""
    return rows(_counts(letters, model.vocabulary.grams), model.vocabulary)


def numbers(letters: Sequence[Letter], classes: Sequence[str]) -> NDArray[np.int64]:
    """Class numbers of `letters`."""
    number = {name: index for index, name in enumerate(classes)}
    return np.array([number[letter.target] for letter in letters], dtype=np.int64)


def softmax(scores_nc: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows of probabilities."""
    powers = np.exp(scores_nc - scores_nc.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def _counts(letters: Sequence[Letter], grams: Grams) -> list[Counter[int]]:
    return [count_buckets(letter.text, grams) for letter in letters]


def _fit_one(
    matrix: sparse.csr_matrix, truth: NDArray[np.int64], penalty: float, num_classes: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weights (buckets x classes) and intercepts."""
    estimator = LogisticRegression(C=penalty, solver="lbfgs", max_iter=500, tol=1e-5)
    estimator.fit(matrix, truth)
    weights, intercept = estimator.coef_, estimator.intercept_
    if num_classes == 2:
        # Two classes come as one column of log-odds: softmax over (0, z) gives the same probabilities.
        weights, intercept = np.vstack([np.zeros_like(weights), weights]), np.concatenate([[0.0], intercept])
    return np.ascontiguousarray(weights.T), np.asarray(intercept)


def _scores(truth: NDArray[np.int64], probabilities: NDArray[np.float64]) -> dict[str, float]:
    f1 = macro_f1(truth, probabilities.argmax(axis=1), np.ones((1, len(truth))), probabilities.shape[1])[0]
    log_loss = -np.log(np.maximum(probabilities[np.arange(len(truth)), truth], 1e-12)).mean()
    return {"macro_f1": round(float(f1), 4), "log_loss": round(float(log_loss), 4)}
