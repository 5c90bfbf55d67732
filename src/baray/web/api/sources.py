"""Routes of blobs, Sources, Datasets, Indexes and Models: the catalog over HTTP."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import FileResponse, Response

from baray.access import join, may_read, parse_label
from baray.catalog import (
    FileEntry,
    SourceFile,
    SourceRequest,
    VersionRow,
    add_source,
    all_versions,
    check_signature,
    known_digests,
    newest,
    read_manifest,
    resolve,
    version_files,
)
from baray.core import NotFound, parse_ref
from baray.ledger import ArtifactKey, registered_keys
from baray.store import Tx
from baray.web.api.shapes import MAX_NUMBER, DigestsBody, SourceBody, version_json
from baray.web.boundary import Caller, allow, caller, house_of, site_of
from baray.web.uploads import MAX_BLOB, part_of, receive_blob

router = APIRouter(tags=["catalog"])
Who = Annotated[Caller, Depends(caller)]
MAX_ROWS = 500
_PLURALS = {
    "sources": "source",
    "datasets": "dataset",
    "indexes": "index",
    "models": "model",
    "evaluations": "evaluation",
}


def find_version(
    tx: Tx, request: Request, who: Caller, kind: str | None, name: str, *, action: str = "read"
) -> VersionRow:
    """The version that `name[@vN]` of a kind means for this caller: the newest that they may read.

    The one way from a name to a version. What is missing and what is hidden raise NotFound in the same words.
    """
    ref = parse_ref(name, kind=kind)
    if ref.project not in (None, who.project):
        raise NotFound(ref.kind, str(ref))
    ref = replace(ref, project=None)
    version = resolve(tx, who.project_id, ref, partial(may_read, who.actor))
    allow(tx, site_of(request), who, action, str(ref), version.label, subject_id=version.id)
    return version


@router.post("/blobs/missing")
def blobs_missing(request: Request, who: Who, body: DigestsBody) -> dict[str, Any]:
    """Which of these blobs the caller still has to send, and how many bytes they sent already of some (`begun`).

    A blob that only others hold is "missing" too: a global answer would tell what they have.
    """
    site = site_of(request)
    held = _held(request, who, body.digests)
    missing = [digest for digest in body.digests if digest not in held or not site.blobs.has(digest)]
    begun = {digest: site.blobs.begun(part_of(who.project_id, who.actor.id, digest)) for digest in missing}
    return {"missing": missing, "begun": {digest: size for digest, size in begun.items() if size}}


@router.put("/blobs/{digest}", status_code=201)
async def put_blob(
    request: Request, who: Who, digest: str, start: Annotated[int, Query(ge=0, le=MAX_BLOB)] = 0
) -> dict[str, Any]:
    """Send a blob's bytes, from byte `start` on; all of them must have the digest that the path names."""
    site = site_of(request)
    site.store.read(lambda tx: allow(tx, site, who, "source.add", f"project:{who.project}"))
    part = part_of(who.project_id, who.actor.id, digest)
    size = await receive_blob(site, request, digest, part=part, start=start)
    house_of(request).uploads.note(who.project_id, who.actor.id, digest)
    return {"digest": digest, "bytes": size}


@router.post("/sources", status_code=201)
def post_source(request: Request, who: Who, body: SourceBody, response: Response) -> dict[str, Any]:
    """Register files as a Source version; the same files give the version that is there (status 200)."""
    site = site_of(request)
    label = parse_label(body.label or who.label)
    site.store.read(lambda tx: allow(tx, site, who, "source.add", f"source:{body.name}", str(label)))
    files = tuple(FileEntry(path=file.path, digest=file.digest, bytes=file.bytes) for file in body.files)
    version, new = add_source(
        site,
        SourceRequest(
            project_id=who.project_id,
            actor_id=who.actor.id,
            name=body.name,
            title=body.title,
            label=join([label]),
            licence=body.licence,
            files=files,
            held=_held(request, who, [file.digest for file in files]),
        ),
    )
    response.status_code = 201 if new else 200
    return version_json(version) | {"reused": not new}


@router.get("/{plural}")
def get_versions(request: Request, who: Who, plural: str) -> dict[str, Any]:
    """The newest version of every Source, Dataset, Index or Model that the caller may see."""
    kind = _kind(plural)
    rows = site_of(request).store.read(lambda tx: newest(tx, who.project_id, kind, partial(may_read, who.actor)))
    return {"items": [version_json(row) for row in rows], "next": None}


@router.get("/{plural}/{name}")
def get_version(request: Request, who: Who, plural: str, name: str) -> dict[str, Any]:
    """One version with its files, and the numbers of the others."""
    kind = _kind(plural)
    site = site_of(request)

    def read(tx: Tx) -> dict[str, Any]:
        version = find_version(tx, request, who, kind, name)
        files = [
            {"path": file.path, "digest": file.digest, "bytes": file.bytes, "label": file.label}
            | {"valid_from": file.valid_from, "valid_until": file.valid_until, "office": file.office}
            for file in version_files(tx, site, version)
            if _may_see(who, file.label)
        ]
        others = [row for row in all_versions(tx, who.project_id, kind, version.name) if _may_see(who, row.label)]
        return version_json(version) | {"files": files, "versions": [row.ref for row in others]}

    return site.store.read(read)


@router.get("/models/{name}/verification")
def verify_model(request: Request, who: Who, name: str) -> dict[str, Any]:
    """Whether a Model version's files are those that were signed, and which label and licences were signed with them."""
    site = site_of(request)

    def read(tx: Tx) -> tuple[VersionRow, list[SourceFile], list[ArtifactKey]]:
        version = find_version(tx, request, who, "model", name)
        return version, version_files(tx, site, version), registered_keys(tx)

    version, files, keys = site.store.read(read)
    checked = check_signature(site, files, keys)
    return {"ref": version.ref, "ok": checked.ok, **asdict(checked)}


@router.get("/datasets/{name}/report")
def get_report(request: Request, who: Who, name: str) -> dict[str, Any]:
    """What the pipeline kept, dropped and refused, and why."""
    report = json.loads(_file(request, who, "dataset", name, "report.json").read_bytes())
    assert isinstance(report, dict)
    return report


@router.get("/datasets/{name}/rows")
def get_rows(
    request: Request,
    who: Who,
    name: str,
    n: Annotated[int, Query(ge=1, le=MAX_ROWS)] = 20,
    offset: Annotated[int, Query(ge=0, le=MAX_NUMBER)] = 0,
) -> dict[str, Any]:
    """Sample rows of a Dataset that the caller is cleared for."""
    return _ask_reader(request, who, name, {"op": "rows", "n": n, "offset": offset})


@router.get("/datasets/{name}/dropped")
def get_dropped(
    request: Request,
    who: Who,
    name: str,
    n: Annotated[int, Query(ge=1, le=MAX_ROWS)] = 50,
    reason: str = "",
) -> dict[str, Any]:
    """What was dropped and refused, with the reason."""
    return _ask_reader(request, who, name, {"op": "dropped", "n": n, "reason": reason})


@router.get("/{plural}/{name}/files/{path:path}")
def get_file(request: Request, who: Who, plural: str, name: str, path: str) -> Response:
    """One file of a version, for export: needs the right to export, and is an entry in the ledger."""
    kind = _kind(plural)
    site = site_of(request)

    def export(tx: Tx) -> str:
        version = find_version(tx, request, who, kind, name, action="export")
        for file in version_files(tx, site, version):
            if file.path == path and _may_see(who, file.label):
                facts = {"digest": file.digest}
                site.ledger.append(
                    tx,
                    "export.done",
                    actor=who.actor.id,
                    subject=version.id,
                    project=who.project_id,
                    label=file.label,
                    facts=facts,
                )
                return file.digest
        raise NotFound("file", path)

    return FileResponse(site.blobs.path(site.store.write(export)), media_type="application/octet-stream")


def _held(request: Request, who: Caller, digests: list[str]) -> frozenset[str]:
    """Digests whose bytes the caller has shown to hold: in Sources that they may read, or sent by themselves.

    Not the whole project's: naming the digest of a file above one's clearance would give its bytes at a lower label.
    """
    known = site_of(request).store.read(
        lambda tx: known_digests(tx, who.project_id, digests, partial(may_read, who.actor))
    )
    return frozenset(known | house_of(request).uploads.held(who.project_id, who.actor.id, digests))


def _ask_reader(request: Request, who: Caller, name: str, question: dict[str, Any]) -> dict[str, Any]:
    folder = "dropped/" if question["op"] == "dropped" else "data/"
    site = site_of(request)

    def read(tx: Tx) -> dict[str, Any]:
        version = find_version(tx, request, who, "dataset", name)
        files = version_files(tx, site, version)
        paths = [str(site.blobs.path(file.digest)) for file in files if _is_rows(file.path, folder)]
        return {"paths": paths, "lowered": version.label if version.ceiling is not None else ""}

    asker = {"clearance": str(who.actor.clearance), "projects": sorted(who.actor.projects)}
    return house_of(request).reader.ask(question | asker | site.store.read(read))


def _is_rows(path: str, folder: str) -> bool:
    return path.startswith(folder) and path.endswith(".parquet")


def _file(request: Request, who: Caller, kind: str, name: str, path: str) -> Any:  # noqa: ANN401 - a Path
    site = site_of(request)

    def read(tx: Tx) -> str:
        version = find_version(tx, request, who, kind, name)
        found = [file["digest"] for file in read_manifest(site, version)["files"] if file["path"] == path]
        if not found:
            raise NotFound("file", f"{version.ref}/{path}")
        return str(found[0])

    return site.blobs.path(site.store.read(read))


def _kind(plural: str) -> str:
    if plural not in _PLURALS:
        raise NotFound("page", plural)
    return _PLURALS[plural]


def _may_see(who: Caller, label: str) -> bool:
    return may_read(who.actor, label)
