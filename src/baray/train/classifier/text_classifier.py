"""The recipe `text-classifier`: letters in, a Model version out. Loaded only in an attempt's own process."""

from __future__ import annotations

from collections import Counter
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from baray.catalog import FileEntry, Output
from baray.core import Refused, digest_file
from baray.runs import AttemptContext, Input
from baray.train.classifier.baseline import apply_rules, learn_rules
from baray.train.classifier.card import render_card
from baray.train.classifier.evaluate import Comparison, compare, confusion, per_class
from baray.train.classifier.fitting import Fitted, fit, letter_rows, numbers, predict
from baray.train.classifier.letters import Letters, Split, read_letters, split_letters
from baray.train.classifier.package import write_bom, write_model
from baray.train.config import TextClassifier, read_options

NEAR_DUPLICATE_COSINE = 0.95


def train(context: AttemptContext) -> list[Output]:
    """Fit, score against the keyword baseline, and write the version's files below `context.out`."""
    config = read_options(TextClassifier, context.spec["options"])
    source = _only_input(context)
    letters = read_letters(source, config)
    split = split_letters(letters.letters, config)
    sizes = f"{len(split.train)} to train, {len(split.validation)} to choose, {len(split.test)} held out"
    context.log(f"{len(letters.letters)} letters: {sizes}")
    model = fit(split, bits=config.hash_bits, progress=lambda done, total: context.progress(done, total, "fits"))
    evaluation = _evaluate(model, letters, split, config)
    context.log(evaluation["verdict"])
    for name in ("score", "baseline"):
        context.metric(name, evaluation[name], step=0)
    return [_write(context, model, evaluation, _facts(source, letters, model), letters)]


def _only_input(context: AttemptContext) -> Input:
    if len(context.inputs) != 1:
        raise Refused(
            "one_input",
            f"text-classifier takes one input, not {len(context.inputs)}.",
            fix="Name one Source or Dataset of letters.",
        )
    (source,) = context.inputs.values()
    return source


def _evaluate(model: Fitted, letters: Letters, split: Split, config: TextClassifier) -> dict[str, Any]:
    """Everything `evaluation.json` holds."""
    truth = numbers(split.test, model.classes)
    guess = predict(model, split.test).argmax(axis=1)
    rules = learn_rules(split.train + split.validation)
    number = {name: index for index, name in enumerate(model.classes)}
    baseline = np.array([number[apply_rules(rules, letter.text)] for letter in split.test], dtype=np.int64)
    comparison = compare(
        truth, guess, baseline, num_classes=len(model.classes), resamples=config.resamples, seed=config.seed
    )
    return {
        **_numbers_of(comparison),
        "metric": "macro-F1 on held-out letters; 95 % percentile bootstrap",
        "resamples": config.resamples,
        "seed": config.seed,
        "letters": {"train": len(split.train), "validation": len(split.validation), "test": len(split.test)},
        "left_out": letters.left_out,
        "per_class": per_class(truth, guess, model.classes),
        "confusion": {
            "classes": list(model.classes),
            "rows_true_columns_guessed": confusion(truth, guess, len(model.classes)),
        },
        "by_language": _by_language(split, truth == guess),
        "near_duplicates": _near_duplicates(model, split),
        "review_below": model.review_below,
        "baseline_rules": {
            target: sum(1 for owner, _ in rules.rules.values() if owner == target) for target in model.classes
        },
        "candidates": list(model.candidates),
        "chosen": model.chosen,
    }


def _numbers_of(comparison: Comparison) -> dict[str, Any]:
    return {
        "score": comparison.model.value,
        "interval": [comparison.model.low, comparison.model.high],
        "baseline": comparison.baseline.value,
        "baseline_interval": [comparison.baseline.low, comparison.baseline.high],
        "difference": comparison.difference.value,
        "difference_interval": [comparison.difference.low, comparison.difference.high],
        "beats_baseline": comparison.beats_baseline,
        "verdict": comparison.verdict,
    }


def _by_language(split: Split, right: NDArray[np.bool_]) -> dict[str, dict[str, float]]:
    held = Counter(letter.language for letter in split.test)
    hits = Counter(letter.language for letter, good in zip(split.test, right, strict=True) if good)
    return {
        language: {"letters": held[language], "accuracy": round(hits[language] / held[language], 4)}
        for language in sorted(held)
    }


def _near_duplicates(model: Fitted, split: Split) -> int:
    """Held-out letters whose cosine with a letter that was learnt from is at least 0.95: they flatter the score."""
    known = letter_rows(model, split.train + split.validation)
    cosines = letter_rows(model, split.test) @ known.T
    return int((cosines.max(axis=1).toarray() >= NEAR_DUPLICATE_COSINE).sum())


def _facts(source: Input, letters: Letters, model: Fitted) -> dict[str, Any]:
    languages = sorted({letter.language for letter in letters.letters} & {"km", "en"})
    return {
        "input": source.ref,
        "input_digest": source.digest,
        "input_title": source.title,
        "licences": list(source.licences),
        "label": source.label,
        "letters": len(letters.letters),
        "languages": languages,
        "classes": list(model.classes),
    }


def _write(
    context: AttemptContext, model: Fitted, evaluation: dict[str, Any], facts: dict[str, Any], letters: Letters
) -> Output:
    name = context.spec["name"]
    directory = context.out / name
    card = render_card(name, facts=facts, evaluation=evaluation)
    written = write_model(directory, model, facts=facts, evaluation=evaluation, card=card)
    versions = {library: version(library) for library in ("numpy", "scikit-learn", "scipy")}
    write_bom(directory / "bom.json", written, name=name, facts=facts, evaluation=evaluation, versions=versions)
    files = sorted(directory.iterdir())
    return Output(
        kind="model",
        name=name,
        digest=written.digest,
        labels=tuple(sorted({letter.label for letter in letters.letters})),
        files=tuple(FileEntry(path=file.name, digest=digest_file(file), bytes=file.stat().st_size) for file in files),
        summary={
            "recipe": "text-classifier",
            "classes": list(model.classes),
            "letters": facts["letters"],
            "score": evaluation["score"],
            "interval": evaluation["interval"],
            "baseline": evaluation["baseline"],
            "beats_baseline": evaluation["beats_baseline"],
            "verdict": evaluation["verdict"],
        },
    )
