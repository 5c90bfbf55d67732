"""A classifier's score on other letters than it learnt from: its own files are read, as others read them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from baray.core import Refused
from baray.runs import Input
from baray.train.classifier.evaluate import Estimate, compare
from baray.train.classifier.features import Grams, Vocabulary
from baray.train.classifier.fitting import Fitted, numbers, predict
from baray.train.classifier.letters import Letter, read_letters
from baray.train.config import TextClassifier
from baray.train.evaluation.documents import files_of


def read_labelled(source: Input, model: Input, config: TextClassifier) -> list[Letter]:
    """Letters of classes that the model knows. Raises Refused `no_documents`."""
    classes = set(json.loads(files_of(model)["model.json"].read_bytes())["classes"])
    letters = [letter for letter in read_letters(source, config).letters if letter.target in classes]
    if not letters:
        raise Refused(
            "no_documents",
            f"No letter of {source.ref} is of a class that {model.ref} knows.",
            fix=f"It knows: {', '.join(sorted(classes))}.",
        )
    return letters


def guesses(model: Input, letters: Sequence[Letter], classes: Sequence[str]) -> NDArray[np.int64]:
    """Class numbers that the model proposes, in the order of `classes`; -1 for one that is not among them."""
    fitted = open_classifier(model)
    place = {name: number for number, name in enumerate(classes)}
    own = np.array([place.get(name, -1) for name in fitted.classes], dtype=np.int64)
    return np.asarray(own[predict(fitted, letters).argmax(axis=1)])


def open_classifier(model: Input) -> Fitted:
    """A Model version of recipe text-classifier in memory."""
    files = files_of(model)
    told = json.loads(files["model.json"].read_bytes())
    tensors = load_file(files["model.safetensors"])
    features = told["features"]
    grams = Grams(shortest=features["shortest"], longest=features["longest"], bits=features["bits"])
    return Fitted(
        classes=tuple(told["classes"]),
        vocabulary=Vocabulary(grams=grams, buckets=tensors["buckets"], scale=tensors["scale"]),
        weights_nc=tensors["weights"],
        intercept_c=tensors["intercept"],
        review_below=told["review_below"],
        candidates=(),
        chosen={},
    )


def measure(
    letters: Sequence[Letter], model: Input, against: Input | None, *, resamples: int, seed: int
) -> dict[str, Any]:
    """Macro-F1 and accuracy of the model, and of the other version on the same letters."""
    classes = sorted({letter.target for letter in letters})
    truth = numbers(letters, classes)
    mine = guesses(model, letters, classes)
    theirs = mine if against is None else guesses(against, letters, classes)
    # Guesses of classes that no letter here has are wrong without counting as a class of their own.
    found = compare(truth, mine, theirs, num_classes=len(classes), resamples=resamples, seed=seed)
    right = {"correct": [bool(hit) for hit in truth == mine], "accuracy": float((truth == mine).mean())}
    return right | {"f1": _shown(found.model), "other": _shown(found.baseline), "gap": found.difference}


def _shown(found: Estimate) -> dict[str, float]:
    return {"value": found.value, "low": found.low, "high": found.high}
