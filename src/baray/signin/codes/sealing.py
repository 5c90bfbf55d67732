"""The secrets of apps' codes at rest: sealed with a key that lies beside the database, not in it.

A sealed text is `v1.KEY.DATA`: the first eight hexadecimal digits of the key's SHA-256, and base64url without padding of a
nonce of 12 bytes with the AES-256-GCM ciphertext and its tag. Associated data is `code:` and the id of the actor.

Covered: who has the database, or a copy of it, and not the key; a sealed secret that is moved to another actor. Not covered:
who has both, or root; the secret in the memory of a running server; copies from before the secrets were sealed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import secrets
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from baray.core import Fault, Refused, canonical_json
from baray.signin import records

_HEADER = "baray-seal-key-1"
_KEY_BYTES, _NONCE_BYTES = 32, 12
_VERSION = "v1"


class SealKey:
    """The home's key for secrets that the server has to read again. It never leaves its file and this process."""

    def __init__(self, path: Path, *, chance: Callable[[int], bytes] = secrets.token_bytes) -> None:
        """Load the key at `path`, or make one. Raises Refused `bad_key` when it is damaged or others may read it."""
        self._chance = chance
        if not path.exists():
            _create(path, chance(_KEY_BYTES))
        if path.stat().st_mode & 0o077:
            raise Refused("bad_key", f"Others may read the key {path}.", fix=f"Run: chmod 600 {path}")
        key = _read(path)
        self._cipher = AESGCM(key)
        self.id = hashlib.sha256(key).hexdigest()[:8]

    def seal(self, secret: bytes, *, about: str) -> str:
        """`secret` as it is stored, bound to what it is `about`."""
        nonce = self._chance(_NONCE_BYTES)
        data = nonce + self._cipher.encrypt(nonce, secret, about.encode())
        return f"{_VERSION}.{self.id}.{base64.urlsafe_b64encode(data).decode().rstrip('=')}"

    def open(self, sealed: str, *, about: str) -> bytes:
        """The secret again. Raises Fault `code_unreadable`: another key, another `about`, or changed bytes."""
        version, _, rest = sealed.partition(".")
        key_id, _, text = rest.partition(".")
        try:
            if (version, key_id) == (_VERSION, self.id):
                data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
                return self._cipher.decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], about.encode())
        except (InvalidTag, binascii.Error, ValueError) as error:
            raise _unreadable(f"the sealed text of {about} was changed") from error
        raise _unreadable(f"it was sealed as {version} with key {key_id}, and this home has {_VERSION} and {self.id}")


def kept(key: SealKey, secret: bytes, actor_id: str) -> dict[str, Any]:
    """A code's own data, as its row keeps it."""
    return {"sealed": key.seal(secret, about=_about(actor_id))}


def opened(key: SealKey, data: dict[str, Any], actor_id: str) -> bytes:
    """The secret of a code from its row's data. Raises Fault `code_unreadable`."""
    return key.open(data["sealed"], about=_about(actor_id))


def seal_stored(database: Path, key: SealKey) -> int:
    """Seal what an older Baray stored as it was; returns how many. Nobody may be in a transaction.

    The old bytes are overwritten, in the pages that are left free too: VACUUM writes the file anew.
    """
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        rows = connection.execute(records.UNSEALED).fetchall()
        if not rows:
            return 0
        connection.execute("PRAGMA secure_delete=ON")
        connection.execute("BEGIN IMMEDIATE")
        for row_id, actor_id, data in rows:
            found = kept(key, bytes.fromhex(json.loads(data)["secret"]), actor_id)
            connection.execute(records.SEAL, (canonical_json(found).decode(), row_id))
        connection.execute("COMMIT")
        connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return len(rows)


def _about(actor_id: str) -> str:
    return f"code:{actor_id}"


def _create(path: Path, key: bytes) -> None:
    """Write the key so that it is on the disk, whole, before anything is sealed with it."""
    temporary = path.with_name(path.name + ".new")
    temporary.unlink(missing_ok=True)
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(f"{_HEADER} {base64.b64encode(key).decode()}\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _read(path: Path) -> bytes:
    try:
        header, text = path.read_text(encoding="ascii").split()
        key = base64.b64decode(text, validate=True)
    except ValueError:  # too many or few words, not ASCII, not base 64
        header, key = "", b""
    if header != _HEADER or len(key) != _KEY_BYTES:
        raise Refused("bad_key", f"The key {path} is damaged.", fix="Restore the key from where you keep its copy.")
    return key


def _unreadable(why: str) -> Fault:
    return Fault(
        "code_unreadable",
        f"The secret of the app's codes cannot be read: {why}.",
        fix="Put this home's own keys/seal.key back; or come in by a link (baray user invite NAME --again) and add the app anew.",
    )
