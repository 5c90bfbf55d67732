"""The tree, computed anew from the entries' bytes, and compared with the tiles that are stored.

Where an entry and its tile do not agree, the tile above (or, at the right edge, the newest signed head) says which of
the two was changed: whichever still leads to it is what was signed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from baray.ledger import tree
from baray.ledger.verify.report import Notebook
from baray.ledger.verify.told import Told
from baray.ledger.witness import HASH_BYTES, Checkpoint

_KINDS = (b'"kind":"version.published"', b'"kind":"source.added"', b'"kind":"version.deleted"')
_SIGNED = (b'"kind":"run.succeeded"', b'"kind":"key.registered"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Where stored rows are read from: a database, or an export."""

    entries: Callable[[int], list[tuple[int, Any]]]
    """(index, bytes) of the entries below tile n, in order."""
    tile: Callable[[int, int], Any]
    """Bytes of tile (level, n), None if there is none."""
    tiles: Callable[[], Iterable[tuple[int, int]]]
    """(level, n) of all tiles."""


@dataclass(slots=True, kw_only=True)
class Rebuilt:
    """The tree over the entries that are there."""

    size: int
    """Number of entries it covers."""
    levels: list[bytearray] = field(default_factory=list)
    """Hashes of tile levels 1 and up."""
    edges: dict[int, bytes] = field(default_factory=dict)
    """Leaf hashes of the tiles that a head ends in."""
    told: Told = field(default_factory=Told)
    """What the entries tell of rows."""
    published: list[tuple[int, bytes]] = field(default_factory=list)
    """Entries that tell of versions."""
    signed: list[tuple[int, bytes]] = field(default_factory=list)
    """Entries that name a signing key, or a statement about a Run."""
    unknown: set[int] = field(default_factory=set)
    """Tiles of level 0 whose signed hashes are lost: neither entries nor tile lead to what is above."""
    damaged: bool = False
    """Whether any entry was found changed or missing."""

    def read(self, level: int, n: int) -> bytes:
        """A tile of the tree; of level 0 only those in `edges`."""
        if level == 0:
            return self.edges[n]
        return bytes(self.levels[level - 1][n * tree.TILE_BYTES : (n + 1) * tree.TILE_BYTES])

    def root(self, size: int) -> bytes:
        """Root of the first `size` entries, where a head was known to end when the tree was built."""
        return tree.root(self.read, size)


def rebuild(rows: Rows, size: int, newest: Checkpoint | None, sizes: Iterable[int], notes: Notebook) -> Rebuilt:
    """Compute the tree of `size` entries, such that roots of all `sizes` can be asked for.

    `newest`: the signed head of exactly these entries, where there is one.
    """
    built = Rebuilt(size=size)
    edges = {end >> 8 for at in (*sizes, size) for end in (at, at - 1)}
    for n in range((size + tree.TILE_WIDTH - 1) >> 8):
        width = min(tree.TILE_WIDTH, size - n * tree.TILE_WIDTH)
        data = _entries(rows, n, width)
        stored = rows.tile(0, n)
        leaves = tree.hash_leaves(data) if isinstance(data, list) else b""
        if leaves != stored or not leaves:
            leaves = _settle(rows, built, n, data, newest, notes)
        if isinstance(data, list):
            built.told.take(n * tree.TILE_WIDTH, data)
            built.published += _of_kinds(_KINDS, n, data)
            built.signed += [item for item in _of_kinds(_SIGNED, n, data) if b"sha256:" in item[1]]
        if n in edges:
            built.edges[n] = leaves
        if width == tree.TILE_WIDTH:
            # What is lost below is named already: go on with what was signed above it, and find what else is damaged.
            above = _above(rows, n) if n in built.unknown else b""
            _climb(built.levels, 0, above or tree.hash_row(leaves))
    notes.count("entries", size)
    _compare_tiles(rows, built, notes)
    return built


def _entries(rows: Rows, n: int, width: int) -> list[bytes] | dict[int, bytes]:
    """The entries below tile n as a list; as a dict by index where some are missing or not bytes."""
    found = rows.entries(n)[:width]
    first = n * tree.TILE_WIDTH
    data = [item for _index, item in found]
    whole = len(found) == width and found[0][0] == first and found[-1][0] == first + width - 1
    if whole and set(map(type, data)) == {bytes}:
        return data
    return {index: item for index, item in found if isinstance(item, bytes)}


def _climb(levels: list[bytearray], level: int, value: bytes) -> None:
    """Add the root of a full tile of `level` to the level above, and so on upwards."""
    if level == len(levels):
        levels.append(bytearray())
    levels[level] += value
    if len(levels[level]) % tree.TILE_BYTES == 0:
        _climb(levels, level + 1, tree.hash_row(bytes(levels[level][-tree.TILE_BYTES :])))


def _settle(
    rows: Rows, built: Rebuilt, n: int, data: list[bytes] | dict[int, bytes], newest: Checkpoint | None, notes: Notebook
) -> bytes:
    """Name what is wrong below tile n, and return the leaf hashes to go on with."""
    first = n * tree.TILE_WIDTH
    width = min(tree.TILE_WIDTH, built.size - first)
    raw = rows.tile(0, n)
    stored = raw if isinstance(raw, bytes) and len(raw) == width * HASH_BYTES else b""
    by_index = dict(enumerate(data, first)) if isinstance(data, list) else data
    at = {index: tree.hash_leaves([item]) for index, item in by_index.items()}
    leaves = b"".join(
        at.get(first + k, stored[k * HASH_BYTES : (k + 1) * HASH_BYTES] or bytes(32)) for k in range(width)
    )
    signed = _signed(rows, built, n, newest)
    if not stored or (signed(leaves) and leaves != stored):
        notes.add(f"tile 0/{n}", "missing or of a wrong length" if not stored else "does not hold its entries' hashes")
    good_tile = bool(stored) and signed(stored)
    for index in range(first, first + width):
        known = stored[(index - first) * HASH_BYTES : (index - first + 1) * HASH_BYTES]
        if index not in at:
            notes.add(f"entry {index}", "missing, or not stored as bytes")
            built.damaged = True
        elif known and at[index] != known and not signed(leaves):
            also = "" if good_tile else f"; tile 0/{n} and what is above it do not agree either"
            notes.add(f"entry {index}", f"its bytes were changed{also}")
            built.damaged = True
    if not good_tile and not signed(leaves):
        built.unknown.add(n)
    return stored if good_tile else leaves


def _above(rows: Rows, n: int) -> bytes:
    """The hash of tile 0/n in the tile above; empty if that is missing too."""
    tile = rows.tile(1, n >> 8)
    at = (n & 255) * HASH_BYTES
    found = tile[at : at + HASH_BYTES] if isinstance(tile, bytes) else b""
    return found if len(found) == HASH_BYTES else b""


def _signed(rows: Rows, built: Rebuilt, n: int, newest: Checkpoint | None) -> Callable[[bytes], bool]:
    """A test of leaf hashes below tile n against what lies above: the next level's tile, or the newest head."""
    if (n + 1) * tree.TILE_WIDTH <= built.size:
        above = _above(rows, n)
        return lambda leaves: above == tree.hash_row(leaves)

    def leads_to_head(leaves: bytes) -> bool:
        edge = Rebuilt(size=built.size, levels=built.levels, edges={n: leaves})
        return newest is not None and edge.root(newest.size) == newest.root

    return leads_to_head


def _of_kinds(kinds: tuple[bytes, ...], n: int, data: list[bytes]) -> list[tuple[int, bytes]]:
    together = b"\n".join(data)
    if not any(kind in together for kind in kinds):
        return []
    first = n * tree.TILE_WIDTH
    return [(first + at, item) for at, item in enumerate(data) if any(kind in item for kind in kinds)]


def _compare_tiles(rows: Rows, built: Rebuilt, notes: Notebook) -> None:
    """Compare tiles of level 1 and up, and look for tiles that do not belong."""
    expected = set()
    for level, full, width in tree.tile_widths(built.size):
        expected |= {(level, n) for n in range(full + (1 if width else 0))}
    for level, n in sorted(expected):
        notes.count("tiles")
        if level and rows.tile(level, n) != built.read(level, n):
            notes.add(f"tile {level}/{n}", "is not what its entries give")
    for level, n in sorted(set(rows.tiles()) - expected, key=str):
        notes.add(f"tile {level}/{n}", "belongs to no entry that a head covers")
