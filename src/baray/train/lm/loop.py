"""The loop: batches in order, gradient, step, Checkpoints. Everything that decides a bit is a function of plan, seed and step.

What is covered: a Run that was killed anywhere ends with the same bytes as one that was not, on the same machine type, torch,
threads and plan (all kept in the Checkpoint). What is not: another processor or another torch may round otherwise; a resumed
Run says so then.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor

from baray.runs import AttemptContext
from baray.train.config import Lm
from baray.train.lm.checkpoint import Keeper, Kept
from baray.train.lm.evaluate import HeldOut, bits_per_byte, held_out_loss
from baray.train.lm.model import Network, Parts, Shape, loss_of, run_block, segments_of
from baray.train.lm.optim import Optimizer, clip, gradient, rate
from baray.train.lm.plan import Plan
from baray.train.lm.shards import Windows

MOST_NORM = 1.0
COMPILE_PAYS_SECONDS = 300.0
"""A training shorter than this ends sooner without torch.compile: a step takes six sevenths then, its first start half a minute."""
FORMAT = "baray-checkpoint/1"
ARITHMETIC = 2
"""Goes up by one whenever our own code rounds or adds up in another order than before."""
_LOOKS = 20  # evaluations while training
_LINES_SECONDS = 5.0
_BUDGET_SHARE = 0.92  # the rest is for evaluation, the last Checkpoint and the files
_TRIES = 3  # steps that are measured


@dataclass(frozen=True, slots=True, kw_only=True)
class Frozen:
    """What is decided once, before the first step, and kept in every Checkpoint."""

    plan: Plan
    """Sizes and steps."""
    precision: str
    """bf16 or fp32."""
    compiled: bool
    """Whether torch.compile is used."""
    optimizer: str
    """muon or adamw."""
    peak_rate: float
    """Highest rate."""
    seed: int
    """Of weights and order."""
    eos: int
    """The boundary token."""

    @property
    def dtype(self) -> torch.dtype:
        """Of products."""
        return torch.bfloat16 if self.precision == "bf16" else torch.float32


class Training:
    """Network and optimizer, at some step."""

    def __init__(self, frozen: Frozen, *, rank: int = 0) -> None:
        """Everything as before the first step; `rank` of the processes that share each step."""
        self.frozen, self.plan, self.step, self.rank = frozen, frozen.plan, 0, rank
        self.exact = True
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.network = self._make_network()
        self.optimizer = self._make_optimizer()
        self.forward = self._make_forward()

    def _make_network(self) -> Network:
        return Network(self.plan.shape, seed=self.frozen.seed, dtype=self.frozen.dtype).to(self.device)

    def _make_optimizer(self) -> Optimizer:
        return Optimizer(self.network, self.frozen.optimizer, self.frozen.dtype)

    def _make_forward(self) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
        if not self.frozen.compiled:
            return self.network
        # One compiler at a time on processors: each takes most of a gigabyte, which the Run has not asked for.
        options: dict[str, Any] = {} if self.device.type == "cuda" else {"compile_threads": 1}
        block = torch.compile(run_block, dynamic=False, options=options)
        loss = torch.compile(loss_of, dynamic=False, options=options)
        return partial(self.network, parts=Parts(block=block, loss=loss))

    def rows(self, windows: Windows) -> NDArray[np.int64]:
        """This process's share of the step's windows."""
        share = self.plan.batch_rows // self.plan.processes
        return windows.rows(self.step * self.plan.batch_rows + self.rank * share, share)

    def do_step(self, ids_BS: NDArray[np.int64]) -> tuple[float, float]:
        """One step on windows of context + 1 tokens: (mean loss, norm of the gradient)."""
        plan = self.plan
        rows = torch.from_numpy(ids_BS).to(self.device)
        parts = len(ids_BS) // plan.micro_rows
        total = torch.zeros((), device=self.device)
        for part_BS in torch.split(rows, plan.micro_rows):
            ids_BT = part_BS[:, :-1].contiguous()
            loss = self.forward(ids_BT, part_BS[:, 1:].contiguous(), segments_of(ids_BT, self.frozen.eos)) / parts
            torch.autograd.backward(loss)
            total += loss.detach()
        norm = self._agree(total)
        self.optimizer.step(rate(self.step, max(1, plan.steps), self.frozen.peak_rate))
        for tensor in self.network.parameters():
            tensor.grad = None
        self.step += 1
        return float(total), norm

    def _agree(self, total: Tensor) -> float:
        """Loss and gradient are those of all processes; the gradient is clipped; its norm before."""
        if self.plan.processes > 1:
            _average([total, *(gradient(tensor) for tensor in self.network.parameters())])
        return clip(self.network.parameters(), MOST_NORM)

    def tensors(self) -> Mapping[str, Tensor]:
        """Weights and optimizer: what a Checkpoint keeps."""
        weights = {f"weight.{name}": tensor.detach() for name, tensor in self.network.named_parameters()}
        return weights | self.optimizer.state()

    def keep(self, keeper: Keeper) -> None:
        """Keep a Checkpoint of this step: the first process does, which has what all have."""
        if self.rank == 0:
            keeper.keep(self.step, self.tensors(), facts_of(self))

    def look(self, held: HeldOut) -> float:
        """Held-out loss, in the first process."""
        return held_out_loss(self.network, held) if self.rank == 0 else math.nan

    @torch.no_grad()
    def load(self, kept: Kept) -> None:
        """Take over a Checkpoint."""
        tensors = kept.tensors()
        for name, tensor in self.network.named_parameters():
            tensor.copy_(tensors[f"weight.{name}"])
        self.step = kept.step
        self.optimizer.load(tensors, kept.step)


def _average(tensors: list[Tensor]) -> None:
    """Replace each by its mean over the processes: one message for all, so that the order of sums is fixed."""
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for tensor, mean in zip(tensors, torch.split(flat, [tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(mean.view_as(tensor))


def facts_of(training: Training) -> dict[str, Any]:
    """What a Checkpoint keeps beside tensors and step."""
    return {
        "format": FORMAT,
        "frozen": asdict(training.frozen),
        "exact": training.exact,
        "made_with": made_with(),
        "rng": torch.get_rng_state().numpy().tobytes().hex(),
    }


def frozen_of(facts: Mapping[str, Any]) -> Frozen:
    """Read back what was decided."""
    found = facts["frozen"]
    plan = found["plan"]
    return Frozen(**{**found, "plan": Plan(**{**plan, "shape": Shape(**plan["shape"])})})


def made_with() -> dict[str, Any]:
    """What has to be the same for the same bits."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else torch.backends.cpu.get_cpu_capability()
    return {
        "torch": torch.__version__,
        "device": device,
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "arithmetic": ARITHMETIC,
    }


def changed_since(then: Mapping[str, Any]) -> list[str]:
    """What is not as it was when a Checkpoint was made, in words; what it does not tell was so from the beginning: 1."""
    now = made_with()
    return [f"{name} {then.get(name, 1)}, now {now[name]}" for name in now if now[name] != then.get(name, 1)]


def measure(frozen: Frozen, windows: Windows) -> float:
    """Seconds for a step of one process, on a network that is thrown away."""
    plan = frozen.plan
    alone = replace(plan, batch_rows=plan.batch_rows // plan.processes, processes=1)
    return measured(Training(replace(frozen, plan=alone)), windows)


def measured(trial: Training, windows: Windows) -> float:
    """Seconds for a step of this training: the median of a few after one to warm up."""
    ids_BS = trial.rows(windows)
    seconds = []
    for _ in range(_TRIES + 1):
        began = time.perf_counter()
        trial.do_step(ids_BS)
        seconds.append(time.perf_counter() - began)
    return sorted(seconds[1:])[_TRIES // 2]


def steps_in(budget_seconds: float, step_seconds: float) -> int:
    """How many steps a budget gives."""
    return max(1, math.floor(budget_seconds * _BUDGET_SHARE / step_seconds))


def train_steps(
    context: AttemptContext, config: Lm, training: Training, windows: Windows, held: HeldOut, keeper: Keeper
) -> None:
    """From the step it stands at to the last, with metrics, progress and Checkpoints; the first process tells and keeps."""
    first = training.rank == 0
    teller = _Teller(context, training, held, keeper)
    asked = _hear_sigterm()
    saved_at = time.monotonic()
    while training.step < training.plan.steps:
        loss, norm = training.do_step(training.rows(windows))
        due = bool(config.every_steps and training.step % config.every_steps == 0)
        due |= bool(first and config.every_seconds and time.monotonic() - saved_at >= config.every_seconds)
        stop, due = _any(training, asked.is_set(), due)
        teller.look()
        if first:
            teller.tell(loss, norm)
        if due or stop or training.step == training.plan.steps:
            training.keep(keeper)
            saved_at = time.monotonic()
        if stop:
            # The machine shuts down, or somebody cancelled: what was done since the last Checkpoint is not lost.
            keeper.wait()
            if first:
                context.log(
                    f"stopped after step {training.step:,}; the Checkpoint of step {keeper.last_step:,} is kept"
                )
            raise SystemExit(128 + signal.SIGTERM)
    keeper.wait()


def _any(training: Training, *flags: bool) -> list[bool]:
    """Which of these any process raised: all stop, or keep, after the same step."""
    if training.plan.processes == 1:
        return list(flags)
    told = torch.tensor([float(flag) for flag in flags], device=training.device)
    dist.all_reduce(told)
    return [count > 0 for count in told.tolist()]


def _hear_sigterm() -> threading.Event:
    asked = threading.Event()
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda *_: asked.set())
    return asked


class _Teller:
    """Metrics, progress and lines of one Attempt."""

    def __init__(self, context: AttemptContext, training: Training, held: HeldOut, keeper: Keeper) -> None:
        self.context, self.training, self.held, self.keeper = context, training, held, keeper
        self.since = training.step
        self.every = max(1, training.plan.steps // _LOOKS)
        self.began, self.line_at, self.done = time.monotonic(), 0.0, 0
        self.loss_held: float | None = None
        self.looked_at = 0

    def look(self) -> None:
        """After each step: at some, the held-out loss. All processes come here, for some networks take all of them."""
        step = self.training.step
        if len(self.held.ids) > 1 and (step % self.every == 0 or step == self.training.plan.steps):
            found = self.training.look(self.held)
            self.loss_held, self.looked_at = found, step

    def tell(self, loss: float, norm: float) -> None:
        """After each step."""
        step, plan = self.training.step, self.training.plan
        self.done += 1
        speed = self.done * plan.batch_tokens / max(1e-9, time.monotonic() - self.began)
        used = rate(step - 1, plan.steps, self.training.frozen.peak_rate)
        numbers = {"loss": loss, "grad_norm": norm, "lr": used, "tokens_per_second": speed}
        if self.loss_held is not None and self.looked_at == step:
            numbers |= {
                "held_out_loss": self.loss_held,
                "bits_per_byte": bits_per_byte(self.loss_held, self.held),
            }
        for name, value in numbers.items():
            self.context.metric(name, value, step=step)
        self.context.progress(step, plan.steps, "steps", kept=(self.since, max(self.since, self.keeper.last_step)))
        if step == plan.steps or time.monotonic() - self.line_at >= _LINES_SECONDS:
            self.line_at = time.monotonic()
            known = f", held out {self.loss_held:.4f}" if self.loss_held is not None else ""
            self.context.log(f"step {step:,} of {plan.steps:,}: loss {loss:.4f}{known}, {speed:,.0f} tokens/s")
