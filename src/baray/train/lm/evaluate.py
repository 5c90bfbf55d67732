"""How well a model predicts held-out Documents: mean loss, and bits for each byte of their text.

Every token of the stream but the first is predicted once: windows overlap by one. Bits per byte compare models whatever their
tokens; loss only compares models with the same tokenizer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from baray.train.lm.model import Network, segments_of
from baray.train.lm.shards import Tokens

LOOK_TOKENS = 32_768
"""Held-out tokens looked at while training goes on."""
MOST_TOKENS = 4_000_000
"""Held-out tokens of the last evaluation."""
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
    """The beginning of a stream, at most so many tokens."""
    ids = tokens.read(0, most)
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
