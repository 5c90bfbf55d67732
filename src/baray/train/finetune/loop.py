"""The loop of `finetune`: batches in order, loss on answers, step, Checkpoints. What decides a bit is kept in each Checkpoint.

What is covered: a Run that was killed anywhere ends with the same bytes as one that was not, on the same kind of machine, as for
`lm`. A Checkpoint holds what learns and its optimizer; what stays is the base's and is read from there again.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from baray.runs import AttemptContext
from baray.train.config import Finetune, every
from baray.train.finetune.base import Base
from baray.train.finetune.chat import UNLEARNT, Example, Rows, batch
from baray.train.finetune.lora import adapt
from baray.train.lm.checkpoint import Keeper, Kept
from baray.train.lm.loop import MOST_NORM, changed_since, made_with
from baray.train.lm.model import Network
from baray.train.lm.optim import Optimizer, clip, rate

FORMAT = "baray-finetune/1"
PEAK_RATE = {"lora": 2e-3, "full": 5e-4}
"""For the small models that a laptop trains; see docs/log.md."""
_LOOKS = 10  # evaluations while training
_LINES_SECONDS = 5.0
_SCORED_ROWS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Frozen:
    """What is decided once, before the first step, and kept in every Checkpoint."""

    method: str
    """lora or full."""
    rank: int
    """Of lora."""
    alpha: float
    """Of lora."""
    context: int
    """Positions in a row."""
    batch_rows: int
    """Rows in a step."""
    micro_rows: int
    """Rows at a time; divides batch_rows."""
    steps: int
    """Steps."""
    precision: str
    """bf16 or fp32."""
    peak_rate: float
    """Highest rate."""
    seed: int
    """Of new numbers and order."""

    @property
    def dtype(self) -> torch.dtype:
        """Of products."""
        return torch.bfloat16 if self.precision == "bf16" else torch.float32


class Teaching:
    """Network and optimizer, at some step."""

    def __init__(self, frozen: Frozen, base: Base) -> None:
        """Everything as before the first step."""
        self.frozen, self.step, self.exact = frozen, 0, True
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.network = base.network(frozen.context, frozen.dtype)
        if frozen.method == "lora":
            adapt(self.network, rank=frozen.rank, alpha=frozen.alpha, seed=frozen.seed)
        self.network.to(self.device)
        self.learns = {name: tensor for name, tensor in self.network.named_parameters() if tensor.requires_grad}
        self.optimizer = Optimizer(self.network, "adamw")

    def do_step(self, rows: Rows) -> tuple[float, float]:
        """One step: (mean loss over the answers' tokens, norm of the gradient)."""
        answers = max(1, int((rows.targets != UNLEARNT).sum()))
        total = torch.zeros((), device=self.device)
        for start in range(0, len(rows.ids), self.frozen.micro_rows):
            span = slice(start, start + self.frozen.micro_rows)
            loss = self._losses(rows.ids[span], rows.targets[span], rows.segments[span]).sum() / answers
            torch.autograd.backward(loss)
            total += loss.detach()
        norm = clip(self.learns.values(), MOST_NORM)
        self.optimizer.step(rate(self.step, max(1, self.frozen.steps), self.frozen.peak_rate))
        for tensor in self.learns.values():
            tensor.grad = None
        self.step += 1
        return float(total), norm

    def _losses(self, ids: NDArray[np.int64], targets: NDArray[np.int64], segments: NDArray[np.int32]) -> Tensor:
        return answer_losses(self.network, *(torch.from_numpy(one).to(self.device) for one in (ids, targets, segments)))

    def tensors(self) -> dict[str, Tensor]:
        """What learns, and the optimizer: what a Checkpoint keeps."""
        return {f"weight.{name}": tensor.detach() for name, tensor in self.learns.items()} | self.optimizer.state()

    @torch.no_grad()
    def load(self, kept: Kept) -> None:
        """Take over a Checkpoint."""
        tensors = kept.tensors()
        for name, tensor in self.learns.items():
            tensor.copy_(tensors[f"weight.{name}"])
        self.step = kept.step
        self.optimizer.load(tensors, kept.step)


def answer_losses(network: Network, ids_BT: Tensor, targets_BT: Tensor, segments_BT: Tensor) -> Tensor:
    """-ln p of each token that is learnt from, in order; scores of all others are not even computed."""
    learnt_BT = targets_BT != UNLEARNT
    hidden_ND = network.hidden(ids_BT, segments_BT)[learnt_BT]
    return functional.cross_entropy(network.scores(hidden_ND), targets_BT[learnt_BT], reduction="none")


@torch.no_grad()
def score(network: Network, examples: Sequence[Example]) -> NDArray[np.float64]:
    """Sum of -ln p over the answers' tokens of each example. Long ones go together, so that little is padding."""
    sums = np.zeros(len(examples))
    device = next(network.parameters()).device
    order = sorted(range(len(examples)), key=lambda number: len(examples[number].ids))
    for start in range(0, len(order), _SCORED_ROWS):
        numbers = order[start : start + _SCORED_ROWS]
        shape = (len(numbers), max(len(examples[number].ids) for number in numbers))
        ids, targets = np.zeros(shape, dtype=np.int64), np.full(shape, UNLEARNT, dtype=np.int64)
        for row, number in enumerate(numbers):
            size = len(examples[number].ids)
            ids[row, :size], targets[row, :size] = examples[number].ids, examples[number].targets
        ids_BT, targets_BT = (torch.from_numpy(one).to(device) for one in (ids, targets))
        losses = answer_losses(network, ids_BT, targets_BT, torch.zeros_like(ids_BT, dtype=torch.int32)).tolist()
        at = 0
        for number in numbers:
            size = examples[number].num_answers
            sums[number] = math.fsum(losses[at : at + size])
            at += size
    return sums


def mean_loss(network: Network, examples: Sequence[Example]) -> float:
    """Mean over the answers' tokens."""
    return float(score(network, examples).sum()) / max(1, sum(one.num_answers for one in examples))


def facts_of(teaching: Teaching, base: Base) -> dict[str, Any]:
    """What a Checkpoint keeps beside tensors and step."""
    return {
        "format": FORMAT,
        "base": base.digest,
        "frozen": asdict(teaching.frozen),
        "exact": teaching.exact,
        "made_with": made_with(),
    }


def resume(context: AttemptContext, kept: Kept, base: Base) -> Teaching:
    """From a Checkpoint; the log says so, and what is not the same as it was."""
    context.log(f"resumed at step {kept.step:,}")
    changed = changed_since(kept.facts["made_with"])
    if changed:
        context.log(f"NOT exact from here on: the Checkpoint was made with {'; '.join(changed)}.")
    teaching = Teaching(Frozen(**kept.facts["frozen"]), base)
    teaching.load(kept)
    teaching.exact = bool(kept.facts["exact"]) and not changed
    context.forget_metrics(after=kept.step)
    return teaching


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What the loop runs on."""

    rows: Rows
    """To learn from."""
    held_out: Sequence[Example]
    """To look at."""
    base: Base
    """Where it began."""


def teach(context: AttemptContext, config: Finetune, teaching: Teaching, given: Given, keeper: Keeper) -> None:
    """From the step it stands at to the last, with metrics, progress and Checkpoints."""
    asked = threading.Event()
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda *_: asked.set())
    frozen, since = teaching.frozen, teaching.step
    seconds, steps = every(config.checkpoint_every)
    saved_at = line_at = time.monotonic()
    while teaching.step < frozen.steps:
        loss, norm = teaching.do_step(batch(given.rows, teaching.step, frozen.batch_rows, frozen.seed))
        step = teaching.step
        told = _numbers(teaching, given, loss, norm)
        for name, value in told.items():
            context.metric(name, value, step=step)
        context.progress(step, frozen.steps, "steps", kept=(since, max(since, keeper.last_step)))
        if "held_out_loss" in told or time.monotonic() - line_at >= _LINES_SECONDS:
            line_at = time.monotonic()
            looked = f", held-out answers {told['held_out_loss']:.4f}" if "held_out_loss" in told else ""
            context.log(f"step {step:,} of {frozen.steps:,}: loss {loss:.4f}{looked}")
        due = step % steps == 0 if steps else time.monotonic() - saved_at >= seconds
        if due or asked.is_set():
            keeper.keep(step, teaching.tensors(), facts_of(teaching, given.base))
            saved_at = time.monotonic()
        if asked.is_set():
            keeper.wait()
            context.log(f"stopped after step {step:,}; the Checkpoint of step {keeper.last_step:,} is kept")
            raise SystemExit(128 + signal.SIGTERM)
    keeper.wait()


def _numbers(teaching: Teaching, given: Given, loss: float, norm: float) -> Mapping[str, float]:
    step, frozen = teaching.step, teaching.frozen
    numbers = {"loss": loss, "grad_norm": norm, "lr": rate(step - 1, frozen.steps, frozen.peak_rate)}
    if step % max(1, frozen.steps // _LOOKS) == 0 or step == frozen.steps:
        numbers["held_out_loss"] = mean_loss(teaching.network, given.held_out)
    return numbers
