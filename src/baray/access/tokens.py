"""Tokens: `bry_KIND_` + 41 base 62 characters of chance + 6 of CRC-32, 55 in all.

The checksum lets scanners and clients see a typing error offline; only the SHA-256 of a token is stored.
Bounds say which Services a key asks, how often, and how many tokens a day.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from baray.core import Refused

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
KINDS = ("pat", "svc", "run", "ses", "lnk", "inv")
"""Personal, service account, one Run's, a browser session, a one-time sign-in link, an invitation.

A Run's is kept with its Attempt and lives as long as that one's lease: see `runs.by_token`."""
_CHANCE = 41  # characters, 244 bits
_SUM = 6
MAX_SERVICES = 100
MOST_REQUESTS = 1_000_000
MOST_TOKENS = 10**12
_SERVICE = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}/[a-z0-9][a-z0-9._-]{0,62}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How far a key reaches, within what its actor may."""

    services: frozenset[str] | None = None
    """`PROJECT/NAME` of each; None: all."""
    requests_per_minute: int = 0
    """At once as well as on average; 0: no limit."""
    tokens_per_day: int = 0
    """Of prompts and completions together, from midnight UTC; 0: no limit."""

    def covers(self, service: str) -> bool:
        """Whether the key asks the Service `PROJECT/NAME`."""
        return self.services is None or service in self.services

    def as_json(self) -> dict[str, Any] | None:
        """As it is stored; None where there are no bounds."""
        if self == UNBOUNDED:
            return None
        services = sorted(self.services) if self.services is not None else None
        return {
            "requests_per_minute": self.requests_per_minute,
            "services": services,
            "tokens_per_day": self.tokens_per_day,
        }


UNBOUNDED = Bounds()


def check_bounds(services: Iterable[str], requests_per_minute: int, tokens_per_day: int) -> Bounds:
    """Bounds as somebody asked for them; no Services means all. Raises Refused `bad_bounds`."""
    names = frozenset(services)
    wrong = sorted(name for name in names if _SERVICE.match(name) is None)
    if wrong or len(names) > MAX_SERVICES:
        raise Refused(
            "bad_bounds",
            f"'{wrong[0]}' is not PROJECT/NAME." if wrong else f"A key cannot name {len(names)} Services.",
            fix=f"Name at most {MAX_SERVICES} Services, such as main/counter.",
        )
    if not 0 <= requests_per_minute <= MOST_REQUESTS or not 0 <= tokens_per_day <= MOST_TOKENS:
        raise Refused(
            "bad_bounds",
            f"A key cannot have {requests_per_minute} requests a minute and {tokens_per_day} tokens a day.",
            fix=f"Write at most {MOST_REQUESTS} and {MOST_TOKENS}; 0 for no limit.",
        )
    return Bounds(services=names or None, requests_per_minute=requests_per_minute, tokens_per_day=tokens_per_day)


def read_bounds(value: dict[str, Any] | None) -> Bounds:
    """Bounds as they are stored."""
    if value is None:
        return UNBOUNDED
    services = frozenset(value["services"]) if value["services"] is not None else None
    return Bounds(
        services=services, requests_per_minute=value["requests_per_minute"], tokens_per_day=value["tokens_per_day"]
    )


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
