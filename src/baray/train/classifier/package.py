"""The files of a Model version: safetensors, `model.json`, card, bill of materials, evaluation. Never pickle.

Others load it without Baray: the weights with the `safetensors` package, the rest as plain JSON.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from baray.core import canonical_json, digest_bytes, digest_json
from baray.train.bill import Bill, Material, of_materials, write_bill
from baray.train.classifier.fitting import Fitted

FORMAT = "baray-linear-text/1"
_DTYPES = {"float32": "F32", "int32": "I32"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What was written."""

    digest: str
    """The version's identity."""
    weights_digest: str
    """Of `model.safetensors`."""


def write_weights(path: Path, tensors: Mapping[str, NDArray[Any]]) -> str:
    """Write `tensors` as a safetensors file; returns its digest.

    Layout: length of the header (u64, little-endian), JSON header padded to 8 bytes, the tensors without a gap.
    """
    header: dict[str, Any] = {"__metadata__": {"format": FORMAT}}
    body = bytearray()
    for name in sorted(tensors):
        tensor = np.ascontiguousarray(tensors[name])
        dtype = _DTYPES[tensor.dtype.name]
        data = tensor.astype(tensor.dtype.newbyteorder("<"), copy=False).tobytes()
        header[name] = {"dtype": dtype, "shape": list(tensor.shape), "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    text = canonical_json(header)
    text += b" " * (-len(text) % 8)
    content = struct.pack("<Q", len(text)) + text + bytes(body)
    path.write_bytes(content)
    return digest_bytes(content)


def model_config(model: Fitted, *, weights_digest: str, language: list[str]) -> dict[str, Any]:
    """What a scorer needs to know, and nothing of when or where the model was made."""
    grams = model.vocabulary.grams
    return {
        "format": FORMAT,
        "task": "text-classification",
        "classes": list(model.classes),
        "languages": language,
        "features": {
            "text": "baray-normalise, lower case, single spaces, one space before and after",
            "grams": "substrings of code points, the lone space left out",
            "shortest": grams.shortest,
            "longest": grams.longest,
            "hash": "crc32-utf8-low-bits",
            "bits": grams.bits,
            "tf": "1+ln(count)",
            "scale": "tensor scale",
            "norm": "l2 over known buckets",
        },
        "output": "softmax(row @ weights + intercept)",
        "review_below": model.review_below,
        "weights": {"file": "model.safetensors", "digest": weights_digest, "buckets": len(model.vocabulary.buckets)},
    }


def identity(config: Mapping[str, Any]) -> str:
    """The version's digest: over the config, which holds the digest of the weights."""
    return digest_json(config)


def write_model(
    directory: Path, model: Fitted, *, facts: dict[str, Any], evaluation: dict[str, Any], card: str
) -> Written:
    """Write every file but the bill of materials."""
    directory.mkdir(parents=True, exist_ok=True)
    weights_digest = write_weights(
        directory / "model.safetensors",
        {
            "buckets": model.vocabulary.buckets,
            "scale": model.vocabulary.scale,
            "weights": model.weights_nc,
            "intercept": model.intercept_c,
        },
    )
    config = model_config(model, weights_digest=weights_digest, language=facts["languages"])
    _write_json(directory / "model.json", {**config, "trained": facts})
    _write_json(directory / "evaluation.json", evaluation)
    (directory / "README.md").write_text(card, encoding="utf-8")
    return Written(digest=identity(config), weights_digest=weights_digest)


def write_bom(
    path: Path,
    written: Written,
    *,
    name: str,
    facts: dict[str, Any],
    evaluation: dict[str, Any],
    versions: dict[str, str],
) -> None:
    """The bill of materials of a classifier."""
    letters = Material(
        ref=facts["input"],
        digest=facts["input_digest"],
        label=facts["label"],
        title=facts.get("input_title", ""),
        licences=tuple(facts.get("licences", ())),
    )
    bill = Bill(
        name=name,
        digest=written.digest,
        file_digest=written.weights_digest,
        description=f"Proposes one of {len(facts['classes'])} classes for a short text.",
        card=_model_card(letters, evaluation),
        label=facts["label"],
        materials=[letters],
        versions=versions,
    )
    write_bill(path, bill)


def _model_card(letters: Material, evaluation: dict[str, Any]) -> dict[str, Any]:
    """CycloneDX's card."""
    low, high = evaluation["interval"]
    metric = {
        "type": "macro-F1",
        "value": str(evaluation["score"]),
        "slice": f"{evaluation['letters']['test']} held-out letters",
        "confidenceInterval": {"lowerBound": str(low), "upperBound": str(high)},
    }
    limits = [evaluation["verdict"], "Scored on letters of the same origin as the training letters."]
    return {
        "modelParameters": {
            "approach": {"type": "supervised"},
            "task": "text-classification",
            "architectureFamily": "linear",
            "modelArchitecture": "multinomial logistic regression on hashed character n-grams",
            "datasets": of_materials([letters]),
            "inputs": [{"format": "text/plain"}],
            "outputs": [{"format": "application/json"}],
        },
        "quantitativeAnalysis": {"performanceMetrics": [metric]},
        "considerations": {
            "useCases": ["Propose which unit a letter goes to; a person decides."],
            "technicalLimitations": limits,
        },
    }


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True) + "\n", encoding="utf-8")
