"""Read a tokens Dataset (format `baray-tokens/1`) and cut it into windows, in an order that a seed alone decides.

Shards are memory-mapped: a Dataset larger than memory is read at the speed of the disk. The windows of an epoch come in
the order of a permutation that is computed, not stored: a Feistel network over the window's number (Black & Rogaway 2002,
"Ciphers with arbitrary finite domains"). So the Run that resumes at step n needs to know n and nothing else, and the order
is the same on every machine and with every version of NumPy.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from baray.core import Refused

FORMAT = "baray-tokens/1"
_ROUNDS = 6
_MASK = (1 << 64) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """One split of a tokens Dataset: a stream of ids, each Document followed by the boundary token."""

    shards: tuple[NDArray[Any], ...]
    """Memory-mapped, in order."""
    starts: tuple[int, ...]
    """Position of each shard's first token in the stream, and at the end the stream's length."""
    vocab: int
    """Ids are below this."""
    eos: int
    """The boundary token."""
    bytes: int
    """Of the Documents' text."""
    documents: int
    """Documents."""

    @property
    def num_tokens(self) -> int:
        """Length of the stream."""
        return self.starts[-1]

    def read(self, start: int, count: int) -> NDArray[np.int64]:
        """`count` ids from a position; fewer at the end of the stream."""
        found = []
        first = int(np.searchsorted(self.starts, start, side="right")) - 1
        for number in range(first, len(self.shards)):
            low, high = start - self.starts[number], start + count - self.starts[number]
            if high <= 0:
                break
            found.append(self.shards[number][max(0, low) : high])
        return np.concatenate(found).astype(np.int64) if found else np.zeros(0, dtype=np.int64)


def open_tokens(files: Mapping[str, Path], split: str = "train") -> Tokens:
    """Map the shards of a split; `files` tells where each path lies. Raises Refused `not_tokens`."""
    manifest = json.loads(files["manifest.json"].read_bytes()) if "manifest.json" in files else {}
    if manifest.get("format") != FORMAT:
        raise Refused(
            "not_tokens",
            "The Dataset holds no tokens.",
            fix="Build them first: baray dataset build tokens --dataset NAME --set tokenizer=model:NAME --name NAME",
        )
    told = manifest["splits"][split]
    dtype = np.dtype(manifest["dtype"]).newbyteorder("<")
    shards = tuple(np.memmap(files[shard["path"]], dtype=dtype, mode="r") for shard in told["shards"])
    return Tokens(
        shards=shards,
        starts=(0, *(int(end) for end in np.cumsum([len(shard) for shard in shards]))),
        vocab=manifest["vocab"],
        eos=manifest["eos"],
        bytes=manifest["bytes"][split],
        documents=told["documents"],
    )


class Windows:
    """Windows of `context` + 1 ids, each id predicted once an epoch; every epoch in another order and from another start."""

    def __init__(self, tokens: Tokens, context: int, seed: int) -> None:
        """Raises Refused `too_few_tokens` where not even one window can be cut."""
        if tokens.num_tokens <= context:
            raise Refused(
                "too_few_tokens",
                f"The Dataset has {tokens.num_tokens} tokens, and one window needs {context + 1}.",
                fix=f"Give a smaller window: --set context={max(16, tokens.num_tokens // 4)}; or more text.",
            )
        self.tokens, self._context, self._seed = tokens, context, seed
        """What they are cut from."""
        self.per_epoch = max(1, (tokens.num_tokens - context) // context)
        """Windows in an epoch."""

    def batch(self, step: int, batch_size: int) -> NDArray[np.int64]:
        """Windows of a step from 0: ids [batch_size, context + 1]."""
        return self.rows(step * batch_size, batch_size)

    def rows(self, first: int, count: int) -> NDArray[np.int64]:
        """Windows `first` to `first` + `count` of the whole training: ids [count, context + 1]."""
        return np.stack(
            [self.tokens.read(self._start(number), self._context + 1) for number in range(first, first + count)]
        )

    def _start(self, number: int) -> int:
        epoch, position = divmod(number, self.per_epoch)
        key = _mix(_mix(self._seed & _MASK) ^ epoch)
        room = min(self._context, self.tokens.num_tokens - self.per_epoch * self._context)
        return _mix(key) % room + permute(position, self.per_epoch, key) * self._context


def permute(position: int, size: int, key: int) -> int:
    """Where `position` of 0 to `size` - 1 goes in the permutation that `key` names."""
    half = max(1, (size - 1).bit_length() + 1) // 2
    mask = (1 << half) - 1
    while True:
        left, right = position >> half, position & mask
        for number in range(_ROUNDS):
            left, right = right, left ^ (_mix(key ^ (number << 58) ^ right) & mask)
        position = left << half | right
        # The network permutes a power of four; numbers past the end walk on until they fall inside.
        if position < size:
            return position


def _mix(value: int) -> int:
    """SplitMix64's finaliser (Steele, Lea & Flood 2014): every bit of the result depends on every bit of `value`."""
    value = (value + 0x9E3779B97F4A7C15) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)
