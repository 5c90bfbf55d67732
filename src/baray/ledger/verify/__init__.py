"""Check a home, a proof bundle or an export, offline. Reads only; writes nothing; damage gives findings, not errors.

Needs the standard library and `cryptography` alone: no server, no settings, no database toolkit, so that a check can be
believed where the platform is not.

Covered: a changed, missing or added row of the ledger (entries, tiles, heads, cosignatures); rows of people, roles,
tokens, Runs, versions, Services, lineage and Answers against what the entries tell of them; a changed or missing blob; a
changed statement about a Run, or signature of a Model. With a head that was kept outside: a rollback and a rewritten
history. What no entry binds is named in the report.
"""

from __future__ import annotations

import shutil
import sqlite3
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from baray.core import is_digest, iso_time
from baray.ledger import tree
from baray.ledger.verify import heads as signed
from baray.ledger.verify.attested import check_artifacts, check_statement
from baray.ledger.verify.batches import check_answers
from baray.ledger.verify.exported import verify_export
from baray.ledger.verify.holdings import Version, check_blobs, check_versions
from baray.ledger.verify.rebuilt import Rebuilt, Rows, rebuild
from baray.ledger.verify.report import Finding, Notebook, Report
from baray.ledger.verify.rows import check_rows
from baray.ledger.witness import HASH_BYTES, ProofError, check_proof

__all__ = ["Finding", "Report", "verify_bundle", "verify_home"]

DATABASE = "baray.db"
BLOBS = "blobs"
_DAMAGE = (sqlite3.Error, OverflowError, MemoryError, UnicodeError)
"""What reading a damaged database raises: sizes and even the database's own messages may be junk."""


def verify_home(home: Path, *, heads: Sequence[str] = (), log: str = "") -> Report:
    """Check everything that a home's ledger binds.

    `heads`: notes of signed heads that were kept outside; `log`: the ledger's public key line that the reader holds.
    Raises ProofError only if `log` itself is no key line.
    """
    notes = Notebook()
    try:
        with _opened(home / DATABASE) as connection:
            return _verify_rows(connection, home, heads, log, notes)
    except (*_DAMAGE, OSError) as error:
        notes.add(DATABASE, f"cannot be read: {error}")
    return notes.report(entries=0, witnessed=False)


def verify_bundle(bundle: Path | bytes, *, log: str = "") -> Report:
    """Check a `.baray-proof`, or an export of a whole ledger."""
    notes = Notebook()
    try:
        if isinstance(bundle, Path) and tarfile.is_tarfile(bundle):
            with tarfile.open(bundle, "r:") as archive:
                return verify_export(archive, log, notes)
        data = bundle.read_bytes() if isinstance(bundle, Path) else bundle
        proof = check_proof(data, log)
        check_statement(data, proof["entry"], notes)
    except (ProofError, tarfile.TarError, OSError) as error:
        notes.add("bundle", str(error))
        return notes.report(entries=0, witnessed=False)
    notes.checked |= proof
    notes.proves = _proved(proof)
    return notes.report(entries=proof["size"], witnessed=bool(proof["witnesses"]))


def _proved(proof: dict[str, Any]) -> dict[str, Any]:
    """What a checked proof proves, in the words of its signed entry and of what that binds."""
    entry, about = proof["entry"], proof["about"]
    proved = {
        name: entry[name] for name in ("kind", "subject", "project", "label", "actor", "decision") if name in entry
    }
    digests = {name: value for name, value in {**entry.get("facts", {}), **about}.items() if is_digest(str(value))}
    attached = {name.removeprefix("attached_"): about[name] for name in about if name.startswith("attached_")}
    times = {name: iso_time(seconds) for name, seconds in proof["witnesses"].items()}
    proved |= {"entry": f"{proof['index']} of {proof['size']}", "time": iso_time(entry["t"] / 1000)}
    proved |= {"digest": digests} if digests else {}
    proved |= {"attached": attached} if attached else {}
    return proved | {"signed": proof["log"]} | ({"witnessed": times} if times else {})


def _verify_rows(
    connection: sqlite3.Connection, home: Path, outside: Sequence[str], log: str, notes: Notebook
) -> Report:
    built = Rebuilt(size=0, damaged=True)
    witnessed = False
    with _noting(notes):
        built, witnessed = _verify_ledger(connection, outside, log, notes)
    versions: list[Version] = []
    with _noting(notes):
        versions = check_versions(connection, built, notes)
    check_rows(connection, built.told, notes, damaged=built.damaged)
    with _noting(notes):
        check_answers(connection, built.told, notes, damaged=built.damaged)
    with _noting(notes):
        check_blobs(connection, home / BLOBS, versions, notes)
    with _noting(notes):
        check_artifacts(connection, home / BLOBS, built, versions, notes)
    return notes.report(entries=built.size, witnessed=witnessed)


def _verify_ledger(
    connection: sqlite3.Connection, outside: Sequence[str], log: str, notes: Notebook
) -> tuple[Rebuilt, bool]:
    def ask(sql: str) -> list[Any]:
        return connection.execute(sql).fetchall()

    words = dict(ask("SELECT key, value FROM meta WHERE key = 'ledger.vkey'"))
    key = signed.log_key(words.get("ledger.vkey"), log, notes)
    stored = ask("SELECT size, note FROM checkpoint ORDER BY size")
    own = signed.own_heads(stored, key, notes)
    cosigned = signed.cosigned_heads(ask("SELECT name, vkey, size, note FROM witness ORDER BY name"), key, notes)
    kept = signed.outside_heads(outside, key, notes)
    there = int(ask("SELECT coalesce(max(idx), -1) + 1 FROM entry")[0][0])
    below = ask("SELECT count(*) FROM entry WHERE idx < 0")[0][0]
    if below:
        notes.add("entries below 0", f"{below} entries belong nowhere")
    covered = max((size for size, _note in stored if isinstance(size, int)), default=0)
    size = _span(there, covered, notes)
    newest = own[-1].head if own and own[-1].head.size == size else None
    rows = _rows(connection, size, there)
    built = rebuild(rows, size, newest, [item.head.size for item in (*own, *cosigned, *kept)], notes)
    built.damaged = built.damaged or there < covered
    signed.compare(own, built, notes)
    signed.compare(kept, built, notes)
    return built, bool(signed.compare(cosigned, built, notes))


def _span(there: int, covered: int, notes: Notebook) -> int:
    """How many entries to check: those that are there and covered by a head."""
    if there < covered:
        notes.add(f"entries {there} to {covered - 1}", "missing: the end of the ledger was cut off")
    elif there > covered:
        notes.add(f"entries {covered} to {there - 1}", "no signed head covers them")
    return min(there, covered)


def _rows(connection: sqlite3.Connection, size: int, there: int) -> Rows:
    def entries(n: int) -> list[tuple[int, Any]]:
        sql = "SELECT idx, data FROM entry WHERE idx >= ? AND idx < ? ORDER BY idx"
        return connection.execute(sql, (n * tree.TILE_WIDTH, (n + 1) * tree.TILE_WIDTH)).fetchall()

    def tile(level: int, n: int) -> Any:  # noqa: ANN401 - a stored value
        row = connection.execute("SELECT data FROM tile WHERE level = ? AND n = ?", (level, n)).fetchone()
        data = row[0] if row else None
        # Where the end was cut off or is not covered, tiles are longer than what is checked, and that is named already.
        width = max(0, min(tree.TILE_WIDTH, (size >> (8 * level)) - n * tree.TILE_WIDTH))
        return data[: width * HASH_BYTES] if size != there and isinstance(data, bytes) else data

    def tiles() -> list[tuple[int, int]]:
        return connection.execute("SELECT level, n FROM tile").fetchall() if size == there else []

    return Rows(entries=entries, tile=tile, tiles=tiles)


@contextmanager
def _noting(notes: Notebook) -> Iterator[None]:
    """Turn a database's complaint into a finding, and go on with the next part."""
    try:
        yield
    except _DAMAGE as error:
        notes.add(DATABASE, str(error))


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    """Open the database in one snapshot, and leave not a byte behind.

    No write-ahead log: nobody has it open, so it is read as an immutable file. Otherwise its log is read through the
    shared-memory file without writing to that. Where a crash left the log without that file, a private copy is opened.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing")
    place = quote(str(path.absolute()))
    with tempfile.TemporaryDirectory(prefix="baray-verify-") as private:
        log = path.with_name(path.name + "-wal")
        if not log.exists():
            connection = _connect(f"file:{place}?mode=ro&immutable=1")
        elif path.with_name(path.name + "-shm").exists():
            connection = _connect(f"file:{place}?mode=ro&readonly_shm=1")
        else:
            for file in (path, log):
                shutil.copy(file, private)
            connection = _connect(f"file:{quote(private)}/{path.name}")
        with closing(connection):
            connection.execute("BEGIN")
            yield connection


def _connect(uri: str) -> sqlite3.Connection:
    connection = sqlite3.connect(uri, uri=True, isolation_level=None)
    connection.text_factory = lambda data: data.decode(errors="replace")
    return connection
