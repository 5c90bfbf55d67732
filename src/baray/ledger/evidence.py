"""Evidence for outsiders: requests to witnesses, their cosignatures, proof bundles, exports, and the public files."""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baray.core import NotFound, Refused, digest_bytes, is_digest, parse_ref
from baray.ledger import records, tree, witness
from baray.ledger.artifacts import registered_key, registered_keys
from baray.ledger.ledger import VKEY, Ledger
from baray.ledger.witness import Checkpoint, ProofError, encode64

if TYPE_CHECKING:
    from baray.store import Tx

PROOF_FORMAT = "baray-proof/v1"
_TILE_PATH = re.compile(r"tile/(entries|[0-9]|[1-5][0-9]|6[0-3])/((?:x[0-9]{3}/)*[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?\Z")
_PUBLISHED = ("version.published", "source.added")


@dataclass(frozen=True, slots=True, kw_only=True)
class WitnessRow:
    """A registered witness and how far it has followed."""

    name: str
    """Name on its signature lines."""
    vkey: str
    """Its public key line."""
    size: int
    """Entries under the last head that it cosigned; 0 for none."""
    time: float | None
    """When it cosigned, by its own clock, seconds since 1970."""
    added: float
    """When it was registered, seconds since 1970."""


def add_witness(tx: Tx, ledger: Ledger, vkey: str, *, actor: str) -> str:
    """Register a witness by its public key line; returns its name. Raises Refused `bad_witness`."""
    try:
        verifier = witness.parse_vkey(vkey)
    except ProofError as error:
        raise Refused("bad_witness", f"{error}", fix="Paste the line that `witness.py init` printed.") from error
    if verifier.type != witness.COSIGNER_KEY:
        raise Refused("bad_witness", f"'{verifier.name}' is the key of a log.", fix="Paste the witness's line.")
    if any(row.name == verifier.name for row in records.witnesses(tx)):
        raise Refused("bad_witness", f"There is a witness '{verifier.name}' already.", fix="Choose another --name.")
    facts = {"witness": digest_bytes(verifier.vkey.encode())}
    ledger.append(tx, "witness.added", actor=actor, subject="ledger", facts=facts)
    records.add_witness(tx, verifier.name, verifier.vkey, tx.journal_time)
    return verifier.name


def witnesses(tx: Tx) -> list[WitnessRow]:
    """All witnesses, by name."""
    return [
        WitnessRow(name=row.name, vkey=row.vkey, size=row.size or 0, added=row.added, time=_cosigned_at(row))
        for row in records.witnesses(tx)
    ]


def request(tx: Tx, name: str = "", *, old: int | None = None) -> bytes:
    """What a witness is asked to cosign: an `add-checkpoint` body from the last head it cosigned to the newest.

    Without `name`: for the only witness, or for one that is not registered yet. `old`: the size that the witness says
    it stands at, where its last answer never arrived.
    """
    rows = records.witnesses(tx)
    if not name and len(rows) > 1:
        names = ", ".join(row.name for row in rows)
        raise Refused("which_witness", f"There are {len(rows)} witnesses: {names}.", fix="Add --witness NAME.")
    found = [row for row in rows if row.name == (name or row.name)]
    if name and not found:
        raise NotFound("witness", name, fix="See: baray ledger witness list")
    head = _newest(tx)
    start = old if old is not None else int(found[0].size or 0) if found else 0
    if start > head.size:
        raise Refused(
            "rolled_back", f"The witness has seen {start} entries, this ledger holds {head.size}.", status=409
        )
    proof = tree.consistency(records.tile_reader(tx), start, head.size)
    lines = [f"old {start}", *[encode64(item) for item in proof]]
    return ("\n".join(lines) + "\n\n" + head.note).encode()


def accept_cosignature(tx: Tx, ledger: Ledger, answer: str, *, actor: str) -> WitnessRow:
    """Take in a witness's answer: the cosigned head, or its signature line alone if that head is still kept.

    Raises Refused `bad_cosignature` on anything else than a registered witness's cosignature of a head of this ledger.
    """
    try:
        head = _answered_head(tx, answer)
        witness.check_log_signature(head, witness.parse_vkey(ledger.vkey))
        row = _cosigner(tx, head)
        _check_own(tx, head)
    except ProofError as error:
        raise Refused("bad_cosignature", f"{error}", fix="Make a new one: baray ledger request") from error
    if head.size > (row.size or 0):
        records.set_witnessed(tx, row.name, head.size, _only(head, [row.name, head.origin]).note)
        facts = {"size": head.size, "root": "sha256:" + head.root.hex(), "witness": digest_bytes(row.vkey.encode())}
        ledger.append(tx, "head.witnessed", actor=actor, subject="ledger", facts=facts)
    return next(item for item in witnesses(tx) if item.name == row.name)


def prove(tx: Tx, what: int | str, attached: bytes = b"", statement: bytes = b"") -> bytes:
    """A `.baray-proof` for an entry (its number, or `entry:N`), a version, an Answer, or the last event of an id.

    `attached`: the manifest of the version, or the Receipt of the Answer, that the entry binds; it goes along, so that
    a reader sees names and contents. `statement`: the signed statement about the Run that the entry names. The caller has
    checked that the reader may have what is in them.
    """
    index, batch = _find(tx, what)
    data = records.entry(tx, index)
    if data is None:
        raise NotFound("entry", str(index), fix=f"The ledger holds {records.size(tx)} entries.")
    head, keys = _best_head(tx, index)
    path = tree.inclusion(records.tile_reader(tx), index, head.size)
    lines = ["c2sp.org/tlog-proof@v1", f"index {index}", *[encode64(item) for item in path]]
    bundle: dict[str, Any] = {"format": PROOF_FORMAT, "about": _about(data, batch)}
    bundle |= {"entry": data.decode(), "proof": "\n".join(lines) + "\n\n" + head.note}
    bundle |= {"keys": {"log": records.get_meta(tx, VKEY), "witnesses": keys}}
    if batch:
        bundle["batch"] = batch
    if attached:
        bundle["attached"] = attached.decode()
        bundle["about"] |= {f"attached_{k}": v for k, v in json.loads(attached).items() if k in {"kind", "name", "id"}}
    if statement and json.loads(data).get("facts", {}).get("provenance") == digest_bytes(statement):
        bundle["statement"] = statement.decode()
        bundle["keys"]["artifacts"] = [key.text for key in registered_keys(tx)]
    return (json.dumps(bundle, indent=1, ensure_ascii=False) + "\n").encode()


def batch_root(receipt_digests: list[str]) -> str:
    """The root that an `answers.batch` entry holds: RFC 6962 over the digests' text, in the order of the rows."""
    if not receipt_digests:
        return digest_bytes(b"")
    return "sha256:" + tree.hash_row(tree.hash_leaves([digest.encode() for digest in receipt_digests])).hex()


def public_file(tx: Tx, path: str) -> bytes:
    """`checkpoint`, `tile/L/N[.p/W]` or `tile/entries/N[.p/W]`, as C2SP tlog-tiles names them. Raises NotFound.

    `artifacts.pub` is the key that statements and Models are signed with, in PEM.
    """
    if path == "checkpoint":
        return _newest(tx).note.encode()
    if path == "artifacts.pub" and (key := registered_key(tx)) is not None:
        return key.pem.encode()
    match = _TILE_PATH.match(path)
    if match is None:
        raise NotFound("ledger file", path)
    n = int(match[2].replace("x", "").replace("/", ""))
    width = int(match[3] or tree.TILE_WIDTH)
    if match[1] == "entries":
        rows = records.entries(tx, n * tree.TILE_WIDTH - 1, width)
        found = tree.pack_entries([data for _index, data in rows]) if len(rows) == width else b""
    else:
        tile = records.tile_reader(tx)(int(match[1]), n)[: width * witness.HASH_BYTES]
        found = tile if len(tile) == width * witness.HASH_BYTES else b""
    if not found:
        raise NotFound("ledger file", path)
    return found


def export(tx: Tx, out: Path) -> int:
    """Write the whole ledger to `out`, a tar that `verify` checks offline; returns the number of entries."""
    size = _newest(tx).size
    fresh = out.with_name(out.name + ".new")
    with tarfile.open(fresh, "w:", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in _export_files(tx, size):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    fresh.replace(out)
    return size


def _export_files(tx: Tx, size: int) -> Iterator[tuple[str, bytes]]:
    rows = records.witnesses(tx)
    keys = [f"log {records.get_meta(tx, VKEY)}", *[f"witness {row.vkey}" for row in rows]]
    if (signing := registered_key(tx)) is not None:
        keys.append(f"artifacts {signing.text}")
    yield "keys", ("\n".join(keys) + "\n").encode()
    yield "checkpoint", public_file(tx, "checkpoint")
    for number, row in enumerate(row for row in rows if row.note):
        yield f"witnessed/{number:03d}", row.note.encode()
    for level, full, width in tree.tile_widths(size):
        spans = [(n, tree.TILE_WIDTH) for n in range(full)] + ([(full, width)] if width else [])
        for n, span in spans:
            names = [tree.tile_path(level, n, span)] + ([tree.tile_path("entries", n, span)] if level == 0 else [])
            for name in names:
                yield name, public_file(tx, name)


def _newest(tx: Tx) -> Checkpoint:
    note = records.newest_head(tx)
    if note is None:
        raise NotFound("head", "newest", fix="A ledger has one after its first entry.")
    return witness.parse_checkpoint(note)


def _cosigned_at(row: Any) -> float | None:  # noqa: ANN401 - a row
    if not row.note:
        return None
    return float(witness.check_cosignature(witness.parse_checkpoint(row.note), witness.parse_vkey(row.vkey)))


def _answered_head(tx: Tx, answer: str) -> Checkpoint:
    """The head that an answer cosigns. A line alone does not say which: every head that is kept is tried."""
    text = answer.strip() + "\n"
    if "\n\n" in text:
        return witness.parse_checkpoint(text)
    witness.parse_signatures(text)
    for note in records.heads(tx):
        head = witness.parse_checkpoint(note + text)
        try:
            _cosigner(tx, head)
        except ProofError:
            continue  # not this head: the next one may be it
        return head
    raise ProofError("No head that is kept was cosigned by this line. Hand in the whole cosigned head.")


def _check_own(tx: Tx, head: Checkpoint) -> None:
    size = records.size(tx)
    if head.size > size or tree.root(records.tile_reader(tx), head.size) != head.root:
        raise ProofError(f"The head at size {head.size} is not of this history, which holds {size} entries.")


def _cosigner(tx: Tx, head: Checkpoint) -> Any:  # noqa: ANN401 - a row
    rows = records.witnesses(tx)
    if not rows:
        raise ProofError("No witness is registered: baray ledger witness add VKEY.")
    for row in rows:
        verifier = witness.parse_vkey(row.vkey)
        if any(name == verifier.name and data[:4] == verifier.key_id for name, data in head.signatures):
            witness.check_cosignature(head, verifier)
            return row
    raise ProofError(f"None of the registered witnesses ({', '.join(row.name for row in rows)}) signed this.")


def _only(head: Checkpoint, names: list[str]) -> Checkpoint:
    kept = tuple(item for item in head.signatures if item[0] in names)
    return Checkpoint(origin=head.origin, size=head.size, root=head.root, text=head.text, signatures=kept)


def _best_head(tx: Tx, index: int) -> tuple[Checkpoint, list[str]]:
    """The longest witnessed head over entry `index` with all its cosignatures, else the newest head."""
    rows = [row for row in records.witnesses(tx) if row.note and row.size > index]
    if not rows:
        return _newest(tx), []
    size = max(row.size for row in rows)
    heads = [witness.parse_checkpoint(row.note) for row in rows if row.size == size]
    signatures = dict.fromkeys(item for head in heads for item in head.signatures)
    merged = Checkpoint(
        origin=heads[0].origin, size=size, root=heads[0].root, text=heads[0].text, signatures=tuple(signatures)
    )
    return merged, [row.vkey for row in rows if row.size == size]


def _about(data: bytes, batch: dict[str, Any] | None) -> dict[str, Any]:
    said = json.loads(data)
    if batch:
        return {"kind": said["kind"], "receipt_digest": batch["receipt_digest"]}
    shown = {name: said[name] for name in ("kind", "subject", "label") if name in said}
    return shown | {name: value for name, value in said.get("facts", {}).items() if is_digest(str(value))}


def _find(tx: Tx, what: int | str) -> tuple[int, dict[str, Any] | None]:
    """Index of the entry that speaks of `what`, and for an Answer its place in that entry's batch."""
    text = str(what).removeprefix("entry:")
    if text.isascii() and text.isdigit():
        return int(text), None
    kind, _, name = text.rpartition(":")
    if name.startswith("a_"):
        return _find_answer(tx, name)
    ids = [name]
    if kind and "_" not in name:
        ref = parse_ref(text)
        ids = records.version_ids(tx, ref.kind, ref.name, ref.version)[:1]
    for subject in ids:
        said = f'"subject":"{subject}"'
        for published in _PUBLISHED:
            if found := records.indices_with(tx, (said, f'"kind":"{published}"')):
                return found[0], None
        if found := records.indices_with(tx, (said,)):
            return found[-1], None
    raise NotFound("entry about", text, fix="See: baray ledger show")


def _find_answer(tx: Tx, answer_id: str) -> tuple[int, dict[str, Any]]:
    """Batches are entered in the order of the rows, so counts say which rows a batch holds."""
    rows, start = records.receipts(tx), 0
    for index in records.indices_with(tx, ('"kind":"answers.batch"',)):
        facts = json.loads(records.entry(tx, index) or b"{}").get("facts", {})
        part = rows[start : start + facts["count"]]
        start += facts["count"]
        ids = [row[0] for row in part]
        if answer_id in ids:
            digests = [row[1] for row in part]
            if batch_root(digests) != facts["root"]:
                raise Refused(
                    "not_provable", f"The rows of the batch in entry {index} were changed or erased.", status=409
                )
            leaves, at = tree.hash_leaves([digest.encode() for digest in digests]), ids.index(answer_id)
            path = tree.inclusion(_one_row(leaves), at, len(digests))
            return index, {"index": at, "receipt_digest": digests[at], "path": [encode64(item) for item in path]}
    raise NotFound("answer", answer_id, fix="Answers enter the ledger within a second or two; try again.")


def _one_row(leaves: bytes) -> tree.Read:
    """Tiles over a few leaves in memory."""
    rows = [leaves]
    while len(rows[-1]) >= tree.TILE_BYTES:
        full = len(rows[-1]) // tree.TILE_BYTES
        below = rows[-1]
        rows.append(
            b"".join(tree.hash_row(below[n * tree.TILE_BYTES : (n + 1) * tree.TILE_BYTES]) for n in range(full))
        )
    return lambda level, n: rows[level][n * tree.TILE_BYTES : (n + 1) * tree.TILE_BYTES]
