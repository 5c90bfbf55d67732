"""The recipes of this room: one frozen dataclass of options each, with help, default, unit and range."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from baray.core import Refused, parse_bytes, parse_seconds

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Value: TypeAlias = Any
"""A value of an option: text, whole number, number, or yes and no."""
T = TypeVar("T", bound="DataclassInstance")
LEAST_VOCABULARY = 512
"""Tokens: 256 bytes, 8 special ones, and room to learn some."""


def option(
    default: Value,
    text: str,
    *,
    unit: str = "",
    least: float = -math.inf,
    most: float = math.inf,
    choices: tuple[str, ...] = (),
) -> Value:
    """A field of an options class: `text` is its help; numbers lie in `least` to `most`, words are one of `choices`."""
    metadata = {"help": text, "unit": unit, "least": least, "most": most, "choices": choices}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class TextClassifier:
    """Options of `text-classifier`: a linear classifier on hashed character n-grams."""

    text: str = option("text", "column with the letter's text")
    target: str = option("unit", "column with the class to learn")
    id: str = option("id", "column with the letter's id; the row's number where it is missing")
    language: str = option("language", "column with the language; found from the text where it is missing")
    test_percent: int = option(25, "part of each class that is held out for the score", unit="%", least=5, most=50)
    validation_percent: int = option(
        15, "part of each class that chooses the n-grams and the penalty", unit="%", least=5, most=40
    )
    hash_bits: int = option(22, "n-grams are hashed to this many bits", unit="bits", least=16, most=30)
    resamples: int = option(2000, "bootstrap resamples of the held-out letters", least=1000, most=100_000)
    seed: int = option(1, "seed of the bootstrap")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokenizer:
    """Options of `tokenizer`: how text becomes tokens, learnt from a text Dataset."""

    kind: str = option(
        "bpe", "bpe (byte-level, loads everywhere) or unigram (fewer tokens)", choices=("bpe", "unigram")
    )
    vocab: int = option(
        8192, "size of the vocabulary, special tokens included", unit="tokens", least=LEAST_VOCABULARY, most=262_144
    )
    held_out: float = option(
        1.0, "part of the Documents that only measures, chosen by their ids", unit="%", least=0.01, most=50
    )
    max_megabytes: int = option(
        2000, "it learns from at most this much text, spread over the Dataset", unit="MB", least=1, most=100_000
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Lm:
    """Options of `lm`: a language model from scratch, on a tokens Dataset."""

    params: str = option("10M", "size: how many numbers, for example 10M or 124M")
    steps: int = option(0, "steps; 0: as many as the budget gives", least=0, most=100_000_000)
    budget: str = option("10min", "time to train where no steps are told; measured into steps before the first one")
    context: int = option(256, "tokens that the model sees at once", unit="tokens", least=16, most=1_048_576)
    batch_tokens: int = option(8192, "tokens in a step", unit="tokens", least=64, most=2**26)
    precision: str = option(
        "auto",
        "of products; weights stay in fp32; auto: bf16 where the processor has it",
        choices=("auto", "bf16", "fp32"),
    )
    compile: str = option(
        "auto", "torch.compile; auto: where a compiler is there and it pays", choices=("auto", "yes", "no")
    )
    deterministic: str = option(
        "yes", "a resumed Run gives the same bits as one that was never interrupted", choices=("yes", "no")
    )
    optimizer: str = option("muon", "muon (with AdamW for tables and norms) or adamw", choices=("muon", "adamw"))
    learning_rate: float = option(0.0, "peak rate; 0: what suits the optimizer", least=0.0, most=1.0)
    seed: int = option(1, "seed of the first weights and of the order of the data")
    checkpoint_every: str = option("1min", "time between Checkpoints (30s, 5min), or steps (100)")
    processes: int = option(1, "processes that share each step", least=1, most=1024)
    sharding: str = option(
        "none",
        "none: each process holds the whole network; full: its share of every tensor (FSDP), for what fits no single one",
        choices=("none", "full"),
    )

    def __post_init__(self) -> None:
        """Raises Refused `bad_quantity`, `bad_option`."""
        if self.sharding == "full" and self.processes == 1:
            raise Refused(
                "bad_option",
                "sharding=full shares the network among processes, and there is one.",
                fix="Say how many: --set processes=2",
            )
        if self.num_params < 1000:
            raise Refused("bad_option", f"params={self.params} is too few.", fix="The least is params=1k.")
        if self.budget_seconds <= 0 or self.every_seconds + self.every_steps <= 0:
            raise Refused("bad_option", "budget and checkpoint_every must be above zero.", fix="Write budget=10min.")

    @property
    def num_params(self) -> int:
        """`params` as a number."""
        text = self.params.strip().lower()
        return parse_bytes(text[:-1] + "g" if text.endswith("b") else text)

    @property
    def budget_seconds(self) -> float:
        """`budget` in seconds."""
        return parse_seconds(self.budget)

    @property
    def every_seconds(self) -> float:
        """Seconds between Checkpoints; 0 where steps are told."""
        return 0.0 if self.checkpoint_every.isdigit() else parse_seconds(self.checkpoint_every)

    @property
    def every_steps(self) -> int:
        """Steps between Checkpoints; 0 where a time is told."""
        return int(self.checkpoint_every) if self.checkpoint_every.isdigit() else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluate:
    """Options of `evaluate`: measure a Model version, alone or beside another on the same Documents."""

    metric: str = option(
        "",
        "what to measure, with commas; empty: all. Of a language model bits_per_byte, perplexity; of a tokenizer"
        " tokens_per_character, bytes_per_token; of a classifier macro_f1, accuracy",
    )
    documents: int = option(2000, "measure on at most this many Documents", least=1, most=1_000_000)
    resamples: int = option(2000, "bootstrap resamples of the Documents", least=1000, most=100_000)
    seed: int = option(1, "seed of the bootstrap")
    text: str = option("text", "of a classifier: column with the letter's text")
    target: str = option("unit", "of a classifier: column with the class")
    id: str = option("id", "of a classifier: column with the letter's id")

    @property
    def metric_names(self) -> tuple[str, ...]:
        """`metric` as names."""
        return tuple(name.strip() for name in self.metric.split(",") if name.strip())


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """Options of `import`, a Model from elsewhere: it has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finetune:
    """Options of `finetune`: a Model that learns to answer as the conversations of a Dataset do."""

    base: str = option("", "Model to start from, as model:NAME or model:NAME@vN; it must be given")
    messages: str = option("messages", "column with the turns, a list of {role, content}")
    prompt: str = option("prompt", "column with the question, where there is no column of turns")
    answer: str = option("answer", "column with the answer, where there is no column of turns")
    system: str = option("", "what stands before each conversation that has no system turn")
    method: str = option("lora", "lora (few new numbers, merged at the end) or full", choices=("lora", "full"))
    rank: int = option(8, "rank of what lora adds to each matrix", least=1, most=1024)
    alpha: float = option(0.0, "lora's weight is alpha / rank; 0: twice the rank", least=0.0, most=100_000.0)
    epochs: float = option(3.0, "how often each conversation is learnt from", least=0.01, most=10_000.0)
    steps: int = option(0, "steps; 0: as many as the epochs give", least=0, most=100_000_000)
    batch_tokens: int = option(2048, "tokens in a step", unit="tokens", least=16, most=2**26)
    context: int = option(
        0, "most tokens of a conversation; 0: the base's, at most 1024", unit="tokens", least=0, most=1_048_576
    )
    learning_rate: float = option(0.0, "peak rate; 0: what suits the method", least=0.0, most=1.0)
    precision: str = option(
        "auto",
        "of products; weights stay in fp32; auto: bf16 where the processor has it",
        choices=("auto", "bf16", "fp32"),
    )
    held_out: float = option(
        10.0, "part of the conversations that only measures, chosen by their question", unit="%", least=0.1, most=50
    )
    seed: int = option(1, "seed of new numbers and of the order of the data")
    checkpoint_every: str = option("1min", "time between Checkpoints (30s, 5min), or steps (100)")

    def __post_init__(self) -> None:
        """Raises Refused `bad_quantity`."""
        every(self.checkpoint_every)


def every(text: str) -> tuple[float, int]:
    """Seconds and steps between Checkpoints, of which one is 0. Raises Refused `bad_quantity`."""
    return (0.0, max(1, int(text))) if text.isdigit() else (max(0.001, parse_seconds(text)), 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One built-in recipe."""

    name: str
    """As in `baray train NAME`."""
    title: str
    """One line on what it makes."""
    handler: str
    """`module:function`, loaded in the attempt's own process."""
    options: type[DataclassInstance]
    """Frozen dataclass of its options."""
    takes: tuple[str, ...]
    """Kinds of input it learns from: dataset, source."""
    mounts: Mapping[str, str] = field(default_factory=dict)
    """Options that name a version to mount beside the input: option -> kind."""
    kind: str = "model"
    """What it makes: model or evaluation."""
    all_cpus: bool = False
    """Whether it gets all cores of a machine unless told otherwise."""


RECIPES = {
    "text-classifier": Recipe(
        name="text-classifier",
        title="Routes short texts to classes: character n-grams, linear, scored against a keyword baseline.",
        handler="baray.train.classifier.text_classifier:train",
        options=TextClassifier,
        takes=("dataset", "source"),
    ),
    "tokenizer": Recipe(
        name="tokenizer",
        title="Cuts text into tokens for a language model: byte-level BPE or unigram, at home in Khmer.",
        handler="baray.train.tokenizer.handler:train",
        options=Tokenizer,
        takes=("dataset",),
        all_cpus=True,
    ),
    "lm": Recipe(
        name="lm",
        title="Trains a language model from scratch on tokens; an interrupted one resumes exactly.",
        handler="baray.train.lm.handler:train",
        options=Lm,
        takes=("dataset",),
        all_cpus=True,
    ),
    "finetune": Recipe(
        name="finetune",
        title="Teaches a language model to answer as your conversations do: LoRA or full, measured on held-out answers.",
        handler="baray.train.finetune.handler:train",
        options=Finetune,
        takes=("dataset", "source"),
        mounts={"base": "model"},
        all_cpus=True,
    ),
    "import": Recipe(
        name="import",
        title="Takes in a Model made elsewhere; `baray model import` sends its files and asks for this.",
        handler="baray.train.imported.handler:take",
        options=Import,
        takes=("source",),
    ),
    "evaluate": Recipe(
        name="evaluate",
        title="Measures a Model version on a Dataset, beside baselines or another version (`baray evaluate`).",
        handler="baray.train.evaluation.handler:evaluate",
        options=Evaluate,
        takes=("dataset", "source"),
        kind="evaluation",
        all_cpus=True,
    ),
}


def read_options(config: type[T], options: Mapping[str, object]) -> T:
    """Make `config` from a spec's options, whose values may be text. Raises Refused `bad_option`."""
    known = {one.name: one for one in fields(config)}
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise Refused("bad_option", f"There is no option '{unknown[0]}'.", fix="Choose from: " + ", ".join(known) + ".")
    values = {name: _typed(name, value, known[name].default) for name, value in options.items()}
    for name, value in values.items():
        _check(name, value, known[name].metadata)
    return config(**values)


def _typed(name: str, value: object, default: Value) -> Value:
    text = str(value).strip()
    if isinstance(default, bool):
        return _yes_or_no(name, text)
    if isinstance(default, str):
        return text
    try:
        return type(default)(text.removesuffix("%"))
    except ValueError as error:
        fix = f"The default is {name}={default}."
        if isinstance(default, int):
            raise Refused("bad_option", f"{name}={value} is not a whole number.", fix=fix) from error
        raise Refused("bad_option", f"{name}={value} is not a number.", fix=fix) from error


def _yes_or_no(name: str, text: str) -> bool:
    known = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if text.lower() not in known:
        raise Refused("bad_option", f"{name}={text} is neither yes nor no.", fix=f"Write {name}=yes or {name}=no.")
    return known[text.lower()]


def _check(name: str, value: Value, limits: Mapping[str, Any]) -> None:
    if isinstance(value, str):
        choices = limits["choices"]
        if choices and value not in choices:
            fix = f"Choose one of: {', '.join(choices)}."
            raise Refused("bad_option", f"{name}={value} is unknown.", fix=fix)
        return
    least, most = limits["least"], limits["most"]
    if not least <= value <= most:
        if not math.isfinite(most):
            raise Refused("bad_option", f"{name}={value} is below {least}.", fix=f"Choose {name} of at least {least}.")
        raise Refused(
            "bad_option",
            f"{name}={value} is outside {least} to {most}.",
            fix=f"Choose {name} between {least} and {most}.",
        )
