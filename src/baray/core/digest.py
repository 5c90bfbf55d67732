"""Digests and the canonical encoding they are taken of."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def canonical_json(value: Any) -> bytes:  # noqa: ANN401 - any JSON value
    """One value, one encoding: sorted keys, no white space, UTF-8 unescaped (the subset of RFC 8785 we use).

    For integers, strings, booleans, None, lists and string-keyed dicts; floats are written by `repr`, which RFC 8785
    also does for most values. Raises ValueError on a float that is not finite and on half a surrogate pair, TypeError
    on a value of another kind. Not checked, for speed: a tuple is written as a list, a number that is a key as text.
    """
    return _ENCODER.encode(value).encode()


def digest_bytes(data: bytes) -> str:
    """`sha256:` + 64 hexadecimal digits of `data`."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def digest_json(value: Any) -> str:  # noqa: ANN401 - any JSON value
    """Digest of the canonical encoding of `value`."""
    return digest_bytes(canonical_json(value))


def digest_file(path: Path) -> str:
    """Digest of a file's bytes, read in pieces."""
    with path.open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


def is_digest(text: str) -> bool:
    """Whether `text` has the form of a digest."""
    return _DIGEST.match(text) is not None
