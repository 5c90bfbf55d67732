"""One measurement for each kind of Model: language model, tokenizer, classifier."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from baray.core import Refused
from baray.runs import AttemptContext, Input
from baray.train.evaluation.baselines import ByteModel, lzma_bits
from baray.train.evaluation.documents import Sample, files_of, read_samples
from baray.train.evaluation.language import LanguageModel, document_bits, open_model, training_ids, training_texts
from baray.train.evaluation.measured import Measured, Metric
from baray.train.evaluation.overlap import RUN_TOKENS, Runs

MOST_TRAINING_BYTES = 500_000_000
"""Byte models learn from at most this much of the text that the model learnt from."""


def language_model(context: AttemptContext, model: Input, samples: Sequence[Sample]) -> Measured:
    """Bits for each byte, and perplexity of its own tokens."""
    torch.set_num_threads(max(1, context.cpus))  # more than were leased only wait for each other
    opened = open_model(files_of(model), model.ref)
    ids = opened.ids([one.text for one in samples])
    bits = document_bits(opened, ids, lambda done, total: context.progress(done, total, "windows"))
    sizes = np.array([len(one.text.encode()) for one in samples], dtype=np.float64)
    tokens = np.array([max(1, len(found)) for found in ids], dtype=np.float64)
    metrics = [
        Metric(name="bits_per_byte", unit="bits for each byte", sums=bits, weights=sizes, less_is_better=True),
        Metric(
            name="perplexity",
            unit="tokens",
            sums=bits,
            weights=tokens,
            less_is_better=True,
            shown=lambda ratio: math.exp2(min(ratio, 1000.0)),
        ),
    ]
    return Measured(
        ids=[one.id for one in samples],
        metrics={metric.name: metric for metric in metrics},
        overlap=_overlap(context, opened, ids),
    )


def _overlap(
    context: AttemptContext, model: LanguageModel, ids: Sequence[NDArray[np.int64]]
) -> NDArray[np.float64] | None:
    """Against the training tokens where they are mounted and cut by the same tokenizer."""
    training = context.inputs.get("training")
    if training is None or "manifest.json" not in files_of(training):
        return None
    files = files_of(training)
    if Tokenizer.from_file(str(files["tokenizer.json"])).get_vocab() != model.tokenizer.get_vocab():
        return None
    runs = Runs(ids)
    runs.meet(training_ids(files, RUN_TOKENS - 1), model.eos)
    return runs.share()


def byte_baselines(context: AttemptContext, samples: Sequence[Sample]) -> dict[str, float] | None:
    """Bits for each byte of unigram, trigram and lzma; None where the training tokens are not mounted."""
    training = context.inputs.get("training")
    if training is None or "manifest.json" not in files_of(training):
        return None
    held = [one.text.encode() for one in samples]
    learnt = ByteModel().learn(training_texts(files_of(training), MOST_TRAINING_BYTES))
    return baselines_of(learnt, held)


def baselines_of(learnt: ByteModel, held: Sequence[bytes]) -> dict[str, float]:
    """Bits for each byte of `held`."""
    size = max(1, sum(map(len, held)))
    found = {name: float(learnt.bits(held, order=order).sum()) for name, order in (("unigram", 1), ("trigram", 3))}
    return {name: round(bits / size, 5) for name, bits in (found | {"lzma": lzma_bits(held)}).items()}


def tokenizer(model: Input, samples: Sequence[Sample]) -> Measured:
    """Fertility: tokens for each character, bytes in each token."""
    opened = Tokenizer.from_file(str(files_of(model)["tokenizer.json"]))
    opened.encode_special_tokens = True
    encoded = opened.encode_batch_fast([one.text for one in samples], add_special_tokens=False)
    tokens = np.array([len(found) for found in encoded], dtype=np.float64)
    characters = np.array([len(one.text) for one in samples], dtype=np.float64)
    sizes = np.array([len(one.text.encode()) for one in samples], dtype=np.float64)
    metrics = [
        Metric(
            name="tokens_per_character",
            unit="tokens for each character",
            sums=tokens,
            weights=characters,
            less_is_better=True,
        ),
        Metric(
            name="bytes_per_token",
            unit="bytes in each token",
            sums=tokens,
            weights=sizes,
            less_is_better=False,
            shown=lambda ratio: 1 / max(ratio, 1e-12),
        ),
    ]
    by_language = {
        language: round(
            float(tokens[chosen].sum() / max(1.0, characters[chosen].sum())),
            5,
        )
        for language in sorted({one.language for one in samples})
        for chosen in [np.array([one.language == language for one in samples])]
    }
    return Measured(
        ids=[one.id for one in samples],
        metrics={metric.name: metric for metric in metrics},
        beside={"by_language": by_language},
    )


def learnt_from(model: Input, dataset: Input, training: Input | None) -> float | None:
    """The percent that a tokenizer held out of this very Dataset; None where it did not learn from it."""
    if training is None or training.digest != dataset.digest:
        return None
    files = files_of(model)
    told = json.loads(files["evaluation.json"].read_bytes()) if "evaluation.json" in files else {}
    return float(told.get("held_out_percent", 1.0))


def samples_for(context: AttemptContext, most: int) -> list[Sample]:
    """The Documents of this Evaluation. Raises Refused `not_text`."""
    model, dataset = context.inputs["model"], context.inputs.get("dataset")
    if dataset is None:
        raise Refused("not_text", f"{model.ref} is measured on a Dataset of Documents.", fix="Give --dataset NAME.")
    return read_samples(dataset, most, learnt_from(model, dataset, context.inputs.get("training")))
