"""A language model's price of each Document in bits, whatever its tokens."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch.nn import functional

from baray.train.finetune.base import Base, read_base
from baray.train.lm.model import Network
from baray.train.lm.shards import Tokens, open_tokens

BOUNDARY = "<|endoftext|>"
_BATCH_SCORES = 32_000_000
"""Numbers of the table of scores, positions x vocabulary, at a time: twice 128 MB."""
_PIECE_TOKENS = 2_000_000
_ROW_SCORES, _LEAST_CONTEXT = 128_000_000, 256
"""Windows are as long as the Model allows, but where one alone would take more than 512 MB of scores."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageModel:
    """A Model version in memory."""

    network: Network
    """In float32, whatever the precision of its file: scores then differ by the weights alone."""
    tokenizer: Tokenizer
    """Its own."""
    eos: int
    """The token before and after a Document."""

    def ids(self, texts: Sequence[str]) -> list[NDArray[np.int64]]:
        """Tokens of each text; one that spells a special token is text."""
        encoded = self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.array(found.ids, dtype=np.int64) for found in encoded]


def open_model(files: Mapping[str, Path], ref: str) -> LanguageModel:
    """Read a language model's files, in the Qwen3 or Llama layout. Raises Refused as `read_base` does."""
    base = read_base(files, ref=ref, digest="")
    context = min(base.shape.context, max(_LEAST_CONTEXT, _ROW_SCORES // base.shape.vocab))
    network = base.network(context, torch.float32).eval()
    tokenizer = Tokenizer.from_file(str(files["tokenizer.json"]))
    tokenizer.encode_special_tokens = True
    tokenizer.no_truncation()
    return LanguageModel(network=network, tokenizer=tokenizer, eos=_boundary(base, tokenizer))


def _boundary(base: Base, tokenizer: Tokenizer) -> int:
    """What stands before a Document: our boundary, or what a Model from elsewhere begins, else ends, a text with."""
    told = [tokenizer.token_to_id(BOUNDARY), base.config.get("bos_token_id"), *base.ends]
    return next((one for one in told if type(one) is int), 0)


@torch.no_grad()
def document_bits(
    model: LanguageModel, documents: Sequence[NDArray[np.int64]], tell: Callable[[int, int], None]
) -> NDArray[np.float64]:
    """Bits of each Document's tokens after the boundary; its end is not predicted, as byte models do not either.

    Long Documents go through windows that overlap by half: each token but the first window's sees at least half a window.
    """
    totals = np.zeros(len(documents))
    windows = sorted(_windows(model, documents), key=lambda window: len(window.ids))
    total = len(windows)
    while windows:
        size = len(windows[-1].ids)
        rows = max(1, _BATCH_SCORES // (size * model.network.shape.vocab))
        batch, windows = windows[-rows:], windows[:-rows]
        ids = np.full((len(batch), size), model.eos, dtype=np.int64)
        for row, window in enumerate(batch):
            ids[row, : len(window.ids)] = window.ids
        loss = _losses(model.network, torch.from_numpy(ids))
        for row, window in enumerate(batch):
            # Padding stands on the right: what is before it does not see it.
            totals[window.document] += loss[row, window.skip : len(window.ids) - 1].sum() / math.log(2)
        tell(total - len(windows), total)
    return totals


@dataclass(frozen=True, slots=True, kw_only=True)
class _Window:
    document: int
    ids: NDArray[np.int64]
    skip: int
    """Predictions that the window before made already."""


def _windows(model: LanguageModel, documents: Sequence[NDArray[np.int64]]) -> Iterator[_Window]:
    context = model.network.shape.context
    stride = max(1, context // 2)
    for number, ids in enumerate(documents):
        stream = np.concatenate([[model.eos], ids])
        start = 0
        while True:
            skip = 0 if start == 0 else context - stride
            yield _Window(document=number, ids=stream[start : start + context + 1], skip=skip)
            if start + context + 1 >= len(stream):
                break
            start += stride


def _losses(network: Network, ids_bt: torch.Tensor) -> NDArray[np.float64]:
    """-ln p of each next token: [rows, positions - 1]."""
    inputs, targets = ids_bt[:, :-1], ids_bt[:, 1:]
    if inputs.shape[1] == 0:
        return np.zeros((len(ids_bt), 0))
    segments = torch.zeros_like(inputs, dtype=torch.int32)  # one Document a row
    scores = network.scores(network.hidden(inputs, segments).flatten(0, 1))
    found = functional.cross_entropy(scores, targets.flatten(), reduction="none")
    return np.asarray(found.view(targets.shape).double().numpy())


def training_ids(files: Mapping[str, Path], overlap: int) -> Iterator[NDArray[np.int64]]:
    """The training stream of a tokens Dataset in pieces; each begins `overlap` tokens before the end of the last."""
    tokens = open_tokens(files)
    for start in range(0, tokens.num_tokens, _PIECE_TOKENS):
        begin = max(0, start - overlap)
        yield tokens.read(begin, start + _PIECE_TOKENS - begin)


def training_texts(files: Mapping[str, Path], most_bytes: int) -> Iterator[bytes]:
    """Text of the training Documents of a tokens Dataset, as its tokenizer gives it back; at most about so many bytes."""
    tokens = open_tokens(files)
    tokenizer = Tokenizer.from_file(str(files["tokenizer.json"]))
    left = most_bytes
    for batch in _documents(tokens):
        for text in tokenizer.decode_batch(batch, skip_special_tokens=False):
            data = text.encode()
            left -= len(data)
            yield data
        if left <= 0:
            return


def _documents(tokens: Tokens) -> Iterator[list[list[int]]]:
    """Ids of Documents without their boundary, some at a time."""
    rest = np.zeros(0, dtype=np.int64)
    for start in range(0, tokens.num_tokens, _PIECE_TOKENS):
        ids = np.concatenate([rest, tokens.read(start, _PIECE_TOKENS)])
        ends = np.flatnonzero(ids == tokens.eos)
        cuts = [0, *(ends + 1).tolist()]
        yield [ids[low : high - 1].tolist() for low, high in pairwise(cuts)]
        rest = ids[cuts[-1] :]
