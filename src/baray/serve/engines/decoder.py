"""The forward pass of a Qwen3 or Llama decoder, for answering: small batches, keys and values kept in slots.

Shapes: B rows, T new tokens of a row, D width, N heads of queries, K heads of keys and values, G = N / K, H width of a
head, F width of the MLP, V vocabulary, S positions seen so far, C positions that a slot can hold.

RMSNorm: Zhang and Sennrich 2019. Rotary positions: Su et al. 2021. Grouped queries: Ainslie et al. 2023. SwiGLU: Shazeer
2020. Norms on queries and keys: Henry et al. 2020.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from baray.serve.engines.layout import Layout
from baray.serve.engines.tensors import Tensors

Linear = Callable[[Tensor], Tensor]
# oneDNN's own order of a weight, and the product with it: what torch.compile emits, without a compiler. Unpacked, every
# product would reorder the weight again: 2.5 times the time in fp32 at 8 rows, 1.7 times in bf16.
_PACK, _PRODUCT = "_reorder_linear_weight", "_linear_pointwise"


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Weights of one block."""

    norm_D: Tensor
    """Before attention."""
    qkv: Linear
    """D -> (N + 2K) H."""
    heads_norm_MH: Tensor | None
    """Qwen3: of each head of queries and keys, M = N + K."""
    out: Linear
    """N H -> D."""
    mlp_norm_D: Tensor
    """Before the MLP."""
    gate_up: Linear
    """D -> 2functional."""
    down: Linear
    """F -> D."""


class Decoder:
    """A Model in memory, with slots."""

    def __init__(
        self, layout: Layout, tensors: Tensors, *, slots: int, context: int, dtype: torch.dtype, device: str
    ) -> None:
        """Load weights in `dtype`; the residual stream, norms and the head stay in float32.

        One more slot than asked for is kept: for what needs a pass of its own.
        """
        self.layout, self.slots, self.context, self.dtype, self.device = layout, slots, context, dtype, device
        embedding_VD = _floats(tensors, "model.embed_tokens.weight").to(device)
        head_VD = embedding_VD if layout.tied else _floats(tensors, "lm_head.weight").to(device)
        self._embedding_VD = embedding_VD.to(dtype)
        self._head = pack(head_VD, slots)
        self._norm_D = _floats(tensors, "model.norm.weight").to(device)
        self._blocks = [self._block(tensors, f"model.layers.{number}.") for number in range(layout.layers)]
        self._cos_CH, self._sin_CH = _rotations(layout, context, device)
        shape = (slots * context, layout.kv_heads, layout.head_width)
        # Attention of one query over a cache in bf16 takes ten times as long as in fp32 on processors.
        self._seen_dtype = torch.float32 if device == "cpu" else dtype
        self._keys = [torch.zeros(shape, dtype=self._seen_dtype, device=device) for _ in self._blocks]
        self._values = [torch.zeros(shape, dtype=self._seen_dtype, device=device) for _ in self._blocks]

    def forward(self, tokens_BT: Tensor, places_BT: Tensor, first_row: int) -> Tensor:
        """Hidden states [B, T, D] of new tokens at `places_BT`; row b is slot `first_row` + b, whose cache is extended."""
        num_rows, num_new = tokens_BT.shape
        size = self.layout
        seen = int(places_BT.max()) + 1
        x_BTD = functional.embedding(tokens_BT, self._embedding_VD).float()
        cos_BT1H = self._cos_CH[places_BT].unsqueeze(2)
        sin_BT1H = self._sin_CH[places_BT].unsqueeze(2)
        rows_B1 = torch.arange(first_row, first_row + num_rows, device=self.device).unsqueeze(1)
        spots = (rows_B1 * self.context + places_BT).flatten()
        # A token sees positions up to its own. The G heads that share keys are G * T queries of one head.
        hidden_BTS = torch.arange(seen, device=self.device) > places_BT.unsqueeze(2)
        mask = torch.zeros(hidden_BTS.shape, dtype=self._seen_dtype, device=self.device).masked_fill_(
            hidden_BTS, -torch.inf
        )
        mask = mask.unsqueeze(1) if num_new == 1 else mask.repeat(1, size.heads // size.kv_heads, 1).unsqueeze(1)
        grouped = num_rows, num_new, size.kv_heads, -1, size.head_width
        past = slice(first_row, first_row + num_rows), slice(0, seen)
        for block, keys, values in zip(self._blocks, self._keys, self._values, strict=True):
            normed_BTD = functional.rms_norm(x_BTD, (size.width,), block.norm_D, size.eps).to(self.dtype)
            heads_BTMH = block.qkv(normed_BTD).view(num_rows, num_new, -1, size.head_width)
            turned_BTMH = self._turn(block, heads_BTMH[:, :, : size.heads + size.kv_heads], cos_BT1H, sin_BT1H)
            keys.index_copy_(0, spots, turned_BTMH[:, :, size.heads :].flatten(0, 1))
            values.index_copy_(
                0, spots, heads_BTMH[:, :, size.heads + size.kv_heads :].flatten(0, 1).to(self._seen_dtype)
            )
            q_BKGH = (
                turned_BTMH[:, :, : size.heads]
                .view(*grouped)
                .permute(0, 2, 3, 1, 4)
                .reshape(num_rows, size.kv_heads, -1, size.head_width)
            )
            k_BKSH, v_BKSH = (
                one.view(-1, self.context, size.kv_heads, size.head_width)[past].transpose(1, 2)
                for one in (keys, values)
            )
            seen_BKGH = functional.scaled_dot_product_attention(q_BKGH, k_BKSH, v_BKSH, attn_mask=mask)
            mixed = seen_BKGH.view(num_rows, size.kv_heads, -1, num_new, size.head_width)
            mixed = mixed.permute(0, 3, 1, 2, 4).reshape(num_rows, num_new, -1)
            x_BTD += block.out(mixed.to(self.dtype))
            normed_BTD = functional.rms_norm(x_BTD, (size.width,), block.mlp_norm_D, size.eps).to(self.dtype)
            gate_BTF, up_BTF = block.gate_up(normed_BTD).chunk(2, dim=-1)
            x_BTD += block.down(functional.silu(gate_BTF) * up_BTF)
        return functional.rms_norm(x_BTD, (size.width,), self._norm_D, size.eps)

    def logits(self, hidden_BD: Tensor) -> Tensor:
        """Logits [B, V], in float32: rounded to bf16 the best two would often be equal."""
        return self._head(hidden_BD)

    def move(self, source: int, target: int, length: int) -> None:
        """Copy the first `length` positions of a slot over another one."""
        for one in (*self._keys, *self._values):
            start, end = source * self.context, target * self.context
            one[end : end + length] = one[start : start + length]

    def _turn(self, block: Block, heads_BTMH: Tensor, cos_BT1H: Tensor, sin_BT1H: Tensor) -> Tensor:
        """Norm (Qwen3) and rotary positions of queries and keys: (a, b) -> (a cos - b sin, b cos + a sin) by halves."""
        x_BTMH = heads_BTMH.float()
        if block.heads_norm_MH is not None:
            x_BTMH = functional.rms_norm(x_BTMH, (self.layout.head_width,), None, self.layout.eps) * block.heads_norm_MH
        half = torch.roll(x_BTMH, self.layout.head_width // 2, -1)  # the sign of a half stands in the table of sines
        return torch.addcmul(x_BTMH * cos_BT1H, half, sin_BT1H).to(self._seen_dtype)

    def _block(self, tensors: Tensors, start: str) -> Block:
        def floats(name: str) -> Tensor:
            return _floats(tensors, f"{start}{name}.weight")

        def linear(*names: str) -> Linear:
            return pack(torch.cat([floats(name) for name in names]).to(self.device, self.dtype), self.slots)

        size = self.layout
        norms = None
        if size.kind == "qwen3":
            parts = (("self_attn.q_norm", size.heads), ("self_attn.k_norm", size.kv_heads))
            norms = torch.cat([floats(name).expand(number, -1) for name, number in parts]).to(self.device)
        return Block(
            norm_D=floats("input_layernorm").to(self.device),
            qkv=linear("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
            heads_norm_MH=norms,
            out=linear("self_attn.o_proj"),
            mlp_norm_D=floats("post_attention_layernorm").to(self.device),
            gate_up=linear("mlp.gate_proj", "mlp.up_proj"),
            down=linear("mlp.down_proj"),
        )


def pack(weight_OI: Tensor, num_rows: int) -> Linear:
    """The product x [..., I] -> [..., O], with the weight laid out for about `num_rows` rows where the build can do that."""
    order, product = (getattr(torch.ops.mkldnn, name, None) for name in (_PACK, _PRODUCT))
    if weight_OI.device.type != "cpu" or order is None or product is None:
        return partial(functional.linear, weight=weight_OI)
    packed = order(weight_OI.contiguous(), num_rows)

    def multiply(x: Tensor) -> Tensor:
        found: Tensor = product(x, packed, None, "none", [], "")
        return found

    probe = torch.linspace(-1, 1, weight_OI.shape[1], dtype=weight_OI.dtype).expand(num_rows, -1)
    if not torch.allclose(multiply(probe), functional.linear(probe, weight_OI), rtol=1e-2, atol=1e-2):
        return partial(functional.linear, weight=weight_OI)
    return multiply


def _floats(tensors: Tensors, name: str) -> Tensor:
    return torch.from_numpy(tensors[name].float32())


def _rotations(layout: Layout, context: int, device: str) -> tuple[Tensor, Tensor]:
    """Cosines and sines [C, H]; the first half of the sines is negative."""
    half = layout.head_width // 2
    frequencies = 1.0 / layout.rope_theta ** (torch.arange(half, dtype=torch.float32) * 2 / layout.head_width)
    frequencies = frequencies / torch.tensor(layout.divisors)
    angles = torch.outer(torch.arange(context, dtype=torch.float32), frequencies)
    cosines, sines = angles.cos(), angles.sin()
    return torch.cat([cosines, cosines], 1).to(device), torch.cat([-sines, sines], 1).to(device)
