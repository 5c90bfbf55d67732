"""The contract of the port Signer, run on each adapter and on the fake that tests use."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from baray.ledger import FileSigner, Signer
from baray.ledger import witness as outside

NAME = "baray.example/contract"


class MemorySigner:
    """A key in memory."""

    def __init__(self) -> None:
        self._private = Ed25519PrivateKey.from_private_bytes(bytes(32))
        public = self._private.public_key().public_bytes_raw()
        self._verifier = outside.Verifier(name=NAME, type=outside.LOG_KEY, public=public)

    @property
    def name(self) -> str:
        return self._verifier.name

    @property
    def vkey(self) -> str:
        return self._verifier.vkey

    def sign(self, message: bytes) -> bytes:
        return self._verifier.key_id + self._private.sign(message)


@pytest.fixture(params=["file", "memory"])
def signer(request, tmp_path) -> Signer:
    return FileSigner(tmp_path / "key", name=NAME) if request.param == "file" else MemorySigner()


def test_the_public_line_is_of_a_log_and_carries_the_name(signer):
    verifier = outside.parse_vkey(signer.vkey)
    assert (verifier.name, verifier.type, verifier.vkey) == (signer.name, outside.LOG_KEY, signer.vkey)


def test_signatures_hold_for_their_message_alone_and_repeat(signer):
    verifier, made = outside.parse_vkey(signer.vkey), signer.sign(b"head")
    assert made == signer.sign(b"head")
    assert (len(made), made[:4]) == (68, verifier.key_id)
    assert verifier.holds(made[4:], b"head")
    assert not verifier.holds(made[4:], b"heaD")
