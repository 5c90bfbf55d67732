"""The network, in the layout that others call `Qwen3ForCausalLM`: names and order of the tensors are theirs.

Pre-norm decoder (RMSNorm, Zhang & Sennrich 2019, arXiv:1910.07467), rotary positions (Su et al. 2021, arXiv:2104.09864),
SwiGLU (Shazeer 2020, arXiv:2002.05202), grouped keys (Ainslie et al. 2023, arXiv:2305.13245), normed queries and keys
(Henry et al. 2020, arXiv:2010.04245), input and output tables tied (Press & Wolf 2017, arXiv:1608.05859), no biases.

Legend: B rows, T positions, D width, H heads, K heads of keys, C width of a head, F hidden width, V vocabulary;
Q some of the positions, S those that they may see.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from baray.train.imported.layout import Stretch

ROPE_THETA = 10_000.0
NORM_EPS = 1e-6
PAD_VOCAB = 128
INIT_STD = 0.02
LEAST_QUERIES = 128
"""Positions that attend at a time on processors; at most four parts."""
MOST_PLAIN_POSITIONS = 4096
"""Beyond, plain products would keep more than all the rest of a block does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Sizes of one network."""

    vocab: int
    """Rows of the table; a multiple of 128, at least the tokenizer's vocabulary."""
    width: int
    """D."""
    layers: int
    """Blocks."""
    heads: int
    """H."""
    kv_heads: int
    """K; divides H."""
    head_dim: int
    """C; even."""
    hidden: int
    """F."""
    context: int
    """Positions that it was trained on."""
    rope_theta: float = ROPE_THETA
    """Base of the rotary frequencies."""
    norm_eps: float = NORM_EPS
    """Of every RMSNorm."""
    tied: bool = True
    """Whether the output table is the input table."""
    qk_norm: bool = True
    """Whether queries and keys are normed: Qwen3; without, and untied as it mostly is, this is the layout of Llama."""
    stretch: Stretch | None = None
    """Of the rotary frequencies, in Models from elsewhere."""

    @property
    def params(self) -> int:
        """Numbers in its tensors; the tied table counts once."""
        attention = self.width * self.head_dim * (2 * self.heads + 2 * self.kv_heads)
        attention += 2 * self.head_dim if self.qk_norm else 0
        block = attention + 3 * self.width * self.hidden + 2 * self.width
        tables = self.vocab * self.width * (1 if self.tied else 2)
        return tables + self.layers * block + self.width

    @property
    def flops_per_token(self) -> int:
        """Forward and backward: 6 for each number that multiplies, and attention (Chowdhery et al. 2022, arXiv:2204.02311)."""
        return 6 * self.params + 12 * self.layers * self.heads * self.head_dim * self.context

    def hf_config(self, *, dtype: str, eos: int) -> Mapping[str, Any]:
        """`config.json`."""
        return {
            "architectures": ["Qwen3ForCausalLM"],
            "attention_bias": False,
            "attention_dropout": 0.0,
            "bos_token_id": None,
            "dtype": dtype,
            "eos_token_id": eos,
            "head_dim": self.head_dim,
            "hidden_act": "silu",
            "hidden_size": self.width,
            "initializer_range": INIT_STD,
            "intermediate_size": self.hidden,
            "max_position_embeddings": self.context,
            "model_type": "qwen3",
            "num_attention_heads": self.heads,
            "num_hidden_layers": self.layers,
            "num_key_value_heads": self.kv_heads,
            "pad_token_id": eos,
            "rms_norm_eps": self.norm_eps,
            "rope_theta": self.rope_theta,
            "tie_word_embeddings": True,
            "torch_dtype": dtype,
            "use_cache": True,
            "vocab_size": self.vocab,
        }


class Linear(nn.Linear):
    """A matrix whose numbers are kept in float32 and multiplied in the precision of what comes in."""

    def __init__(self, inputs: int, outputs: int) -> None:
        """A matrix of outputs x inputs, without a bias."""
        super().__init__(inputs, outputs, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """The product with W transposed."""
        return functional.linear(x, self.weight.to(x.dtype))


class Norm(nn.Module):
    """RMSNorm: x / sqrt(mean(x^2) + eps) * weight, summed in float32."""

    def __init__(self, size: int, eps: float) -> None:
        """One weight for each of `size` numbers."""
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:
        """Same shape, same precision."""
        return functional.rms_norm(x.float(), self.weight.shape, self.weight, self.eps).to(x.dtype)


class Attention(nn.Module):
    """Attention within one Document: a position sees those before it that the mask lets through."""

    def __init__(self, shape: Shape) -> None:
        """Tensors of one block."""
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = shape.heads, shape.kv_heads, shape.head_dim
        self.q_proj = Linear(shape.width, shape.heads * shape.head_dim)
        self.k_proj = Linear(shape.width, shape.kv_heads * shape.head_dim)
        self.v_proj = Linear(shape.width, shape.kv_heads * shape.head_dim)
        self.o_proj = Linear(shape.heads * shape.head_dim, shape.width)
        self.q_norm, self.k_norm = (
            Norm(shape.head_dim, shape.norm_eps) if shape.qk_norm else nn.Identity() for _ in range(2)
        )

    def forward(self, x_BTD: Tensor, rope: tuple[Tensor, Tensor], mask_B1TT: Tensor) -> Tensor:
        """Mix positions."""
        rows, positions, _ = x_BTD.shape
        q_BTHC = self.q_norm(self.q_proj(x_BTD).view(rows, positions, self.heads, self.head_dim))
        k_BTKC = self.k_norm(self.k_proj(x_BTD).view(rows, positions, self.kv_heads, self.head_dim))
        v_BTKC = self.v_proj(x_BTD).view(rows, positions, self.kv_heads, self.head_dim)
        q_BHTC, k_BKTC = (rotate(part, rope).transpose(1, 2) for part in (q_BTHC, k_BTKC))
        v_BKTC = v_BTKC.transpose(1, 2)
        mixed_BHTC = attend(q_BHTC, k_BKTC, v_BKTC, mask_B1TT)
        out_BTD: Tensor = self.o_proj(mixed_BHTC.transpose(1, 2).reshape(rows, positions, -1))
        return out_BTD


class Mlp(nn.Module):
    """SwiGLU: (silu(x G) * x U) D."""

    def __init__(self, shape: Shape) -> None:
        """Tensors of one block."""
        super().__init__()
        self.gate_proj = Linear(shape.width, shape.hidden)
        self.up_proj = Linear(shape.width, shape.hidden)
        self.down_proj = Linear(shape.hidden, shape.width)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Each position by itself."""
        out_BTD: Tensor = self.down_proj(functional.silu(self.gate_proj(x_BTD)) * self.up_proj(x_BTD))
        return out_BTD


class Block(nn.Module):
    """Attention, then the hidden layer, each added to what came in."""

    def __init__(self, shape: Shape) -> None:
        """Tensors of one block."""
        super().__init__()
        self.self_attn = Attention(shape)
        self.mlp = Mlp(shape)
        self.input_layernorm = Norm(shape.width, shape.norm_eps)
        self.post_attention_layernorm = Norm(shape.width, shape.norm_eps)

    def forward(self, x_BTD: Tensor, rope: tuple[Tensor, Tensor], mask_B1TT: Tensor) -> Tensor:
        """Both residual steps."""
        mixed_BTD: Tensor = x_BTD + self.self_attn(self.input_layernorm(x_BTD), rope, mask_B1TT)
        out_BTD: Tensor = mixed_BTD + self.mlp(self.post_attention_layernorm(mixed_BTD))
        return out_BTD


class Body(nn.Module):
    """Everything but the output table."""

    def __init__(self, shape: Shape) -> None:
        """The tensors, not yet drawn."""
        super().__init__()
        self.embed_tokens = nn.Embedding(shape.vocab, shape.width)
        self.layers = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = Norm(shape.width, shape.norm_eps)


class Network(nn.Module):
    """Tokens in, loss or scores of the next token out."""

    def __init__(self, shape: Shape, *, seed: int = 0, dtype: torch.dtype = torch.float32) -> None:
        """Draw the tensors from `seed`; multiply in `dtype`."""
        super().__init__()
        self.shape, self.dtype = shape, dtype
        self.model = Body(shape)
        if not shape.tied:
            self.lm_head = Linear(shape.width, shape.vocab)
        cos_TC, sin_TC = rope_tables(shape)
        self.cos_TC: Tensor
        self.sin_TC: Tensor
        self.register_buffer("cos_TC", cos_TC, persistent=False)
        self.register_buffer("sin_TC", sin_TC, persistent=False)
        self._draw(seed)

    def _draw(self, seed: int) -> None:
        """Normal with std 0.02; what is added to the stream less by its depth (Radford et al. 2019)."""
        chance = torch.Generator().manual_seed(seed)
        for name, tensor in self.named_parameters():
            if tensor.ndim == 2:
                deep = name.endswith(("o_proj.weight", "down_proj.weight"))
                std = INIT_STD / math.sqrt(2 * self.shape.layers) if deep else INIT_STD
                nn.init.normal_(tensor, std=std, generator=chance)

    def hidden(self, ids_BT: Tensor, segments_BT: Tensor) -> Tensor:
        """The last block's output, normed. Positions attend within their segment only."""
        out_BTD: Tensor = self.model.norm(self.stream(ids_BT, segments_BT, PLAIN))
        return out_BTD

    def stream(self, ids_BT: Tensor, segments_BT: Tensor, parts: Parts) -> Tensor:
        """The last block's output."""
        positions = ids_BT.shape[1]
        x_BTD: Tensor = self.model.embed_tokens(ids_BT).to(self.dtype)
        rope = (self.cos_TC[:positions], self.sin_TC[:positions])
        mask_B1TT = document_mask(segments_BT)
        for block in self.model.layers:
            x_BTD = parts.block(block, x_BTD, rope, mask_B1TT)
        return x_BTD

    def scores(self, hidden: Tensor) -> Tensor:
        """Scores of every token, in float32."""
        table = self.model.embed_tokens if self.shape.tied else self.lm_head
        return functional.linear(hidden, table.weight.to(hidden.dtype)).float()

    def forward(self, ids_BT: Tensor, targets_BT: Tensor, segments_BT: Tensor, parts: Parts | None = None) -> Tensor:
        """Mean over positions of -ln p(target)."""
        parts = parts or PLAIN
        loss: Tensor = parts.loss(self, self.stream(ids_BT, segments_BT, parts), targets_BT)
        return loss


def run_block(block: nn.Module, x_BTD: Tensor, rope: tuple[Tensor, Tensor], mask_B1TT: Tensor) -> Tensor:
    """One block."""
    out_BTD: Tensor = block(x_BTD, rope, mask_B1TT)
    return out_BTD


def loss_of(network: Network, x_BTD: Tensor, targets_BT: Tensor) -> Tensor:
    """What comes after the last block."""
    scores = network.scores(network.model.norm(x_BTD).flatten(0, 1))
    return functional.cross_entropy(scores, targets_BT.flatten())


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The two functions that a forward pass is made of, plain or compiled: blocks are alike, so one is compiled for all."""

    block: Callable[[nn.Module, Tensor, tuple[Tensor, Tensor], Tensor], Tensor] = run_block
    """A block on the stream."""
    loss: Callable[[Network, Tensor, Tensor], Tensor] = loss_of
    """From the stream to the loss."""


PLAIN = Parts()


def attend(q_BHTC: Tensor, k_BKTC: Tensor, v_BKTC: Tensor, mask_B1TT: Tensor) -> Tensor:
    """softmax(q k / sqrt(C)) v, where the mask is true (Vaswani et al. 2017, arXiv:1706.03762).

    On processors in plain products, some queries at a time with the keys up to their last: in bf16 that takes 0.4 of the time of
    torch's fused kernel, forward and backward, and in fp32 0.8.
    """
    positions, groups = q_BHTC.shape[2], q_BHTC.shape[1] // k_BKTC.shape[1]
    if q_BHTC.device.type != "cpu" or positions > MOST_PLAIN_POSITIONS:
        return functional.scaled_dot_product_attention(
            q_BHTC, k_BKTC, v_BKTC, attn_mask=mask_B1TT, enable_gqa=groups > 1
        )
    if groups > 1:
        k_BKTC, v_BKTC = (part.repeat_interleave(groups, dim=1) for part in (k_BKTC, v_BKTC))
    q_BHTC = q_BHTC / math.sqrt(q_BHTC.shape[3])
    size = max(LEAST_QUERIES, positions // 4)
    mixed = []
    for start in range(0, positions, size):
        end = min(positions, start + size)
        scores_BHQS = q_BHTC[:, :, start:end] @ k_BKTC[:, :, :end].mT
        scores_BHQS = scores_BHQS.masked_fill(~mask_B1TT[:, :, start:end, :end], -math.inf)
        mixed.append(scores_BHQS.softmax(dim=-1) @ v_BKTC[:, :, :end])
    return torch.cat(mixed, dim=2)


def rotate(x_BTHC: Tensor, rope: tuple[Tensor, Tensor]) -> Tensor:
    """Turn each pair (c, c + C/2) by its position's angle."""
    cos_T1C, sin_T1C = (table.to(x_BTHC.dtype).unsqueeze(1) for table in rope)
    low, high = x_BTHC.chunk(2, dim=-1)
    return x_BTHC * cos_T1C + torch.cat((-high, low), dim=-1) * sin_T1C


def rope_tables(shape: Shape) -> tuple[Tensor, Tensor]:
    """Cosine and sine of position x theta^(-2c/C), both halves alike."""
    powers_C = torch.arange(0, shape.head_dim, 2, dtype=torch.float32) / shape.head_dim
    frequencies_C = stretched(1.0 / shape.rope_theta**powers_C, shape.stretch)
    angles_TC = torch.outer(torch.arange(shape.context, dtype=torch.float32), frequencies_C)
    both_TC = torch.cat((angles_TC, angles_TC), dim=-1)
    return both_TC.cos(), both_TC.sin()


def stretched(frequencies_C: Tensor, stretch: Stretch | None) -> Tensor:
    """Rotary frequencies for more positions than were first trained on."""
    if stretch is None or stretch.way == "linear":
        return frequencies_C / (stretch.factor if stretch else 1.0)
    turns_C = stretch.positions * frequencies_C / (2 * math.pi)
    share_C = ((turns_C - stretch.low) / (stretch.high - stretch.low)).clamp(0.0, 1.0)
    return (1 - share_C) * frequencies_C / stretch.factor + share_C * frequencies_C


def segments_of(ids_BT: Tensor, eos: int) -> Tensor:
    """Number of the Document of each position. The boundary token opens a Document: its first word is predicted from it alone."""
    return (ids_BT == eos).cumsum(dim=1, dtype=torch.int32)


def document_mask(segments_BT: Tensor) -> Tensor:
    """True where a position may look: not ahead, not into another Document."""
    positions = segments_BT.shape[1]
    same_BTT = segments_BT[:, :, None] == segments_BT[:, None, :]
    past_TT = torch.ones(positions, positions, dtype=torch.bool, device=segments_BT.device).tril()
    return (same_BTT & past_TT).unsqueeze(1)
