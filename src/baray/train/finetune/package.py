"""The files of a taught Model: everything that the base had, with its weights, chat template and papers anew.

LoRA is merged, so that every engine loads the result like any other; what was learnt is kept beside it, in PEFT's format, below
`adapter/`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from baray.access import join, parse_label
from baray.catalog import FileEntry, Output
from baray.core import digest_file, digest_json
from baray.runs import AttemptContext, Input
from baray.train.bill import Bill, Material, of_materials, write_bill
from baray.train.finetune.base import Base
from baray.train.finetune.chat import Chat
from baray.train.finetune.loop import Teaching
from baray.train.finetune.lora import TARGETS, adapters, merged
from baray.train.imported.layout import FAMILIES
from baray.train.lm.checkpoint import write_tensors
from baray.train.lm.export import write_json
from baray.train.lm.model import Network

ADAPTER = "adapter"
_WRITTEN = frozenset({"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"})
_TAKEN = _WRITTEN | {"special_tokens_map.json", "vocab.json", "merges.txt", "tokenizer.model", "added_tokens.json"}
"""Files of the base that hold for what is made of it; what is said of the base itself does not."""
_LIMIT = "It answers in the manner of the conversations it learnt from; what it says is not checked and may be wrong."


@dataclass(frozen=True, slots=True, kw_only=True)
class Taught:
    """What was made and measured."""

    tensors: Mapping[str, Tensor]
    """As they are written."""
    summary: Mapping[str, Any]
    """For lists."""
    evaluation: Mapping[str, Any]
    """Before and after."""
    sources: Sequence[Input]
    """The conversations, and the base."""
    chat: Chat
    """How turns become tokens."""


def written_tensors(network: Network, dtype: torch.dtype) -> dict[str, Tensor]:
    """The network's tensors, merged and rounded to what is written."""
    return {name: tensor.to("cpu", dtype) for name, tensor in merged(network).items()}


def write_model(context: AttemptContext, teaching: Teaching, base: Base, taught: Taught) -> Output:
    """Write all files. Raises OSError."""
    name = context.spec["name"]
    folder = context.out / name
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(_TAKEN & base.files.keys()):
        (folder / path).write_bytes(base.files[path].read_bytes())
    weights = write_tensors(folder / "model.safetensors", taught.tensors, {"format": "pt"}, durable=False)
    _write_configs(folder, base, taught.chat)
    if teaching.frozen.method == "lora":
        _write_adapter(folder / ADAPTER, teaching)
    parts = {path: digest_file(folder / path) for path in ("config.json", "tokenizer.json", "chat_template.jinja")}
    digest = digest_json(parts | {"weights": weights})
    write_json(folder / "evaluation.json", {**taught.summary, **taught.evaluation})
    _write_papers(folder, name, digest, weights, taught)
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return Output(
        kind="model",
        name=name,
        digest=digest,
        labels=tuple(source.label for source in taught.sources),
        files=tuple(
            FileEntry(path=path.relative_to(folder).as_posix(), digest=digest_file(path), bytes=path.stat().st_size)
            for path in paths
        ),
        summary=dict(taught.summary),
    )


def _write_configs(folder: Path, base: Base, chat: Chat) -> None:
    """The base's, with the type of what was written, ChatML, and the end of a turn among the ends."""
    dtype = str(base.dtype).removeprefix("torch.")
    config = {key: value for key, value in base.config.items() if key not in {"torch_dtype", "dtype"}}
    write_json(folder / "config.json", config | {"dtype": dtype, "torch_dtype": dtype})
    generation = _read(folder / "generation_config.json")
    ends = list(dict.fromkeys((chat.end, *base.ends)))
    write_json(folder / "generation_config.json", generation | {"eos_token_id": ends})
    tokenizer = _read(folder / "tokenizer_config.json")
    tokenizer.pop("chat_template", None)
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast"} | tokenizer)
    (folder / "chat_template.jinja").write_text(chat.template, encoding="utf-8")


def _read(path: Path) -> dict[str, Any]:
    found = json.loads(path.read_bytes()) if path.exists() else {}
    return found if isinstance(found, dict) else {}


def _write_adapter(folder: Path, teaching: Teaching) -> None:
    folder.mkdir(exist_ok=True)
    frozen = teaching.frozen
    tensors = {name: tensor.to("cpu") for name, tensor in adapters(teaching.network).items()}
    write_tensors(folder / "adapter_model.safetensors", tensors, {"format": "pt"}, durable=False)
    told = {
        "base_model_name_or_path": "",
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "lora_alpha": frozen.alpha,
        "lora_dropout": 0.0,
        "peft_type": "LORA",
        "r": frozen.rank,
        "target_modules": sorted(TARGETS),
        "task_type": "CAUSAL_LM",
    }
    write_json(folder / "adapter_config.json", told)


def _write_papers(folder: Path, name: str, digest: str, weights: str, taught: Taught) -> None:
    materials = [
        Material(ref=one.ref, digest=one.digest, label=one.label, title=one.title, licences=one.licences)
        for one in taught.sources
    ]
    summary, evaluation = taught.summary, taught.evaluation
    (folder / "README.md").write_text(_card(name, taught, materials), encoding="utf-8")
    metrics = [
        {"type": f"loss of held-out answers ({which})", "value": f"{told['value']:.4f}", "slice": "held-out answers"}
        for which, told in evaluation["loss"].items()
    ]
    card = {
        "modelParameters": {
            "approach": {"type": "supervised"},
            "task": "text-generation",
            "architectureFamily": "transformer",
            "modelArchitecture": FAMILIES[summary["layout"]],
            "datasets": of_materials(materials),
            "inputs": [{"format": "text/plain"}],
            "outputs": [{"format": "text/plain"}],
        },
        "quantitativeAnalysis": {"performanceMetrics": metrics},
        "considerations": {"technicalLimitations": [_LIMIT]},
    }
    bill = Bill(
        name=name,
        digest=digest,
        file_digest=weights,
        description=f"Answers in conversations; {summary['params']:,} numbers, taught from {summary['base']}.",
        card=card,
        label=str(join(parse_label(one.label) for one in materials)),
        materials=materials,
        versions={library: version(library) for library in ("torch", "tokenizers", "safetensors")},
    )
    write_bill(folder / "bom.json", bill)


def _card(name: str, taught: Taught, materials: Sequence[Material]) -> str:
    summary, evaluation = taught.summary, taught.evaluation
    scores = [
        f"| {which} | {told['value']:.4f} | {told['low']:.4f} to {told['high']:.4f} |"
        for which, told in evaluation["loss"].items()
    ]
    how = f"LoRA of rank {summary['rank']}, merged" if summary["method"] == "lora" else "all numbers learnt"
    lines = [
        "---",
        "library_name: transformers",
        "pipeline_tag: text-generation",
        "---",
        "",
        f"# {name}",
        "",
        f"A language model that answers, taught from `{summary['base']}` ({how}; {summary['steps']:,} steps). {_LIMIT}",
        "",
        "## Score",
        "",
        evaluation["verdict"],
        "",
        "| | loss of held-out answers | 95 % interval |",
        "|---|---|---|",
        *scores,
        "",
        "## How it was made",
        "",
        *(
            f"- `{one.ref}` (`{one.digest}`), label `{one.label}`, licences: {', '.join(one.licences) or 'none stated'}"
            for one in materials
        ),
        "",
        "Only the assistant's turns were learnt. A model can repeat what it read, so it carries the labels of all of these.",
        *(["", f"What LoRA learnt lies below `{ADAPTER}/`, in PEFT's format."] if summary["method"] == "lora" else []),
        "",
        "`evaluation.json` holds all numbers, `bom.json` the parts and their licences, `model.sig` signs every file.",
        "",
    ]
    return "\n".join(lines)
