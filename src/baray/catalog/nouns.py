"""What the catalog holds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEntry:
    """One file of a version."""

    path: str
    """Relative, `/` between parts."""
    digest: str
    """Of its bytes."""
    bytes: int
    """Its size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """One file of a Source version, with what `documents.csv` says of it."""

    path: str
    """Below the folder that was given."""
    digest: str
    """Of its bytes."""
    bytes: int
    """Its size."""
    label: str
    """At least the Source's."""
    valid_from: str | None = None
    """First day it holds, `2026-11-21`; None: always."""
    valid_until: str | None = None
    """Last day it holds; None: for ever."""
    office: str | None = None
    """Whom to ask about it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """What a Run made: a maker returns it, `runs.apply` publishes it."""

    kind: str
    """`dataset`, `index`, `model` or `evaluation`."""
    name: str
    """Name of the thing that gets a new version."""
    digest: str
    """Identity: of a Dataset its canonical rows, of a Model weights and config, of an Index spans and settings."""
    labels: tuple[str, ...]
    """Labels of the rows in it."""
    files: tuple[FileEntry, ...]
    """Its files; their blobs are durable before the Output is published."""
    summary: dict[str, Any] = field(default_factory=dict)
    """Small numbers for lists: rows, kept, score."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionRow:
    """One immutable version of a Source, Dataset, Index or Model."""

    id: str
    """`v_...`."""
    ref: str
    """`dataset:letters@v3`."""
    kind: str
    """`source`, `dataset`, `index`, `model` or `evaluation`."""
    name: str
    """Of the thing."""
    title: str
    """Of the thing, any script."""
    project_id: str
    """Its owner."""
    number: int
    """From 1."""
    digest: str
    """Identity."""
    manifest_digest: str
    """Of the manifest's blob."""
    label: str
    """In force: its own joined with what it was raised to since."""
    own_label: str
    """What it was published with; immutable."""
    floor: str
    """Join of what it was raised to; each of its rows is at least this."""
    ceiling: str | None
    """What two people lowered it to: each of its rows is at most this, but for the floor. None: it was not lowered."""
    run_id: str | None
    """The Run that made it; None for a Source."""
    bytes: int
    """Sum of its files."""
    created: float
    """Seconds since 1970."""
    summary: dict[str, Any]
    """As its maker gave it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """Where something came from: a graph that points from what was made to what it was made of."""

    nodes: tuple[dict[str, Any], ...]
    """`{id, ref, kind, title, label, digest}`, nearest first."""
    edges: tuple[dict[str, str], ...]
    """`{child, parent, role}` over node ids."""
    chain: tuple[str, ...]
    """Kinds met on the way, in the order of making, newest first."""
