"""Routes of the ledger: its public files for anyone, its entries for auditors, and the exchange with witnesses."""

from __future__ import annotations

from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import FileResponse, PlainTextResponse, Response
from starlette.background import BackgroundTask

from baray import catalog
from baray import ledger as log
from baray.access import may_read
from baray.core import NotFound, Ref, canonical_json, iso_time, parse_ref
from baray.runs import get_run
from baray.store import Tx
from baray.web.api import runs, services, sources
from baray.web.api.shapes import MAX_NUMBER, CosignBody, WitnessBody
from baray.web.boundary import Caller, allow, caller, house_of, signed_in, site_of

api = APIRouter(tags=["ledger"])
router = APIRouter(tags=["ledger"])
Who = Annotated[Caller, Depends(signed_in)]


@router.get("/ledger/{path:path}")
def public_file(request: Request, path: str) -> Response:
    """`checkpoint` and hash tiles, as C2SP tlog-tiles names them: they tell sizes and hashes, no contents.

    Entry bundles are not public: they are exported by an auditor.
    """
    if path.startswith("tile/entries"):
        raise NotFound("ledger file", path, fix="An auditor exports entries: baray ledger export --out BUNDLE")
    data = site_of(request).store.read(lambda tx: log.public_file(tx, path))
    kind = "text/plain; charset=utf-8" if path == "checkpoint" else "application/octet-stream"
    return Response(data, media_type=kind)


@api.get("/ledger/entries")
def entries(
    request: Request,
    who: Who,
    after: Annotated[int, Query(ge=-1, le=MAX_NUMBER)] = -1,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> dict[str, Any]:
    """Entries in order, a page at a time."""
    site = site_of(request)

    def read(tx: Tx) -> list[log.Entry]:
        _audit(tx, request, who)
        return site.ledger.entries(tx, after, limit)

    found = site.store.read(read)
    return {"items": [_entry_json(entry) for entry in found], "next": found[-1].index if len(found) == limit else None}


def newest_entries(request: Request, who: Caller, *, before: int, limit: int) -> dict[str, Any]:
    """Entries, newest first, for the console."""
    site = site_of(request)

    def read(tx: Tx) -> list[log.Entry]:
        _audit(tx, request, who)
        return site.ledger.newest(tx, before, limit)

    found = site.store.read(read)
    return {"items": [_entry_json(entry) for entry in found], "next": found[-1].index if len(found) == limit else None}


@api.get("/ledger/head")
def head(request: Request, _who: Who) -> dict[str, Any]:
    """The newest signed head, the ledger's public key, and who witnessed it."""
    return head_json(request)


def head_json(request: Request) -> dict[str, Any]:
    """The head as the API shows it."""
    site = site_of(request)
    found, witnesses = site.store.read(lambda tx: (site.ledger.head(tx), log.witnesses(tx)))
    rows = [
        {"name": row.name, "vkey": row.vkey, "size": row.size, "cosigned": iso_time(row.time) if row.time else None}
        for row in witnesses
    ]
    shown = {"note": found.note, "size": found.size, "root": found.root, "vkey": site.ledger.vkey}
    return shown | {"witnessed": any(row["size"] for row in rows), "witnesses": rows}


@api.get("/ledger/request")
def witness_request(
    request: Request, who: Who, witness: str = "", old: Annotated[int | None, Query(ge=0, le=MAX_NUMBER)] = None
) -> PlainTextResponse:
    """What a witness is asked to cosign: the body of a C2SP add-checkpoint request.

    `old`: the size that the witness says it holds, where its last answer was lost.
    """
    site = site_of(request)

    def read(tx: Tx) -> bytes:
        _audit(tx, request, who)
        return log.request(tx, witness, old=old)

    return PlainTextResponse(site.store.read(read))


@api.post("/ledger/cosign")
def cosign(request: Request, who: Who, body: CosignBody) -> dict[str, Any]:
    """Take in a witness's cosignature."""
    site = site_of(request)

    def write(tx: Tx) -> log.WitnessRow:
        _audit(tx, request, who)
        return log.accept_cosignature(tx, site.ledger, body.note, actor=who.actor.id)

    row = site.store.write(write)
    return {"name": row.name, "size": row.size, "cosigned": iso_time(row.time) if row.time else None}


@api.post("/ledger/witnesses", status_code=201)
def add_witness(request: Request, who: Who, body: WitnessBody) -> dict[str, Any]:
    """Trust a witness by its public key line."""
    site = site_of(request)

    def write(tx: Tx) -> str:
        allow(tx, site, who, "witness.change", "project:witness")
        return log.add_witness(tx, site.ledger, body.vkey, actor=who.actor.id)

    return {"name": site.store.write(write), "vkey": body.vkey}


@api.get("/ledger/export")
def export(request: Request, who: Who) -> FileResponse:
    """The whole ledger as one tar, which `baray ledger verify BUNDLE` checks offline."""
    site = site_of(request)
    folder = Path(mkdtemp(dir=house_of(request).home / "run"))
    out = folder / "ledger.tar"

    def read(tx: Tx) -> None:
        _audit(tx, request, who)
        log.export(tx, out)

    try:
        site.store.read(read)
    except BaseException:
        rmtree(folder)
        raise
    subject = f"project:{house_of(request).default_project}"
    site.store.write(
        lambda tx: site.ledger.append(tx, "export.done", actor=who.actor.id, subject=subject, facts={"what": "ledger"})
    )
    return FileResponse(out, media_type="application/x-tar", background=BackgroundTask(rmtree, folder))


@api.get("/ledger/proof")
def proof(request: Request, who: Who, ref: str, project: str = "") -> Response:
    """A proof bundle about a version or an Answer, which anybody verifies offline."""
    site = site_of(request)
    parsed = parse_ref(ref)
    if parsed.kind != "entry":
        who = caller(request, project)
    if parsed.kind == "answer":
        services.await_answer(request, parsed.name)

    def read(tx: Tx) -> bytes:
        what, attached, run_id = _attachment(tx, request, who, parsed)
        return log.prove(tx, what, attached, _statement(tx, who, run_id))

    return Response(site.store.read(read), media_type="application/json")


def _attachment(tx: Tx, request: Request, who: Caller, ref: Ref) -> tuple[str, bytes, str]:
    """What the proof is about, by id, the bytes that it binds, and the Run behind; checks that the caller may read them."""
    site = site_of(request)
    if ref.kind == "answer":
        return f"answer:{ref.name}", services.receipt_bytes(tx, request, who, ref.name), ""
    if ref.kind == "entry":
        _audit(tx, request, who)
        if not ref.name.isdecimal() or int(ref.name) > MAX_NUMBER:
            raise NotFound("entry", ref.name)
        return f"entry:{ref.name}", b"", ""
    if ref.kind == "service":
        return services.find_service(tx, who, ref.name).id, b"", ""
    if ref.kind == "run":
        run_id = runs.find_run(tx, request, who, ref.name).id
        return run_id, b"", run_id
    version = sources.find_version(tx, request, who, ref.kind, str(ref))
    return version.id, canonical_json(catalog.read_manifest(site, version)), version.run_id or ""


def _statement(tx: Tx, who: Caller, run_id: str) -> bytes:
    """What was signed about a Run, where the caller may read it: the statement names what the Run saw."""
    run = get_run(tx, run_id)
    if run is None or run.project_id != who.project_id or not may_read(who.actor, run.label):
        return b""
    return catalog.provenance(tx, run.id) or b""


def _audit(tx: Tx, request: Request, who: Caller) -> None:
    """Entries speak of every project, so they are for the auditors of the home."""
    allow(tx, site_of(request), who, "audit", f"project:{who.project}")


def _entry_json(entry: log.Entry) -> dict[str, Any]:
    shown = {"subject": "", "label": "", "facts": {}} | entry.as_json()
    return shown | {"t": entry.time, "at": iso_time(entry.time)[:19].replace("T", " ")}
