"""Headers of safetensors files, checked before anything maps or copies what they name. Standard library only.

Covered: a header that is longer than the file or absurdly long, names that come twice, types and sizes that do not fit, tensors
outside the file, on top of each other or with gaps between them, shards and index that disagree. Not covered: what the
numbers do; a Model can be bad or hostile in what it says.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, TypeGuard

from baray.core import Refused, format_bytes

INDEX = "model.safetensors.index.json"
MOST_HEADER_BYTES = 100_000_000
_MOST_TENSORS, _MOST_AXES, _MOST_NAME = 1_000_000, 16, 1000
_BITS = {
    "F64": 64, "F32": 32, "F16": 16, "BF16": 16, "I64": 64, "I32": 32, "I16": 16, "I8": 8, "U64": 64, "U32": 32,
    "U16": 16, "U8": 8, "BOOL": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """What a header says of one tensor."""

    dtype: str
    """For example BF16."""
    shape: tuple[int, ...]
    """Sizes of its axes."""
    file: str
    """The file it is in."""


def read_headers(files: Mapping[str, Path]) -> dict[str, Tensor]:
    """Every tensor of the Model: those of the safetensors files at the top. Others are looked at too.

    Raises Refused `bad_safetensors`.
    """
    found: dict[str, Tensor] = {}
    for name in sorted(files):
        if name.lower().endswith(".safetensors"):  # as what is taken is told by its name in whatever letters
            for tensor, told in _read(name, files[name]).items():
                if "/" in name:  # an adapter's, say: no part of the Model
                    break
                if tensor in found:
                    raise _bad(name, f"tensor {tensor} is in {found[tensor].file} too")
                found[tensor] = told
    return found


def check_index(index: object, found: Mapping[str, Tensor]) -> None:
    """That the index of a Model in several files names each tensor where it is. Raises Refused `bad_safetensors`."""
    where = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(where, dict) or where != {name: tensor.file for name, tensor in found.items()}:
        raise _bad(INDEX, "it does not name the tensors that the files hold")


def _read(name: str, path: Path) -> dict[str, Tensor]:
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
        if length > size - 8:
            raise _bad(name, "its header is longer than the file")
        if length > MOST_HEADER_BYTES:
            raise _bad(name, f"its header has {format_bytes(length)}")
        text = file.read(length)
    try:
        header = json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise _bad(name, f"its header cannot be read ({error})") from error
    if not isinstance(header, dict) or len(header) > _MOST_TENSORS:
        raise _bad(name, "its header is not a list of tensors")
    _check_metadata(name, header.pop("__metadata__", {}))
    spans = sorted((*_span(name, tensor, entry, size - 8 - length), tensor) for tensor, entry in header.items())
    end = 0
    for first, last, tensor in spans:
        if first != end:
            raise _bad(name, f"tensor {tensor} begins at byte {first}, where {end} is next")
        end = last
    if end != size - 8 - length:
        raise _bad(name, f"{size - 8 - length - end} bytes belong to no tensor")
    return {
        tensor: Tensor(dtype=entry["dtype"], shape=tuple(entry["shape"]), file=name) for tensor, entry in header.items()
    }


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name comes twice")
    return found


def _check_metadata(name: str, told: object) -> None:
    if not isinstance(told, dict) or not all(isinstance(value, str) for value in told.values()):
        raise _bad(name, "its __metadata__ is not text")


def _span(name: str, tensor: str, entry: object, room: int) -> tuple[int, int]:
    """First byte and end of a tensor."""
    if len(tensor) > _MOST_NAME or not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise _bad(name, f"tensor {tensor[:80]} is not told by dtype, shape and data_offsets")
    shape, span = entry["shape"], entry["data_offsets"]
    if entry["dtype"] not in _BITS:
        raise _bad(name, f"tensor {tensor} is of type {str(entry['dtype'])[:40]}")
    if not _sizes(shape) or len(shape) > _MOST_AXES or not _sizes(span) or len(span) != 2:
        raise _bad(name, f"tensor {tensor} has sizes that are none")
    if not span[0] <= span[1] <= room:
        raise _bad(name, f"tensor {tensor} lies outside the file")
    if (span[1] - span[0]) * 8 != prod(shape) * _BITS[entry["dtype"]]:
        raise _bad(name, f"tensor {tensor} is not of its size")
    return span[0], span[1]


def _sizes(value: object) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(one) is int and 0 <= one < 2**63 for one in value)


def _bad(name: str, what: str) -> Refused:
    return Refused(
        "bad_safetensors",
        f"{name} is not a sound safetensors file: {what}.",
        fix="Get the file again from who made it, and compare its digest.",
    )
