"""The signature of a Model version: OpenSSF Model Signing 1.0, a Sigstore bundle 0.3 with an in-toto statement in DSSE.

Made by control when a version is published, over the digests of its files, which name their bytes; a worker never holds
the key. The statement lists every file; what Baray adds (identity, label, licences) stands beside that list, where the
format lets verifiers ignore it. So one file says what the Model is, how it may be used, and that nothing was changed.

Covered: a changed, missing or added file; a changed label or licence; another key. Not covered: whether the Model is any
good, and whether its maker may give it away: that is what licences and labels are for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from baray.core import canonical_json, digest_file
from baray.ledger.artifacts import STATEMENT_TYPE, ArtifactKey, ArtifactSigner, open_envelope, seal
from baray.ledger.witness import ProofError

MODEL_SIG = "model.sig"
_PREDICATE = "https://model_signing/signature/v1.0"
_MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_MAX_BYTES = 64 << 20  # of a signature: a statement names each file in about 150 bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """What is signed of a Model beside its files."""

    name: str
    """Name of the Model."""
    digest: str
    """Identity of the version."""
    label: str
    """Computed by control."""
    licences: tuple[str, ...]
    """Of everything it was made of; NOASSERTION stands for a Source without one."""
    run: str
    """The Run that made it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What a check of a signed Model says."""

    findings: tuple[str, ...]
    """What is wrong; empty where all is well."""
    name: str = ""
    """As signed, like the rest; empty where no good signature says so."""
    digest: str = ""
    """Identity of the version."""
    label: str = ""
    """Its label."""
    licences: tuple[str, ...] = ()
    """Licences of what it was made of."""
    run: str = ""
    """The Run that made it."""
    files: tuple[str, ...] = field(default=())
    """Files that the signature covers."""
    key: str = ""
    """Id of the key that signed."""

    @property
    def ok(self) -> bool:
        """Nothing is wrong."""
        return not self.findings


def sign_model(facts: ModelFacts, files: Mapping[str, str], signer: ArtifactSigner) -> bytes:
    """The bytes of `model.sig` over `files`, digests by path."""
    resources = [
        {"name": path, "algorithm": "sha256", "digest": digest.removeprefix("sha256:")}
        for path, digest in sorted(files.items())
    ]
    subject = {"name": facts.name, "digest": {"sha256": _root(resources)}}
    statement = {"_type": STATEMENT_TYPE, "subject": [subject], "predicateType": _PREDICATE}
    serialization = {"method": "files", "hash_type": "sha256", "allow_symlinks": False, "ignore_paths": [MODEL_SIG]}
    said = {"digest": facts.digest, "label": facts.label, "licences": list(facts.licences), "run": facts.run}
    predicate = {"serialization": serialization, "resources": resources, "baray": said}
    bundle = {
        "mediaType": _MEDIA_TYPE,
        "verificationMaterial": {"publicKey": {"hint": signer.key.id}, "tlogEntries": []},
        "dsseEnvelope": seal(statement | {"predicate": predicate}, signer, named=False),
    }
    return canonical_json(bundle)


def check_model(signature: bytes, files: Mapping[str, str], keys: Iterable[ArtifactKey]) -> Checked:
    """Check a `model.sig` against the digests of the files beside it, by path."""
    try:
        statement, key = _open(json.loads(signature), list(keys))
        return _compare(statement, files, key)
    except ProofError as error:
        return Checked(findings=(f"{MODEL_SIG}: {error}",))
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        return Checked(findings=(f"{MODEL_SIG}: It is not a signature ({type(error).__name__}: {error}).",))


def check_folder(folder: Path, keys: Iterable[ArtifactKey]) -> Checked:
    """Check the Model in a folder, offline: every file is read."""
    path = folder / MODEL_SIG
    if not path.is_file():
        return Checked(findings=(f"{MODEL_SIG}: missing",))
    if path.stat().st_size > _MAX_BYTES:
        return Checked(findings=(f"{MODEL_SIG}: {path.stat().st_size} bytes are too many for a signature",))
    found = [one for one in sorted(folder.rglob("*")) if one.is_symlink() or not one.is_dir()]
    odd = [one.relative_to(folder).as_posix() for one in found if one.is_symlink() or not one.is_file()]
    if odd:
        return Checked(findings=tuple(f"{name}: is not a plain file" for name in odd))
    files = {one.relative_to(folder).as_posix(): digest_file(one) for one in found if one != path}
    return check_model(path.read_bytes(), files, keys)


def _open(bundle: dict[str, Any], keys: list[ArtifactKey]) -> tuple[dict[str, Any], str]:
    """The statement in a Sigstore bundle, and the id of the key that signed it."""
    if bundle["mediaType"] != _MEDIA_TYPE:
        raise ProofError(f"It is a {bundle['mediaType']!r}, not a Sigstore bundle 0.3.")
    hint = str(bundle["verificationMaterial"]["publicKey"]["hint"])
    if hint not in {key.id for key in keys}:
        raise ProofError(f"It was signed by the key {hint[:16]}, which is not one that you trust.")
    return open_envelope(bundle["dsseEnvelope"], [key for key in keys if key.id == hint]), hint


def _compare(statement: dict[str, Any], files: Mapping[str, str], key: str) -> Checked:
    predicate = statement["predicate"]
    if statement["predicateType"] != _PREDICATE:
        raise ProofError(f"It signs a {statement['predicateType']!r}.")
    resources = predicate["resources"]
    signed = {one["name"]: f"{one['algorithm']}:{one['digest']}" for one in resources}
    (subject,) = statement["subject"]
    if len(signed) != len(resources) or subject["digest"]["sha256"] != _root(resources):
        raise ProofError("Its list of files does not agree with itself.")
    said = predicate.get("baray", {})
    findings = [f"{name}: missing" for name in sorted(signed.keys() - files.keys())]
    findings += [f"{name}: is not in the signature" for name in sorted(files.keys() - signed.keys())]
    findings += [
        f"{name}: was changed: {files[name]}, signed {signed[name]}"
        for name in sorted(signed.keys() & files.keys())
        if files[name] != signed[name]
    ]
    return Checked(
        findings=tuple(findings),
        name=str(subject["name"]),
        digest=str(said.get("digest", "")),
        label=str(said.get("label", "")),
        licences=tuple(str(one) for one in said.get("licences", ())),
        run=str(said.get("run", "")),
        files=tuple(sorted(signed)),
        key=key,
    )


def _root(resources: Sequence[Mapping[str, Any]]) -> str:
    """SHA-256 over the files' digests in the order of the list: the one digest of the whole Model."""
    return hashlib.sha256(b"".join(bytes.fromhex(one["digest"]) for one in resources)).hexdigest()
