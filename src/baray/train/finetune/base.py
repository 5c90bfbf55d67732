"""The Model that is taught: its network from its files, whichever of the families it is of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from baray.core import Refused
from baray.runs import Input
from baray.train.imported.layout import read_sizes, tensors_of
from baray.train.imported.weights import read_headers
from baray.train.lm.model import Network, Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """A Model version that lies in files."""

    ref: str
    """For example model:small@v1."""
    digest: str
    """Its identity."""
    files: Mapping[str, Path]
    """By path."""
    config: Mapping[str, Any]
    """`config.json`."""
    shape: Shape
    """Sizes of its network."""
    dtype: torch.dtype
    """Its weights are written in this: what is made of it is too."""
    ends: tuple[int, ...]
    """Token ids that end a text."""

    def network(self, context: int, dtype: torch.dtype) -> Network:
        """Its network, on rows of at most `context`; kept in float32 and multiplied in `dtype`."""
        network = Network(replace(self.shape, context=context), dtype=dtype)
        network.load_state_dict(self.tensors())
        return network

    def tensors(self) -> dict[str, Tensor]:
        """Its tensors in float32, those that the network has."""
        family = read_sizes(self.config)
        wanted = {name for name, _ in tensors_of(family)}
        found: dict[str, Tensor] = {}
        for path in sorted(self.files):
            if path.endswith(".safetensors") and "/" not in path:
                with safe_open(self.files[path], framework="pt") as file:
                    found |= {name: file.get_tensor(name).float() for name in file.keys() if name in wanted}
        return found


def open_base(source: Input) -> Base:
    """Read what a Model version says of itself. Raises Refused `not_a_language_model`, `unknown_layout`, `bad_safetensors`."""
    return read_base({file.path: file.blob for file in source.files}, ref=source.ref, digest=source.digest)


def read_base(files: Mapping[str, Path], *, ref: str, digest: str) -> Base:
    """As `open_base`, from files by path."""
    for needed in ("config.json", "tokenizer.json"):
        if needed not in files:
            raise Refused(
                "not_a_language_model",
                f"{ref} has no {needed}: it is no language model.",
                fix="Give a Model of recipe lm or finetune, or one that was imported: --base model:NAME",
            )
    config = json.loads(files["config.json"].read_bytes())
    sizes = read_sizes(config)
    tensors = read_headers(files)
    for name, shape in tensors_of(sizes):
        if name not in tensors or list(tensors[name].shape) != shape:
            raise Refused(
                "bad_safetensors",
                f"{ref} has no tensor {name} of {shape}, which its config.json asks for.",
                fix="Check it: baray model verify REF",
            )
    told = {one.name: getattr(sizes, one.name) for one in fields(sizes)}
    family = told.pop("family")
    dtype = {"BF16": torch.bfloat16}.get(tensors["model.embed_tokens.weight"].dtype, torch.float32)
    return Base(
        ref=ref,
        digest=digest,
        files=files,
        config=config,
        shape=Shape(**told, qk_norm=family == "qwen3"),
        dtype=dtype,
        ends=_ends(config, files),
    )


def _ends(config: Mapping[str, Any], files: Mapping[str, Path]) -> tuple[int, ...]:
    told = [config.get("eos_token_id")]
    if "generation_config.json" in files:
        told.append(json.loads(files["generation_config.json"].read_bytes()).get("eos_token_id"))
    every = [one for entry in told for one in (entry if isinstance(entry, list) else [entry])]
    return tuple(dict.fromkeys(one for one in every if type(one) is int))
