r"""What approvers sign, and the check of it: Ed25519 over the request's statement, offline and without this server.

    statement = canonical JSON of the request: version, digests, labels, reason, who asked, when it ends
    message   = "baray-approval-v1\n" + verdict + "\n" + sha256:... of the statement + "\n"

Entry `label.approved` or `label.refused` holds the digest, the public key and the signature, so that an auditor who is
shown the statement can check each person's word, whatever became of the server since. Covered: a server that later claims
an approval, another version, label or reason than was signed. Not covered: who holds a person's key file, or had
registered one in their name before (`approval.key` tells when).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from baray.catalog.labels import passkeys
from baray.catalog.labels.records import Lowering
from baray.core import Refused, canonical_json, digest_bytes

VERDICTS = ("approve", "refuse")
_KEY = re.compile(r"ed25519\.[0-9a-f]{64}\Z")
_SIGNATURE = re.compile(r"ed25519\.[0-9a-f]{128}\Z")


def statement(asked: Lowering) -> bytes:
    """The canonical bytes of a request: whoever signs its digest signs all of it."""
    body: dict[str, Any] = {"v": 1, "request": asked.id, "project": asked.project_id, "version": asked.version_id}
    body |= {"digest": asked.digest, "manifest": asked.manifest_digest, "from": asked.source_label}
    body |= {"to": asked.target_label, "reason": asked.reason, "asked_by": asked.actor_id}
    return canonical_json(body | {"created": int(asked.created), "expires": int(asked.expires)})


def statement_digest(asked: Lowering) -> str:
    """Digest of a request's statement."""
    return digest_bytes(statement(asked))


def message(verdict: str, digest: str) -> bytes:
    """What is signed."""
    return f"baray-approval-v1\n{verdict}\n{digest}\n".encode()


def check_key(public: str) -> str:
    """Return `public` if it is a public key. Raises Refused `bad_key`."""
    if _KEY.match(public) is None:
        raise Refused("bad_key", "This is no public key.", fix="Send 'ed25519.' and 64 hexadecimal digits.")
    return public


def signed_by(public: str, verdict: str, digest: str, signature: str) -> bool:
    """Whether the holder of `public` signed `verdict` on the request with this digest."""
    if public.startswith(passkeys.PREFIX):
        return passkeys.vouches(public, signature, message(verdict, digest))
    if _KEY.match(public) is None or _SIGNATURE.match(signature) is None:
        return False
    key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public.partition(".")[2]))
    try:
        key.verify(bytes.fromhex(signature.partition(".")[2]), message(verdict, digest))
    except InvalidSignature:
        return False
    return True


def check_entry(facts: Mapping[str, Any], shown: bytes) -> bool:
    """Whether an entry `label.approved` or `label.refused` is a true word on the statement that is shown."""
    digest = digest_bytes(shown)
    parts = [str(facts.get(name, "")) for name in ("key", "verdict", "signature")]
    return facts.get("statement") == digest and signed_by(parts[0], parts[1], digest, parts[2])
