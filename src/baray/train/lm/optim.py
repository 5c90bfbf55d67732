"""Muon for the matrices, AdamW for tables and norms, and the rate over the steps.

Muon (Jordan et al. 2024, "Muon: an optimizer for hidden layers") steps along the nearest orthogonal matrix of the momentum.
The scale 0.2 sqrt(larger side) gives its steps the size of AdamW's, so that both take one rate (Liu et al. 2025,
arXiv:2502.16982). AdamW: Loshchilov & Hutter 2019, arXiv:1711.05101.

Rate: warm up, hold, decay by 1 - sqrt to zero over the last fifth (Hu et al. 2024, arXiv:2404.06395; Hägele et al. 2024,
arXiv:2405.18392).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

BETAS = (0.9, 0.95)
EPS = 1e-8
MUON_MOMENTUM = 0.95
WEIGHT_DECAY = 0.1
WARMUP_SHARE, MOST_WARMUP_STEPS = 0.05, 200
DECAY_SHARE = 0.2
PEAK_RATE = {"muon": 0.006, "adamw": 0.003}
"""At 10M parameters; see docs/log.md."""
_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
_NEWTON_SCHULZ_STEPS = 5


def rate(step: int, steps: int, peak: float) -> float:
    """The rate of step `step` (from 0) of `steps`."""
    warmup = min(MOST_WARMUP_STEPS, max(1, math.ceil(WARMUP_SHARE * steps)))
    decay = math.ceil(DECAY_SHARE * steps)
    rise = min(1.0, (step + 1) / warmup)
    into_decay = max(0.0, (step - (steps - decay)) / decay) if decay else 0.0
    return peak * rise * (1.0 - math.sqrt(min(1.0, into_decay)))


class Optimizer:
    """One step for all tensors of a network. Its state is a flat mapping of tensors: what a Checkpoint keeps."""

    def __init__(self, network: nn.Module, kind: str, dtype: torch.dtype = torch.float32) -> None:
        """`kind`: muon (matrices of the blocks by Muon, the rest by AdamW) or adamw (everything); `dtype` of Muon's products."""
        self.dtype = dtype
        named = [(name, tensor) for name, tensor in network.named_parameters() if tensor.requires_grad]
        self.matrices = {n: p for n, p in named if kind == "muon" and p.ndim == 2 and "embed_tokens" not in n}
        self.others = {n: p for n, p in named if n not in self.matrices}
        self.momenta = {name: torch.zeros_like(tensor) for name, tensor in self.matrices.items()}
        self.means = {name: torch.zeros_like(tensor) for name, tensor in self.others.items()}
        self.squares = {name: torch.zeros_like(tensor) for name, tensor in self.others.items()}
        self.done_steps = 0

    def state(self) -> dict[str, Tensor]:
        """Every tensor of the state, by a name of its own."""
        parts = {"muon": self.momenta, "mean": self.means, "square": self.squares}
        return {f"{part}.{name}": tensor for part, found in parts.items() for name, tensor in found.items()}

    @torch.no_grad()
    def load(self, state: Mapping[str, Tensor], done_steps: int) -> None:
        """Take over a kept state."""
        for name, tensor in self.state().items():
            tensor.copy_(state[name])
        self.done_steps = done_steps

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Move every tensor along its gradient."""
        self.done_steps += 1
        self._muon(rate)
        self._adamw(rate)

    def _muon(self, rate: float) -> None:
        # Matrices of one shape are made orthogonal together: one large product instead of many small ones.
        by_shape: dict[tuple[int, int], list[str]] = defaultdict(list)
        for name, tensor in self.matrices.items():
            rows, columns = tensor.shape
            by_shape[rows, columns].append(name)
        for (rows, columns), names in by_shape.items():
            updates_NRC = orthogonal(torch.stack([self._update(name) for name in names]), self.dtype)
            for name, update in zip(names, updates_NRC, strict=True):
                self._move(name, update, rate, rate * muon_scale(rows, columns))

    def _update(self, name: str) -> Tensor:
        """Where the momentum leads (Nesterov's), before it is made orthogonal."""
        grad = gradient(self.matrices[name])
        self.momenta[name].lerp_(grad, 1 - MUON_MOMENTUM)
        return grad.lerp(self.momenta[name], MUON_MOMENTUM)

    def _move(self, name: str, update: Tensor, rate: float, length: float) -> None:
        self.matrices[name].mul_(1 - rate * WEIGHT_DECAY).add_(update, alpha=-length)

    def _adamw(self, rate: float) -> None:
        first, second = BETAS
        bias, square_bias = 1 - first**self.done_steps, 1 - second**self.done_steps
        for name, tensor in self.others.items():
            grad = gradient(tensor)
            self.means[name].lerp_(grad, 1 - first)
            self.squares[name].lerp_(grad.square(), 1 - second)
            if tensor.ndim == 2:  # norms are not pulled to zero
                tensor.mul_(1 - rate * WEIGHT_DECAY)
            denominator = (self.squares[name] / square_bias).sqrt_().add_(EPS)
            tensor.addcdiv_(self.means[name], denominator, value=-rate / bias)


def muon_scale(rows: int, columns: int) -> float:
    """What an orthogonal matrix is multiplied with, beside the rate, to be a step as long as AdamW's."""
    return 0.2 * math.sqrt(max(rows, columns))


def orthogonal(updates_NRC: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Nearly the orthogonal factor of each matrix: five Newton-Schulz steps of degree five, singular values to about 1."""
    a, b, c = _NEWTON_SCHULZ
    tall = updates_NRC.shape[-2] > updates_NRC.shape[-1]
    x: Tensor = updates_NRC.mT if tall else updates_NRC
    x = (x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)).to(dtype)
    for _ in range(_NEWTON_SCHULZ_STEPS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)  # a x + (b G + c G G) x
    return (x.mT if tall else x).to(updates_NRC.dtype)


def clip(tensors: Iterable[nn.Parameter], most: float) -> float:
    """Scale all gradients so that their norm is at most `most`; the norm before (Pascanu et al. 2013, arXiv:1211.5063)."""
    return float(nn.utils.clip_grad_norm_(list(tensors), most))


def gradient(tensor: nn.Parameter | Tensor) -> Tensor:
    """The gradient, which a backward pass has left."""
    if tensor.grad is None:
        raise RuntimeError("a tensor took no part in the loss")
    return tensor.grad
