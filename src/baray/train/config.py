"""The recipes of this room and their options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from baray.core import Refused


@dataclass(frozen=True, slots=True, kw_only=True)
class TextClassifier:
    """Options of `text-classifier`: a linear classifier on hashed character n-grams."""

    text: str = field(default="text", metadata={"help": "column with the letter's text"})
    target: str = field(default="unit", metadata={"help": "column with the class to learn"})
    id: str = field(
        default="id", metadata={"help": "column with the letter's id; the row's number where it is missing"}
    )
    language: str = field(
        default="language", metadata={"help": "column with the language; found from the text where it is missing"}
    )
    test_percent: int = field(
        default=25, metadata={"help": "part of each class that is held out for the score", "unit": "%"}
    )
    validation_percent: int = field(
        default=15, metadata={"help": "part of each class that chooses the n-grams and the penalty", "unit": "%"}
    )
    hash_bits: int = field(default=22, metadata={"help": "n-grams are hashed to this many bits", "unit": "bits"})
    resamples: int = field(default=2000, metadata={"help": "bootstrap resamples of the held-out letters"})
    seed: int = field(default=1, metadata={"help": "seed of the bootstrap"})

    def __post_init__(self) -> None:
        """Check ranges. Raises Refused `bad_option`."""
        _check_range("test_percent", self.test_percent, 5, 50)
        _check_range("validation_percent", self.validation_percent, 5, 40)
        _check_range("hash_bits", self.hash_bits, 16, 30)
        _check_range("resamples", self.resamples, 1000, 100_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One built-in recipe."""

    name: str
    """As in `baray train NAME`."""
    title: str
    """One line on what it makes."""
    handler: str
    """`module:function`, loaded in the attempt's own process."""
    options: type[TextClassifier]
    """Dataclass of its options; each field's metadata holds `help` and perhaps `unit`."""


RECIPES = {
    "text-classifier": Recipe(
        name="text-classifier",
        title="Routes short texts to classes: character n-grams, linear, scored against a keyword baseline.",
        handler="baray.train.text_classifier:train",
        options=TextClassifier,
    )
}


def read_options(options: Mapping[str, object]) -> TextClassifier:
    """A `TextClassifier` from a spec's options, whose values may be text. Raises Refused `bad_option`."""
    kinds = {item.name: type(item.default) for item in fields(TextClassifier)}
    values: dict[str, Any] = {}
    for name, value in options.items():
        if name not in kinds:
            raise Refused("bad_option", f"text-classifier has no option '{name}'.", fix=f"It has: {', '.join(kinds)}.")
        values[name] = _whole_number(name, value) if kinds[name] is int else str(value)
    return TextClassifier(**values)


def _whole_number(name: str, value: object) -> int:
    try:
        return int(str(value))
    except ValueError as error:
        raise Refused(
            "bad_option", f"{name}={value} is not a whole number.", fix=f"Write for example {name}=20."
        ) from error


def _check_range(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise Refused(
            "bad_option", f"{name}={value} is outside {low} to {high}.", fix=f"Choose {name} between {low} and {high}."
        )
