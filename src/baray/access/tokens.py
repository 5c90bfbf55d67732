"""Tokens: `bry_KIND_` + 41 base 62 characters of chance + 6 of CRC-32, 55 in all.

The checksum lets scanners and clients see a typing error offline; only the SHA-256 of a token is stored.
"""

from __future__ import annotations

import hashlib
import secrets
import zlib
from collections.abc import Callable

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
KINDS = ("pat", "svc", "run", "ses", "lnk", "inv")
"""Personal, service account, one Run's, a browser session, a one-time sign-in link, an invitation.

A Run's is kept with its Attempt and lives as long as that one's lease: see `runs.by_token`."""
_CHANCE = 41  # characters, 244 bits
_SUM = 6


def new_secret(kind: str, random_below: Callable[[int], int] = secrets.randbelow) -> str:
    """A fresh token of `kind`, one of KINDS."""
    chance = "".join(ALPHABET[random_below(62)] for _ in range(_CHANCE))
    body = f"bry_{kind}_{chance}"
    return body + _checksum(body)


def well_formed(secret: str) -> bool:
    """Whether `secret` has the form and checksum of a token."""
    head, kind, tail = [*secret.split("_", 2), "", "", ""][:3]
    if head != "bry" or kind not in KINDS or len(tail) != _CHANCE + _SUM:
        return False
    return _checksum(secret[:-_SUM]) == secret[-_SUM:]


def kind_of(secret: str) -> str:
    """Its kind, one of KINDS; empty where it has not the form of a token."""
    return secret.split("_", 2)[1] if well_formed(secret) else ""


def hash_secret(secret: str) -> str:
    """What is stored of a token: hexadecimal SHA-256."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _checksum(body: str) -> str:
    number = zlib.crc32(body.encode())
    digits = ""
    for _ in range(_SUM):
        number, digit = divmod(number, 62)
        digits = ALPHABET[digit] + digits
    return digits
