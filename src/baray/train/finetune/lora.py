"""LoRA (Hu et al. 2021, arXiv:2106.09685): W stays, and beside it learns B A of low rank; at the end W + s B A is one matrix again.

A is drawn, B is zero, so that training starts from the base itself; s = alpha / rank.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from baray.train.lm.model import Linear, Network

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""Every matrix of a block (Dettmers et al. 2023, arXiv:2305.14314, section 4: all of them, or full training is not matched)."""


class Adapted(nn.Module):
    """A matrix that stays, and one of low rank beside it that learns."""

    def __init__(self, matrix: Linear, rank: int, scale: float, chance: torch.Generator) -> None:
        """A drawn, B zero."""
        super().__init__()
        outputs, inputs = matrix.weight.shape
        self.weight, self.scale = matrix.weight, scale
        self.weight.requires_grad = False
        self.lora_A = nn.Parameter(torch.empty(rank, inputs))
        self.lora_B = nn.Parameter(torch.zeros(outputs, rank))
        bound = 1 / math.sqrt(inputs)
        nn.init.uniform_(self.lora_A, -bound, bound, generator=chance)

    def forward(self, x: Tensor) -> Tensor:
        """The product with W + s B A, transposed."""
        low = functional.linear(functional.linear(x, self.lora_A.to(x.dtype)), self.lora_B.to(x.dtype))
        return functional.linear(x, self.weight.to(x.dtype)) + self.scale * low

    def merged(self) -> Tensor:
        """W + s B A."""
        return self.weight + self.scale * (self.lora_B @ self.lora_A)


def adapt(network: Network, *, rank: int, alpha: float, seed: int) -> None:
    """Put an adapter beside every matrix of the blocks; nothing else learns any more."""
    for tensor in network.parameters():
        tensor.requires_grad = False
    chance = torch.Generator().manual_seed(seed)
    for part in list(network.model.layers.modules()):
        for name, matrix in list(part.named_children()):
            if name in TARGETS and isinstance(matrix, Linear):
                setattr(part, name, Adapted(matrix, rank, alpha / rank, chance))


@torch.no_grad()
def merged(network: Network) -> dict[str, Tensor]:
    """The tensors of the network, each adapter merged into its matrix, under the names that the base has."""
    found = {name: tensor.detach() for name, tensor in network.state_dict().items() if ".lora_" not in name}
    for name, part in network.named_modules():
        if isinstance(part, Adapted):
            found[f"{name}.weight"] = part.merged().detach()
    return found


def adapters(network: Network) -> dict[str, Tensor]:
    """What was learnt, under the names that PEFT gives it."""
    return {
        f"base_model.model.{name}.weight": tensor.detach()
        for name, tensor in network.named_parameters()
        if name.endswith(("lora_A", "lora_B"))
    }
