"""All statements of `catalog`."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from sqlalchemy import Row, Select, func, insert, select, update

from baray.access import join, parse_label
from baray.catalog.nouns import SourceFile, VersionRow
from baray.store import Tx, schema

source, thing, version, source_file, edge = (
    schema.source,
    schema.thing,
    schema.version,
    schema.source_file,
    schema.edge,
)
raised, lowering = schema.raised, schema.lowering
# A label has no blank in it, so that several stand in one text.
_RAISED = (
    select(func.aggregate_strings(raised.c.label, " "))
    .where(raised.c.version_id == version.c.id)
    .correlate(version)
    .scalar_subquery()
    .label("raised")
)
_CEILING = (
    select(lowering.c.target_label)
    .where(lowering.c.made_version == version.c.id)
    .correlate(version)
    .scalar_subquery()
    .label("ceiling")
)
_VERSION = (
    version.c.id,
    version.c.number,
    version.c.digest,
    version.c.manifest_digest,
    version.c.label,
    version.c.run_id,
    version.c.bytes,
    version.c.created,
    version.c.summary,
    _RAISED,
    _CEILING,
)


def _anything(_label: str) -> bool:
    return True


def _things(kind: str) -> Select[Any]:
    """Versions of a kind joined with their thing (or Source)."""
    if kind == "source":
        named = select(*_VERSION, source.c.name, source.c.title, source.c.project_id)
        return named.join(source, source.c.id == version.c.source_id)
    named = select(*_VERSION, thing.c.name, thing.c.title, thing.c.project_id)
    return named.join(thing, thing.c.id == version.c.thing_id).where(thing.c.kind == kind)


def _row(kind: str, row: Row[Any]) -> VersionRow:
    values = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for it
    floor = _floor(values.pop("raised"))
    values |= {"summary": json.loads(row.summary), "kind": kind, "ref": f"{kind}:{row.name}@v{row.number}"}
    return VersionRow(**values | {"own_label": row.label, "floor": floor, "label": _joined(row.label, floor)})


def _label_of(row: Row[Any]) -> str:
    """The effective label of a row with `label` and `raised`."""
    return _joined(row.label, _floor(row.raised))


def _floor(raised_labels: str | None) -> str:
    return str(join(parse_label(one) for one in (raised_labels or "").split()))


def _joined(label: str, floor: str) -> str:
    return label if floor == "public" else str(join([parse_label(label), parse_label(floor)]))


def find(tx: Tx, project_id: str, kind: str, name: str, number: int | None) -> VersionRow | None:
    """Version `number` of a thing, or its newest."""
    table = source if kind == "source" else thing
    statement = _things(kind).where(table.c.project_id == project_id, table.c.name == name)
    if number is not None:
        statement = statement.where(version.c.number == number)
    row = tx.execute(statement.order_by(version.c.number.desc()).limit(1)).first()
    return None if row is None else _row(kind, row)


def by_id(tx: Tx, version_id: str) -> VersionRow | None:
    """The version with an id."""
    found = tx.execute(
        select(version.c.source_id, thing.c.kind)
        .outerjoin(thing, thing.c.id == version.c.thing_id)
        .where(version.c.id == version_id)
    ).first()
    if found is None:
        return None
    kind = "source" if found.source_id else found.kind
    return _row(kind, tx.execute(_things(kind).where(version.c.id == version_id)).one())


def by_digest(tx: Tx, project_id: str, kind: str, name: str, digest: str, label: str) -> VersionRow | None:
    """The version of a thing that has this identity and label."""
    table = source if kind == "source" else thing
    statement = _things(kind).where(table.c.project_id == project_id, table.c.name == name)
    statement = statement.where(version.c.digest == digest, version.c.label == label)
    row = tx.execute(statement.order_by(version.c.number.desc()).limit(1)).first()
    return None if row is None else _row(kind, row)


def newest(tx: Tx, project_id: str, kind: str, readable: Callable[[str], bool] = _anything) -> list[VersionRow]:
    """The newest version of every thing of a kind that is `readable`, by name."""
    table = source if kind == "source" else thing
    statement = _things(kind).where(table.c.project_id == project_id).order_by(table.c.name, version.c.number.desc())
    found: dict[str, VersionRow] = {}
    for row in tx.execute(statement):
        if row.name not in found and readable(_label_of(row)):
            found[row.name] = _row(kind, row)
    return list(found.values())


def all_versions(tx: Tx, project_id: str, kind: str, name: str) -> list[VersionRow]:
    """Every version of a thing, newest first."""
    table = source if kind == "source" else thing
    statement = _things(kind).where(table.c.project_id == project_id, table.c.name == name)
    return [_row(kind, row) for row in tx.execute(statement.order_by(version.c.number.desc()))]


def evaluations_of(tx: Tx, version_id: str, readable: Callable[[str], bool] = _anything) -> list[VersionRow]:
    """Evaluations that measured a version, newest first: made by a Run that had it as an input."""
    made, taken = edge.alias("made"), edge.alias("taken")
    statement = (
        _things("evaluation")
        .join(made, (made.c.child == version.c.id) & (made.c.role == "made-by"))
        .join(taken, (taken.c.child == made.c.parent) & (taken.c.role == "input"))
        .where(taken.c.parent == version_id)
        .order_by(version.c.created.desc(), version.c.id)
    )
    return [_row("evaluation", row) for row in tx.execute(statement) if readable(_label_of(row))]


def ensure_thing(tx: Tx, row: dict[str, Any]) -> str:
    """The id of the thing (project, kind, name), which is inserted if new."""
    where = (thing.c.project_id == row["project_id"]) & (thing.c.kind == row["kind"]) & (thing.c.name == row["name"])
    found = tx.execute(select(thing.c.id).where(where)).scalar()
    if found is None:
        tx.execute(insert(thing), row)
        return str(row["id"])
    return str(found)


def ensure_source(tx: Tx, row: dict[str, Any]) -> str:
    """The id of the Source (project, name), inserted if new; a new title or licence is taken over."""
    where = (source.c.project_id == row["project_id"]) & (source.c.name == row["name"])
    found = tx.execute(select(source.c.id).where(where)).scalar()
    if found is None:
        tx.execute(insert(source), row)
        return str(row["id"])
    tx.execute(update(source).where(source.c.id == found).values(title=row["title"], licence=row["licence"]))
    return str(found)


def add_version(tx: Tx, row: dict[str, Any]) -> int:
    """Insert a version with the next number of its thing or Source; return the number."""
    own = version.c.source_id if row["source_id"] else version.c.thing_id
    top = tx.execute(select(func.max(version.c.number)).where(own == (row["source_id"] or row["thing_id"]))).scalar()
    number = int(top or 0) + 1
    tx.execute(insert(version), row | {"number": number})
    return number


def add_source_files(tx: Tx, version_id: str, files: list[SourceFile]) -> None:
    """Insert the files of a Source version."""
    columns = "path, digest, bytes, label, valid_from, valid_until, office"
    rows = [(version_id, f.path, f.digest, f.bytes, f.label, f.valid_from, f.valid_until, f.office) for f in files]
    tx.hot(f"INSERT INTO source_file (version_id, {columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)  # noqa: S608 - constant


def source_files(tx: Tx, version_id: str) -> list[SourceFile]:
    """The files of a Source version by path."""
    statement = select(source_file).where(source_file.c.version_id == version_id).order_by(source_file.c.path)
    return [
        SourceFile(
            path=row.path,
            digest=row.digest,
            bytes=row.bytes,
            label=row.label,
            valid_from=row.valid_from,
            valid_until=row.valid_until,
            office=row.office,
        )
        for row in tx.execute(statement)
    ]


def add_edges(tx: Tx, child: str, parents: list[str], role: str) -> None:
    """Say that `child` was made of `parents`; repeating is free."""
    rows = [(child, parent, role) for parent in parents]
    if rows:
        tx.hot("INSERT INTO edge (child, parent, role) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", rows)


def parents(tx: Tx, child: str) -> list[Any]:
    """(parent, role) of a node."""
    return list(tx.execute(select(edge.c.parent, edge.c.role).where(edge.c.child == child).order_by(edge.c.parent)))


def children(tx: Tx, parent: str) -> list[Any]:
    """(child, role) of a node."""
    return list(tx.execute(select(edge.c.child, edge.c.role).where(edge.c.parent == parent).order_by(edge.c.child)))


def add_provenance(tx: Tx, run_id: str, digest: str, envelope: str) -> None:
    """Keep the signed statement about a Run."""
    tx.hot("INSERT INTO provenance (run_id, digest, envelope) VALUES (?, ?, ?)", (run_id, digest, envelope))


def provenance(tx: Tx, run_id: str) -> str | None:
    """The signed statement about a Run."""
    found = tx.hot("SELECT envelope FROM provenance WHERE run_id = ?", (run_id,)).scalar()
    return None if found is None else str(found)


def source_licence(tx: Tx, version_id: str) -> str | None:
    """Licence of the Source that a version is of, empty where it has none; None for a version that is of no Source."""
    statement = select(source.c.licence).join(version, version.c.source_id == source.c.id)
    found = tx.execute(statement.where(version.c.id == version_id)).first()
    return None if found is None else str(found.licence or "")


def run_row(tx: Tx, run_id: str) -> Any:  # noqa: ANN401 - a row
    """What lineage shows of a Run."""
    run = schema.run
    return tx.execute(
        select(run.c.id, run.c.project_id, run.c.name, run.c.kind, run.c.label, run.c.memo_key).where(
            run.c.id == run_id
        )
    ).first()


def revision_row(tx: Tx, revision_id: str) -> Any:  # noqa: ANN401 - a row
    """What lineage shows of a Service's Revision."""
    revision, service = schema.revision, schema.service
    statement = (
        select(
            revision.c.id, revision.c.number, revision.c.label, service.c.name, service.c.title, service.c.project_id
        )
        .join(service, service.c.id == revision.c.service_id)
        .where(revision.c.id == revision_id)
    )
    return tx.execute(statement).first()


def answer_row(tx: Tx, answer_id: str) -> Any:  # noqa: ANN401 - a row
    """What lineage shows of an Answer."""
    answer = schema.answer
    return tx.execute(select(answer).where(answer.c.id == answer_id)).first()


def service_revision(tx: Tx, project_id: str, name: str) -> str | None:
    """The current Revision of a Service."""
    service = schema.service
    where = (service.c.project_id == project_id) & (service.c.name == name)
    return tx.execute(select(service.c.current_revision).where(where)).scalar()


def known_digests(tx: Tx, project_id: str, digests: list[str], readable: Callable[[str], bool] = _anything) -> set[str]:
    """Which of `digests` are files of the project's Sources under a label that is `readable`."""
    known: set[str] = set()
    for start in range(0, len(digests), 500):
        some = digests[start : start + 500]
        statement = (
            select(source_file.c.digest, source_file.c.label, _RAISED)
            .join(version, version.c.id == source_file.c.version_id)
            .join(source, source.c.id == version.c.source_id)
            .where(source.c.project_id == project_id, source_file.c.digest.in_(some))
        )
        known.update(str(row.digest) for row in tx.execute(statement) if readable(_label_of(row)))
    return known


def holdings(tx: Tx) -> list[tuple[str, str, int, int]]:
    """(label, kind, versions, bytes) of all projects. A file that two versions share counts in both."""
    kind = func.coalesce(thing.c.kind, "source").label("kind")
    statement = (
        select(version.c.label, kind, _RAISED, func.count().label("number"), func.sum(version.c.bytes).label("total"))
        .outerjoin(thing, thing.c.id == version.c.thing_id)
        .group_by(version.c.label, "kind", "raised")
    )
    return [(_label_of(row), row.kind, int(row.number), int(row.total)) for row in tx.execute(statement)]
