"""What a Model's config.json says: the sizes of a decoder in the Qwen3 or Llama layout, or a refusal that names what is other."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from baray.core import Refused
from baray.serve.engines.port import EngineOptions

KINDS = {"qwen3": "Qwen3ForCausalLM", "llama": "LlamaForCausalLM"}
BYTES = {"fp32": 4.0, "bf16": 2.0, "q8_0": 1.0625}
"""Of one weight in memory."""
_STRETCHED = {
    "linear": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
}
"""Ways to stretch rotary positions that are computed here -> the numbers that each needs."""
_MOST = 2**31
_BASE_BYTES = 500 << 20  # what an interpreter with torch takes
_LEAST_CONTEXT, _USUAL_CONTEXT = 128, 2048
_OTHER = "Serve it with the engine vllm, on a machine with a GPU."


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

    def kept(self, turns: float) -> float:
        """How much of a frequency is left as it is, of what turns so often over `positions`: 0 to 1."""
        return 0.0 if self.way == "linear" else min(1.0, max(0.0, (turns - self.low) / (self.high - self.low)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Sizes of a decoder."""

    kind: str
    """qwen3 (norms on queries and keys) or llama."""
    vocab: int
    """Rows of the embedding; more than the tokenizer has, where padded."""
    width: int
    """Of the residual stream."""
    layers: int
    """Blocks."""
    heads: int
    """Of queries."""
    kv_heads: int
    """Of keys and values; divides `heads`."""
    head_width: int
    """Of one head, even."""
    mlp_width: int
    """Of the gated MLP."""
    context: int
    """Most positions."""
    rope_theta: float
    """Base of the rotary frequencies."""
    eps: float
    """Of the norms."""
    tied: bool
    """Whether the head is the embedding."""
    ends: frozenset[int]
    """Token ids that end an answer."""
    stretch: Stretch | None = None
    """Of the rotary frequencies."""

    @property
    def frequencies(self) -> list[float]:
        """Angle by which each pair of a head turns from one position to the next, before any stretch."""
        half = self.head_width // 2
        return [self.rope_theta ** (-pair / half) for pair in range(half)]

    @property
    def divisors(self) -> list[float]:
        """What each of the frequencies is divided by."""
        if self.stretch is None:
            return [1.0] * (self.head_width // 2)
        told = self.stretch
        kept = [told.kept(told.positions * one / math.tau) for one in self.frequencies]
        return [1.0 / ((1.0 - part) / told.factor + part) for part in kept]

    @property
    def num_params(self) -> int:
        """Weights in all."""
        attention = self.width * self.head_width * 2 * (self.heads + self.kv_heads)
        block = attention + 3 * self.width * self.mlp_width
        return self.vocab * self.width * (1 if self.tied else 2) + self.layers * block

    @property
    def num_held(self) -> int:
        """Weights as engines hold them: where the head is the embedding it is there twice, once to look up, once to multiply."""
        return self.num_params + (self.vocab * self.width if self.tied else 0)

    @property
    def cache_bytes_per_token(self) -> int:
        """Keys and values of one position, in float32."""
        return 2 * 4 * self.layers * self.kv_heads * self.head_width


def read_layout(folder: Path) -> Layout:
    """Read config.json and generation_config.json. Raises Refused `unknown_layout` for what no engine here computes."""
    config = read_object(folder / "config.json")
    kind = config.get("model_type")
    if kind not in KINDS:
        raise _other(f"Its model_type is '{kind}', not {' or '.join(KINDS)}.")
    problem = _problem_of(config)
    if problem:
        raise _other(problem)
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    heads = config["num_attention_heads"]
    told = [config.get("eos_token_id")]
    if (folder / "generation_config.json").exists():
        told.append(read_object(folder / "generation_config.json").get("eos_token_id"))
    ends = [one for entry in told for one in (entry if isinstance(entry, list) else [entry])]
    return Layout(
        kind=kind,
        vocab=config["vocab_size"],
        width=config["hidden_size"],
        layers=config["num_hidden_layers"],
        heads=heads,
        kv_heads=config.get("num_key_value_heads") or heads,
        head_width=config.get("head_dim") or config["hidden_size"] // heads,
        mlp_width=config["intermediate_size"],
        context=config["max_position_embeddings"],
        rope_theta=float(rope.get("rope_theta") or config.get("rope_theta") or 10_000.0),
        eps=float(config.get("rms_norm_eps", 1e-6)),
        tied=bool(config.get("tie_word_embeddings", False)),
        ends=frozenset(one for one in ends if isinstance(one, int)),
        stretch=_stretch_of(rope),
    )


def fit(layout: Layout, options: EngineOptions, *, spare_slots: int = 0) -> tuple[int, str]:
    """Context and precision that the memory allows. Raises Refused `model_too_large`, `bad_option`."""
    if options.context > layout.context:
        raise Refused(
            "bad_option",
            f"The context is {options.context} tokens, and the Model was made for {layout.context} at most.",
            fix=f"Ask for {layout.context} or fewer.",
        )
    room, slots = options.memory_bytes - _BASE_BYTES, options.slots + spare_slots
    asked = slots * (options.context or min(_USUAL_CONTEXT, layout.context)) * layout.cache_bytes_per_token
    precision = options.precision
    if precision == "auto":
        precision = "fp32" if BYTES["fp32"] * layout.num_held + asked <= room else "bf16"
    if precision not in BYTES:
        raise Refused("bad_option", f"The precision is '{precision}', not auto, {', '.join(BYTES)}.")
    cache_room = room - int(BYTES[precision] * layout.num_held)
    context = options.context or min(layout.context, cache_room // (slots * layout.cache_bytes_per_token))
    needed = slots * context * layout.cache_bytes_per_token
    if needed > cache_room or context < min(_LEAST_CONTEXT, options.context or layout.context):
        raise Refused(
            "model_too_large",
            f"{layout.num_params} weights in {precision} and {slots} slots of {context or _LEAST_CONTEXT} tokens do not fit "
            f"into {options.memory_bytes} bytes.",
            fix="Give it more memory, fewer slots, a smaller context, or precision=bf16.",
        )
    return context, precision


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object of the Model. Raises Refused `unknown_layout`."""
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise _other(f"It has no file {path.name}.") from error
    except (ValueError, RecursionError) as error:
        raise _other(f"Its {path.name} is not JSON.") from error
    if not isinstance(found, dict):
        raise _other(f"Its {path.name} is not an object.")
    return found


def _problem_of(config: dict[str, Any]) -> str:
    """What of a config is missing or computed in another way than here; empty if nothing."""
    sizes = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    for name in (*sizes, "max_position_embeddings"):
        if type(config.get(name)) is not int or config[name] < 1:
            return f"Its {name} is {config.get(name)!r}."
    heads, kv_heads = config["num_attention_heads"], config.get("num_key_value_heads") or config["num_attention_heads"]
    if type(kv_heads) is not int or kv_heads < 1 or heads % kv_heads:
        return f"Its {heads} heads cannot share {kv_heads!r} heads of keys."
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if not isinstance(rope, dict):
        return f"Its rope_parameters are {rope!r}."
    way = _way_of(rope)
    others = {
        "attention_bias": bool(config.get("attention_bias")),
        "mlp_bias": bool(config.get("mlp_bias")),
        "use_sliding_window": bool(config.get("use_sliding_window")),
        f"rope_type '{way}'": way not in {"default", *_STRETCHED},
        f"hidden_act '{config.get('hidden_act')}'": config.get("hidden_act", "silu") != "silu",
        "partial_rotary_factor": rope.get("partial_rotary_factor", 1) != 1,
    }
    found = [name for name, is_other in others.items() if is_other]
    return f"It uses {', '.join(found)}, which is not computed here." if found else _problem_of_stretch(rope)


def _way_of(rope: dict[str, Any]) -> str:
    return str(rope.get("rope_type", rope.get("type", "default")))


def _problem_of_stretch(rope: dict[str, Any]) -> str:
    """What of the numbers of a stretch is missing or makes no sense."""
    for name in ("rope_theta", *_STRETCHED.get(_way_of(rope), ())):
        value = rope.get(name, 1.0 if name == "rope_theta" else None)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < _MOST:
            return f"The {name} of its rotary positions is {value!r}."
    if _way_of(rope) in _STRETCHED and rope["factor"] < 1:
        return f"The factor of its rotary positions is {rope['factor']!r}, below 1."
    if _way_of(rope) == "llama3" and rope["low_freq_factor"] >= rope["high_freq_factor"]:
        return (
            f"The low_freq_factor of its rotary positions is {rope['low_freq_factor']!r}, not below high_freq_factor."
        )
    return ""


def _stretch_of(rope: dict[str, Any]) -> Stretch | None:
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


def _other(what: str) -> Refused:
    return Refused("unknown_layout", f"This Model cannot be served here. {what}", fix=_OTHER)
