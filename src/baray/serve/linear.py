"""Scores texts with a `baray-linear-text/1` model, in the standard library alone.

The router holds many small models in one light process; a letter is scored in about a millisecond without numpy. The
format is stated in `docs/notes/train.md` and held by a known-answer vector.

What is checked before a model is used: sizes, offsets, types and shapes of every tensor, the digest of the weights,
ascending buckets, finite numbers. What is not: who made it; that is the ledger's word.
"""

from __future__ import annotations

import json
import math
import struct
import sys
import zlib
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeGuard

from baray.core import Fault, digest_bytes
from baray.text import normalise

FORMAT = "baray-linear-text/1"
MAX_MODEL_BYTES = 256 << 20
_MAX_HEADER_BYTES = 1 << 20
_TYPES = {"F32": "f", "I32": "i"}
_TENSORS = {"buckets": "I32", "scale": "F32", "weights": "F32", "intercept": "F32"}


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearModel:
    """A model in memory."""

    classes: tuple[str, ...]
    """Names of the classes, in the order of the weights' columns."""
    shortest: int
    """Code points of the shortest n-gram."""
    longest: int
    """Code points of the longest n-gram."""
    mask: int
    """Low bits of the hash that make a bucket."""
    column: dict[int, int]
    """Known bucket -> its row in `scale` and `weights`."""
    scale: array[float]
    """How much each bucket tells."""
    weights: array[float]
    """Bucket by bucket, one number a class."""
    intercept: array[float]
    """One a class."""
    review_below: float
    """Below this probability a person should look."""

    def probabilities(self, text: str) -> list[float]:
        """Probability of each class for `text`, in the order of `classes`."""
        num_classes = len(self.classes)
        values = self._row(text)
        norm = math.sqrt(math.fsum(value * value for _, value in values)) or 1.0
        scores = list(self.intercept)
        for row, value in values:
            share, start = value / norm, row * num_classes
            for index, weight in enumerate(self.weights[start : start + num_classes]):
                scores[index] += share * weight
        top = max(scores)
        powers = [math.exp(score - top) for score in scores]
        total = math.fsum(powers)
        return [power / total for power in powers]

    def _row(self, text: str) -> list[tuple[int, float]]:
        """Weight (tf x scale) of each known bucket of `text`."""
        padded = f" {' '.join(normalise(text).lower().split())} "
        grams: Counter[str] = Counter()
        for length in range(self.shortest, self.longest + 1):
            grams.update(padded[start : start + length] for start in range(len(padded) - length + 1))
        del grams[" "]
        rows: Counter[int] = Counter()
        for gram, count in grams.items():
            row = self.column.get(zlib.crc32(gram.encode()) & self.mask)
            if row is not None:
                rows[row] += count
        return [(row, (1.0 + math.log(count)) * self.scale[row]) for row, count in rows.items()]


def load_linear(files: Mapping[str, Path]) -> LinearModel:
    """Read a model from its version's files (`model.json`, `model.safetensors`). Raises Fault `damaged_model`."""
    config = _read_config(files)
    path = _file(files, "model.safetensors")
    data = _read(path, MAX_MODEL_BYTES)
    if digest_bytes(data) != config["weights"]["digest"]:
        raise _damaged(path, f"its digest is not {config['weights']['digest']}")
    tensors = _read_tensors(path, data)
    classes, buckets = config["classes"], tensors["buckets"]
    _check_shapes(path, tensors, len(classes), config["features"]["bits"])
    return LinearModel(
        classes=tuple(classes),
        shortest=config["features"]["shortest"],
        longest=config["features"]["longest"],
        mask=(1 << config["features"]["bits"]) - 1,
        column={bucket: row for row, bucket in enumerate(buckets)},
        scale=tensors["scale"],
        weights=tensors["weights"],
        intercept=tensors["intercept"],
        review_below=config["review_below"],
    )


def _read_config(files: Mapping[str, Path]) -> dict[str, Any]:
    path = _file(files, "model.json")
    try:
        config = json.loads(_read(path, _MAX_HEADER_BYTES))
    except (ValueError, RecursionError) as error:
        raise _damaged(path, "it is not JSON") from error
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise _damaged(path, f"its format is not {FORMAT}")
    problem = _problem_of(config)
    if problem:
        raise _damaged(path, problem)
    return config


def _problem_of(config: dict[str, Any]) -> str:
    """What is wrong with a model.json, or nothing."""
    classes, features, weights = config.get("classes"), config.get("features"), config.get("weights")
    if not isinstance(classes, list) or len(classes) < 2 or not all(isinstance(name, str) and name for name in classes):
        return "its classes are not two or more names"
    if len(set(classes)) != len(classes):
        return "a class stands twice"
    if not isinstance(features, dict) or not isinstance(weights, dict) or not isinstance(weights.get("digest"), str):
        return "its features or weights are missing"
    whole = [features.get(name) for name in ("shortest", "longest", "bits")]
    if not _whole_numbers(whole):
        return "its n-grams are not whole numbers"
    shortest, longest, bits = whole
    if not (1 <= shortest <= longest <= 16 and 1 <= bits <= 31):
        return "its n-grams are out of range"
    if features.get("hash") != "crc32-utf8-low-bits":
        return f"its hash '{features.get('hash')}' is not known"
    review = config.get("review_below")
    return "" if isinstance(review, int | float) and 0 <= review <= 1 else "its review_below is not a probability"


def _read_tensors(path: Path, data: bytes) -> dict[str, array[Any]]:
    """The tensors of a safetensors file: u64 length of the header, JSON header, data without a gap."""
    header, body = _read_header(path, data)
    tensors: dict[str, array[Any]] = {}
    spans: list[tuple[int, int]] = []
    for name, dtype in _TENSORS.items():
        start, end = _span(path, name, header.get(name), dtype)
        spans.append((start, end))
        if end > len(body):
            raise _damaged(path, f"tensor {name} ends after the file")
        values = array(_TYPES[dtype])
        values.frombytes(body[start:end])
        if sys.byteorder == "big":
            values.byteswap()
        tensors[name] = values
    ends = [0, *(end for _, end in sorted(spans))]
    if [start for start, _ in sorted(spans)] != ends[:-1] or ends[-1] != len(body):
        raise _damaged(path, "its tensors overlap or leave a gap")
    return tensors


def _read_header(path: Path, data: bytes) -> tuple[dict[str, Any], bytes]:
    length = struct.unpack_from("<Q", data)[0] if len(data) >= 8 else len(data)
    if length > min(len(data) - 8, _MAX_HEADER_BYTES):
        raise _damaged(path, "its header is longer than the file")
    try:
        header = json.loads(data[8 : 8 + length])
    except (ValueError, RecursionError) as error:
        raise _damaged(path, "its header is not JSON") from error
    if not isinstance(header, dict) or set(header) - {"__metadata__"} != set(_TENSORS):
        raise _damaged(path, f"it does not hold the tensors {', '.join(_TENSORS)}")
    return header, data[8 + length :]


def _span(path: Path, name: str, entry: object, dtype: str) -> tuple[int, int]:
    """Byte range of a tensor, after its type, shape and size agree."""
    if isinstance(entry, dict) and entry.get("dtype") == dtype:
        shape, offsets = entry.get("shape"), entry.get("data_offsets")
        if _whole_numbers(shape) and _whole_numbers(offsets) and len(offsets) == 2:
            start, end = offsets
            if end - start == 4 * math.prod(shape):
                return start, end
    raise _damaged(path, f"tensor {name} has a wrong type, shape or size")


def _whole_numbers(value: object) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(number) is int and 0 <= number <= MAX_MODEL_BYTES for number in value)


def _check_shapes(path: Path, tensors: Mapping[str, Sequence[Any]], num_classes: int, bits: int) -> None:
    buckets = tensors["buckets"]
    if len(tensors["scale"]) != len(buckets) or len(tensors["weights"]) != len(buckets) * num_classes:
        raise _damaged(path, "its weights do not fit its buckets and classes")
    if len(tensors["intercept"]) != num_classes:
        raise _damaged(path, "its intercept does not fit its classes")
    if any(low >= high for low, high in pairwise(buckets)):
        raise _damaged(path, "its buckets do not ascend")
    if len(buckets) and not 0 <= buckets[0] <= buckets[-1] < 1 << bits:
        raise _damaged(path, "a bucket is out of range")
    for name in ("scale", "weights", "intercept"):
        if not all(map(math.isfinite, tensors[name])):
            raise _damaged(path, f"a number of {name} is not finite")


def _file(files: Mapping[str, Path], name: str) -> Path:
    path = files.get(name)
    if path is None:
        raise Fault(
            "damaged_model", f"The model has no file {name}.", fix="Train it again: baray train text-classifier"
        )
    return path


def _read(path: Path, limit: int) -> bytes:
    try:
        if path.stat().st_size > limit:
            raise _damaged(path, f"it has more than {limit} bytes")
        return path.read_bytes()
    except OSError as error:
        raise _damaged(path, f"it cannot be read ({error.strerror})") from error


def _damaged(path: Path, what: str) -> Fault:
    return Fault("damaged_model", f"The model's file {path} is damaged: {what}.", fix="Run: baray ledger verify")
