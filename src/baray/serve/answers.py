"""Answers on the control side: taken from the routers' spools into the database and the ledger, and listed.

Order of durability: a spool's file is whole on disk before it is read; its receipts become rows, usage and one
`answers.batch` entry in one transaction; only after its COMMIT is the file deleted. A kill in between leaves the file:
its receipts are then known by their ids and nothing is written twice.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Row

from baray.access import Site, join, parse_label
from baray.core import NotFound, canonical_json, iso_date
from baray.serve import records
from baray.serve.receipts import Denial, Line, Receipt, decode_line
from baray.store import Tx

MAX_BATCH = 2000  # receipts in one transaction
MAX_LIST = 500
READ_LEVEL = 2
"""From this level up being told something is a read that the ledger tells."""
MAX_NAMED = 20  # Services that one entry of denials names
_USAGE_COLUMNS = {"service": "service_id", "key": "key_id", "project": "project_id"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingested:
    """What one call of `ingest` did."""

    answers: int
    """Receipts that became Answers."""
    files: int
    """Files of the spool that were finished."""
    lost_bytes: int
    """Bytes that could not be read: a torn last line, or damage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    path: Path
    lines: tuple[Line, ...]
    lost_bytes: int
    damaged: bool


def ingest(site: Site, spool: Path) -> Ingested:
    """Take what the routers have finished. Safe to repeat and to be killed anywhere; call it about once a second.

    One caller at a time. A file that holds more than a torn last line of damage is kept beside, as `.damaged`.
    """
    answers, num_files, lost = 0, 0, 0
    for files in _batches(spool):
        answers += site.store.write(partial(_write, site=site, files=files))
        for file in files:
            if file.damaged:
                file.path.rename(file.path.with_suffix(".damaged"))
            else:
                file.path.unlink()
        num_files += len(files)
        lost += sum(file.lost_bytes for file in files)
    return Ingested(answers=answers, files=num_files, lost_bytes=lost)


def get_answer(tx: Tx, answer_id: str) -> dict[str, Any]:
    """One Answer. Raises NotFound: also for an id that is not yet ingested, at most two seconds after it was given."""
    row = records.answer_by_id(tx, answer_id)
    if row is None:
        raise NotFound("answer", answer_id, fix="See a desk's answers: baray desk show NAME")
    return _answer(row)


def list_answers(
    tx: Tx, service_id: str, *, outcome: str | None = None, after: str | None = None, limit: int = 50
) -> list[dict[str, Any]]:
    """Answers of a Service, newest first; `after` is the id of the last one of the page before."""
    return [
        _answer(row)
        for row in records.answers(tx, service_id, outcome=outcome, after=after, limit=min(limit, MAX_LIST))
    ]


def count_answers(tx: Tx, service_id: str) -> dict[str, int]:
    """Outcome -> number of Answers of a Service."""
    return records.count_answers(tx, service_id)


def usage(
    tx: Tx, project_id: str, *, by: str = "service", services: Collection[str] | None = None
) -> list[dict[str, Any]]:
    """Requests, tokens and milliseconds of a project by `service`, `key` or `project`, of all its Services or of `services`."""
    return [
        {by: row.key, "requests": row.requests, "tokens_in": row.tokens_in, "tokens_out": row.tokens_out}
        | {"ms": round(row.ms, 3)}
        for row in records.usage_by(tx, project_id, _USAGE_COLUMNS[by], services)
    ]


def receipt_of(answer: dict[str, Any]) -> Receipt:
    """The receipt of a stored Answer: its digest is the Answer's `receipt_digest` as long as nobody changed the row."""
    names = Receipt.__slots__
    return Receipt(**{name: answer[name] for name in names} | {"citations": tuple(answer["citations"])})


def receipts_root(digests: Sequence[str]) -> str:
    """RFC 6962 Merkle root over the digests of receipts (as text), in the order of the batch."""
    row = [hashlib.sha256(b"\x00" + digest.encode()).digest() for digest in digests]
    while len(row) > 1:
        pairs = [hashlib.sha256(b"\x01" + row[at] + row[at + 1]).digest() for at in range(0, len(row) - 1, 2)]
        row = pairs + row[len(pairs) * 2 :]
    return "sha256:" + (row[0] if row else hashlib.sha256(b"").digest()).hex()


def _batches(spool: Path) -> Iterator[list[_File]]:
    """Finished files, oldest first, in groups of about MAX_BATCH receipts."""
    batch: list[_File] = []
    for path in _finished(spool):
        batch.append(_read(path))
        if sum(len(file.lines) for file in batch) >= MAX_BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _finished(spool: Path) -> list[Path]:
    """Complete files, and what dead routers left: a `.part` that nobody holds a lock on."""
    found = list(spool.glob("*.jsonl"))
    for part in spool.glob("*.jsonl.part"):
        whole = _adopt(part)
        if whole is not None:
            found.append(whole)
    return sorted(found, key=lambda path: path.name.partition("-")[2])


def _adopt(part: Path) -> Path | None:
    """Finish a dead router's file; None while its router lives or has finished it itself."""
    try:
        handle = os.open(part, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The lock came free by a rename as well as by a death: only a file that still has this name is ours to rename.
        if not part.exists():
            return None
        part.rename(part.with_suffix(""))
    except BlockingIOError:
        return None
    finally:
        os.close(handle)
    return part.with_suffix("")


def _read(path: Path) -> _File:
    """The lines of a file; what cannot be read is counted, never guessed."""
    lines: list[Line] = []
    lost = 0
    damaged = False
    for raw in path.read_bytes().splitlines(keepends=True):
        torn = not raw.endswith(b"\n")
        try:
            lines.append(decode_line(raw))
        except ValueError:
            lost += len(raw)
            damaged = damaged or not torn
    return _File(path=path, lines=tuple(lines), lost_bytes=lost, damaged=damaged)


def _write(tx: Tx, *, site: Site, files: list[_File]) -> int:
    """Rows, usage and entries of some files; returns the number of new Answers."""
    lines = [line for file in files for line in file.lines]
    receipts = {line.receipt.id: (line.receipt, line.key_id) for line in lines if line.receipt is not None}
    known = records.known_answers(tx, list(receipts))
    real = records.known_revisions(tx, sorted({receipt.revision_id for receipt, _ in receipts.values()}))
    new = [
        (receipt, key_id)
        for receipt, key_id in receipts.values()
        if receipt.id not in known and (receipt.revision_id, receipt.service_id, receipt.project_id) in real
    ]
    _write_answers(tx, site, new)
    _write_denials(tx, site, [line.denial for line in lines if line.denial is not None])
    lost = sum(file.lost_bytes for file in files)
    strange = len(receipts) - len(new) - len(known)
    if lost or strange:
        facts = {"bytes": lost, "unknown_service": strange}
        site.ledger.append(tx, "answers.lost", actor="router", subject="spool", facts=facts)
    return len(new)


def _write_answers(tx: Tx, site: Site, new: list[tuple[Receipt, str]]) -> None:
    if not new:
        return
    digests = [receipt.digest() for receipt, _ in new]
    rows = [
        asdict(receipt) | {"citations": canonical_json(list(receipt.citations)).decode(), "receipt_digest": digest}
        for (receipt, _), digest in zip(new, digests, strict=True)
    ]
    records.add_answers(tx, rows)
    _write_usage(tx, new)
    facts = {"count": len(new), "root": receipts_root(digests)}
    site.ledger.append(tx, "answers.batch", actor="router", subject="answers", facts=facts)
    _write_reads(tx, site, [receipt for receipt, _ in new])


def _write_usage(tx: Tx, new: list[tuple[Receipt, str]]) -> None:
    sums: defaultdict[tuple[str, str, str, str], list[float]] = defaultdict(lambda: [0, 0, 0, 0.0])
    for receipt, key_id in new:
        row = sums[(iso_date(receipt.created), receipt.project_id, receipt.service_id, key_id)]
        for at, number in enumerate((1, *receipt.tokens, receipt.ms)):
            row[at] += number
    rows = [(*key, int(row[0]), int(row[1]), int(row[2]), row[3]) for key, row in sorted(sums.items())]
    records.add_usage(tx, rows)


def _write_reads(tx: Tx, site: Site, receipts: list[Receipt]) -> None:
    """One entry for each asker, Service and label of a batch: who was told something that is restricted or above."""
    high = [one for one in receipts if parse_label(one.label).level >= READ_LEVEL]
    counts = Counter((one.actor_id, one.project_id, one.service_id, one.label) for one in high)
    for (actor_id, project_id, service_id, label), number in sorted(counts.items()):
        about = {"subject": service_id, "project": project_id, "label": label}
        site.ledger.append(tx, "access.read", actor=actor_id, **about, facts={"answers": number})


def _write_denials(tx: Tx, site: Site, denials: list[Denial]) -> None:
    """One entry for each asker of a batch: somebody who asks a thousand times fills no ledger.

    What is hidden and what is missing count alike: the ledger's size is public and must not tell them apart.
    """
    by_asker: defaultdict[str, list[Denial]] = defaultdict(list)
    for denial in denials:
        by_asker[denial.actor_id].append(denial)
    for actor_id, of_actor in sorted(by_asker.items()):
        named = sorted({one.service_id for one in of_actor if one.service_id})[:MAX_NAMED]
        facts = {"action": "ask", "count": len(of_actor), "services": named}
        site.ledger.append(tx, "access.denied", actor=actor_id, subject="services", decision="refuse", facts=facts)


def _answer(row: Row[Any]) -> dict[str, Any]:
    values = {name: getattr(row, name) for name in records.ANSWER_COLUMNS}
    return values | {"citations": json.loads(row.citations), "ref": f"answer:{row.id}", "floor": _floor(row)}


def _floor(row: Row[Any]) -> str:
    """What the Answer's label is to be joined with: raises since then of what it quotes or tells of.

    The row itself never changes: it is what the receipt's digest is of.
    """
    said_nothing = row.outcome == "out-of-scope"
    return str(join(parse_label(one) for one in (row.raised or "").split() if not said_nothing))
