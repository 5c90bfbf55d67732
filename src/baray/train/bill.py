"""`bom.json`: a CycloneDX 1.6 machine-learning bill of materials: the model, what it learnt from, the libraries that made it.

No serial number, no time: equal models have equal bytes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_NO_LICENCE = "NOASSERTION"
_SPDX = re.compile(r"(?!NOASSERTION)[A-Za-z0-9.+-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """One input of the Run that made a model."""

    ref: str
    """For example dataset:circulars@v2."""
    digest: str
    """Identity of the version."""
    label: str
    """Label of the version."""
    title: str = ""
    """Of the thing, any script."""
    licences: tuple[str, ...] = ()
    """SPDX identifiers, or whatever text its owner gave."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """A Model version and what it was made of."""

    name: str
    """Of the Model."""
    digest: str
    """Identity of the version."""
    file_digest: str
    """Of the file that others load: the weights, or the tokenizer."""
    description: str
    """One sentence on what it does."""
    card: Mapping[str, Any]
    """CycloneDX's model card; `of_materials` gives the references of its data sets."""
    label: str
    """Of the version."""
    materials: Sequence[Material]
    """What it learnt from."""
    versions: Mapping[str, str]
    """Library -> version."""


def of_materials(materials: Sequence[Material]) -> list[dict[str, str]]:
    """What a model card says under `datasets`."""
    return [{"ref": f"data:{material.digest}"} for material in materials]


def write_bill(path: Path, bill: Bill) -> None:
    """Write the bill of materials."""
    model = {
        "type": "machine-learning-model",
        "bom-ref": f"model:{bill.digest}",
        "name": bill.name,
        "version": bill.digest,
        "description": bill.description,
        "hashes": [{"alg": "SHA-256", "content": bill.file_digest.removeprefix("sha256:")}],
        "modelCard": dict(bill.card),
        "properties": [
            {"name": "baray:identity", "value": bill.digest},
            {"name": "baray:label", "value": bill.label},
        ],
    }
    parts = [_material(material) for material in bill.materials]
    parts += [_library(library, version) for library, version in sorted(bill.versions.items())]
    whole = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": model},
        "components": parts,
        "dependencies": [{"ref": model["bom-ref"], "dependsOn": [part["bom-ref"] for part in parts]}],
    }
    path.write_text(json.dumps(whole, ensure_ascii=False, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _material(material: Material) -> dict[str, Any]:
    return {
        "type": "data",
        "bom-ref": f"data:{material.digest}",
        "name": material.ref,
        "description": material.title or material.ref,
        "version": material.digest,
        "licenses": _licences(material.licences),
        "data": [{"type": "dataset", "name": material.ref, "classification": material.label}],
    }


def _licences(texts: Sequence[str]) -> list[dict[str, Any]]:
    """CycloneDX's licences: one SPDX expression where all are identifiers, else each as its owner wrote it."""
    if texts and all(_SPDX.fullmatch(text) for text in texts):
        return [{"expression": " AND ".join(texts), "acknowledgement": "declared"}]
    return [{"license": {"name": text, "acknowledgement": "declared"}} for text in texts or (_NO_LICENCE,)]


def _library(name: str, version: str) -> dict[str, str]:
    purl = f"pkg:pypi/{name}@{version}"
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}
