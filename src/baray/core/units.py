"""Sizes and durations as people write them."""

from __future__ import annotations

import re

from baray.core.errors import Refused

_BYTES = {
    "": 1,
    "b": 1,
    "k": 1000,
    "kb": 1000,
    "m": 10**6,
    "mb": 10**6,
    "g": 10**9,
    "gb": 10**9,
    "t": 10**12,
    "tb": 10**12,
}
_BYTES |= {"kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}
_SECONDS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_QUANTITY = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([a-zA-Z]*)\s*\Z")


def parse_bytes(text: str) -> int:
    """Bytes of `4GB`, `512MiB`, `1000`. Raises Refused `bad_quantity`."""
    return int(_parse(text, _BYTES, "4GB or 512MiB"))


def parse_seconds(text: str) -> float:
    """Seconds of `2h`, `90s`, `10min`. Raises Refused `bad_quantity`."""
    return _parse(text, _SECONDS, "2h, 10min or 90s")


def format_bytes(num_bytes: float) -> str:
    """`1.2 MB`: decimal units, one digit after the point."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(num_bytes) < 1000:
            return f"{num_bytes:.0f} {unit}" if unit == "B" else f"{num_bytes:.1f} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.1f} TB"


def format_seconds(seconds: float) -> str:
    """`0.42 s`, `3 min 5 s`, `2 h 10 min`."""
    if seconds < 60:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def _parse(text: str, units: dict[str, float] | dict[str, int], example: str) -> float:
    match = _QUANTITY.match(text)
    if match is None or match[2].lower() not in units:
        raise Refused("bad_quantity", f"'{text}' is not a quantity.", fix=f"Write it like {example}.")
    return float(match[1]) * units[match[2].lower()]
