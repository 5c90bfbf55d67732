"""What the catalog's tests share: Sources of given bytes, and versions as Runs publish them."""

from __future__ import annotations

import hashlib
from typing import Any

from baray.access import INTERNAL, Label, Site
from baray.catalog import FileEntry, Output, Publication, SourceRequest, VersionRow, add_edges, add_source, publish
from baray.store import schema

ACTOR = "u_" + "0" * 26


def digest_of(text: str) -> str:
    """A digest that stands for whatever `text` names."""
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def request_of(site: Site, project: str, files: dict[str, bytes], **more: Any) -> SourceRequest:
    """A request to add `files`, whose bytes were sent."""
    entries = tuple(
        FileEntry(path=path, digest=site.blobs.put_bytes(data), bytes=len(data)) for path, data in files.items()
    )
    values: dict[str, Any] = {"name": "papers", "title": "", "label": INTERNAL, "licence": None, "files": entries}
    values |= {"held": frozenset(entry.digest for entry in entries), "project_id": project, "actor_id": ACTOR}
    return SourceRequest(**values | more)


def add(site: Site, project: str, files: dict[str, bytes], **more: Any) -> VersionRow:
    """Add a Source; its version."""
    return add_source(site, request_of(site, project, files, **more))[0]


def new_run(site: Site, project: str, inputs: list[str], *, label: Label = INTERNAL) -> str:
    """A Run that read the versions `inputs`; its id."""
    run_id = site.ids.new("r")
    texts = {"kind": "dataset", "name": "made", "state": "running", "spec": "{}", "memo_key": digest_of(run_id)}
    row = {"id": run_id, "project_id": project, "actor_id": ACTOR, "label": str(label), "created": site.clock.now()}

    def write(tx: Any) -> None:
        person = {"id": ACTOR, "name": "maker", "kind": "person", "title": "", "clearance": "secret", "created": 1.0}
        tx.execute(schema.actor.insert().prefix_with("OR IGNORE"), person)
        tx.execute(schema.run.insert(), row | texts)
        add_edges(tx, run_id, inputs, "input")

    site.store.write(write)
    return run_id


def made(site: Site, project: str, run_id: str, **more: Any) -> VersionRow:
    """Publish what a Run made: a Dataset `letters` unless said otherwise."""
    values: dict[str, Any] = {"kind": "dataset", "name": "letters", "digest": digest_of("rows"), "labels": ()}
    label = more.pop("label", INTERNAL)
    data = more.pop("data", b"rows")
    values["files"] = (FileEntry(path="data/part-00000.parquet", digest=site.blobs.put_bytes(data), bytes=len(data)),)
    values["summary"] = {"rows": 9}
    publication = Publication(
        project_id=project,
        actor_id=ACTOR,
        run_id=run_id,
        label=label,
        recipe="text",
        inputs=more.pop("inputs", ()),
        output=Output(**values | more),
    )
    return site.store.write(lambda tx: publish(tx, site, [publication], lambda _versions: ""))[0]


def entries(site: Site, kind: str) -> list[dict[str, Any]]:
    """All ledger entries of a kind."""
    found = site.store.read(lambda tx: site.ledger.entries(tx, limit=1000))
    return [entry.as_json() for entry in found if entry.kind == kind]
