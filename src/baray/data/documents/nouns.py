"""A file of a Source with what its Documents inherit, and what becomes of it."""

from __future__ import annotations

from dataclasses import dataclass

from baray.data.readers import ReadOptions, Refusal, SourceFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Paper:
    """One file of the Source, with what its Documents inherit."""

    path: str
    """Below the folder that was given."""
    digest: str
    """Of its bytes."""
    file: SourceFile
    label: str
    """Canonical text of its label."""
    valid_from: str | None
    valid_until: str | None
    office: str | None
    twin: bool = False
    """Whether a file with the same bytes and a path before this one is in the Source."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One record in the pipeline."""

    paper: Paper
    record: int
    """Number in its file, from 0."""
    id: str
    text: str
    title: str
    key: str
    """Digest of the text as duplicates are compared: spaces and look-alike letters do not count."""
    language: str
    language_km: float
    language_en: float
    redactions: int
    redaction_kinds: tuple[tuple[str, int], ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """One Document that could not be read."""

    paper: Paper
    id: str
    refusal: Refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparation:
    """What is done to every Document."""

    read: ReadOptions
    redact: bool
