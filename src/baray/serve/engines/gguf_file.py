"""Writes a Model in the Hugging Face layout as one GGUF file, which llama.cpp and what is built on it load.

The file is a function of the Model's files and the type asked for alone. Queries and keys of the Llama layout are
reordered (its rotary positions pair neighbours there, halves here); those of Qwen3 are not. Norms stay in float32.

Covered: byte-level BPE whose cut is one that llama.cpp knows by name; unigram as recipe `tokenizer` learns it, as its type `t5`
(as `llama`, whose way to cut is another, nine lines of ten came out otherwise). Not covered: other tokenizers, refused; in
unigram, characters beyond ASCII that the vocabulary lacks, which we spell in bytes and llama.cpp gives one token, unknown.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf import GGMLQuantizationType, LlamaFileType, TokenType
from numpy.typing import NDArray

from baray.core import Refused
from baray.serve.engines.layout import Layout, read_layout, read_object
from baray.serve.engines.tensors import Tensors

KINDS = {
    "f32": (GGMLQuantizationType.F32, LlamaFileType.ALL_F32),
    "bf16": (GGMLQuantizationType.BF16, LlamaFileType.MOSTLY_BF16),
    "q8_0": (GGMLQuantizationType.Q8_0, LlamaFileType.MOSTLY_Q8_0),
}
"""Types of weights."""
_Q8_BLOCK = 32
_PIECES_CUT = {
    "type": "Sequence",
    "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": r"[\r\n]+|\p{N}"}, "behavior": "Isolated", "invert": False},
        {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "never", "split": True},
    ],
}
"""How our unigram cuts a text before it looks for pieces."""
_NEVER = -1e6
"""Score of a piece that is never the best."""
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
_ASCII = 128
# How a text is cut into words before its merges: the pattern of a tokenizer.json -> llama.cpp's name for it.
CUTS = {
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+": "qwen35",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+": "qwen2",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+": "llama-bpe",
    "": "gpt-2",
}


def write_gguf(folder: Path, out: Path, *, kind: str = "f32", name: str = "model") -> int:
    """Write the Model in `folder` to the file `out`; its size in bytes. The file is there once it is whole.

    Raises Refused `unknown_layout`, `bad_safetensors`, `unknown_tokenizer`.
    """
    if kind not in KINDS:
        raise Refused("bad_option", f"There is no type '{kind}'; there are: {', '.join(KINDS)}.")
    layout = read_layout(folder)
    if layout.kind != "llama" and layout.stretch is not None and layout.stretch.way == "llama3":
        raise Refused(
            "unknown_layout",
            "This Model cannot be written as GGUF: it uses rope_type 'llama3', which llama.cpp computes in the Llama layout only.",
            fix="Use the Hugging Face layout (baray model export REF DIR --format hf), or the engine torch.",
        )
    part = out.with_name(out.name + ".part")
    writer = gguf.GGUFWriter(part, layout.kind)
    try:
        writer.add_name(name)
        _add_sizes(writer, layout, kind)
        _add_tokenizer(writer, folder, layout)
        for told, values in _tensors(folder, layout):
            _add_tensor(writer, told, values, kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    except BaseException:
        writer.close()
        part.unlink(missing_ok=True)
        raise
    writer.close()
    part.rename(out)
    return out.stat().st_size


def _add_sizes(writer: gguf.GGUFWriter, layout: Layout, kind: str) -> None:
    writer.add_file_type(KINDS[kind][1])
    writer.add_vocab_size(layout.vocab)
    writer.add_context_length(layout.context)
    writer.add_embedding_length(layout.width)
    writer.add_block_count(layout.layers)
    writer.add_feed_forward_length(layout.mlp_width)
    writer.add_head_count(layout.heads)
    writer.add_head_count_kv(layout.kv_heads)
    writer.add_key_length(layout.head_width)
    writer.add_value_length(layout.head_width)
    writer.add_rope_freq_base(layout.rope_theta)
    writer.add_layer_norm_rms_eps(layout.eps)
    if layout.kind == "llama":
        writer.add_rope_dimension_count(layout.head_width)
    if layout.stretch is not None and layout.stretch.way == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(layout.stretch.factor)


def _add_tokenizer(writer: gguf.GGUFWriter, folder: Path, layout: Layout) -> None:
    """Tokens by id, padded to the rows of the embedding, with merges."""
    told = read_object(folder / "tokenizer.json")
    added = {entry["id"]: entry for entry in told.get("added_tokens", [])}
    kind = (told.get("model") or {}).get("type")
    if kind not in {"BPE", "Unigram"}:
        raise _unknown(f"its tokenizer is of type '{kind}', which llama.cpp would cut in another way")
    words = _add_pieces(writer, told) if kind == "Unigram" else _add_merges(writer, told)
    words |= {number: entry["content"] for number, entry in added.items()}
    if max(words) >= layout.vocab:
        raise _unknown(f"its tokenizer has token {max(words)}, and its embedding {layout.vocab} rows")
    writer.add_token_list([words.get(number, f"[PAD{number}]") for number in range(layout.vocab)])
    writer.add_token_types([_type_of(number, words, added) for number in range(layout.vocab)])
    if kind == "Unigram":
        scores = [score for _, score in told["model"]["vocab"]]
        told_scores = [_NEVER if _unreachable(words[number]) else score for number, score in enumerate(scores)]
        writer.add_token_scores(told_scores + [_NEVER] * (layout.vocab - len(scores)))
    _add_special(writer, folder, {word: number for number, word in words.items()}, layout)


def _add_merges(writer: gguf.GGUFWriter, told: dict[str, Any]) -> dict[int, str]:
    """Byte-level BPE: its words by id."""
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(name_of_cut(told))
    writer.add_token_merges([one if isinstance(one, str) else " ".join(one) for one in told["model"]["merges"]])
    return {number: word for word, number in told["model"]["vocab"].items()}


def _add_pieces(writer: gguf.GGUFWriter, told: dict[str, Any]) -> dict[int, str]:
    """Unigram as we learn it: its pieces by id. Raises Refused `unknown_tokenizer` for what is cut in another way first."""
    if told.get("pre_tokenizer") != _PIECES_CUT or told.get("normalizer") or not told["model"].get("byte_fallback"):
        raise _unknown("its unigram tokenizer cuts text first, or spells what it has not, in another way than ours")
    writer.add_tokenizer_model("t5")
    writer.add_tokenizer_pre("default")
    writer.add_unk_token_id(told["model"]["unk_id"])
    writer.add_add_space_prefix(value=False)
    writer.add_remove_extra_whitespaces(value=False)
    pieces = [piece for piece, _ in told["model"]["vocab"]]
    known = set(pieces)
    return {number: _literal(piece, known) for number, piece in enumerate(pieces)}


def _literal(piece: str, known: set[str]) -> str:
    """llama.cpp's unigram does not fall back to bytes: one that is a character by itself, and no piece yet, stands as that one."""
    byte = int(piece[3:5], 16) if _BYTE.fullmatch(piece) else _ASCII
    return chr(byte) if byte < _ASCII and chr(byte) not in known else piece


def _unreachable(piece: str) -> bool:
    """Whether we would never choose a piece, for digits and ends of lines stand apart before pieces are looked for."""
    return len(piece) > 1 and any(one in "\r\n" or unicodedata.category(one).startswith("N") for one in piece)


def _add_special(writer: gguf.GGUFWriter, folder: Path, ids: dict[str, int], layout: Layout) -> None:
    """Ends, padding and chat template; llama.cpp takes <|im_end|> and its like as ends by their names."""
    config = read_object(folder / "config.json")
    told = config.get("eos_token_id")
    ends = [one for one in (told if isinstance(told, list) else [told]) if isinstance(one, int)]
    first = next(iter(ends), min(layout.ends, default=None))
    if first is not None:
        writer.add_eos_token_id(first)
        pad = config.get("pad_token_id")
        writer.add_pad_token_id(pad if isinstance(pad, int) else first)
    if "<|im_end|>" in ids:
        writer.add_eot_token_id(ids["<|im_end|>"])
    writer.add_add_bos_token(value=False)
    writer.add_add_eos_token(value=False)
    template = folder / "chat_template.jinja"
    if template.exists():
        writer.add_chat_template(template.read_text(encoding="utf-8"))


def name_of_cut(told: dict[str, Any]) -> str:
    """llama.cpp's name for how a tokenizer.json cuts text into words. Raises Refused `unknown_tokenizer`."""
    steps = told.get("pre_tokenizer") or {}
    steps = steps.get("pretokenizers", [steps])
    patterns = [step["pattern"].get("Regex", "") for step in steps if step.get("type") == "Split"]
    bytewise = any(step.get("type") == "ByteLevel" for step in steps)
    found = CUTS.get(patterns[0] if patterns else "")
    if found is None or not bytewise or len(patterns) > 1:
        raise _unknown(f"its tokenizer cuts text by {patterns}, for which llama.cpp has no name")
    return found


def _type_of(number: int, words: dict[int, str], added: dict[int, Any]) -> TokenType:
    if number in added:
        return TokenType.CONTROL if added[number].get("special") else TokenType.USER_DEFINED
    if _BYTE.fullmatch(words.get(number, "")):
        return TokenType.BYTE
    return TokenType.NORMAL if number in words else TokenType.UNUSED


def _tensors(folder: Path, layout: Layout) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """llama.cpp's names and numbers of the Model's tensors."""
    tensors = Tensors(folder)
    top = {"token_embd": "model.embed_tokens", "output_norm": "model.norm"}
    if not layout.tied:
        top["output"] = "lm_head"
    yield from ((f"{told}.weight", tensors[f"{ours}.weight"].float32()) for told, ours in top.items())
    if layout.stretch is not None and layout.stretch.way == "llama3":
        yield "rope_freqs.weight", np.array(layout.divisors, dtype=np.float32)
    names = {
        "attn_norm": "input_layernorm",
        "attn_q": "self_attn.q_proj",
        "attn_k": "self_attn.k_proj",
        "attn_v": "self_attn.v_proj",
        "attn_output": "self_attn.o_proj",
        "ffn_norm": "post_attention_layernorm",
        "ffn_gate": "mlp.gate_proj",
        "ffn_up": "mlp.up_proj",
        "ffn_down": "mlp.down_proj",
    }
    if layout.kind == "qwen3":
        names |= {"attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm"}
    heads = {"attn_q": layout.heads, "attn_k": layout.kv_heads} if layout.kind == "llama" else {}
    for number in range(layout.layers):
        for told, ours in names.items():
            values = tensors[f"model.layers.{number}.{ours}.weight"].float32()
            if told in heads:  # halves of each head, interleaved
                values = values.reshape(heads[told], 2, -1, values.shape[1]).swapaxes(1, 2).reshape(values.shape)
            yield f"blk.{number}.{told}.weight", np.ascontiguousarray(values)


def _add_tensor(writer: gguf.GGUFWriter, name: str, values: NDArray[np.float32], kind: str) -> None:
    wanted = KINDS[kind][0]
    if values.ndim < 2 or wanted is GGMLQuantizationType.F32:
        writer.add_tensor(name, values)
        return
    if wanted is GGMLQuantizationType.Q8_0 and values.shape[-1] % _Q8_BLOCK:
        wanted = GGMLQuantizationType.BF16
    writer.add_tensor(name, gguf.quantize(values, wanted), raw_dtype=wanted)


def _unknown(what: str) -> Refused:
    return Refused(
        "unknown_tokenizer",
        f"This Model cannot be written as GGUF: {what}.",
        fix="Use the Hugging Face layout (baray model export REF DIR --format hf), or the engine torch.",
    )
