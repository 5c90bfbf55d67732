"""Reads safetensors files, with numpy alone: mapped into memory, checked, and widened to float32 only where asked.

Pickles are never opened: a folder without safetensors is refused. Checked: sizes, offsets, types, gaps.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from baray.core import Refused

_MOST_HEADER_BYTES = 100 << 20
_TYPES = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """One tensor where it lies in its file."""

    dtype: str
    """F32, F16 or BF16."""
    shape: tuple[int, ...]
    """Sizes of its axes."""
    data: NDArray[Any]
    """Its numbers, mapped; BF16 as the upper halves of float32."""

    def float32(self) -> NDArray[np.float32]:
        """A copy in float32; exact for all three types."""
        if self.dtype == "BF16":
            return (self.data.astype(np.uint32) << 16).view(np.float32).reshape(self.shape)
        return self.data.astype(np.float32).reshape(self.shape)


class Tensors(Mapping[str, Tensor]):
    """All tensors of a folder, by name."""

    def __init__(self, folder: Path) -> None:
        """Read the headers of every `*.safetensors` file of `folder`. Raises Refused `bad_safetensors`."""
        self._found: dict[str, Tensor] = {}
        files = sorted(folder.glob("*.safetensors"))
        for path in files:
            self._found |= _open(path)
        if not files:
            raise Refused(
                "bad_safetensors",
                f"There is no safetensors file in the Model ({', '.join(sorted(p.name for p in folder.iterdir()))}).",
                fix="Save it as safetensors; weights in pickles are not opened.",
            )

    def __getitem__(self, name: str) -> Tensor:
        """The tensor of that name. Raises Refused `bad_safetensors`, for a Model that lacks one cannot be served."""
        if name not in self._found:
            raise Refused("bad_safetensors", f"The Model has no tensor {name}.")
        return self._found[name]

    def __contains__(self, name: object) -> bool:
        """Whether there is one of that name."""
        return name in self._found

    def __iter__(self) -> Iterator[str]:
        """Names, file by file."""
        return iter(self._found)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._found)


def _open(path: Path) -> dict[str, Tensor]:
    """Tensors of one file: u64 length of the header, JSON header, data."""
    if path.stat().st_size < 8:
        raise _bad(path, "it is shorter than its header")
    mapped = np.memmap(path, dtype=np.uint8, mode="r")
    length = int(mapped[:8].view("<u8")[0])
    if length > min(mapped.size - 8, _MOST_HEADER_BYTES):
        raise _bad(path, "its header is longer than the file")
    try:
        header = json.loads(mapped[8 : 8 + length].tobytes())
    except (ValueError, RecursionError) as error:
        raise _bad(path, "its header is not JSON") from error
    if not isinstance(header, dict):
        raise _bad(path, "its header is not an object")
    body = mapped[8 + length :]
    return {name: _tensor(path, name, entry, body) for name, entry in header.items() if name != "__metadata__"}


def _tensor(path: Path, name: str, entry: object, body: NDArray[np.uint8]) -> Tensor:
    told = entry if isinstance(entry, dict) else {}
    dtype, shape, span = told.get("dtype"), told.get("shape"), told.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in _TYPES:
        raise _bad(path, f"tensor {name} is of type {dtype}, not {', '.join(_TYPES)}")
    if not (_sizes(shape) and _sizes(span) and len(span) == 2 and span[0] <= span[1] <= body.size):
        raise _bad(path, f"tensor {name} lies outside the file")
    kind = np.dtype(_TYPES[dtype])
    if span[1] - span[0] != math.prod(shape) * kind.itemsize:
        raise _bad(path, f"tensor {name} is not of its size")
    part = body[span[0] : span[1]]
    if part.ctypes.data % kind.itemsize:
        part = part.copy()
    return Tensor(dtype=dtype, shape=tuple(shape), data=part.view(kind))


def _sizes(value: object) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(number) is int and number >= 0 for number in value)


def _bad(path: Path, what: str) -> Refused:
    return Refused(
        "bad_safetensors", f"The file {path.name} of the Model is damaged: {what}.", fix="Run: baray model verify REF"
    )
