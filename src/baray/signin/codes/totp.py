"""Time-based one-time codes, RFC 6238 (SHA-1, six digits, thirty seconds: what every authenticator app can do)."""

from __future__ import annotations

import base64
import hashlib
import hmac
from urllib.parse import quote, urlencode

STEP_SECONDS = 30
DIGITS = 6
_DRIFT_STEPS = 1


def code_at(secret: bytes, step: int) -> str:
    """The code of one time step (RFC 4226, section 5.3)."""
    digest = hmac.new(secret, step.to_bytes(8, "big"), hashlib.sha1).digest()
    offset = digest[-1] & 15
    number = int.from_bytes(digest[offset : offset + 4], "big") & 0x7FFFFFFF
    return str(number % 10**DIGITS).zfill(DIGITS)


def accepted_step(secret: bytes, code: str, *, now: float, last_step: int) -> int | None:
    """The step whose code this is: within one of now's, and later than the last one that was used; else None."""
    given = code.replace(" ", "").encode()
    current = int(now // STEP_SECONDS)
    found = None
    for step in range(current - _DRIFT_STEPS, current + _DRIFT_STEPS + 1):
        if hmac.compare_digest(code_at(secret, step).encode(), given) and step > last_step:
            found = step
    return found


def key_text(secret: bytes) -> str:
    """The secret as an app takes it."""
    return base64.b32encode(secret).decode()


def key_uri(secret: bytes, *, name: str, issuer: str) -> str:
    """The address by which an app takes the secret in."""
    asked = urlencode({"secret": key_text(secret), "issuer": issuer}, quote_via=quote)
    return f"otpauth://totp/{quote(issuer)}:{quote(name)}?{asked}"
