"""The files of a Model version: what `transformers`, vLLM and llama.cpp's converter open as `Qwen3ForCausalLM`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from baray.core import digest_file, digest_json
from baray.runs import Input
from baray.train.bill import Bill, Material, of_materials, write_bill
from baray.train.lm.checkpoint import write_tensors
from baray.train.lm.model import Network
from baray.train.lm.plan import Plan

END, START_TURN, END_TURN = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
_LIMIT = "It continues text as it read it; what it says is not checked and may be wrong."


def exported(network: Network, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """The tensors under their names, rounded to what is written."""
    return {name: tensor.detach().to("cpu", dtype) for name, tensor in network.state_dict().items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What identifies a version."""

    digest: str
    """Over config, weights and tokenizer."""
    weights: str
    """Of `model.safetensors`."""


def write_model(
    directory: Path, tensors: Mapping[str, torch.Tensor], *, network: Network, tokenizer: Path, eos: int
) -> Written:
    """Write weights, configs and tokenizer. Raises OSError."""
    directory.mkdir(parents=True, exist_ok=True)
    dtype = str(next(iter(tensors.values())).dtype).removeprefix("torch.")
    weights = write_tensors(directory / "model.safetensors", tensors, {"format": "pt"}, durable=False)
    config = network.shape.hf_config(dtype=dtype, eos=eos)
    context = network.shape.context
    write_json(directory / "config.json", config)
    write_json(
        directory / "generation_config.json",
        {"eos_token_id": eos, "pad_token_id": eos, "max_length": context, "do_sample": False},
    )
    (directory / "tokenizer.json").write_bytes(tokenizer.read_bytes())
    special = {"eos_token": END, "pad_token": END}
    told = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": context}
    write_json(directory / "tokenizer_config.json", special | told | {"clean_up_tokenization_spaces": False})
    write_json(directory / "special_tokens_map.json", special)
    (directory / "chat_template.jinja").write_text(CHAT_TEMPLATE, encoding="utf-8")
    parts = {"config": dict(config), "weights": weights, "tokenizer": digest_file(directory / "tokenizer.json")}
    return Written(digest=digest_json(parts), weights=weights)


def write_papers(
    directory: Path, written: Written, source: Input, *, name: str, summary: Mapping[str, Any], plan: Plan
) -> None:
    """The card for people and the bill of materials."""
    material = Material(
        ref=source.ref, digest=source.digest, label=source.label, title=source.title, licences=source.licences
    )
    (directory / "README.md").write_text(_card(name, summary, plan, material), encoding="utf-8")
    metrics = [
        {"type": f"bits per byte ({which})", "value": f"{value:.4f}", "slice": "held-out Documents"}
        for which, value in summary["bits_per_byte"].items()
    ]
    card = {
        "modelParameters": {
            "approach": {"type": "self-supervised"},
            "task": "text-generation",
            "architectureFamily": "transformer",
            "modelArchitecture": "Qwen3ForCausalLM",
            "datasets": of_materials([material]),
            "inputs": [{"format": "text/plain"}],
            "outputs": [{"format": "text/plain"}],
        },
        "quantitativeAnalysis": {"performanceMetrics": metrics},
        "considerations": {"technicalLimitations": [_LIMIT]},
    }
    bill = Bill(
        name=name,
        digest=written.digest,
        file_digest=written.weights,
        description=f"Continues text; {summary['params']:,} numbers, trained from scratch.",
        card=card,
        label=source.label,
        materials=(material,),
        versions={
            "torch": version("torch"),
            "tokenizers": version("tokenizers"),
            "safetensors": version("safetensors"),
        },
    )
    write_bill(directory / "bom.json", bill)


def _card(name: str, summary: Mapping[str, Any], plan: Plan, material: Material) -> str:
    shape = plan.shape
    scores = [f"| {which} | {value:.4f} |" for which, value in summary["bits_per_byte"].items()]
    lines = [
        "---",
        "library_name: transformers",
        "pipeline_tag: text-generation",
        "tags:",
        "- text-generation",
        "---",
        "",
        f"# {name}",
        "",
        f"A language model with {shape.params:,} numbers, trained from scratch. {_LIMIT}",
        "",
        f"{shape.layers} blocks of width {shape.width}, {shape.heads} heads, vocabulary {shape.vocab:,}, context {shape.context}; "
        "the layout is that of `Qwen3ForCausalLM`. Text begins after `<|endoftext|>`.",
        "",
        "## Score",
        "",
        f"Bits for each byte of text on held-out Documents, {summary['held_out_tokens']:,} tokens (less is better):",
        "",
        "| predictor | bits per byte |",
        "|---|---|",
        *scores,
        "",
        "## How it was made",
        "",
        f"From `{material.ref}` (`{material.digest}`), {plan.steps:,} steps of {plan.batch_tokens:,} tokens, "
        f"{plan.flops:.2g} FLOPs. Licences of the text: {', '.join(material.licences) or 'none stated'}.",
        "What was measured and decided before the first step stands in this command, which makes the same bits on such a machine:",
        "",
        f"    {summary['again']}",
        "",
        f"Label: `{material.label}`; a model can repeat what it read, so it carries that label.",
        "",
        "`evaluation.json` holds all numbers, `bom.json` the parts and their licences, `model.sig` signs every file.",
        "",
    ]
    return "\n".join(lines)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Plain JSON, keys in order."""
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True) + "\n", encoding="utf-8")
