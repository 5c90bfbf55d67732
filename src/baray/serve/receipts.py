"""The receipt of an Answer: its canonical bytes, its digest, and the spool's lines.

A receipt is exactly what the row of the Answer holds, so it can be written again from the row and compared with the
Merkle root in the ledger. Its salt is the Answer's id: 80 bits of chance that the ledger never names; erasing the row
erases it, and the root then tells nothing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import Any

from baray.core import canonical_json, digest_bytes

VERSION = 1
COMPLETIONS = frozenset({"completed", "cut", "failed"})
"""Outcomes of requests that went to a Replica."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What is kept of one Answer."""

    id: str
    """`a_...`."""
    service_id: str
    """The Service asked."""
    revision_id: str
    """Its Revision that answered."""
    project_id: str
    """The Service's owner."""
    actor_id: str
    """Who asked: an actor's id, or `public`."""
    created: float
    """Seconds since 1970."""
    outcome: str
    """`answered`, `expired`, `out-of-scope`; `classified`; `completed`, `cut` (the caller left), `failed`."""
    question: str
    """Redacted; empty for a classification: letters are never kept."""
    language: str
    """Of the question: `km`, `en` or `other`."""
    label: str
    """Join of the labels of the spans in the Answer."""
    answer: str
    """The Answer's text; of a classification the classes; of a completion its counts and digests, as canonical JSON."""
    citations: tuple[dict[str, Any], ...]
    """`{"document", "span": [start, end]}` in rank order."""
    ms: float
    """Milliseconds from the request's last byte to the Answer."""

    @property
    def tokens(self) -> tuple[int, int]:
        """Tokens of the prompt and of the completion; zero for Answers that no model made."""
        if self.outcome not in COMPLETIONS:
            return 0, 0
        said = json.loads(self.answer)
        return int(said["prompt_tokens"]), int(said["completion_tokens"])

    def canonical(self) -> bytes:
        """The bytes whose digest is kept."""
        return canonical_json(_members(self) | {"citations": list(self.citations), "v": VERSION})

    def digest(self) -> str:
        """Digest of the canonical bytes."""
        return digest_bytes(self.canonical())


@dataclass(frozen=True, slots=True, kw_only=True)
class Denial:
    """A request that was refused by the rule of a Service's audience or label."""

    service_id: str
    """The Service; empty where there is none of that name."""
    project_id: str
    """Its owner, or empty."""
    actor_id: str
    """Who asked."""
    rule: str
    """The rule that refused."""
    created: float
    """Seconds since 1970."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of the spool."""

    key_id: str
    """The token's id, or `public`: for usage, not part of the receipt."""
    receipt: Receipt | None = None
    denial: Denial | None = None


def encode_line(line: Line) -> bytes:
    """The line with its newline."""
    value: dict[str, Any] = {"key": line.key_id}
    if line.receipt is not None:
        value["receipt"] = _members(line.receipt)
    if line.denial is not None:
        value["denial"] = _members(line.denial)
    return canonical_json(value) + b"\n"


def decode_line(data: bytes) -> Line:
    """Read a line. Raises ValueError on any other form."""
    value = json.loads(data)
    if isinstance(value, dict) and isinstance(value.get("key"), str):
        if "receipt" in value:
            return Line(key_id=value["key"], receipt=_receipt(value["receipt"]))
        return Line(key_id=value["key"], denial=Denial(**_checked(value.get("denial"), Denial)))
    raise ValueError("not a line of the spool")


def _members(noun: Receipt | Denial) -> dict[str, Any]:
    """Its members as they are: `asdict` copies all that is in them, and takes a tenth of a request's time."""
    return {name: getattr(noun, name) for name in noun.__slots__}


def _receipt(value: object) -> Receipt:
    members = _checked(value, Receipt)
    return Receipt(**members | {"citations": tuple(members["citations"])})


def _checked(value: object, noun: type) -> dict[str, Any]:
    names = {item.name for item in fields(noun)}
    if isinstance(value, dict) and set(value) == names:
        return value
    raise ValueError(f"not a {noun.__name__.lower()}")
