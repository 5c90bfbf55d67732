"""Versions: add a Source, publish what a Run made, find it again."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from baray.access import Label, Site, check_holding, join, parse_label
from baray.catalog import records
from baray.catalog.documents import DOCUMENTS_CSV, describe_files
from baray.catalog.nouns import FileEntry, Output, SourceFile, VersionRow
from baray.catalog.provenance import licences
from baray.core import Fault, NotFound, Ref, Refused, canonical_json, check_name, digest_bytes, digest_file, digest_json
from baray.ledger import MODEL_SIG, ArtifactKey, Checked, ModelFacts, check_model, sign_model
from baray.store import Tx

MAX_DOCUMENTS_CSV = 8 << 20  # bytes
Attest = Callable[[Sequence[VersionRow]], str]
"""Says something signed about versions; the digest of what it said, or empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRequest:
    """A Source to add."""

    project_id: str
    """Owner."""
    actor_id: str
    """Who adds it."""
    name: str
    """Its name."""
    title: str
    """Any script; empty means the name."""
    label: Label
    """The least label of its files."""
    licence: str | None
    """SPDX identifier, or None."""
    files: tuple[FileEntry, ...]
    """Their blobs are here already."""
    held: frozenset[str]
    """Digests that the project has shown to hold: naming another project's digest must not give its bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """What `runs.apply` publishes."""

    project_id: str
    """Owner."""
    actor_id: str
    """Who asked for the Run."""
    run_id: str
    """The Run."""
    output: Output
    """What it made."""
    label: Label
    """Computed by control, never by the worker."""
    recipe: str
    """Name of the recipe, for the manifest."""
    inputs: tuple[str, ...]
    """Digests of the Run's inputs, for the manifest."""


def add_source(site: Site, request: SourceRequest) -> tuple[VersionRow, bool]:
    """Register files as a Source version; the same files under the same name give the version that is there.

    Returns the version and whether it is new. Raises Refused `no_files`, `missing_blobs`, `bad_path`, `bad_size`,
    `bad_documents_csv`.
    """
    check_name(request.name)
    _check_files(site, request)
    described = describe_files(request.files, _documents_csv(site, request.files), request.label)
    if not described:
        raise Refused("no_files", f"Source '{request.name}' has no files.", fix="Name a folder with files in it.")
    label = join(parse_label(file.label) for file in described)
    rows = sorted((asdict(file) for file in described), key=lambda row: str(row["path"]))
    digest = digest_json(rows)
    manifest: dict[str, Any] = {"kind": "source", "name": request.name, "digest": digest, "label": str(label)}
    manifest |= {"files": rows, "licence": request.licence}
    # What the owner said of the files is no Document and no part of the identity, but evidence: it is bound as it was.
    described_by = [asdict(file) for file in request.files if file.path == DOCUMENTS_CSV]
    manifest |= {"documents": described_by[0]} if described_by else {}
    # The manifest is durable before the row that names it is committed.
    manifest_digest = site.blobs.put_bytes(canonical_json(manifest))
    summary = {"files": len(described), "bytes": sum(file.bytes for file in described)}
    row = {"digest": digest, "manifest_digest": manifest_digest, "label": str(label), "summary": summary}

    def write(tx: Tx) -> tuple[VersionRow, bool]:
        return _insert_source(tx, site, request, described, row)

    return site.store.write(write)


def publish(tx: Tx, site: Site, publications: Sequence[Publication], attest: Attest) -> list[VersionRow]:
    """Make versions of what a Run made: rows, lineage and ledger entries. Only `runs.apply` calls it.

    An identity that the thing already has gives the version that is there, with the new Run as one more maker. `attest`
    keeps a statement about all of them, in this transaction, and gives its digest, which the entries name.
    """
    made = [_insert_version(tx, site, publication) for publication in publications]
    digest = attest([version for version, _ in made])
    for version, new in made:
        if new is not None:
            row = {"id": version.id, "run_id": version.run_id, "digest": version.digest, "label": str(new.label)}
            row |= {"manifest_digest": version.manifest_digest}
            _record(tx, site, "version.published", new.actor_id, new.project_id, row, provenance=digest)
    return [version for version, _ in made]


def _insert_version(tx: Tx, site: Site, publication: Publication) -> tuple[VersionRow, Publication | None]:
    """The version's row and edges; with the publication where it is new."""
    output, label = publication.output, str(publication.label)
    found = records.by_digest(tx, publication.project_id, output.kind, output.name, output.digest, label)
    if found is not None:
        records.add_edges(tx, found.id, [publication.run_id], "made-by")
        return found, None
    manifest: dict[str, Any] = {"kind": output.kind, "name": output.name, "digest": output.digest, "label": label}
    files = output.files
    if output.kind == "model":
        facts = ModelFacts(
            name=output.name,
            digest=output.digest,
            label=label,
            licences=licences(tx, [publication.run_id]),
            run=publication.run_id,
        )
        files = sign_files(site, facts, files)
    manifest |= {"files": [asdict(file) for file in files], "summary": output.summary}
    manifest |= {"recipe": publication.recipe, "inputs": list(publication.inputs)}
    manifest_digest = site.blobs.put_bytes(canonical_json(manifest))
    now = site.clock.now()
    thing = {"id": site.ids.new(output.kind[0]), "project_id": publication.project_id, "kind": output.kind}
    thing_id = records.ensure_thing(tx, thing | {"name": check_name(output.name), "title": output.name, "created": now})
    version_id = site.ids.new("v")
    row: dict[str, Any] = {"id": version_id, "thing_id": thing_id, "source_id": None, "digest": output.digest}
    row |= {"label": label, "manifest_digest": manifest_digest, "run_id": publication.run_id, "created": now}
    row |= {"bytes": sum(file.bytes for file in files), "summary": canonical_json(output.summary).decode()}
    records.add_version(tx, row)
    records.add_edges(tx, version_id, [publication.run_id], "made-by")
    published = records.by_id(tx, version_id)
    assert published is not None
    return published, publication


def resolve(tx: Tx, project_id: str, ref: Ref, readable: Callable[[str], bool] = lambda _label: True) -> VersionRow:
    """The version that `ref` points at; where it names none the newest whose label is `readable`. Raises NotFound.

    A version that is named and not readable is given all the same: the caller's decision refuses it and tells of it.
    """
    if ref.version is not None:
        found = records.find(tx, project_id, ref.kind, ref.name, ref.version)
        several = [] if found is None else [found]
    else:
        several = records.all_versions(tx, project_id, ref.kind, ref.name)
    if not several:
        raise NotFound(ref.kind, str(ref))
    return next((version for version in several if readable(version.label)), several[0])


def version_files(tx: Tx, site: Site, version: VersionRow) -> list[SourceFile]:
    """The files of a version; those of a made version carry the version's label."""
    if version.kind == "source":
        floor = parse_label(version.floor)
        files = records.source_files(tx, version.id)
        return [replace(file, label=str(join([parse_label(file.label), floor]))) for file in files]
    manifest = read_manifest(site, version)
    return [SourceFile(**file, label=version.label) for file in manifest["files"]]


def read_manifest(site: Site, version: VersionRow) -> dict[str, Any]:
    """The manifest of a version. Raises Fault `damaged` if the blob is not what it was."""
    data = site.blobs.path(version.manifest_digest).read_bytes()
    if digest_bytes(data) != version.manifest_digest:
        raise Fault("damaged", f"The manifest of {version.ref} is damaged.", fix="Run: baray ledger verify")
    manifest = json.loads(data)
    assert isinstance(manifest, dict)
    return manifest


def sign_files(site: Site, facts: ModelFacts, files: Sequence[FileEntry]) -> tuple[FileEntry, ...]:
    """A Model's files with control's signature over them; one that was there, its maker's or of another label, goes."""
    rest = tuple(file for file in files if file.path != MODEL_SIG)
    signature = sign_model(facts, {file.path: file.digest for file in rest}, site.artifacts)
    # Durable before the manifest that names it, as every file of a version.
    return (*rest, FileEntry(path=MODEL_SIG, digest=site.blobs.put_bytes(signature), bytes=len(signature)))


def check_signature(site: Site, files: Sequence[SourceFile], keys: Sequence[ArtifactKey]) -> Checked:
    """Check a Model version's signature over the bytes of its files, all of which are read."""
    found: dict[str, Path] = {}
    for file in files:
        if site.blobs.has(file.digest):
            found[file.path] = site.blobs.path(file.digest)
    signature = found.pop(MODEL_SIG, None)
    if signature is None:
        return Checked(findings=(f"{MODEL_SIG}: missing",))
    return check_model(signature.read_bytes(), {path: digest_file(place) for path, place in found.items()}, keys)


def _insert_source(
    tx: Tx, site: Site, request: SourceRequest, files: list[SourceFile], found: dict[str, Any]
) -> tuple[VersionRow, bool]:
    known = records.find(tx, request.project_id, "source", request.name, None)
    if known is not None and (known.digest, known.own_label) == (found["digest"], found["label"]):
        return known, False
    now = site.clock.now()
    source = {"id": site.ids.new("s"), "project_id": request.project_id, "name": request.name, "created": now}
    source_id = records.ensure_source(tx, source | {"title": request.title or request.name, "licence": request.licence})
    row = {"id": site.ids.new("v"), "thing_id": None, "source_id": source_id, "digest": found["digest"]}
    row |= {"manifest_digest": found["manifest_digest"], "label": found["label"], "run_id": None, "created": now}
    row |= {"bytes": found["summary"]["bytes"], "summary": canonical_json(found["summary"]).decode()}
    records.add_version(tx, row)
    records.add_source_files(tx, str(row["id"]), files)
    check_holding(tx, request.project_id, parse_label(found["label"]), f"Source '{request.name}'")
    _record(tx, site, "source.added", request.actor_id, request.project_id, row)
    added = records.by_id(tx, str(row["id"]))
    assert added is not None
    return added, True


def _record(
    tx: Tx, site: Site, kind: str, actor_id: str, project_id: str, row: dict[str, Any], *, provenance: str = ""
) -> None:
    facts = {"digest": row["digest"], "manifest": row["manifest_digest"]}
    if row["run_id"]:
        facts["run"] = row["run_id"]
    if provenance:
        facts["provenance"] = provenance
    site.ledger.append(tx, kind, actor=actor_id, subject=row["id"], project=project_id, label=row["label"], facts=facts)


def _documents_csv(site: Site, files: Sequence[FileEntry]) -> bytes | None:
    for file in files:
        if file.path == DOCUMENTS_CSV:
            if file.bytes > MAX_DOCUMENTS_CSV:
                raise Refused("bad_documents_csv", f"documents.csv has {file.bytes} bytes.", fix="Keep it below 8 MB.")
            return site.blobs.path(file.digest).read_bytes()
    return None


def _check_files(site: Site, request: SourceRequest) -> None:
    files = request.files
    seen: set[str] = set()
    for file in files:
        parts = file.path.split("/")
        if file.path in seen or "\x00" in file.path or any(part in ("", ".", "..") for part in parts):
            raise Refused("bad_path", f"'{file.path}' cannot be a file's path.", fix="Send each path once, relative.")
        seen.add(file.path)
    missing = [file.path for file in files if file.digest not in request.held or not site.blobs.has(file.digest)]
    if missing:
        raise Refused(
            "missing_blobs",
            f"{len(missing)} files were not sent, first '{missing[0]}'.",
            fix="Send them, then repeat.",
            status=409,
        )
    for file in files:
        size = site.blobs.path(file.digest).stat().st_size
        if size != file.bytes:
            message = f"'{file.path}' has {size} bytes, not {file.bytes}."
            raise Refused("bad_size", message, fix="Send the size of the bytes that the digest is of.")
