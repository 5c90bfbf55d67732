"""What an Attempt may reach, and what it tried to, read from its proxy's lines."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from baray.core import Refused

# A name: its last part begins with a letter, so that no way of writing an address passes.
_TARGET = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?:([0-9]{1,5})")
MOST_TARGETS = 100
_OTHERS = "others"


def read_egress(path: Path) -> tuple[dict[str, Any], ...]:
    """Tries added up by target, decision and reason; past `MOST_TARGETS` they are added up as "others"."""
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    for line in _lines(path):
        key = (str(line["target"]), str(line["decision"]), str(line["reason"]))
        if line["decision"] == "ended":
            key = (key[0], "allowed", "")
        if key not in found and len(found) >= MOST_TARGETS:
            key = (_OTHERS, key[1], "")
        one = found.setdefault(
            key, {"target": key[0], "decision": key[1], "reason": key[2], "count": 0, "sent": 0, "received": 0}
        )
        one["count"] += line["decision"] != "ended"
        one["sent"] += line.get("sent", 0)
        one["received"] += line.get("received", 0)
    return tuple(found.values())


def check_targets(targets: Iterable[str]) -> None:
    """Raise Refused `bad_target` for what is not a plain `host:port` with a host's name in small letters."""
    for target in targets:
        found = _TARGET.fullmatch(target)
        if found is None or len(target) > 260 or not 0 < int(found[1]) < 65536:
            raise Refused(
                "bad_target", f"'{target}' is no target for egress.", fix="Write a name and a port: example.org:443"
            )


def _lines(path: Path) -> list[dict[str, Any]]:
    """What can be read of it: a disk that was full may have cut a line."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    return [line for line in map(_line, text.splitlines()) if line is not None]


def _line(text: str) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) and found.keys() >= {"target", "decision", "reason"} else None
