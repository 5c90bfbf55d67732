"""A network in shares: each process holds some rows of every tensor, and a block whole only while it computes with it.

Fully sharded data parallel (Zhao et al. 2023, arXiv:2304.11277), by torch's `fully_shard`: forward and backward gather a block's
tensors before they use it; backward leaves to each process the mean gradient of its own rows. AdamW works row by row on the
shares. Muon needs whole matrices: as many at a time as there are processes, each of which makes one of them orthogonal.

A Checkpoint holds whole tensors, gathered one by one, so that it is the same file as without shares: what comes after reads it
with one process or with many. Legend: R rows of a tensor, r rows of a share.

Covered: processes on one machine, `gloo` on processors, `nccl` on GPUs. Not covered: gathering in less than fp32; evaluation
while training goes on is done by every process alike; the first Checkpoint and the last evaluation hold the network whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol, cast

import torch
import torch.distributed as dist
from safetensors import safe_open
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor

from baray.train.lm.checkpoint import Keeper, Kept
from baray.train.lm.evaluate import HeldOut, held_out_loss
from baray.train.lm.loop import MOST_NORM, Training
from baray.train.lm.model import INIT_STD, Network, rope_tables
from baray.train.lm.optim import Optimizer, muon_scale, orthogonal


class _Rows(Protocol):
    """A tensor of a safetensors file that is read row by row."""

    def get_shape(self) -> list[int]: ...

    def __getitem__(self, rows: slice) -> Tensor: ...


class ShardedTraining(Training):
    """Training whose network and optimizer lie in shares, one in each process of the group."""

    def _make_network(self) -> Network:
        """The network, its tensors drawn anew: a Checkpoint brings the numbers that count."""
        with torch.device("meta"):
            network = Network(self.plan.shape, dtype=self.frozen.dtype)
        mesh = init_device_mesh(self.device.type, (dist.get_world_size(),))
        for block in network.model.layers:
            if self.frozen.compiled:
                # Each block by itself: what gathers its tensors stands outside of what is compiled.
                block.compile(dynamic=False)
            fully_shard(block, mesh=mesh)
        fully_shard(network, mesh=mesh)
        network.to_empty(device=self.device)
        with torch.no_grad():
            for tensor in network.parameters():
                share = share_of(tensor)
                nn.init.normal_(share, std=INIT_STD) if share.ndim == 2 else nn.init.ones_(share)
            for table, numbers in zip((network.cos_TC, network.sin_TC), rope_tables(self.plan.shape), strict=True):
                table.copy_(numbers)
        return network

    def _make_optimizer(self) -> Optimizer:
        return ShardedOptimizer(self.network, self.frozen.optimizer, self.frozen.dtype)

    def _make_forward(self) -> Network:
        return self.network

    def _agree(self, total: Tensor) -> float:
        """The gradient is the mean of all already; the loss is made so."""
        dist.all_reduce(total)
        total /= dist.get_world_size()
        return _clip(self.network.parameters(), MOST_NORM)

    def tensors(self) -> Mapping[str, Tensor]:
        """Whole tensors, gathered as they are asked for: every process has to ask for all of them, in this order."""
        rows = {name: tensor.shape[0] for name, tensor in self.network.named_parameters()}
        shares = {f"weight.{name}": share_of(tensor) for name, tensor in self.network.named_parameters()}
        shares |= self.optimizer.state()
        return _Gathered({name: (share, rows[name.split(".", 1)[1]]) for name, share in shares.items()})

    def keep(self, keeper: Keeper) -> None:
        """The first process writes; the others give it their shares."""
        if self.rank == 0:
            super().keep(keeper)
        else:
            for _ in self.tensors().values():
                pass

    def look(self, held: HeldOut) -> float:
        """Every process computes the same: none could alone."""
        loss = held_out_loss(self.network, held)
        # After a forward pass without a backward one the tables would stay whole.
        cast(FSDPModule, self.network).reshard()
        return loss

    @torch.no_grad()
    def load(self, kept: Kept) -> None:
        """Each process reads its own rows of a Checkpoint."""
        with safe_open(kept.folder / "state.safetensors", framework="pt") as file:
            slice_of: Callable[[str], _Rows] = file.get_slice
            for name, tensor in self.network.named_parameters():
                _read(slice_of(f"weight.{name}"), share_of(tensor))
            for name, share in self.optimizer.state().items():
                _read(slice_of(name), share)
        self.step = self.optimizer.done_steps = kept.step


class ShardedOptimizer(Optimizer):
    """The optimizer on shares. Its state is shares too."""

    def __init__(self, network: nn.Module, kind: str, dtype: torch.dtype) -> None:
        """As of a whole network."""
        super().__init__(network, kind, dtype)
        self.shared = dict(network.named_parameters())
        for state in (self.momenta, self.means, self.squares):
            for name, tensor in state.items():
                state[name] = share_of(tensor)

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Move this process's rows."""
        for tensors in (self.matrices, self.others):
            for name in tensors:
                share, gradient = share_of(self.shared[name]), self.shared[name].grad
                share.grad = None if gradient is None else share_of(gradient)
                tensors[name] = cast(nn.Parameter, share)
        super().step(rate)
        for tensors in (self.matrices, self.others):
            for share in tensors.values():
                share.grad = None

    def _muon(self, rate: float) -> None:
        names = list(self.matrices)
        for first in range(0, len(names), dist.get_world_size()):
            self._muon_of(names[first : first + dist.get_world_size()], rate)

    def _muon_of(self, names: list[str], rate: float) -> None:
        """One matrix for each process at most: gathered there, made orthogonal, given back in shares."""
        rank, mine_RC = dist.get_rank(), None
        for owner, name in enumerate(names):
            whole_RC = _gather_to(owner, self._update(name), self.shared[name].shape[0])
            mine_RC = whole_RC if owner == rank else mine_RC
        if mine_RC is not None:
            mine_RC = orthogonal(mine_RC.unsqueeze(0), self.dtype).squeeze(0)
        for owner, name in enumerate(names):
            rows, columns = self.shared[name].shape
            update_rC = _scatter_from(owner, mine_RC if owner == rank else None, self.matrices[name], rows)
            self._move(name, update_rC, rate, rate * muon_scale(rows, columns))


class _Gathered(Mapping[str, Tensor]):
    """Whole tensors by name; each is gathered by all processes when it is asked for, and kept by nobody."""

    def __init__(self, shares: Mapping[str, tuple[Tensor, int]]) -> None:
        """Shares and the rows of the whole."""
        self._shares = shares

    def __getitem__(self, name: str) -> Tensor:
        share, rows = self._shares[name]
        padded = _padded(share, rows)
        whole = padded.new_empty((dist.get_world_size() * len(padded), *padded.shape[1:]))
        dist.all_gather_single(whole, padded)
        return whole[:rows]

    def __iter__(self) -> Iterator[str]:
        return iter(self._shares)

    def __len__(self) -> int:
        return len(self._shares)


def share_of(tensor: Tensor) -> Tensor:
    """The rows that this process holds; they are changed in place."""
    share: Tensor = cast(DTensor, tensor.detach()).to_local()
    return share


def _share_rows(rows: int) -> int:
    """Rows of every share but the last ones, which may have fewer or none."""
    return math.ceil(rows / dist.get_world_size())


def _padded(share: Tensor, rows: int) -> Tensor:
    """A share with as many rows as the largest: what goes from process to process has one size."""
    missing = _share_rows(rows) - len(share)
    return share if not missing else torch.cat([share, share.new_zeros((missing, *share.shape[1:]))])


def _gather_to(owner: int, share: Tensor, rows: int) -> Tensor | None:
    """The whole tensor, in the process `owner` alone."""
    padded = _padded(share, rows).contiguous()
    parts = [torch.empty_like(padded) for _ in range(dist.get_world_size())] if dist.get_rank() == owner else None
    dist.gather(padded, parts, dst=owner)
    return None if parts is None else torch.cat(parts)[:rows]


def _scatter_from(owner: int, whole: Tensor | None, like: Tensor, rows: int) -> Tensor:
    """This process's rows of what `owner` holds whole."""
    size = _share_rows(rows)
    padded = like.new_empty((size, *like.shape[1:]))
    parts = None
    if whole is not None:
        parts = [_padded(part, rows).contiguous() for part in torch.split(whole, size)]
        parts += [torch.zeros_like(padded)] * (dist.get_world_size() - len(parts))
    dist.scatter(padded, parts, src=owner)
    return padded[: len(like)]


def _read(rows: _Rows, share: Tensor) -> None:
    """Read the rows of a share."""
    total = rows.get_shape()[0]
    first = min(total, dist.get_rank() * _share_rows(total))
    share.copy_(rows[first : first + len(share)])


def _clip(tensors: Iterable[Tensor], most: float) -> float:
    """Scale all gradients so that their norm, over all shares, is at most `most`; the norm before."""
    shares = [share_of(tensor.grad) for tensor in tensors if tensor.grad is not None]
    square = torch.stack([share.square().sum() for share in shares]).sum()
    dist.all_reduce(square)
    norm = square.sqrt()
    scale = torch.clamp(most / (norm + 1e-6), max=1.0)
    for share in shares:
        share.mul_(scale)
    return float(norm)
