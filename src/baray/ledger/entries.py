"""Entries: what one event looks like as bytes, and what may stand in them.

An entry is canonical JSON with the members actor, decision, facts, kind, label, project, subject (left out where
empty), `t` (milliseconds since 1970, never less than the entry before) and `v` (1). The bytes are stored as they are
and never written again from the parsed form.

Covered: a string that is not an id, a digest, a ref, a label or a short token is refused, so names, questions and
file paths cannot slip in through a fact. Not covered: a person's name spelled as a token; callers commit to such values
with `Ledger.commitment`.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Required, TypedDict

from baray.core import Fault, Refused, canonical_json
from baray.ledger.kinds import KINDS, REQUIRED_FACTS
from baray.ledger.tree import MAX_ENTRY_BYTES

VERSION = 1
_FORMS = re.compile(
    r"(?:sha256:[0-9a-f]{64}"  # digest
    r"|[a-z]{1,3}_[0-9a-hjkmnp-tv-z]{26}"  # id
    r"|(?:[a-z0-9][a-z0-9-]{0,62}/)?[a-z]+:[a-z0-9_-]{1,64}(?:@v[0-9]{1,9})?"  # ref
    r"|(?:public|internal|restricted|secret)(?::[a-z0-9,-]{1,512})?(?:@[a-z0-9,-]{0,512})?"  # label
    r"|[A-Za-z][A-Za-z0-9]*(?:[_.-][A-Za-z0-9]+)*"  # token: a state, a code, a rule's name
    r")?\Z"
)
_FACT_NAME = re.compile(r"[a-z][a-z0-9_]{0,40}\Z")
_MAX_TOKEN = 1100
_TEXT_FIELDS = ("actor", "decision", "kind", "label", "project", "subject")


class EntryFields(TypedDict, total=False):
    """What a caller says of an event; absent and empty mean the same."""

    actor: Required[str]
    """Id of who did it."""
    subject: Required[str]
    """Id or ref of what it was done to."""
    project: str
    """Id or name of the project."""
    label: str
    """Label of the subject, in its canonical text."""
    decision: str
    """Outcome, or the name of the rule that refused."""
    facts: dict[str, Any] | None
    """Ids, digests, labels, tokens, numbers and commitments, by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An entry as it was read."""

    index: int
    """Position in the ledger, from 0."""
    data: bytes
    """The bytes whose hash is in the tree."""
    kind: str
    """One of KINDS."""
    actor: str
    """Id of who did it."""
    subject: str
    """Id or ref of what it was done to."""
    project: str
    """Id or name of the project, or empty."""
    label: str
    """Label of the subject, or empty."""
    decision: str
    """Outcome or rule, or empty."""
    facts: dict[str, Any]
    """What else is known of the event."""
    time: float
    """Seconds since 1970; the order of entries is their index, not their time."""

    def as_json(self) -> dict[str, Any]:
        """The members that are not empty, with `index` and `time` in seconds."""
        shown = {name: getattr(self, name) for name in (*_TEXT_FIELDS, "facts") if getattr(self, name)}
        return {"index": self.index, "time": self.time, **shown}


def encode_entry(kind: str, fields: EntryFields, time: float) -> bytes:
    """The bytes of an entry at `time` (seconds since 1970). Raises Fault `bad_entry` on what may not stand in one."""
    if kind not in KINDS:
        raise Fault("bad_entry", f"'{kind}' is not a kind of entry.", fix="Add it to baray/ledger/kinds.py.")
    body: dict[str, Any] = {"kind": kind, "t": int(time * 1000), "v": VERSION}
    for name in ("actor", "subject", "project", "label", "decision"):
        value = fields.get(name)
        if value:
            body[name] = _checked(kind, name, value)
    facts = fields.get("facts")
    if facts:
        body["facts"] = {_fact_name(kind, name): _checked(kind, name, value) for name, value in facts.items()}
    missing = REQUIRED_FACTS.get(kind, frozenset()) - (facts or {}).keys()
    if missing:
        raise Fault("bad_entry", f"An entry {kind} needs the facts {', '.join(sorted(missing))}.")
    data = canonical_json(body)
    if len(data) > MAX_ENTRY_BYTES:
        raise Refused("entry_too_large", f"An entry {kind} of {len(data)} bytes is over {MAX_ENTRY_BYTES}.")
    return data


def decode_entry(index: int, data: bytes) -> Entry:
    """Read an entry's bytes. Raises Fault `bad_entry` on damaged ones."""
    try:
        body = json.loads(data)
        texts = {name: str(body.get(name, "")) for name in _TEXT_FIELDS}
        return Entry(index=index, data=data, facts=body.get("facts", {}), time=body["t"] / 1000, **texts)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Fault("bad_entry", f"Entry {index} is damaged: {error}.", fix="Run: baray ledger verify") from error


def _checked(kind: str, name: str, value: Any) -> Any:  # noqa: ANN401 - a JSON value
    if isinstance(value, str):
        if not _allowed(value):
            raise Fault(
                "bad_entry",
                f"'{value[:60]}' may not stand in an entry ({kind}, {name}): no names or text.",
                fix="Give an id, a digest, a label or a code, or commit to the value with Ledger.commitment.",
            )
    elif isinstance(value, list | tuple):
        return [_checked(kind, name, item) for item in value]
    elif isinstance(value, dict):
        return {_fact_name(kind, inner): _checked(kind, inner, item) for inner, item in value.items()}
    elif not (value is None or isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))):
        raise Fault("bad_entry", f"{value!r} may not stand in an entry ({kind}, {name}).")
    return value


@lru_cache(maxsize=4096)
def _allowed(value: str) -> bool:
    return len(value) <= _MAX_TOKEN and _FORMS.match(value) is not None


def _fact_name(kind: str, name: str) -> str:
    if _FACT_NAME.match(name) is None:
        raise Fault("bad_entry", f"'{name[:60]}' cannot name a fact of {kind}.")
    return name
