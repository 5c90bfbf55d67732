"""What is signed beside the heads: statements about Runs and Models, in DSSE envelopes, with a key of its own.

A reader of a Model or of a Run's provenance should need neither the ledger nor its tools: so these are signed in the forms
that common tools check (DSSE with its pre-authentication encoding; ECDSA on P-256 with SHA-256, the one curve that all of
them take). The key is not the log's: an entry `key.registered` carries it, so whoever holds the ledger holds the key, and
a signature counts only with a key that was registered before what it signed was published.

Covered: an envelope that was changed, cut, or signed by another key. Not covered: a stolen key; there the digest of each
envelope in the ledger is what remains, and a witness.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from baray.core import Refused, canonical_json
from baray.ledger import records, witness
from baray.ledger.witness import ProofError

if TYPE_CHECKING:
    from baray.ledger.ledger import Ledger
    from baray.store import Tx

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
_TEXT = "p256_"
_META = "artifacts.key"
_FORMAT = serialization.PublicFormat


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactKey:
    """A public key that statements are signed with."""

    point: bytes
    """The P-256 point, compressed, 33 bytes."""

    @property
    def text(self) -> str:
        """How it stands in an entry."""
        return _TEXT + self.point.hex()

    @property
    def pem(self) -> str:
        """How other tools read it."""
        return self._public().public_bytes(serialization.Encoding.PEM, _FORMAT.SubjectPublicKeyInfo).decode()

    @property
    def id(self) -> str:
        """SHA-256 of the PEM text in hexadecimal: what signatures name their key by."""
        return hashlib.sha256(self.pem.encode()).hexdigest()

    def holds(self, signature: bytes, message: bytes) -> bool:
        """Whether `signature` (DER) over `message` is by this key."""
        try:
            self._public().verify(signature, message, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            return False
        return True

    def _public(self) -> ec.EllipticCurvePublicKey:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), self.point)


class ArtifactSigner(Protocol):
    """Signs statements. Adapters: a key file now; a hardware token later.

    `sign` is deterministic (RFC 6979) and answers in well under a millisecond, for it is called inside a transaction. It may
    be repeated; an exception undoes the action.
    """

    @property
    def key(self) -> ArtifactKey:
        """The public key."""

    def sign(self, message: bytes) -> bytes:
        """A DER signature over `message`."""


class FileArtifactSigner:
    """A P-256 key in a PEM file that only its owner may read; the public key lies beside it as `NAME.pub`."""

    def __init__(self, path: Path) -> None:
        """Load the key at `path`, or make one. Raises Refused `bad_key` on a damaged one, or one that others may read."""
        if not path.exists():
            _create(path)
        if path.stat().st_mode & 0o077:
            raise Refused("bad_key", f"Others may read the key {path}.", fix=f"Run: chmod 600 {path}")
        try:
            private = serialization.load_pem_private_key(path.read_bytes(), None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise Refused("bad_key", f"{path}: {error}", fix="Restore the key from where you keep its copy.") from error
        if not isinstance(private, ec.EllipticCurvePrivateKey) or private.curve.name != "secp256r1":
            raise Refused("bad_key", f"The key {path} is not on the curve P-256.", fix="Put this home's own key back.")
        self._private = private
        self._key = ArtifactKey(point=_point(private.public_key()))

    @property
    def key(self) -> ArtifactKey:
        """See ArtifactSigner."""
        return self._key

    def sign(self, message: bytes) -> bytes:
        """See ArtifactSigner."""
        return self._private.sign(message, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))


def parse_key(text: str) -> ArtifactKey:
    """Read a public key: the text of an entry, or PEM. Raises ProofError."""
    try:
        if text.startswith(_TEXT):
            public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), bytes.fromhex(text[len(_TEXT) :]))
            return ArtifactKey(point=_point(public))
        loaded = serialization.load_pem_public_key(text.encode())
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ProofError(f"'{text.strip()[:80]}' is not a public key that statements are signed with.") from error
    if not isinstance(loaded, ec.EllipticCurvePublicKey) or loaded.curve.name != "secp256r1":
        raise ProofError("The key is not on the curve P-256.")
    return ArtifactKey(point=_point(loaded))


def register_key(tx: Tx, ledger: Ledger, key: ArtifactKey) -> None:
    """Enter the key into the ledger, unless it is the newest one there."""
    if records.get_meta(tx, _META) != key.text:
        facts = {"key": f"sha256:{key.id}", "public": key.text}
        ledger.append(tx, "key.registered", actor="system", subject="artifacts", facts=facts)
        records.replace_meta(tx, _META, key.text)


def registered_key(tx: Tx) -> ArtifactKey | None:
    """The newest key that was registered."""
    text = records.get_meta(tx, _META)
    return None if text is None else parse_key(text)


def registered_keys(tx: Tx) -> list[ArtifactKey]:
    """Every key that was ever registered, oldest first."""
    found = [records.entry(tx, index) for index in records.indices_with(tx, ('"kind":"key.registered"',))]
    return [parse_key(json.loads(data or b"{}")["facts"]["public"]) for data in found]


def seal(statement: dict[str, Any], signer: ArtifactSigner, *, named: bool = True) -> dict[str, Any]:
    """A DSSE envelope around an in-toto statement; `named`: the signature names its key."""
    payload = canonical_json(statement)
    signature = {"sig": witness.encode64(signer.sign(pae(payload))), "keyid": signer.key.id if named else ""}
    return {"payload": witness.encode64(payload), "payloadType": PAYLOAD_TYPE, "signatures": [signature]}


def open_envelope(envelope: Mapping[str, Any], keys: Iterable[ArtifactKey]) -> dict[str, Any]:
    """The statement in a DSSE envelope that one of `keys` signed. Raises ProofError on anything else."""
    try:
        return _opened(envelope, keys)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ProofError(f"It is not a signed statement ({type(error).__name__}: {error}).") from error


def pae(payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding: what is signed names type and lengths, so nothing else can be read into it."""
    kind = PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def _opened(envelope: Mapping[str, Any], keys: Iterable[ArtifactKey]) -> dict[str, Any]:
    if envelope["payloadType"] != PAYLOAD_TYPE:
        raise ProofError(f"It holds a {envelope['payloadType']!r}, not a statement.")
    payload = witness.decode64(envelope["payload"])
    signatures = [witness.decode64(one["sig"]) for one in envelope["signatures"]]
    if not any(key.holds(signature, pae(payload)) for key in keys for signature in signatures):
        raise ProofError("It was changed, or signed by a key that is not known here.")
    statement = json.loads(payload)
    if statement["_type"] != STATEMENT_TYPE or not isinstance(statement["predicate"], dict):
        raise ProofError("It holds no in-toto statement.")
    if not all(isinstance(one["digest"]["sha256"], str) for one in statement["subject"]):
        raise ProofError("A subject of the statement has no digest.")
    return dict(statement)


def _point(public: ec.EllipticCurvePublicKey) -> bytes:
    return public.public_bytes(serialization.Encoding.X962, _FORMAT.CompressedPoint)


def _create(path: Path) -> None:
    """Write a new key, durable and whole: a kill leaves the complete file or none."""
    private = ec.generate_private_key(ec.SECP256R1())
    secret = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(secret)
        file.flush()
        os.fsync(file.fileno())
    path.with_suffix(".pub").write_text(ArtifactKey(point=_point(private.public_key())).pem, encoding="ascii")
    fresh.rename(path)
    witness.sync_directory(path.parent)
