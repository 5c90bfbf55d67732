"""What a Run says of what it made: an in-toto statement with SLSA provenance, signed by control.

Order of durability: the envelope is a row of the transaction that publishes the outputs and ends the Run, and the entries of
both name its digest. So there is no version without its statement, and no statement about a version that is not there.

Covered: which inputs, by digest and label; which recipe, options and sandbox; which versions came out, and their files.
Not covered: that the maker's code did what its name says, or that the machine was honest: control states what it gave and took.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from baray import __version__
from baray.access import Site
from baray.catalog import records
from baray.catalog.nouns import VersionRow
from baray.core import canonical_json, digest_bytes, iso_time
from baray.ledger import seal
from baray.store import Tx

PROVENANCE_FILE = "provenance.dsse.json"
BUILD_TYPE = "urn:baray:run:1"
NOASSERTION = "NOASSERTION"
"""SPDX's word for a licence that nobody stated."""
MAX_FILES = 200
"""Versions of more files are named by their manifest alone: it lists them all, and the statement stays small."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Making:
    """A Run, as its statement tells of it."""

    run_id: str
    """The Run."""
    project: str
    """Name of its project."""
    actor_id: str
    """Who asked for it."""
    label: str
    """Label of the Run: of everything it saw."""
    spec: Mapping[str, Any]
    """The frozen spec."""
    spec_digest: str
    """Digest of the spec."""
    started: float
    """Start of the Attempt that succeeded, seconds since 1970."""
    ended: float
    """Its end."""
    attempt_id: str
    """The Attempt."""
    sandbox: str
    """How it was held."""


def attest(tx: Tx, site: Site, making: Making, made: Sequence[tuple[VersionRow, Mapping[str, Any]]]) -> str:
    """Sign and keep the statement about a Run that made the versions `made` (with their manifests); its digest."""
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": _subjects(making, made),
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {"buildDefinition": _definition(tx, making), "runDetails": _details(site, making)},
    }
    envelope = canonical_json(seal(statement, site.artifacts))
    digest = digest_bytes(envelope)
    records.add_provenance(tx, making.run_id, digest, envelope.decode())
    return digest


def provenance(tx: Tx, run_id: str) -> bytes | None:
    """The envelope about a Run; None for one that did not succeed, or that is older than such statements."""
    found = records.provenance(tx, run_id)
    return None if found is None else found.encode()


def licences(tx: Tx, versions: Sequence[str]) -> tuple[str, ...]:
    """Licences of every Source that `versions` were made of, however far back."""
    found: set[str] = set()
    seen: set[str] = set()
    waiting = list(versions)
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        licence = records.source_licence(tx, node)
        if licence is not None:
            found.add(licence or NOASSERTION)
        waiting += [row.parent for row in records.parents(tx, node) if row.role in {"made-by", "input"}]
    return tuple(sorted(found))


def _subjects(making: Making, made: Sequence[tuple[VersionRow, Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """The manifest of every version, whose bytes have that digest, and its files; without outputs the Run by its spec."""
    if not made:
        return [{"name": f"run:{making.run_id}", "digest": {"sha256": _bare(making.spec_digest)}}]
    subjects: dict[tuple[str, str], dict[str, Any]] = {}
    for version, manifest in made:
        told = _version(version) | {"files": len(manifest["files"])}
        subjects[version.ref, ""] = _resource(version.ref, version.manifest_digest, told)
        if len(manifest["files"]) <= MAX_FILES:
            for file in manifest["files"]:
                name = f"{version.ref}/{file['path']}"
                subjects[name, file["digest"]] = _resource(name, file["digest"], {"label": version.label})
    return list(subjects.values())


def _definition(tx: Tx, making: Making) -> dict[str, Any]:
    spec = making.spec
    inputs = {name: one["ref"] for name, one in spec["inputs"].items()}
    asked = {name: spec[name] for name in ("kind", "recipe", "name", "options", "command", "resources", "today")}
    inside = {name: spec[name] for name in ("handler", "label_rule", "sandbox")}
    inside |= {"spec": making.spec_digest, "label": making.label, "actor": making.actor_id, "held": making.sandbox}
    return {
        "buildType": BUILD_TYPE,
        "externalParameters": asked | {"project": making.project, "inputs": inputs},
        "internalParameters": inside,
        "resolvedDependencies": [_dependency(tx, name, one) for name, one in spec["inputs"].items()],
    }


def _dependency(tx: Tx, name: str, one: Mapping[str, Any]) -> dict[str, Any]:
    version = records.by_id(tx, one["version"])
    if version is None:  # deleted while the Run was under way: what the spec froze of it
        return {"name": name, "uri": _uri(one["ref"]), "annotations": {"identity": one["digest"]}}
    told = _version(version) | {"licences": list(licences(tx, [version.id]))}
    return _resource(name, version.manifest_digest, told) | {"uri": _uri(version.ref)}


def _details(site: Site, making: Making) -> dict[str, Any]:
    return {
        "builder": {"id": f"urn:baray:home:{site.ledger.origin}", "version": {"baray": __version__}},
        "metadata": {
            "invocationId": f"run:{making.run_id}/{making.attempt_id}",
            "startedOn": _time(making.started),
            "finishedOn": _time(making.ended),
        },
    }


def _version(version: VersionRow) -> dict[str, Any]:
    return {"identity": version.digest, "label": version.label, "title": version.title, "version": version.id}


def _resource(name: str, digest: str, annotations: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": name, "digest": {"sha256": _bare(digest)}, "annotations": dict(annotations)}


def _uri(ref: str) -> str:
    return f"urn:baray:{ref}"


def _time(seconds: float) -> str:
    """RFC 3339 in whole seconds."""
    return iso_time(seconds)[:19] + "Z"


def _bare(digest: str) -> str:
    return digest.removeprefix("sha256:")
