"""What was signed beside the heads: statements about Runs and signatures of Models, against the keys that entries registered.

A key counts only for what was entered after its own entry: so a key that somebody registers later cannot vouch for older
things. The digest of each statement stands in the entries of its Run and of the versions, so a statement that was
made anew, even with the right key, is found too.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from baray.core import digest_bytes
from baray.ledger.artifacts import ArtifactKey, open_envelope, parse_key
from baray.ledger.artifacts.models import MODEL_SIG, check_model
from baray.ledger.verify.holdings import Version, read_blob, read_manifest
from baray.ledger.verify.rebuilt import Rebuilt
from baray.ledger.verify.report import Notebook
from baray.ledger.witness import ProofError

_TABLE = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'provenance'"
_ROWS = "SELECT run_id, digest, envelope FROM provenance ORDER BY run_id"


@dataclass(slots=True, kw_only=True)
class _Said:
    """What the ledger says of keys, Runs and versions."""

    keys: list[tuple[int, ArtifactKey]] = field(default_factory=list)
    """Keys by the entry that registered them."""
    runs: dict[str, tuple[int, str]] = field(default_factory=dict)
    """Run -> (entry, digest of its statement)."""
    versions: dict[str, tuple[int, Mapping[str, Any]]] = field(default_factory=dict)
    """Version -> (entry, facts), of those that name a statement, or the version that they were lowered from."""

    def before(self, index: int) -> list[ArtifactKey]:
        """Keys that were registered before entry `index`."""
        return [key for at, key in self.keys if at < index]


def check_artifacts(
    connection: sqlite3.Connection, root: Path, built: Rebuilt, versions: list[Version], notes: Notebook
) -> None:
    """Check every statement and every Model's signature that the ledger names."""
    said = _read(built, notes)
    subjects = _check_rows(connection, said, notes, damaged=built.damaged)
    for version in versions:
        index, facts = said.versions.get(version.id, (0, {}))
        digest = str(facts.get("provenance", ""))
        if digest in subjects and str(facts.get("manifest", ""))[7:] not in subjects[digest]:
            notes.add(f"provenance of {version.ref}", f"the statement of entry {index} is not about this version")
        if facts and version.kind == "model":
            _check_signature(root, version, said.before(index), notes)


def check_statement(bundle: bytes, entry: Mapping[str, Any], notes: Notebook) -> None:
    """Check the statement in a proof bundle that was found good. Its digest stands in the entry: that binds it.

    Its key comes with the bundle, so the signature says no more than the entry does; it is what other tools go by.
    """
    data = json.loads(bundle)
    if "statement" not in data:
        return
    try:
        keys = [parse_key(text) for text in data["keys"]["artifacts"]]
        subjects = _open(data["statement"].encode(), keys, "statement", notes)
    except (ProofError, KeyError, TypeError, AttributeError) as error:
        notes.add("statement", f"its key cannot be read ({error})")
        return
    if entry["kind"] == "version.published" and entry["facts"]["manifest"][7:] not in (subjects or ()):
        notes.add("statement", "is not about this version")
    notes.count("statements")


def _read(built: Rebuilt, notes: Notebook) -> _Said:
    said = _Said()
    for index, data in sorted([*built.published, *built.signed]):
        try:
            body = json.loads(data)
            facts, kind = body.get("facts", {}), body["kind"]
            if kind == "key.registered":
                said.keys.append((index, parse_key(facts["public"])))
            elif kind == "run.succeeded":
                said.runs[body["subject"]] = (index, facts["provenance"])
            elif kind == "version.published" and facts.keys() & {"provenance", "lowered_from"}:
                said.versions[body["subject"]] = (index, facts)
        except (ValueError, KeyError, TypeError, AttributeError):
            continue  # a damaged entry: the tree has named it
        except ProofError as error:
            notes.add(f"entry {index}", f"{error}")
    return said


def _check_rows(
    connection: sqlite3.Connection, said: _Said, notes: Notebook, *, damaged: bool
) -> dict[str, frozenset[str]]:
    """Compare the kept statements with the entries; the digests of their subjects by the digest of the statement."""
    missing = dict(said.runs)
    wanted = {facts.get("provenance") for _, facts in said.versions.values()}
    subjects: dict[str, frozenset[str]] = {}
    rows = connection.execute(_ROWS) if connection.execute(_TABLE).fetchone()[0] else []
    for run_id, digest, envelope in rows:
        notes.count("statements")
        where = f"provenance of run:{run_id}"
        index, signed = missing.pop(run_id, (-1, ""))
        data = envelope.encode() if isinstance(envelope, str) else bytes(envelope or b"")
        if index < 0:
            if not damaged:
                notes.add(where, "no entry names it")
        elif not signed == digest == digest_bytes(data):
            notes.add(where, f"was changed: entry {index} names {signed}, it is {digest_bytes(data)}")
        else:
            found = _open(data, said.before(index), where, notes)
            if signed in wanted and found is not None:
                subjects[signed] = found
    for run_id, (index, _) in missing.items():
        notes.add(f"provenance of run:{run_id}", f"missing, though entry {index} names it")
    return subjects


def _open(data: bytes, keys: list[ArtifactKey], where: str, notes: Notebook) -> frozenset[str] | None:
    try:
        statement = open_envelope(json.loads(data), keys)
    except (ProofError, ValueError, RecursionError) as error:
        notes.add(where, str(error))
        return None
    return frozenset(one["digest"]["sha256"] for one in statement["subject"])


def _check_signature(root: Path, version: Version, keys: list[ArtifactKey], notes: Notebook) -> None:
    """Check a Model's signature against its manifest. What is damaged below the manifest is named there."""
    manifest = read_manifest(root, version)
    if manifest is None:
        return
    notes.count("signatures")
    files = {str(file["path"]): str(file["digest"]) for file in manifest["files"]}
    signature = read_blob(root, files.pop(MODEL_SIG, ""))
    if signature is None:
        notes.add(f"{MODEL_SIG} of {version.ref}", "missing or changed")
        return
    checked = check_model(signature, files, keys)
    for finding in checked.findings:
        notes.add(f"{MODEL_SIG} of {version.ref}", finding.removeprefix(f"{MODEL_SIG}: "))
    if checked.ok:
        for word, signed, stored in (
            ("label", checked.label, version.label),
            ("digest", checked.digest, version.digest),
            ("name", checked.name, version.name),
        ):
            if signed != stored:
                notes.add(f"{MODEL_SIG} of {version.ref}", f"signs the {word} {signed}, the version has {stored}")
