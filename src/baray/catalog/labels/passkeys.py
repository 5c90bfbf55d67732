"""A passkey's word, checked again with nothing but what stands in the entry: WebAuthn level 2, section 7.2, offline.

    way       = "webauthn." + hexadecimal of the COSE key
    signature = "webauthn." + hexadecimal of: length (2 bytes) and authenticator data, length and client data, signature

The client data holds the challenge: SHA-256 of the message of `signing`. Covered: another message, no person present or
verified. Not covered: for which name the passkey was made, which this server looked at when the word was given.
"""

from __future__ import annotations

import base64
import json
from hashlib import sha256
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from baray.core import Refused

PREFIX = "webauthn."
_PERSON = 0x05  # flags UP and UV: somebody was there, and the device knows who
_MOST = 520  # bytes of evidence that an entry can hold


def way_of(cose: str) -> str:
    """How a passkey is named, from its COSE key in base64url."""
    return PREFIX + _raw(cose).hex()


def pack(evidence: dict[str, str]) -> str:
    """What a device signed, as it stands in an entry. Raises Refused `bad_signature`."""
    parts = [_raw(evidence[name]) for name in ("authenticatorData", "clientDataJSON", "signature")]
    packed = b"".join(len(part).to_bytes(2, "big") + part for part in parts[:2]) + parts[2]
    if len(packed) > _MOST:
        raise Refused(
            "bad_signature", f"This passkey's answer has {len(packed)} bytes.", fix="Sign with: baray label approve"
        )
    return PREFIX + packed.hex()


def challenge_of(message: bytes) -> bytes:
    """What a passkey is asked to sign."""
    return sha256(message).digest()


def vouches(way: str, signature: str, message: bytes) -> bool:
    """Whether the passkey signed `message`, with its person present and verified."""
    try:
        authenticator, client, signed = _unpack(bytes.fromhex(signature.removeprefix(PREFIX)))
        told = json.loads(client)
        right = told["type"] == "webauthn.get" and _raw(told["challenge"]) == challenge_of(message)
        if not right or authenticator[32] & _PERSON != _PERSON:
            return False
        _verify(_cbor(bytes.fromhex(way.removeprefix(PREFIX))), signed, authenticator + sha256(client).digest())
    except (InvalidSignature, ValueError, KeyError, IndexError, TypeError):
        return False
    return True


def _verify(key: dict[int, Any], signed: bytes, data: bytes) -> None:
    """Algorithms of COSE (RFC 9053): -7 ES256, -8 EdDSA, -257 RS256."""
    if key[3] == -7:
        numbers = ec.EllipticCurvePublicNumbers(_number(key[-2]), _number(key[-3]), ec.SECP256R1())
        numbers.public_key().verify(signed, data, ec.ECDSA(SHA256()))
    elif key[3] == -8:
        ed25519.Ed25519PublicKey.from_public_bytes(key[-2]).verify(signed, data)
    elif key[3] == -257:
        rsa.RSAPublicNumbers(_number(key[-2]), _number(key[-1])).public_key().verify(
            signed, data, padding.PKCS1v15(), SHA256()
        )
    else:
        raise ValueError("no algorithm of ours")


def _number(data: bytes) -> int:
    return int.from_bytes(data, "big")


def _unpack(packed: bytes) -> tuple[bytes, bytes, bytes]:
    parts, at = [], 0
    for _ in range(2):
        size = int.from_bytes(packed[at : at + 2], "big")
        parts.append(packed[at + 2 : at + 2 + size])
        at += 2 + size
    return parts[0], parts[1], packed[at:]


def _cbor(data: bytes) -> dict[int, Any]:
    """A map of small integers to integers and byte strings: all that a COSE key is (RFC 8949)."""
    count, at = data[0] & 0x1F, 1
    if data[0] >> 5 != 5:
        raise ValueError("no map")
    found: dict[int, Any] = {}
    for _ in range(count):
        name, at = _item(data, at)
        found[name], at = _item(data, at)
    return found


def _item(data: bytes, at: int) -> tuple[Any, int]:
    kind, size = data[at] >> 5, data[at] & 0x1F
    at += 1
    if size in (24, 25, 26):
        wide = 1 << (size - 24)
        size, at = int.from_bytes(data[at : at + wide], "big"), at + wide
    elif size > 23:
        raise ValueError("no size of ours")
    if kind == 2:
        return data[at : at + size], at + size
    if kind not in (0, 1):
        raise ValueError("no item of a key")
    return (size if kind == 0 else -1 - size), at


def _raw(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
