"""What a Model version needs to be served by Replicas: read from its small `config.json`, once, when it is deployed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from baray.access import Site
from baray.catalog import SourceFile, VersionRow, version_files
from baray.core import Refused
from baray.store import Tx

ENGINES = ("auto", "torch", "llamacpp", "vllm")
SLOTS = 8
MAX_CONTEXT = 4096
_MAX_CONFIG_BYTES = 1 << 20
_PROCESS_BYTES = 700 << 20  # an interpreter with torch


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSpec:
    """How a Revision's Replicas run: part of what the Revision is."""

    name: str
    """`torch`, `llamacpp`, `vllm`, or `auto` for the best that its machine has."""
    context: int
    """Tokens of prompt and completion together."""
    slots: int
    """Requests that one Replica works on at once."""
    memory_bytes: int
    """Memory that one Replica reserves."""

    def json(self) -> dict[str, Any]:
        """As it stands in the Revision's spec."""
        return {"name": self.name, "context": self.context, "slots": self.slots, "memory_bytes": self.memory_bytes}


def engine_for(tx: Tx, site: Site, version: VersionRow, wanted: str) -> EngineSpec | None:
    """The engine of a Model version; None if it is light enough for the router. Raises Refused `bad_artefact`, `bad_engine`."""
    if wanted not in ENGINES:
        raise Refused("bad_engine", f"There is no engine '{wanted}'.", fix=f"Choose one of {', '.join(ENGINES)}.")
    files = {file.path: file for file in version_files(tx, site, version)}
    if "config.json" not in files:
        if wanted != "auto":
            message = f"{version.ref} is no language model: the router answers for it, without an engine."
            raise Refused("bad_engine", message, fix="Leave --engine out.")
        return None
    config = _config(site, version, files["config.json"])
    context = min(MAX_CONTEXT, _number(config, "max_position_embeddings", 2048))
    weights = sum(file.bytes for file in files.values() if file.path.endswith(".safetensors"))
    memory = _PROCESS_BYTES + 3 * weights + SLOTS * context * _cache_bytes(config)
    return EngineSpec(name=wanted, context=context, slots=SLOTS, memory_bytes=memory)


def _config(site: Site, version: VersionRow, file: SourceFile) -> Mapping[str, Any]:
    try:
        data = site.blobs.path(file.digest).read_bytes() if file.bytes <= _MAX_CONFIG_BYTES else b""
        found = json.loads(data)
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict):
        message = f"config.json of {version.ref} cannot be read."
        raise Refused("bad_artefact", message, fix="Import the Model again, or deploy another version.")
    return found


def _cache_bytes(config: Mapping[str, Any]) -> int:
    """Bytes of keys and values of one token in fp32; 0 where the config does not tell."""
    heads = _number(config, "num_attention_heads", 1)
    head = _number(config, "head_dim", _number(config, "hidden_size", 0) // heads)
    return 2 * 4 * _number(config, "num_hidden_layers", 0) * _number(config, "num_key_value_heads", heads) * head


def _number(config: Mapping[str, Any], name: str, other: int) -> int:
    value = config.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1 << 31 else other
