"""How well a model predicts held-out Documents: mean loss, and bits for each byte of their text.

Every token of the stream but the first is predicted once: windows overlap by one. Bits per byte compare models whatever their
tokens; loss only compares models with the same tokenizer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from baray.train.evaluation.baselines import ByteModel
from baray.train.evaluation.kinds import baselines_of
from baray.train.evaluation.language import LanguageModel, document_bits, training_texts
from baray.train.lm.model import Network, segments_of
from baray.train.lm.shards import Tokens

LOOK_TOKENS = 32_768
"""Held-out tokens looked at while training goes on."""
MOST_TOKENS = 100_000
"""Held-out tokens of the last evaluation, about: whole Documents."""
MOST_LEARNT_BYTES = 100_000_000
"""Byte models learn from at most so much of the training text."""
_ROWS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """The held-out stream, or its beginning."""

    ids: NDArray[np.int64]
    """Documents, each followed by the boundary token."""
    bytes: float
    """Of the text of these tokens; a share of the whole where the stream was cut."""
    eos: int
    """The boundary token."""

    def first(self, tokens: int) -> HeldOut:
        """At most this many tokens."""
        if len(self.ids) <= tokens:
            return self
        return HeldOut(ids=self.ids[:tokens], bytes=self.bytes * tokens / len(self.ids), eos=self.eos)


def held_out(tokens: Tokens, most: int = MOST_TOKENS) -> HeldOut:
    """The beginning of a stream: about so many tokens, ending with a Document where one ends before."""
    ids = tokens.read(0, most)
    ends = np.flatnonzero(ids == tokens.eos)
    ids = ids[: ends[-1] + 1] if len(ends) else ids
    return HeldOut(ids=ids, bytes=tokens.bytes * len(ids) / max(1, tokens.num_tokens), eos=tokens.eos)


@torch.no_grad()
def held_out_loss(network: Network, held: HeldOut) -> float:
    """Mean of -ln p over the predicted tokens."""
    context, total, count = network.shape.context, 0.0, 0
    starts = list(range(0, len(held.ids) - 1, context))
    device = next(network.parameters()).device
    for first in range(0, len(starts), _ROWS):
        rows = [held.ids[start : start + context + 1] for start in starts[first : first + _ROWS]]
        # The last window is shorter than the others and goes by itself.
        for size in sorted({len(row) for row in rows}, reverse=True):
            ids = torch.from_numpy(np.stack([row for row in rows if len(row) == size])).to(device)
            predicted = ids.shape[0] * (size - 1)
            loss = network(ids[:, :-1], ids[:, 1:], segments_of(ids[:, :-1], held.eos))
            total += float(loss) * predicted
            count += predicted
    return total / max(1, count)


def bits_per_byte(loss: float, held: HeldOut) -> float:
    """From nats a token to bits a byte."""
    return loss * max(0, len(held.ids) - 1) / math.log(2) / max(1.0, held.bytes)


def final_bits(
    network: Network, files: Mapping[str, Path], held: HeldOut, tell: Callable[[int, int], None]
) -> dict[str, float]:
    """Bits for each byte of the held-out Documents: the model, byte models that learnt from the same text, and a compressor.

    Here each Document is measured by itself, from its boundary, as `baray evaluate` does; while training goes on, the stream is.
    """
    tokenizer = Tokenizer.from_file(str(files["tokenizer.json"]))
    documents = np.split(held.ids, np.flatnonzero(held.ids == held.eos))
    ids = [found for document in documents if len(found := document[document != held.eos])]
    texts = [text.encode() for text in tokenizer.decode_batch([one.tolist() for one in ids], skip_special_tokens=False)]
    model = LanguageModel(network=network, tokenizer=tokenizer, eos=held.eos)
    bits = float(document_bits(model, ids, tell).sum())
    learnt = ByteModel().learn(training_texts(files, MOST_LEARNT_BYTES))
    return {"model": bits / max(1, sum(map(len, texts))), **baselines_of(learnt, texts)}
