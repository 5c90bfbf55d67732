"""The tree's shape: roots, tiles, and the proofs that are read from tiles (RFC 6962; C2SP tlog-tiles).

A tile holds up to 256 hashes of one tile level: level 0 the hashes of entries, level l + 1 the roots of full tiles of
level l. All functions take `read(level, n)`, which returns the bytes of a tile, full or partial; a tile of a later,
longer ledger will do, as tiles only grow.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from baray.ledger.witness import HASH_BYTES

TILE_WIDTH = 256
TILE_BYTES = TILE_WIDTH * HASH_BYTES
EMPTY_ROOT = hashlib.sha256().digest()
MAX_ENTRY_BYTES = 65535
"""An entry bundle gives each entry a length of two bytes."""

Read = Callable[[int, int], bytes]


def hash_leaves(entries: Sequence[bytes]) -> bytes:
    """Leaf hashes of `entries`, one after the other."""
    sha256 = hashlib.sha256
    return b"".join([sha256(b"\x00" + data).digest() for data in entries])


def hash_row(hashes: bytes) -> bytes:
    """RFC 6962 root over a row of hashes (at least one): pair by pair; an odd last one goes up as it is."""
    sha256 = hashlib.sha256
    while len(hashes) > HASH_BYTES:
        paired = len(hashes) // 64 * 64
        above = [sha256(b"\x01" + hashes[at : at + 64]).digest() for at in range(0, paired, 64)]
        hashes = b"".join(above) + hashes[paired:]
    return hashes


def root(read: Read, size: int) -> bytes:
    """Root of the first `size` entries."""
    return _range_root(read, 0, size) if size else EMPTY_ROOT


def inclusion(read: Read, index: int, size: int) -> list[bytes]:
    """Proof that entry `index` is in the tree of `size` entries (RFC 6962 PATH), from the leaf upwards."""
    low, high, proof = 0, size, []
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            proof.append(_range_root(read, middle, high))
            high = middle
        else:
            proof.append(_range_root(read, low, middle))
            low = middle
    return proof[::-1]


def consistency(read: Read, old: int, new: int) -> list[bytes]:
    """Proof that the tree of `old` entries is the beginning of the tree of `new` entries (RFC 6962 PROOF)."""
    if old in {0, new}:
        return []
    low, high, proof = 0, new, []
    # Walk down to the old tree's right edge. `low == 0` at the end means the subtree is the old tree itself,
    # whose root the reader holds already.
    while high != old:
        middle = low + _split(high - low)
        if old <= middle:
            proof.append(_range_root(read, middle, high))
            high = middle
        else:
            proof.append(_range_root(read, low, middle))
            low = middle
    if low:
        proof.append(_range_root(read, low, high))
    return proof[::-1]


def tile_path(level: int | str, n: int, width: int = TILE_WIDTH) -> str:
    """`tile/0/x001/x234/067`, with `.p/W` for a partial tile; level `entries` names an entry bundle."""
    groups = [f"{n % 1000:03d}"]
    while n >= 1000:
        n //= 1000
        groups.insert(0, f"x{n % 1000:03d}")
    partial = "" if width == TILE_WIDTH else f".p/{width}"
    return f"tile/{level}/{'/'.join(groups)}{partial}"


def tile_widths(size: int) -> list[tuple[int, int, int]]:
    """(level, number of full tiles, width of the partial tile or 0) of a tree of `size` entries, level by level."""
    rows, level = [], 0
    while size >> (8 * level):
        count = size >> (8 * level)
        rows.append((level, count >> 8, count & 255))
        level += 1
    return rows


def pack_entries(entries: Sequence[bytes]) -> bytes:
    """An entry bundle: each entry after its length in two bytes."""
    return b"".join([len(data).to_bytes(2, "big") + data for data in entries])


def unpack_entries(bundle: bytes) -> list[bytes]:
    """Entries of a bundle. Raises ValueError on one that is cut off."""
    entries: list[bytes] = []
    at = 0
    while at < len(bundle):
        end = at + 2 + int.from_bytes(bundle[at : at + 2], "big")
        if end > len(bundle):
            raise ValueError(f"The entry bundle ends in the middle of its entry {len(entries)}.")
        entries.append(bundle[at + 2 : end])
        at = end
    return entries


def _split(width: int) -> int:
    """The largest power of two below `width`."""
    return 1 << ((width - 1).bit_length() - 1)


def _range_root(read: Read, low: int, high: int) -> bytes:
    """Root over entries low..high; `low` is a multiple of the least power of two that is not below the width.

    Climbs tile levels: at each one, hashes of the last tile and, at its end, what is left over from below. That keeps
    RFC 6962's shape, as its splits fall on multiples of 256 wherever a range is wider than a tile. A full tile is read
    from the level above, so a root needs nothing but the partial tiles at the right edge.
    """
    level, carry = 0, b""
    while True:
        start, count = low >> (8 * level), high >> (8 * level)
        if start == count:
            return carry
        last = (count - 1) >> 8
        if start >> 8 == last and (start | count) & 255:
            offset = (start & 255) * HASH_BYTES
            tile = read(level, last)[offset : offset + (count - start) * HASH_BYTES]
            return hash_row(tile + carry)
        width = (count & 255) * HASH_BYTES
        row = (read(level, count >> 8)[:width] if width else b"") + carry
        carry = hash_row(row) if row else b""
        level += 1
