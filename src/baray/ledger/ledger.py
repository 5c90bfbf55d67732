"""The Ledger: append entries inside an action's transaction, and seal each group of them under a signed head.

Order of durability: entries, the tiles they complete or lengthen, and the head that covers them are rows of the same
transaction as the actions they tell of. So after any crash there is either all of a group or nothing, and the newest
head always covers exactly the entries that are there. Recovery is the normal path: a new process reads the partial
tiles at the right edge, computes the root, and refuses to go on if that is not what the newest head says.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Unpack

from baray.core import Clock, Fault, NotFound, Refused
from baray.ledger import records, tree, witness
from baray.ledger.entries import Entry, EntryFields, decode_entry, encode_entry
from baray.ledger.keys import Signer

if TYPE_CHECKING:
    from baray.store import Tx

STEP_SECONDS = 5.0
"""A clock further behind the last entry than this is itself worth an entry."""
HEAD_SECONDS = 60.0
"""Of the heads that were signed, one of each such span is kept, and the newest."""
VKEY = "ledger.vkey"
"""The word of `meta` that holds the public key line."""
_SALT_BYTES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A signed tree head."""

    note: str
    """The C2SP checkpoint, as it travels."""
    size: int
    """Number of entries."""
    root: str
    """RFC 6962 root, in the form of a digest."""


@dataclass(slots=True, kw_only=True)
class _Edge:
    """What sealing remembers of the tree: its right edge. Rebuilt from rows whenever sizes do not match."""

    size: int
    """Number of entries that are sealed."""
    rows: list[bytes] = field(default_factory=list)
    """Partial tile of each tile level, possibly empty."""
    kept: bool = True
    """Whether the newest head stays when a newer one is signed."""
    kept_at: float = float("-inf")
    """Monotonic seconds of the last head that stays."""

    def read(self, level: int, _n: int) -> bytes:
        return self.rows[level] if level < len(self.rows) else b""


class Ledger:
    """One home's ledger; implements the store's Sealer. Only the store's writer thread may append or seal."""

    def __init__(
        self, *, origin: str, signer: Signer, clock: Clock, chance: Callable[[int], bytes] = secrets.token_bytes
    ) -> None:
        """Append to the ledger `origin`, signing heads with `signer`. Raises Refused `bad_key` on another's key."""
        if signer.name != origin:
            raise Refused("bad_key", f"The key is of '{signer.name}', the ledger is '{origin}'.")
        self.origin = origin
        self.vkey = signer.vkey
        self._signer = signer
        self._clock = clock
        self._chance = chance
        self._edge: _Edge | None = None
        self._stepped_at = -1

    def append(self, tx: Tx, kind: str, **fields: Unpack[EntryFields]) -> int:
        """Append an entry to the action's journal; returns its index, which holds if the action commits.

        Time is `max(previous, now)`: order is the index, and time never runs backwards along it.
        """
        now = self._clock.now()
        previous = tx.journal_time or self._last_time(tx)
        tx.journal_time = max(previous, now)
        index = tx.journal(encode_entry(kind, fields, tx.journal_time))
        if previous - now > STEP_SECONDS:
            self._note_step(tx, index, previous - now)
        elif now >= previous:
            self._stepped_at = -1
        return index

    def commitment(self, tx: Tx, value: str) -> str:
        """A salted digest of a personal or sensitive `value`, for an entry's facts."""
        salt = self._chance(_SALT_BYTES)
        committed = "sha256:" + sha256(salt + value.encode()).hexdigest()
        records.add_salt(tx, _salt_key(committed), salt)
        return committed

    def committed(self, tx: Tx, commitment: str, value: str) -> bool:
        """Whether `commitment` was made of `value`; never again after its erasure."""
        salt = records.salt(tx, _salt_key(commitment))
        return salt is not None and "sha256:" + sha256(salt + value.encode()).hexdigest() == commitment

    def erase(self, tx: Tx, commitment: str, *, actor: str) -> None:
        """Delete a commitment's salt: every proof stays valid, the value can no longer be shown."""
        records.drop_salt(tx, _salt_key(commitment))
        self.append(tx, "commitment.erased", actor=actor, subject=commitment)

    def size(self, tx: Tx) -> int:
        """Number of entries that are committed."""
        return records.size(tx)

    def seal(self, tx: Tx, first: int, entries: list[bytes]) -> None:
        """Insert `entries` from index `first`, their tiles, and one signed head; part of the group's transaction."""
        edge = self._edge
        # An edge whose group was rolled back after sealing has another size than the rows: then it is built anew.
        if edge is None or edge.size != first:
            edge = self._load_edge(tx, first)
        self._edge = None
        records.add_entries(tx, first, entries)
        records.put_tiles(tx, _grow(edge, tree.hash_leaves(entries)))
        self._put_head(tx, edge, first)
        self._edge = edge

    def head(self, tx: Tx) -> Head:
        """The newest head. Raises NotFound before the first entry."""
        note = records.newest_head(tx)
        if note is None:
            raise NotFound("head", self.origin, fix="A ledger has one after its first entry.")
        checkpoint = witness.parse_checkpoint(note)
        return Head(note=note, size=checkpoint.size, root="sha256:" + checkpoint.root.hex())

    def entries(self, tx: Tx, after: int = -1, limit: int = 100) -> list[Entry]:
        """Up to `limit` entries with an index above `after`, in order."""
        return [decode_entry(index, data) for index, data in records.entries(tx, after, limit)]

    def newest(self, tx: Tx, before: int = 1 << 62, limit: int = 100) -> list[Entry]:
        """Up to `limit` entries with an index below `before`, newest first."""
        return [decode_entry(index, data) for index, data in records.newest_entries(tx, before, limit)]

    def since(self, tx: Tx, time: float, kinds: tuple[str, ...]) -> list[Entry]:
        """Entries of `kinds` from `time` on (seconds since 1970), in order. Times never run backwards: found by halving."""
        low, high = 0, records.size(tx)
        while low < high:
            middle = (low + high) // 2
            found = decode_entry(*records.entries(tx, middle - 1, 1)[0])
            low, high = (middle + 1, high) if found.time < time else (low, middle)
        return [decode_entry(index, data) for index, data in records.of_kinds(tx, low, kinds)]

    def inclusion(self, tx: Tx, index: int, size: int) -> list[bytes]:
        """Proof that entry `index` is among the first `size`."""
        if not 0 <= index < size <= records.size(tx):
            raise NotFound("entry", str(index), fix=f"The ledger holds {records.size(tx)} entries.")
        return tree.inclusion(records.tile_reader(tx), index, size)

    def consistency(self, tx: Tx, old: int, new: int) -> list[bytes]:
        """Proof that the first `new` entries begin with the first `old`."""
        if not 0 <= old <= new <= records.size(tx):
            raise NotFound("head", str(new), fix=f"The ledger holds {records.size(tx)} entries.")
        return tree.consistency(records.tile_reader(tx), old, new)

    def _last_time(self, tx: Tx) -> float:
        last = records.newest_entries(tx, 1 << 62, 1)
        return decode_entry(*last[0]).time if last else 0.0

    def _note_step(self, tx: Tx, index: int, behind: float) -> None:
        """Tell of a clock that stepped back, once a step.

        An index that is taken again means that the entry which told of it was rolled back with its action: told again.
        """
        if self._stepped_at < 0 or index <= self._stepped_at:
            fields = EntryFields(actor="system", subject="clock", facts={"behind_ms": int(behind * 1000)})
            self._stepped_at = tx.journal(encode_entry("clock.stepped", fields, tx.journal_time))

    def _load_edge(self, tx: Tx, size: int) -> _Edge:
        known = records.get_meta(tx, VKEY)
        if known not in {None, self.vkey}:
            raise Fault("other_key", f"The ledger was signed with {known}.", fix="Put the home's own key file back.")
        edge = _Edge(size=size)
        if size == 0:
            records.set_meta(tx, VKEY, self.vkey)
            return edge
        read = records.tile_reader(tx)
        for level, full, width in tree.tile_widths(size):
            edge.rows.append(read(level, full)[: width * witness.HASH_BYTES] if width else b"")
        note = records.newest_head(tx)
        head = witness.parse_checkpoint(note) if note else None
        if head is None or head.size != size or head.root != tree.root(edge.read, size):
            raise Fault(
                "ledger_damaged",
                f"The ledger's {size} entries are not what its newest head covers; nothing more is written.",
                fix="Run: baray ledger verify, then restore a backup.",
            )
        return edge

    def _put_head(self, tx: Tx, edge: _Edge, previous: int) -> None:
        text = witness.checkpoint_text(self.origin, edge.size, tree.root(edge.read, edge.size))
        signature = self._signer.sign(text.encode())
        if not edge.kept:
            records.drop_head(tx, previous)
        records.put_head(tx, edge.size, f"{text}\n{witness.signature_line(self.origin, signature)}")
        now = self._clock.monotonic()
        edge.kept = now - edge.kept_at >= HEAD_SECONDS
        if edge.kept:
            edge.kept_at = now


def _grow(edge: _Edge, hashes: bytes) -> list[tuple[int, int, bytes]]:
    """Add leaf hashes at the edge; returns the tiles that changed: full ones, and the partial one of each level."""
    changed, level, position = [], 0, edge.size
    edge.size += len(hashes) // witness.HASH_BYTES
    while hashes:
        if level == len(edge.rows):
            edge.rows.append(b"")
        row = edge.rows[level] + hashes
        n = position >> 8
        above = []
        for start in range(0, len(row), tree.TILE_BYTES):
            tile = row[start : start + tree.TILE_BYTES]
            changed.append((level, n, tile))
            if len(tile) == tree.TILE_BYTES:
                above.append(tree.hash_row(tile))
                n += 1
        edge.rows[level] = b"" if len(row) % tree.TILE_BYTES == 0 else tile
        hashes, position, level = b"".join(above), position >> 8, level + 1
    return changed


def _salt_key(commitment: str) -> int:
    """Row of a commitment's salt: 60 bits of the commitment itself."""
    return int(commitment.removeprefix("sha256:")[:15], 16)
