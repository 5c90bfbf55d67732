"""Checkpoints: training state to resume from, exactly.

A Checkpoint is a folder `step-NNNNNNNN`: `state.safetensors` (weights and optimizer), `state.json` (everything else, and the
digest of the first), `digest` (of the second). Order of durability: both files are written and synced in a folder of another
name, its entry is synced, it is renamed, the folder above is synced; only then are older ones removed. So a name that fits is
a Checkpoint that is whole, or one that its digests give away; the two latest are kept.

Training goes on while a thread writes: it writes from a copy that was made between two steps.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from baray.core import digest_file
from baray.train.lm.plan import KEPT_CHECKPOINTS

_DTYPES = {torch.float32: "F32", torch.bfloat16: "BF16"}


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str], *, durable: bool) -> str:
    """Write a safetensors file (names in order); its digest, taken as the bytes go by. Raises OSError."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    offset = 0
    for name in sorted(tensors):
        tensor = tensors[name]
        size = tensor.numel() * tensor.element_size()
        header[name] = {"dtype": _DTYPES[tensor.dtype], "shape": list(tensor.shape)}
        header[name]["data_offsets"] = [offset, offset + size]
        offset += size
    text = json.dumps(header, separators=(",", ":"), sort_keys=True).encode()
    text += b" " * (-len(text) % 8)
    seen = sha256()
    with path.open("wb", buffering=0) as file:
        parts: list[bytes | memoryview] = [struct.pack("<Q", len(text)) + text]
        parts += [_bytes(tensors[name]) for name in sorted(tensors)]
        for part in parts:
            _write_all(file.fileno(), part)
            seen.update(part)
        if durable:
            os.fsync(file.fileno())
    return f"sha256:{seen.hexdigest()}"


def _bytes(tensor: Tensor) -> memoryview:
    numbers: NDArray[np.uint8] = tensor.detach().cpu().contiguous().view(torch.uint8).reshape(-1).numpy()
    return numbers.data


def _write_all(handle: int, data: bytes | memoryview) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(handle, left) :]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A Checkpoint that was found whole."""

    folder: Path
    """Where it lies."""
    facts: Mapping[str, Any]
    """`state.json`."""

    @property
    def step(self) -> int:
        """Steps that were done."""
        return int(self.facts["step"])

    def tensors(self) -> dict[str, Tensor]:
        """Weights and optimizer."""
        return load_file(self.folder / "state.safetensors")


@dataclass(slots=True, kw_only=True)
class Keeper:
    """The Checkpoints of one Run. One thread at a time writes; an error of it is told once and the next one tries again."""

    folder: Path
    """HOME/runs/RUN/checkpoints."""
    tell: Callable[[str], None]
    """Where what went wrong goes."""
    last_step: int = -1
    """Of the newest Checkpoint that is durable; -1: none."""
    failed: bool = False
    """Whether the last one could not be written."""
    _thread: threading.Thread | None = None
    _copy: dict[str, Tensor] = field(default_factory=dict)

    def newest(self) -> Kept | None:
        """The newest Checkpoint that is whole; damaged ones are told and passed over."""
        for folder in sorted(self.folder.glob("step-*"), reverse=True):
            kept = _read(folder)
            if kept is not None:
                self.last_step = kept.step
                return kept
            self.tell(f"The Checkpoint {folder.name} is damaged and is passed over.")
        return None

    def keep(self, step: int, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Copy the state of a step and write it while training goes on; waits for an earlier one first."""
        self.wait()
        for name, tensor in tensors.items():
            if name in self._copy:
                self._copy[name].copy_(tensor)
            else:
                self._copy[name] = tensor.detach().to("cpu", copy=True)
        told = {**facts, "step": step}
        self._thread = threading.Thread(target=self._write, args=(step, told), name="checkpoint")
        self._thread.start()

    def wait(self) -> None:
        """Until nothing is being written."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _write(self, step: int, facts: Mapping[str, Any]) -> None:
        new = self.folder / f"new-{step:08d}"
        try:
            self.folder.mkdir(mode=0o750, exist_ok=True)
            self._clear()
            new.mkdir(mode=0o750)
            digest = write_tensors(new / "state.safetensors", self._copy, {"format": "pt"}, durable=True)
            text = json.dumps({**facts, "digest": digest}, sort_keys=True).encode()
            _write_durably(new / "state.json", text)
            _write_durably(new / "digest", f"sha256:{sha256(text).hexdigest()}\n".encode())
            _sync(new)
            new.rename(self.folder / f"step-{step:08d}")
            _sync(self.folder)
        except OSError as error:
            self.failed = True
            shutil.rmtree(new, ignore_errors=True)
            stands = f"the one of step {self.last_step} stands" if self.last_step >= 0 else "there is none yet"
            self.tell(f"The Checkpoint of step {step} could not be written: {error.strerror or error}; {stands}.")
            return
        self.last_step, self.failed = step, False
        for old in sorted(self.folder.glob("step-*"))[:-KEPT_CHECKPOINTS]:
            shutil.rmtree(old, ignore_errors=True)

    def _clear(self) -> None:
        """Remove what a killed Attempt was writing."""
        for half in self.folder.glob("new-*"):
            shutil.rmtree(half, ignore_errors=True)


def _read(folder: Path) -> Kept | None:
    try:
        text = (folder / "state.json").read_bytes()
        told = (folder / "digest").read_text(encoding="ascii").strip()
        if told != f"sha256:{sha256(text).hexdigest()}":
            return None
        facts = json.loads(text)
        if digest_file(folder / "state.safetensors") != facts["digest"]:
            return None
    except (OSError, ValueError):  # ValueError: a digest that is no text any more
        return None
    return Kept(folder=folder, facts=facts)


def _write_durably(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
