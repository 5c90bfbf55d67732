"""The log's signing key: a port and the file adapter."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from baray.core import Refused
from baray.ledger import witness


class Signer(Protocol):
    """Signs heads. Adapters: a key file now; a process of its own or a hardware token later.

    `sign` is deterministic (Ed25519), may be repeated, and answers in well under a millisecond: a head is signed inside
    every group's transaction. An exception undoes the group; nothing is retried.
    """

    @property
    def name(self) -> str:
        """Name on the signature line: the ledger's origin."""

    @property
    def vkey(self) -> str:
        """The public key line, `name+keyid+base64`."""

    def sign(self, message: bytes) -> bytes:
        """Key id (4 bytes) and Ed25519 signature (64 bytes) over `message`."""


class FileSigner:
    """An Ed25519 key in a file that only its owner may read; the public line lies beside it as `NAME.pub`."""

    def __init__(self, path: Path, *, name: str, chance: Callable[[int], bytes] = secrets.token_bytes) -> None:
        """Load the key at `path`, or make one for the ledger `name`.

        Raises Refused `bad_key` when the file is damaged, belongs to another ledger, or others may read it.
        """
        try:
            if not path.exists():
                public = witness.create_key(path, name, witness.LOG_KEY, chance(32))
                path.with_suffix(".pub").write_text(public + "\n", encoding="utf-8")
            if path.stat().st_mode & 0o077:
                raise Refused("bad_key", f"Others may read the key {path}.", fix=f"Run: chmod 600 {path}")
            self._private, self._verifier = witness.load_key(path, witness.LOG_KEY)
        except (witness.ProofError, UnicodeDecodeError) as error:
            raise Refused("bad_key", f"{error}", fix="Restore the key from where you keep its copy.") from error
        if self._verifier.name != name:
            raise Refused(
                "bad_key",
                f"The key {path} belongs to the ledger '{self._verifier.name}', not to '{name}'.",
                fix="Put this home's own key back.",
            )

    @property
    def name(self) -> str:
        """See Signer."""
        return self._verifier.name

    @property
    def vkey(self) -> str:
        """See Signer."""
        return self._verifier.vkey

    def sign(self, message: bytes) -> bytes:
        """See Signer."""
        return self._verifier.key_id + self._private.sign(message)
