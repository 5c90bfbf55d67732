"""What a training will be, before it starts: sizes, tokens, steps, FLOPs, memory, disk, time. What cannot fit is refused."""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass
from pathlib import Path

from baray.core import Refused, format_bytes, format_seconds
from baray.train.config import Lm
from baray.train.lm.model import MOST_PLAIN_POSITIONS, PAD_VOCAB, Shape

KEPT_CHECKPOINTS = 2
LIBRARIES_BYTES = 600 * 2**20
"""torch itself, before the first tensor."""
_HIDDEN_PER_WIDTH = 8 / 3  # as many numbers as a plain hidden layer of 4 D
_ASPECT = (
    48  # width / layers; between 30 and 90 the loss hardly changes (Kaplan et al. 2020, arXiv:2001.08361, figure 5)
)
_MOST_MICRO_TOKENS = 8192
_GAPS = 1.25  # memory that was freed stays in the process, and not every piece fits where another was


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One training."""

    shape: Shape
    """The network."""
    batch_rows: int
    """Windows in a step."""
    micro_rows: int
    """Windows at a time; divides the rows of one process."""
    processes: int
    """Processes that share a step."""
    steps: int
    """Steps."""
    sharded: bool = False
    """Whether each process holds a share of every tensor, not the whole network."""

    @property
    def batch_tokens(self) -> int:
        """Tokens in a step."""
        return self.batch_rows * self.shape.context

    @property
    def tokens(self) -> int:
        """Tokens in all."""
        return self.batch_tokens * self.steps

    @property
    def flops(self) -> float:
        """Of the whole training."""
        return float(self.shape.flops_per_token) * self.tokens

    @property
    def memory_bytes(self) -> int:
        """Of one process, roughly: libraries, tensors with gradient and optimizer state, activations, scores."""
        state = state_bytes(self.shape, self.processes if self.sharded else 1)
        return LIBRARIES_BYTES + state + micro_bytes(self.shape, self.micro_rows)

    @property
    def disk_bytes(self) -> int:
        """Checkpoints (one more while the next is written) and the Model."""
        return 12 * self.shape.params * (KEPT_CHECKPOINTS + 1) + 4 * self.shape.params


def state_bytes(shape: Shape, shares: int = 1) -> int:
    """Weights, gradients, up to two numbers of the optimizer, and the copy that a Checkpoint is written from: float32.

    In shares, one process has its part of them (the copy lies in the first, which is counted as if all had some of it), and whole,
    with their gradients, what it computes with: the tables and a block, and the next one, which is on its way.
    """
    state = 4 * shape.params * (1 + 1 + 2 + 3)
    if shares == 1:
        return state
    tables = shape.vocab * shape.width * (1 if shape.tied else 2)
    return state // shares + 8 * (tables + 2 * (shape.params - tables) // shape.layers)


def micro_bytes(shape: Shape, rows: int) -> int:
    """What a backward pass over so many windows keeps."""
    tokens = rows * shape.context
    # The shares of attention are kept, in fp32 where products are; five eighths of them, since none looks ahead.
    shares = 3 * shape.heads * min(shape.context, MOST_PLAIN_POSITIONS)
    block = 4 * (12 * shape.width + 4 * shape.hidden + 2 * shape.heads * shape.head_dim) + shares
    return round(_GAPS * tokens * (shape.layers * block + 3 * 4 * shape.vocab))


def shape_for(params: int, *, vocab: int, context: int) -> Shape:
    """The network nearest to `params` numbers: depth grows with width."""
    rows = math.ceil(vocab / PAD_VOCAB) * PAD_VOCAB
    found: list[tuple[float, Shape]] = []
    for width in [*range(32, 256, 32), *range(256, 8193, 64)]:
        for layers in range(1, 129):
            shape = _shape(width, layers, vocab=rows, context=context)
            miss = abs(math.log(shape.params / params))
            aspect = abs(math.log(width / layers / _aspect(width)))
            found.append((miss + 0.05 * aspect, shape))
            if shape.params > 2 * params:
                break
    _, best = min(found, key=lambda one: one[0])
    if not 0.5 <= best.params / params <= 2:
        least = _shape(32, 1, vocab=rows, context=context).params
        raise Refused(
            "bad_option",
            f"params={params:,}: the table of {rows:,} tokens alone needs more, or no shape comes near ({best.params:,}).",
            fix=f"Choose params of at least {least:,}, or a tokenizer with fewer tokens.",
        )
    return best


def _aspect(width: int) -> float:
    return min(_ASPECT, width / 4) if width < 512 else _ASPECT * (width / 512) ** 0.35


def _shape(width: int, layers: int, *, vocab: int, context: int) -> Shape:
    head_dim = 32 if width < 256 else 64 if width < 2048 else 128
    hidden = math.ceil(_HIDDEN_PER_WIDTH * width / 64) * 64
    heads = width // head_dim
    return Shape(
        vocab=vocab,
        width=width,
        layers=layers,
        heads=heads,
        kv_heads=heads,
        head_dim=head_dim,
        hidden=hidden,
        context=context,
    )


def make_plan(config: Lm, *, vocab: int, memory_bytes: int) -> Plan:
    """The plan but for its steps where a budget will tell them (0). Raises Refused `does_not_fit`."""
    shape = shape_for(config.num_params, vocab=vocab, context=config.context)
    rows = max(1, round(config.batch_tokens / config.context))
    if rows % config.processes:
        raise Refused(
            "bad_option",
            f"{rows} windows of {config.context} tokens cannot be shared by {config.processes} processes.",
            fix=f"Choose batch_tokens={config.context * config.processes * math.ceil(rows / config.processes)}.",
        )
    share = rows // config.processes
    sharded = config.sharding == "full"
    state = state_bytes(shape, config.processes if sharded else 1)
    room = memory_bytes // config.processes - LIBRARIES_BYTES - state
    fitting = [n for n in range(1, share + 1) if share % n == 0 and micro_bytes(shape, n) <= room]
    small = [n for n in fitting if n * shape.context <= _MOST_MICRO_TOKENS] or fitting[:1]
    if not small:
        needed = config.processes * (LIBRARIES_BYTES + state + micro_bytes(shape, 1))
        raise Refused(
            "does_not_fit",
            f"{shape.params:,} numbers need {format_bytes(needed)} of memory; this Run has {format_bytes(memory_bytes)}.",
            fix=f"Ask for more: --memory {math.ceil(needed / 1e9)}GB, or train a smaller one: --set params=...",
        )
    return Plan(
        shape=shape,
        batch_rows=rows,
        micro_rows=small[-1],
        processes=config.processes,
        steps=config.steps,
        sharded=sharded,
    )


def check_disk(plan: Plan, folder: Path) -> None:
    """Raise Refused `does_not_fit` where Checkpoints and Model would not."""
    free = shutil.disk_usage(folder).free
    if plan.disk_bytes > free:
        raise Refused(
            "does_not_fit",
            f"Checkpoints and Model need {format_bytes(plan.disk_bytes)} of disk; {format_bytes(free)} are free.",
            fix="Free space on the disk of the home, or train a smaller one: --set params=...",
        )


def check_time(seconds: float, most_seconds: float) -> None:
    """Raise Refused `does_not_fit` where the time limit of the Run (0: none) would end it."""
    if most_seconds and seconds > most_seconds:
        raise Refused(
            "does_not_fit",
            f"The training takes about {format_seconds(seconds)}; this Run may take {format_seconds(most_seconds)}.",
            fix=f"Ask for more: --time {math.ceil(1.2 * seconds / 3600)}h, or train for less: --set budget=...",
        )


def describe(plan: Plan, *, seconds: float, train_tokens: int) -> list[str]:
    """Lines for the log, before the first step."""
    shape = plan.shape
    return [
        f"network: {shape.params:,} numbers, {shape.layers} blocks of width {shape.width}, {shape.heads} heads, "
        f"vocabulary {shape.vocab:,}, context {shape.context}",
        f"training: {plan.steps:,} steps of {plan.batch_tokens:,} tokens = {plan.tokens:,} tokens "
        f"({plan.tokens / max(1, train_tokens):.2f} times the Dataset, {plan.tokens / shape.params:.1f} for each number), "
        f"{plan.flops:.2g} FLOPs",
        f"needs: about {format_bytes(plan.memory_bytes * plan.processes)} of memory, "
        f"{format_bytes(plan.disk_bytes)} of disk, {format_seconds(seconds)}",
    ]
