"""The files of a Model version: safetensors, `model.json`, card, bill of materials, evaluation. Never pickle.

Others load it without Baray: the weights with the `safetensors` package, the rest as plain JSON.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from baray.core import canonical_json, digest_bytes, digest_json
from baray.train.classifier.fitting import Fitted

FORMAT = "baray-linear-text/1"
_NO_LICENCE = "NOASSERTION"
_SPDX = re.compile(r"(?!NOASSERTION)[A-Za-z0-9.+-]+")
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


def write_bill(
    path: Path,
    written: Written,
    *,
    name: str,
    facts: dict[str, Any],
    evaluation: dict[str, Any],
    versions: dict[str, str],
) -> None:
    """A CycloneDX 1.6 machine-learning bill of materials; no serial number, no time: equal models, equal bytes."""
    dataset = f"data:{facts['input_digest']}"
    model = {
        "type": "machine-learning-model",
        "bom-ref": f"model:{written.digest}",
        "name": name,
        "version": written.digest,
        "description": f"Proposes one of {len(facts['classes'])} classes for a short text.",
        "hashes": [{"alg": "SHA-256", "content": written.weights_digest.removeprefix("sha256:")}],
        "modelCard": _model_card(dataset, evaluation),
        "properties": [
            {"name": "baray:identity", "value": written.digest},
            {"name": "baray:label", "value": facts["label"]},
        ],
    }
    data = {
        "type": "data",
        "bom-ref": dataset,
        "name": facts["input"],
        "description": facts.get("input_title") or facts["input"],
        "version": facts["input_digest"],
        "licenses": _licences(facts.get("licences", ())),
        "data": [{"type": "dataset", "name": facts["input"], "classification": facts["label"]}],
    }
    libraries = [_library(library, version) for library, version in sorted(versions.items())]
    references = [data["bom-ref"], *(library["bom-ref"] for library in libraries)]
    _write_json(
        path,
        {
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "version": 1,
            "metadata": {"component": model},
            "components": [data, *libraries],
            "dependencies": [{"ref": model["bom-ref"], "dependsOn": references}],
        },
    )


def _model_card(dataset: str, evaluation: dict[str, Any]) -> dict[str, Any]:
    """CycloneDX's card: `dataset` is the reference of the letters."""
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
            "datasets": [{"ref": dataset}],
            "inputs": [{"format": "text/plain"}],
            "outputs": [{"format": "application/json"}],
        },
        "quantitativeAnalysis": {"performanceMetrics": [metric]},
        "considerations": {
            "useCases": ["Propose which unit a letter goes to; a person decides."],
            "technicalLimitations": limits,
        },
    }


def _licences(texts: Sequence[str]) -> list[dict[str, Any]]:
    """CycloneDX's licences: one SPDX expression where all are identifiers, else each as its owner wrote it."""
    if texts and all(_SPDX.fullmatch(text) for text in texts):
        return [{"expression": " AND ".join(texts), "acknowledgement": "declared"}]
    return [{"license": {"name": text, "acknowledgement": "declared"}} for text in texts or (_NO_LICENCE,)]


def _library(name: str, version: str) -> dict[str, str]:
    purl = f"pkg:pypi/{name}@{version}"
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True) + "\n", encoding="utf-8")
