"""What a `config.json` says of a decoder, and which tensors then have to be there. Standard library only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from baray.core import Refused

FAMILIES = {"qwen3": "Qwen3ForCausalLM", "llama": "LlamaForCausalLM"}
"""What is computed here: value of `model_type` -> name of the class that others load it with."""
_SIZES = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
_MOST = 2**31
_STRETCHED = {
    "linear": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
}
"""Ways to stretch rotary positions that are computed here -> the numbers that each needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Rotary frequencies made lower, for more positions than a Model was first trained on."""

    way: str
    """linear (Chen et al. 2023, arXiv:2306.15595) or llama3 (low frequencies alone; Llama 3.1)."""
    factor: float
    """By how much; at least 1."""
    low: float = 1.0
    """llama3: what turns less often than this over `positions` is stretched in full."""
    high: float = 4.0
    """llama3: what turns more often than this is left as it is; between the two, by degrees."""
    positions: int = 1
    """llama3: positions of the first training."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """A decoder of one of the families."""

    family: str
    """qwen3 or llama."""
    vocab: int
    """Rows of the table."""
    width: int
    """Of the stream."""
    layers: int
    """Blocks."""
    heads: int
    """Of queries."""
    kv_heads: int
    """Of keys; divides `heads`."""
    head_dim: int
    """Width of a head, even."""
    hidden: int
    """Of the gated layer."""
    context: int
    """Most positions."""
    rope_theta: float
    """Base of the rotary positions."""
    norm_eps: float
    """Of the norms."""
    tied: bool
    """Whether the output table is the input table."""
    stretch: Stretch | None = None
    """Of the rotary frequencies."""


def read_sizes(config: Mapping[str, Any]) -> Sizes:
    """The sizes that a config tells. Raises Refused `unknown_layout` for what is not computed here."""
    problem = _problem_of(config)
    if problem:
        raise Refused(
            "unknown_layout",
            f"No engine here can serve or train this Model: {problem}",
            fix=f"Use a Model of the families {' and '.join(FAMILIES)}, or a machine with a GPU and the engine vllm.",
        )
    heads = config["num_attention_heads"]
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    return Sizes(
        family=config["model_type"],
        vocab=config["vocab_size"],
        width=config["hidden_size"],
        layers=config["num_hidden_layers"],
        heads=heads,
        kv_heads=config.get("num_key_value_heads") or heads,
        head_dim=config.get("head_dim") or config["hidden_size"] // heads,
        hidden=config["intermediate_size"],
        context=config["max_position_embeddings"],
        rope_theta=float(rope.get("rope_theta") or config.get("rope_theta") or 10_000.0),
        norm_eps=float(config.get("rms_norm_eps", 1e-6)),
        tied=bool(config.get("tie_word_embeddings", False)),
        stretch=_stretch_of(rope),
    )


def tensors_of(sizes: Sizes) -> Iterator[tuple[str, list[int]]]:
    """Names and shapes of the tensors that a decoder of these sizes has."""
    yield "model.embed_tokens.weight", [sizes.vocab, sizes.width]
    yield "model.norm.weight", [sizes.width]
    if not sizes.tied:
        yield "lm_head.weight", [sizes.vocab, sizes.width]
    queries, keys = sizes.heads * sizes.head_dim, sizes.kv_heads * sizes.head_dim
    block = {
        "input_layernorm": [sizes.width],
        "post_attention_layernorm": [sizes.width],
        "self_attn.q_proj": [queries, sizes.width],
        "self_attn.k_proj": [keys, sizes.width],
        "self_attn.v_proj": [keys, sizes.width],
        "self_attn.o_proj": [sizes.width, queries],
        "mlp.gate_proj": [sizes.hidden, sizes.width],
        "mlp.up_proj": [sizes.hidden, sizes.width],
        "mlp.down_proj": [sizes.width, sizes.hidden],
    }
    if sizes.family == "qwen3":
        block |= {"self_attn.q_norm": [sizes.head_dim], "self_attn.k_norm": [sizes.head_dim]}
    for number in range(sizes.layers):
        for name, shape in block.items():
            yield f"model.layers.{number}.{name}.weight", shape


def _problem_of(config: Mapping[str, Any]) -> str:
    """What of a config is missing or computed in another way than here; empty if nothing."""
    if config.get("model_type") not in FAMILIES:
        return f"its model_type is {config.get('model_type')!r}, not {' or '.join(FAMILIES)}."
    for name in (*_SIZES, "max_position_embeddings"):
        if type(config.get(name)) is not int or not 1 <= config[name] < _MOST:
            return f"its {name} is {config.get(name)!r}."
    return _problem_of_heads(config) or _problem_of_ways(config)


def _problem_of_heads(config: Mapping[str, Any]) -> str:
    heads = config["num_attention_heads"]
    kv_heads = config.get("num_key_value_heads") or heads
    if type(kv_heads) is not int or kv_heads < 1 or heads % kv_heads:
        return f"its {heads} heads cannot share {kv_heads!r} heads of keys."
    width = config.get("head_dim") or config["hidden_size"] // heads
    if type(width) is not int or width < 2 or width % 2:
        return f"its heads are {width!r} wide."
    for name in ("rms_norm_eps", "rope_theta"):
        value = config.get(name, 1.0)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < _MOST:
            return f"its {name} is {value!r}."
    return ""


def _problem_of_ways(config: Mapping[str, Any]) -> str:
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if not isinstance(rope, Mapping):
        return f"its rope_parameters are {rope!r}."
    way = _way_of(rope)
    others = {
        "attention_bias": bool(config.get("attention_bias")),
        "mlp_bias": bool(config.get("mlp_bias")),
        "use_sliding_window": bool(config.get("use_sliding_window")),
        f"rope_type '{way}'": way not in {"default", *_STRETCHED},
        f"hidden_act '{config.get('hidden_act')}'": config.get("hidden_act", "silu") != "silu",
        "partial_rotary_factor": rope.get("partial_rotary_factor", 1) != 1,
        "quantization_config": bool(config.get("quantization_config")),
    }
    found = [name for name, is_other in others.items() if is_other]
    return f"it uses {', '.join(found)}." if found else _problem_of_stretch(rope)


def _way_of(rope: Mapping[str, Any]) -> str:
    return str(rope.get("rope_type", rope.get("type", "default")))


def _problem_of_stretch(rope: Mapping[str, Any]) -> str:
    """What of the numbers of a stretch is missing or makes no sense."""
    for name in ("rope_theta", *_STRETCHED.get(_way_of(rope), ())):
        value = rope.get(name, 1.0 if name == "rope_theta" else None)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < _MOST:
            return f"the {name} of its rotary positions is {value!r}."
    if _way_of(rope) in _STRETCHED and rope["factor"] < 1:
        return f"the factor of its rotary positions is {rope['factor']!r}, below 1."
    if _way_of(rope) == "llama3" and rope["low_freq_factor"] >= rope["high_freq_factor"]:
        return (
            f"the low_freq_factor of its rotary positions is {rope['low_freq_factor']!r}, not below high_freq_factor."
        )
    return ""


def _stretch_of(rope: Mapping[str, Any]) -> Stretch | None:
    way = _way_of(rope)
    if way == "linear":
        return Stretch(way=way, factor=float(rope["factor"]))
    if way != "llama3":
        return None
    return Stretch(
        way=way,
        factor=float(rope["factor"]),
        low=float(rope["low_freq_factor"]),
        high=float(rope["high_freq_factor"]),
        positions=int(rope["original_max_position_embeddings"]),
    )
