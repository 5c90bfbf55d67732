"""Lineage: from an Answer, a Service or a version back to the files it came from."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from typing import Any

from baray.catalog import records
from baray.catalog.nouns import Lineage
from baray.core import NotFound, Ref
from baray.store import Tx

_ORDER = ("answer", "service", "evaluation", "model", "index", "dataset", "run", "source")
MAX_NODES = 10_000


def lineage(tx: Tx, project_id: str, ref: Ref, readable: Callable[[str], bool]) -> Lineage:
    """Walk from `ref` to its origins, nearest first; what `readable(label)` refuses is left out. Raises NotFound."""
    start = _start(tx, project_id, ref)
    nodes: dict[str, dict[str, Any]] = {}
    edges: list[dict[str, str]] = []
    queue = deque([start])
    while queue and len(nodes) < MAX_NODES:
        node_id = queue.popleft()
        node = None if node_id in nodes else _describe(tx, node_id)
        if node is None or not readable(node["label"]):
            continue
        nodes[node_id] = node
        for parent, role in _parents(tx, node_id):
            edges.append({"child": node_id, "parent": parent, "role": role})
            queue.append(parent)
    if start not in nodes:
        raise NotFound(ref.kind, str(ref))
    kinds = {node["kind"] for node in nodes.values()}
    return Lineage(
        nodes=tuple(nodes.values()),
        edges=tuple(edge for edge in edges if edge["parent"] in nodes),
        chain=tuple(kind for kind in _ORDER if kind in kinds),
    )


def _start(tx: Tx, project_id: str, ref: Ref) -> str:
    if ref.kind in ("answer", "run"):
        row = records.answer_row(tx, ref.name) if ref.kind == "answer" else records.run_row(tx, ref.name)
        if row is not None and row.project_id == project_id:
            return ref.name
    elif ref.kind == "service":
        revision_id = records.service_revision(tx, project_id, ref.name)
        if revision_id is not None:
            return revision_id
    elif ref.kind in ("source", "dataset", "index", "model", "evaluation"):
        found = records.find(tx, project_id, ref.kind, ref.name, ref.version)
        if found is not None:
            return found.id
    raise NotFound(ref.kind, str(ref))


def _parents(tx: Tx, node_id: str) -> list[tuple[str, str]]:
    if node_id.startswith("a_"):
        row = records.answer_row(tx, node_id)
        return [(row.revision_id, "answered-by")]
    return [(row.parent, row.role) for row in records.parents(tx, node_id)]


def _describe(tx: Tx, node_id: str) -> dict[str, Any] | None:
    describe = {"v": _version, "r": _run, "w": _revision, "a": _answer}.get(node_id.partition("_")[0])
    return None if describe is None else describe(tx, node_id)


def _version(tx: Tx, node_id: str) -> dict[str, Any] | None:
    row = records.by_id(tx, node_id)
    return None if row is None else _node(row.id, row.kind, row.ref, row.title, row.label, row.digest)


def _run(tx: Tx, node_id: str) -> dict[str, Any] | None:
    row = records.run_row(tx, node_id)
    return (
        None
        if row is None
        else _node(row.id, "run", f"run:{row.id}", f"{row.kind} {row.name}", row.label, row.memo_key)
    )


def _revision(tx: Tx, node_id: str) -> dict[str, Any] | None:
    row = records.revision_row(tx, node_id)
    if row is None:
        return None
    return _node(row.id, "service", f"service:{row.name}", f"{row.title} (revision {row.number})", row.label, "")


def _answer(tx: Tx, node_id: str) -> dict[str, Any] | None:
    row = records.answer_row(tx, node_id)
    if row is None:
        return None
    node = _node(row.id, "answer", f"answer:{row.id}", row.question, row.label, row.receipt_digest)
    return node | {"citations": json.loads(row.citations)}


def _node(node_id: str, kind: str, ref: str, title: str, label: str, digest: str) -> dict[str, Any]:
    return {"id": node_id, "kind": kind, "ref": ref, "title": title, "label": label, "digest": digest}
