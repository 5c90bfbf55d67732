"""All statements of `ledger`: raw SQL, as every group of writes passes here."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from baray.ledger.tree import Read, hash_leaves

if TYPE_CHECKING:
    from baray.store import Tx


def size(tx: Tx) -> int:
    """Number of entries."""
    return int(tx.hot("SELECT coalesce(max(idx) + 1, 0) FROM entry").scalar_one())


def add_entries(tx: Tx, first: int, entries: list[bytes]) -> None:
    """Insert entries from index `first`."""
    tx.hot("INSERT INTO entry (idx, data) VALUES (?, ?)", list(enumerate(entries, first)))


def entries(tx: Tx, after: int, limit: int) -> list[tuple[int, bytes]]:
    """Up to `limit` entries with an index above `after`."""
    found = tx.hot("SELECT idx, data FROM entry WHERE idx > ? ORDER BY idx LIMIT ?", (after, limit))
    return [(row.idx, row.data) for row in found]


def newest_entries(tx: Tx, before: int, limit: int) -> list[tuple[int, bytes]]:
    """Up to `limit` entries with an index below `before`, newest first."""
    found = tx.hot("SELECT idx, data FROM entry WHERE idx < ? ORDER BY idx DESC LIMIT ?", (before, limit))
    return [(row.idx, row.data) for row in found]


def entry(tx: Tx, index: int) -> bytes | None:
    """The bytes of one entry."""
    found = tx.hot("SELECT data FROM entry WHERE idx = ?", (index,)).scalar()
    return None if found is None else bytes(found)


def of_kinds(tx: Tx, first: int, kinds: tuple[str, ...]) -> list[tuple[int, bytes]]:
    """Entries of `kinds` from index `first` on, in order. Reads every entry from there: a million in a third of a second."""
    found = tx.hot(
        "SELECT idx, data FROM entry WHERE idx >= ? AND CASE WHEN json_valid(CAST(data AS TEXT)) "
        "THEN json_extract(CAST(data AS TEXT), '$.kind') END IN (SELECT value FROM json_each(?)) ORDER BY idx",
        (first, json.dumps(kinds)),
    )
    return [(row.idx, row.data) for row in found]


def indices_with(tx: Tx, words: tuple[str, ...]) -> list[int]:
    """Entries whose bytes hold all of `words`, oldest first. Reads the whole ledger: for proofs, not for pages."""
    where = " AND ".join(["instr(data, CAST(? AS BLOB)) > 0"] * len(words))
    return [row[0] for row in tx.hot(f"SELECT idx FROM entry WHERE {where} ORDER BY idx", words)]  # noqa: S608 - constant


def put_tiles(tx: Tx, tiles: list[tuple[int, int, bytes]]) -> None:
    """Write tiles (level, n, data), over their shorter selves."""
    tx.hot(
        "INSERT INTO tile (level, n, data) VALUES (?, ?, ?) ON CONFLICT (level, n) DO UPDATE SET data = excluded.data",
        tiles,
    )


def tile_reader(tx: Tx) -> Read:
    """Reads tiles, each once."""
    kept: dict[tuple[int, int], bytes] = {}

    def read(level: int, n: int) -> bytes:
        if (level, n) not in kept:
            found = tx.hot("SELECT data FROM tile WHERE level = ? AND n = ?", (level, n)).scalar()
            kept[level, n] = b"" if found is None else bytes(found)
        return kept[level, n]

    return read


def leaves(tx: Tx, first: int, count: int) -> bytes:
    """Leaf hashes of `count` entries from index `first`."""
    found = tx.hot("SELECT data FROM entry WHERE idx >= ? ORDER BY idx LIMIT ?", (first, count))
    return hash_leaves([row[0] for row in found])


def newest_head(tx: Tx) -> str | None:
    """The note of the newest head."""
    found = tx.hot("SELECT note FROM checkpoint ORDER BY size DESC LIMIT 1").scalar()
    return None if found is None else str(found)


def heads(tx: Tx) -> list[str]:
    """Notes of all heads that are kept, newest first."""
    return [str(row[0]) for row in tx.hot("SELECT note FROM checkpoint ORDER BY size DESC")]


def put_head(tx: Tx, at: int, note: str) -> None:
    """Keep the head of the first `at` entries."""
    tx.hot("INSERT INTO checkpoint (size, note) VALUES (?, ?) ON CONFLICT (size) DO NOTHING", (at, note))


def drop_head(tx: Tx, at: int) -> None:
    """Forget the head of the first `at` entries."""
    tx.hot("DELETE FROM checkpoint WHERE size = ?", (at,))


def set_meta(tx: Tx, key: str, value: str) -> None:
    """Set a word of the home's `meta`, unless it is set."""
    tx.hot("INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO NOTHING", (key, value))


def replace_meta(tx: Tx, key: str, value: str) -> None:
    """Set a word of the home's `meta`, over what it was."""
    sql = "INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
    tx.hot(sql, (key, value))


def get_meta(tx: Tx, key: str) -> str | None:
    """A word of the home's `meta`."""
    found = tx.hot("SELECT value FROM meta WHERE key = ?", (key,)).scalar()
    return None if found is None else str(found)


def witnesses(tx: Tx) -> list[Any]:
    """Rows (name, vkey, size, note, added) of all witnesses, by name."""
    return list(tx.hot("SELECT name, vkey, size, note, added FROM witness ORDER BY name"))


def add_witness(tx: Tx, name: str, vkey: str, added: float) -> None:
    """Insert a witness that has seen nothing."""
    tx.hot("INSERT INTO witness (name, vkey, size, note, added) VALUES (?, ?, 0, NULL, ?)", (name, vkey, added))


def set_witnessed(tx: Tx, name: str, at: int, note: str) -> None:
    """Keep the head of the first `at` entries that a witness cosigned."""
    tx.hot("UPDATE witness SET size = ?, note = ? WHERE name = ?", (at, note, name))


def add_salt(tx: Tx, key: int, salt: bytes) -> None:
    """Keep the salt of a commitment."""
    tx.hot("INSERT INTO salt (id, salt) VALUES (?, ?)", (key, salt))


def salt(tx: Tx, key: int) -> bytes | None:
    """The salt of a commitment, None after its erasure."""
    found = tx.hot("SELECT salt FROM salt WHERE id = ?", (key,)).scalar()
    return None if found is None else bytes(found)


def drop_salt(tx: Tx, key: int) -> None:
    """Erase the salt of a commitment."""
    tx.hot("DELETE FROM salt WHERE id = ?", (key,))


def receipts(tx: Tx) -> list[tuple[str, str]]:
    """(id, receipt digest) of all answers in the order in which they were taken in."""
    found = tx.hot("SELECT id, receipt_digest FROM answer ORDER BY rowid")
    return [(row.id, row.receipt_digest) for row in found]


def version_ids(tx: Tx, kind: str, name: str, number: int | None) -> list[str]:
    """Ids of the versions that `kind:name@vN` may mean in any project, newest first."""
    found = tx.hot(
        "SELECT version.id FROM version LEFT JOIN thing ON thing.id = version.thing_id"
        " LEFT JOIN source ON source.id = version.source_id WHERE coalesce(thing.kind, 'source') = ?"
        " AND coalesce(thing.name, source.name) = ? AND (? IS NULL OR version.number = ?) ORDER BY version.number DESC",
        (kind, name, number, number),
    )
    return [row[0] for row in found]
