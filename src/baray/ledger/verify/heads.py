"""Signed heads: the home's own, its witnesses' cosigned ones, and heads that an outsider kept."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from baray.ledger.verify.rebuilt import Rebuilt
from baray.ledger.verify.report import Notebook
from baray.ledger.witness import (
    Checkpoint,
    ProofError,
    Verifier,
    check_cosignature,
    check_log_signature,
    parse_checkpoint,
    parse_vkey,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A head whose signature is good, and what to call it."""

    where: str
    """Its name in a finding."""
    head: Checkpoint
    """The head."""


def log_key(stored: Any, given: str, notes: Notebook) -> Verifier | None:  # noqa: ANN401 - a stored value
    """The key that heads are checked with: the one the reader holds, else the one that is stored in the home."""
    try:
        kept = parse_vkey(stored) if isinstance(stored, str) else None
    except ProofError as error:
        notes.add("log key in table meta", str(error))
        kept = None
    else:
        if kept is None:
            notes.add("log key in table meta", "missing")
    if not given:
        return kept
    held = parse_vkey(given)
    if kept is not None and held != kept:
        notes.add("log key in table meta", f"is {kept.vkey}, not the key you hold")
    return held


def own_heads(rows: Iterable[tuple[Any, Any]], log: Verifier | None, notes: Notebook) -> list[Named]:
    """Heads of (size, note) rows whose form and signature are good, by size."""
    good = []
    for size, note in rows:
        notes.count("heads")
        head = _signed(f"head at size {size}", note, log, notes)
        if head is None:
            continue
        if head.head.size != size or len(head.head.signatures) != 1:
            notes.add(head.where, f"is filed under another size, or carries foreign lines (it says {head.head.size})")
        else:
            good.append(head)
    return sorted(good, key=lambda item: item.head.size)


def outside_heads(texts: Sequence[str], log: Verifier | None, notes: Notebook) -> list[Named]:
    """Heads that a reader kept elsewhere."""
    found = []
    for number, text in enumerate(texts, 1):
        notes.count("outside_heads")
        head = _signed(f"outside head {number}", text, log, notes)
        if head is not None:
            found.append(Named(where=f"outside head at size {head.head.size}", head=head.head))
    return found


def cosigned_heads(rows: Iterable[tuple[Any, ...]], log: Verifier | None, notes: Notebook) -> list[Named]:
    """Heads of (name, vkey, size, note) rows of witnesses whose cosignatures are good."""
    found = []
    for name, vkey, size, note in rows:
        notes.count("witnesses")
        where = f"witness {name}"
        try:
            witness = parse_vkey(str(vkey))
        except ProofError as error:
            notes.add(where, str(error))
            continue
        if witness.name != name:
            notes.add(where, f"its key is of '{witness.name}'")
        if note is None and not size:
            continue
        head = _signed(where, note, log, notes)
        if head is not None and _cosigned(head, witness, size, notes):
            found.append(head)
    return found


def compare(heads: Sequence[Named], built: Rebuilt, notes: Notebook) -> list[Named]:
    """Compare heads with the rebuilt tree; returns those that it agrees with.

    The first head that does not agree and the last that does bracket what was rewritten.
    """
    agreed: list[Named] = []
    for item in sorted(heads, key=lambda named: named.head.size):
        head = item.head
        if head.size > built.size:
            notes.add(item.where, f"rolled back: it covers {head.size} entries, the ledger holds {built.size}")
        elif built.root(head.size) == head.root:
            agreed.append(item)
        elif not built.damaged:
            start = agreed[-1].head.size if agreed else 0
            notes.add(item.where, f"rewritten: entries {start} to {head.size - 1} are not those that were signed")
            break
    return agreed


def _signed(where: str, note: Any, log: Verifier | None, notes: Notebook) -> Named | None:  # noqa: ANN401 - a stored value
    try:
        head = parse_checkpoint(note if isinstance(note, str) else "")
        if log is not None:
            check_log_signature(head, log)
    except ProofError as error:
        notes.add(where, str(error))
        return None
    return Named(where=where, head=head) if log is not None else None


def _cosigned(item: Named, witness: Verifier, size: Any, notes: Notebook) -> bool:  # noqa: ANN401 - a stored value
    try:
        check_cosignature(item.head, witness)
    except ProofError as error:
        notes.add(item.where, str(error))
        return False
    if size != item.head.size or len(item.head.signatures) != 2:
        notes.add(item.where, f"is filed under another size, or carries foreign lines (it says {item.head.size})")
        return False
    return True
