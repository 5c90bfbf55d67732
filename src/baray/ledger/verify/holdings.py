"""What the ledger's entries bind: rows of versions, manifests, and every blob that a manifest names."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from baray.core import digest_bytes, is_digest
from baray.ledger.verify.rebuilt import Rebuilt
from baray.ledger.verify.report import Notebook

_VERSIONS = """
    SELECT version.id, coalesce(thing.kind, 'source'), coalesce(thing.name, source.name), version.number,
           version.digest, version.manifest_digest, version.label, coalesce(version.thing_id, version.source_id),
           version.run_id, version.bytes, version.summary, coalesce(thing.project_id, source.project_id)
    FROM version LEFT JOIN thing ON thing.id = version.thing_id LEFT JOIN source ON source.id = version.source_id
    ORDER BY version.id
"""
_SOURCE_FILES = """
    SELECT path, digest, bytes, label, valid_from, valid_until, office FROM source_file WHERE version_id = ? ORDER BY path
"""
_FILE_COLUMNS = ("path", "digest", "bytes", "label", "valid_from", "valid_until", "office")


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A row of `version`, with the name of its thing."""

    id: str
    kind: str
    name: str
    number: Any
    digest: str
    manifest: str
    label: str
    thing: str
    run: Any
    bytes: Any
    summary: Any
    project: str

    @property
    def ref(self) -> str:
        """`dataset:letters@v1`."""
        return f"{self.kind}:{self.name}@v{self.number}"


def check_versions(connection: sqlite3.Connection, built: Rebuilt, notes: Notebook) -> list[Version]:
    """Compare the rows of versions with the entries that published them; returns the versions."""
    said = dict(built.told.versions)
    order = {version_id: index for version_id, (index, _body) in said.items()}
    versions = [
        Version(
            id=str(r[0]),
            kind=str(r[1]),
            name=str(r[2]),
            number=r[3],
            digest=r[4],
            manifest=r[5],
            label=r[6],
            thing=r[7],
            run=r[8],
            bytes=r[9],
            summary=r[10],
            project=str(r[11]),
        )
        for r in connection.execute(_VERSIONS)
    ]
    for version in versions:
        notes.count("versions")
        entry = said.pop(version.id, None)
        if entry is None:
            if not built.damaged:
                notes.add(f"row of {version.ref}", f"no entry published version {version.id}")
            continue
        index, body = entry
        facts = body.get("facts", {})
        pairs = {
            "digest": (version.digest, facts.get("digest")),
            "manifest_digest": (version.manifest, facts.get("manifest")),
            "label": (version.label, body.get("label", "")),
            "run_id": (version.run, built.told.run_of(version.id)),
            "project_id": (version.project, body.get("project", "")),
        }
        for column, (stored, signed) in pairs.items():
            if stored != signed:
                notes.add(f"row of {version.ref}", f"{column} is {stored}, entry {index} says {signed}")
    _check_numbers([version for version in versions if version.id in order], order, notes)
    for version_id, (index, body) in said.items():
        if body["kind"] != "version.deleted":
            notes.add(f"row of version {version_id}", f"missing, though entry {index} published it")
    return versions


def check_blobs(connection: sqlite3.Connection, root: Path, versions: list[Version], notes: Notebook) -> None:
    """Read every blob that a version needs, once, and compare it with its digest."""
    seen: dict[str, bool] = {}
    for version in versions:
        manifest = _manifest(root, version, seen, notes)
        if manifest is None:
            continue
        files = manifest.get("files", [])
        if version.kind == "source":
            _compare_source_files(connection, version, files, notes)
        _compare_summary(version, manifest, notes)
        described = manifest.get("documents")
        for file in [*files, *([described] if isinstance(described, dict) else [])]:
            where = f"{_noun(version.kind)} {file.get('path')} of {version.ref}"
            _check_blob(root, str(file.get("digest")), where, seen, notes)


def read_blob(root: Path, digest: str) -> bytes | None:
    """The bytes of a blob; None where it is missing or was changed."""
    if not is_digest(digest):
        return None
    try:
        data = _place(root, digest).read_bytes()
    except OSError:
        return None
    return data if digest_bytes(data) == digest else None


def read_manifest(root: Path, version: Version) -> dict[str, Any] | None:
    """The manifest of a version; None where it is damaged, which `check_blobs` names."""
    try:
        manifest = json.loads(read_blob(root, str(version.manifest)) or b"")
        return dict(manifest) if all({"path", "digest"} <= file.keys() for file in manifest["files"]) else None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _check_numbers(versions: list[Version], order: dict[str, int], notes: Notebook) -> None:
    """Versions of a thing are numbered from 1 in the order in which they were published; deleted ones leave gaps."""
    last: dict[str, Any] = {}
    gaps = len(versions) < len(order)
    for version in sorted(versions, key=lambda item: order[item.id]):
        before = last.get(version.thing, 0)
        if not isinstance(version.number, int) or version.number <= before:
            notes.add(f"row of {version.ref}", f"number is {version.number}, against the order of publication")
        elif version.number != before + 1 and not gaps:
            notes.add(f"row of {version.ref}", f"number is {version.number}, it was published as number {before + 1}")
        else:
            last[version.thing] = version.number


def _compare_summary(version: Version, manifest: dict[str, Any], notes: Notebook) -> None:
    """Compare what lists show of a version with its manifest."""
    sizes = [file.get("bytes", 0) for file in manifest["files"]]
    if version.bytes != sum(sizes):
        notes.add(f"row of {version.ref}", f"bytes is {version.bytes}, the files of its manifest have {sum(sizes)}")
    said = manifest.get("summary")
    if version.kind == "source":
        said = {"files": len(sizes), "bytes": sum(sizes)}
    try:
        same = said is None or json.loads(version.summary) == said
    except (ValueError, TypeError, RecursionError):
        same = False
    if not same:
        notes.add(f"row of {version.ref}", "summary is not that of its manifest")


def _manifest(root: Path, version: Version, seen: dict[str, bool], notes: Notebook) -> dict[str, Any] | None:
    where = f"manifest of {version.ref}"
    if not _check_blob(root, str(version.manifest), where, seen, notes):
        return None
    try:
        manifest = json.loads(_place(root, version.manifest).read_bytes())
        paths = [str(file["path"]) + str(file["digest"]) for file in manifest["files"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        notes.add(where, f"is not a manifest ({type(error).__name__}: {error})")
        return None
    notes.count("files", len(paths))
    pairs = {"kind": version.kind, "name": version.name, "digest": version.digest, "label": version.label}
    for name, stored in pairs.items():
        if manifest.get(name) != stored:
            notes.add(f"row of {version.ref}", f"{name} is {stored}, its manifest says {manifest.get(name)}")
    return dict(manifest)


def _compare_source_files(
    connection: sqlite3.Connection, version: Version, files: list[dict[str, Any]], notes: Notebook
) -> None:
    stored = {
        row[0]: dict(zip(_FILE_COLUMNS, row, strict=True)) for row in connection.execute(_SOURCE_FILES, (version.id,))
    }
    signed = {file["path"]: {name: file.get(name) for name in _FILE_COLUMNS} for file in files}
    for path in sorted(stored.keys() | signed.keys(), key=str):
        row, entry = stored.get(path), signed.get(path)
        if row is None or entry is None:
            notes.add(f"row of file {path} of {version.ref}", "missing" if row is None else "is not in the manifest")
        else:
            for name in _differing(row, entry):
                notes.add(
                    f"row of file {path} of {version.ref}", f"{name} is {row[name]}, the manifest says {entry[name]}"
                )


def _differing(row: dict[str, Any], entry: dict[str, Any]) -> Iterator[str]:
    return (name for name in _FILE_COLUMNS if row[name] != entry[name])


def _check_blob(root: Path, digest: str, where: str, seen: dict[str, bool], notes: Notebook) -> bool:
    if not is_digest(digest):
        notes.add(where, f"'{digest[:80]}' is not a digest")
        return False
    if digest not in seen:
        notes.count("blobs")
        seen[digest] = _is_whole(root, digest, where, notes)
    elif not seen[digest]:
        notes.add(where, f"its blob {digest} is damaged or missing")
    return seen[digest]


def _is_whole(root: Path, digest: str, where: str, notes: Notebook) -> bool:
    try:
        with _place(root, digest).open("rb") as file:
            found = "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
            notes.count("bytes", file.tell())
    except FileNotFoundError:
        notes.add(where, f"its blob {digest} is missing")
        return False
    except OSError as error:
        notes.add(where, f"its blob {digest} cannot be read: {error.strerror}")
        return False
    if found != digest:
        notes.add(where, f"its blob {digest} was changed: it now has {found}")
    return found == digest


def _place(root: Path, digest: str) -> Path:
    return root / digest[7:9] / digest[9:]


def _noun(kind: str) -> str:
    return "file" if kind == "source" else f"{kind} file"
