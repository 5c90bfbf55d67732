"""The Index format: `index.json` and one segment file per label; written by `write_index`, opened by `open_index`.

`index.json` is canonical JSON `{"check","digest","format":2,"segments":[{"digest","documents","file","label","rows",
"spans"}],"terms":2}`: `digest` identifies the Index by rows, spans and settings, never by file bytes; `check` is the
digest of all other members, so that a changed byte shows.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from baray.core import Refused, canonical_json, digest_bytes, digest_json
from baray.text.index.search import Index
from baray.text.index.segment import DocumentRow, damaged, encode_segment
from baray.text.index.terms import TERMS_VERSION

_FORMAT = 2
_MANIFEST = "index.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexFile:
    """A file of an Index."""

    path: str
    """Name inside the Index."""
    digest: str
    """Digest of its bytes."""
    bytes: int
    """Its size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexFacts:
    """What `write_index` wrote."""

    digest: str
    """Identity of the Index: over canonical rows, spans and settings."""
    files: tuple[IndexFile, ...]
    """Its files, `index.json` first."""
    labels: tuple[str, ...]
    """Labels of its segments, sorted."""
    documents: int
    """Documents in all segments."""
    spans: int
    """Passages in all segments."""


def write_index(directory: Path, documents: Iterable[DocumentRow]) -> IndexFacts:
    """Write an Index of `documents` into `directory`: a segment for each label among them.

    Equal documents give the same identity and the same files, in whatever order they come. Raises Refused
    `duplicate_document` when two documents have one id.
    """
    directory.mkdir(parents=True, exist_ok=True)
    by_label = _by_label(documents)
    segments: list[dict[str, Any]] = []
    files: list[IndexFile] = []
    for number, label in enumerate(sorted(by_label)):
        data, facts = encode_segment(label, by_label[label])
        file = _write(directory, f"segment-{number:04d}.bin", data)
        files.append(file)
        segments.append(
            {
                "digest": file.digest,
                "documents": facts.documents,
                "file": file.path,
                "label": label,
                "rows": facts.rows,
                "spans": facts.spans,
            }
        )
    manifest = {"digest": _identity(segments), "format": _FORMAT, "segments": segments, "terms": TERMS_VERSION}
    file = _write(directory, _MANIFEST, canonical_json(manifest | {"check": digest_json(manifest)}))
    return IndexFacts(
        digest=str(manifest["digest"]),
        files=(file, *files),
        labels=tuple(sorted(by_label)),
        documents=sum(segment["documents"] for segment in segments),
        spans=sum(segment["spans"] for segment in segments),
    )


def open_index(files: Path | Mapping[str, Path]) -> Index:
    """Open an Index from its directory, or from a map of its file names to where their bytes lie; nothing is written.

    Segments are opened, and their digests compared, only when a question may see their label. Raises Fault
    `index_damaged` naming the file, and Refused `index_format` for an Index of another format.
    """
    paths = {_MANIFEST: files / _MANIFEST} if isinstance(files, Path) else dict(files)
    manifest = _read_manifest(paths)
    places: dict[str, tuple[str, str, Path]] = {}
    for segment in manifest["segments"]:
        name = segment["file"]
        path = files / name if isinstance(files, Path) else paths.get(name)
        if path is None:
            raise damaged(name, "it is missing")
        places[segment["label"]] = (name, segment["digest"], path)
    return Index(places, digest=manifest["digest"])


def _by_label(documents: Iterable[DocumentRow]) -> dict[str, list[DocumentRow]]:
    by_label: dict[str, list[DocumentRow]] = defaultdict(list)
    seen: set[str] = set()
    for document in documents:
        if document.id in seen:
            raise Refused(
                "duplicate_document", f"Two documents have the id '{document.id}'.", fix="Give each its own id."
            )
        seen.add(document.id)
        by_label[document.label].append(document)
    return by_label


def _identity(segments: list[dict[str, Any]]) -> str:
    rows = [{"label": segment["label"], "rows": segment["rows"]} for segment in segments]
    return digest_json({"format": _FORMAT, "segments": rows, "terms": TERMS_VERSION})


def _write(directory: Path, name: str, data: bytes) -> IndexFile:
    (directory / name).write_bytes(data)
    return IndexFile(path=name, digest=digest_bytes(data), bytes=len(data))


def _read_manifest(paths: Mapping[str, Path]) -> dict[str, Any]:
    if _MANIFEST not in paths:
        raise damaged(_MANIFEST, "it is missing")
    try:
        data = paths[_MANIFEST].read_bytes()
        manifest = json.loads(data)
    except (OSError, ValueError) as error:
        raise damaged(_MANIFEST, f"it cannot be read ({error})") from error
    if not isinstance(manifest, dict):
        raise damaged(_MANIFEST, "it does not hold what was written")
    check = manifest.pop("check", "")
    if check != digest_json(manifest) or canonical_json(manifest | {"check": check}) != data:
        raise damaged(_MANIFEST, "its bytes are not those that were written")
    if manifest["format"] != _FORMAT or manifest["terms"] != TERMS_VERSION:
        found = f"format {manifest['format']}, terms {manifest['terms']}"
        raise Refused(
            "index_format",
            f"The Index has {found}; this version reads {_FORMAT}, {TERMS_VERSION}.",
            fix="Build it again.",
        )
    return manifest
