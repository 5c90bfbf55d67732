"""The witness and the checker, in one file that runs alone: Python's standard library and `cryptography`, nothing else.

    python witness.py init KEY [--name NAME]                        make a witness key, print its public line
    python witness.py cosign REQUEST --state FILE --key KEY [--log VKEY]   check a ledger's head and cosign it
    python witness.py verify BUNDLE [--log VKEY]                     check a proof or an export, offline

A witness is somebody outside who remembers the last head of a ledger that it saw, and cosigns a new head only if the
ledger has merely grown since. That is what makes a rollback, or a history rewritten with the stolen key, visible.

Formats (all by C2SP): signed-note, tlog-checkpoint, tlog-cosignature (Ed25519, `cosignature/v1`), tlog-witness
(`add-checkpoint` body), tlog-tiles, tlog-proof; the tree is RFC 6962 with SHA-256. The rest of the room imports these
checks from here, so that what an outsider runs and what the platform runs are the same lines.

Covered: altered, lost, reordered, hidden or rewritten entries; heads signed by another key; forks and rollbacks against
the witness's own memory. Not covered: a false statement that was entered truthfully; a log key that signs a second
history for somebody who asks no witness.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import fcntl
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

LOG_KEY = 0x01
"""Signature type of a log's Ed25519 signature over the note's text."""
COSIGNER_KEY = 0x04
"""Signature type of a witness's timestamped Ed25519 cosignature."""
HASH_BYTES = 32
MAX_PROOF_HASHES = 63
_MAX_SIGNATURES = 64
_DASH = "\u2014 "


class ProofError(Exception):
    """What was handed in proves nothing; the message says why and, where somebody can mend it, how."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verifier:
    """A public key of a log or of a witness."""

    name: str
    """Name on the signature line: for a log its origin."""
    type: int
    """LOG_KEY or COSIGNER_KEY."""
    public: bytes
    """Ed25519 public key, 32 bytes."""

    @property
    def key_id(self) -> bytes:
        """The 4 bytes that open every signature of this key."""
        return hashlib.sha256(self.name.encode() + b"\n" + bytes([self.type]) + self.public).digest()[:4]

    @property
    def vkey(self) -> str:
        """The text form, `name+keyid+base64`."""
        return f"{self.name}+{self.key_id.hex()}+{encode64(bytes([self.type]) + self.public)}"

    def holds(self, signature: bytes, message: bytes) -> bool:
        """Whether `signature` (64 bytes) over `message` is by this key."""
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, message)
        except (InvalidSignature, ValueError):
            return False
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A signed tree head as it was read: nothing in it is true before a signature was checked."""

    origin: str
    """First line: the identity of the log."""
    size: int
    """Number of entries."""
    root: bytes
    """RFC 6962 root of the first `size` entries, 32 bytes."""
    text: str
    """The signed text, with its final newline."""
    signatures: tuple[tuple[str, bytes], ...]
    """Name and (key id + signature) of every signature line."""

    @property
    def note(self) -> str:
        """The whole note."""
        return self.text + "\n" + "".join(signature_line(name, data) for name, data in self.signatures)


# --- keys and notes -------------------------------------------------------------------------------------------------


def encode64(data: bytes) -> str:
    """Standard base 64."""
    return base64.b64encode(data).decode()


def decode64(text: str) -> bytes:
    """Bytes of `text`; only the one canonical spelling is taken, so that no flipped bit goes unseen."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ProofError(f"'{text[:80]}' is not base 64.") from error
    if encode64(data) != text:
        raise ProofError(f"'{text[:80]}' is not the canonical base 64 of its bytes.")
    return data


def parse_vkey(text: str) -> Verifier:
    """Read a public key line `name+keyid+base64`."""
    name, plus, rest = text.strip().partition("+")
    key_id, second, data = rest.partition("+")
    raw = decode64(data) if plus and second else b""
    if len(raw) != 1 + HASH_BYTES or raw[0] not in {LOG_KEY, COSIGNER_KEY}:
        raise ProofError(f"'{text.strip()[:120]}' is not a public key line (name+keyid+base64, Ed25519).")
    verifier = Verifier(name=check_key_name(name), type=raw[0], public=raw[1:])
    if verifier.key_id.hex() != key_id:
        raise ProofError(f"The key id {key_id[:16]} does not belong to the key of '{name}': the line was altered.")
    return verifier


def check_key_name(name: str) -> str:
    """Return `name` if it may stand on a signature line."""
    if not name or "+" in name or any(character.isspace() or ord(character) < 32 for character in name):
        raise ProofError(f"'{name[:80]}' cannot name a key: no white space, no '+', not empty.")
    return name


def create_key(path: Path, name: str, kind: int, seed: bytes) -> str:
    """Write a private key file (mode 0600, never over an existing one); returns the public line.

    One line, `PRIVATE+KEY+name+keyid+base64`, as Go's `note` package reads it. Durable when this returns.
    """
    private = Ed25519PrivateKey.from_private_bytes(seed)
    verifier = Verifier(name=check_key_name(name), type=kind, public=private.public_key().public_bytes_raw())
    line = f"PRIVATE+KEY+{name}+{verifier.key_id.hex()}+{encode64(bytes([kind]) + seed)}\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(line)
        file.flush()
        os.fsync(file.fileno())
    sync_directory(path.parent)
    return verifier.vkey


def load_key(path: Path, kind: int) -> tuple[Ed25519PrivateKey, Verifier]:
    """Read a private key file written by `create_key`."""
    parts = path.read_text(encoding="utf-8").strip().split("+", 4)
    raw = decode64(parts[4]) if len(parts) == 5 and parts[:2] == ["PRIVATE", "KEY"] else b""
    if len(raw) != 1 + HASH_BYTES or raw[0] != kind:
        raise ProofError(f"{path} is not a private key of the kind that is needed here.")
    private = Ed25519PrivateKey.from_private_bytes(raw[1:])
    verifier = Verifier(name=check_key_name(parts[2]), type=kind, public=private.public_key().public_bytes_raw())
    if verifier.key_id.hex() != parts[3]:
        raise ProofError(f"{path} is damaged: its key id does not belong to its key.")
    return private, verifier


def signature_line(name: str, data: bytes) -> str:
    """One signature line of a note; `data` is key id + signature."""
    return f"{_DASH}{name} {encode64(data)}\n"


def checkpoint_text(origin: str, size: int, root: bytes) -> str:
    """The text of a head: origin, size, root."""
    return f"{origin}\n{size}\n{encode64(root)}\n"


def parse_checkpoint(note: str) -> Checkpoint:
    """Read a signed head. Raises ProofError on anything that is not exactly one."""
    if any(character < " " and character != "\n" for character in note):
        raise ProofError("The head holds control characters.")
    text, blank, tail = note.rpartition("\n\n")
    lines = text.split("\n")
    if not blank or len(lines) < 3 or not all(lines):
        raise ProofError("This is not a signed head: origin, size, root, an empty line, signatures.")
    if not lines[1].isascii() or not lines[1].isdigit() or str(int(lines[1])) != lines[1]:
        raise ProofError(f"'{lines[1][:40]}' is not a tree size.")
    root = decode64(lines[2])
    if len(root) != HASH_BYTES:
        raise ProofError(f"The root has {len(root)} bytes, not {HASH_BYTES}.")
    return Checkpoint(
        origin=lines[0], size=int(lines[1]), root=root, text=text + "\n", signatures=parse_signatures(tail)
    )


def parse_signatures(tail: str) -> tuple[tuple[str, bytes], ...]:
    """Read signature lines."""
    lines = tail.split("\n")
    if lines.pop() != "" or not 1 <= len(lines) <= _MAX_SIGNATURES:
        raise ProofError(f"A head carries 1 to {_MAX_SIGNATURES} signature lines, each ended by a newline.")
    return tuple(_parse_signature(line) for line in lines)


def check_log_signature(checkpoint: Checkpoint, log: Verifier) -> None:
    """Pass if the log `log` signed this head."""
    if checkpoint.origin != log.name:
        raise ProofError(f"The head is of '{checkpoint.origin}', the key is of '{log.name}'.")
    if not any(log.holds(data, checkpoint.text.encode()) for data in _signatures_by(checkpoint, log)):
        raise ProofError(f"No signature on the head at size {checkpoint.size} is by the key of '{log.name}'.")


def check_cosignature(checkpoint: Checkpoint, witness: Verifier) -> int:
    """Pass if the witness cosigned this head; returns when, in seconds since 1970."""
    for data in _signatures_by(checkpoint, witness):
        seconds = int.from_bytes(data[:8], "big")
        if witness.holds(data[8:], cosigned_message(checkpoint, seconds)):
            return seconds
    raise ProofError(f"No cosignature on the head at size {checkpoint.size} is by the witness '{witness.name}'.")


def cosigned_message(checkpoint: Checkpoint, seconds: int) -> bytes:
    """What a `cosignature/v1` signs."""
    return f"cosignature/v1\ntime {seconds}\n{checkpoint.text}".encode()


def _parse_signature(line: str) -> tuple[str, bytes]:
    parts = line.split(" ")
    if len(parts) != 3 or parts[0] != _DASH.strip():
        raise ProofError(f"'{line[:80]}' is not a signature line.")
    data = decode64(parts[2])
    if len(data) <= 4:
        raise ProofError(f"The signature of '{parts[1][:80]}' is too short.")
    return check_key_name(parts[1]), data


def _signatures_by(checkpoint: Checkpoint, key: Verifier) -> list[bytes]:
    """Signatures that claim to be by `key`, without their key id. Others are ignored, as signed-note asks."""
    return [data[4:] for name, data in checkpoint.signatures if name == key.name and data[:4] == key.key_id]


# --- the tree (RFC 6962; checking after RFC 9162, sections 2.1.3.2 and 2.1.4.2) -------------------------------------


def leaf_hash(data: bytes) -> bytes:
    """Hash of an entry."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of an inner node."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def check_inclusion(index: int, size: int, leaf: bytes, proof: Sequence[bytes], root: bytes) -> None:
    """Pass if the entry with hash `leaf` is number `index` in the tree of `size` entries with `root`."""
    if not 0 <= index < size or any(len(item) != HASH_BYTES for item in (leaf, root, *proof)):
        raise ProofError(f"There is no entry {index} in a tree of {size} entries.")
    node, last, value = index, size - 1, leaf
    for item in proof:
        if last == 0:
            raise ProofError("The inclusion proof is too long.")
        if node & 1 or node == last:
            value = node_hash(item, value)
            node, last = _to_right_child(node, last)
        else:
            value = node_hash(value, item)
        node, last = node >> 1, last >> 1
    if last or value != root:
        raise ProofError(f"Entry {index} is not in the tree of {size} entries that was signed.")


def check_consistency(old: tuple[int, bytes], new: tuple[int, bytes], proof: Sequence[bytes]) -> None:
    """Pass if the tree `new` (size, root) begins with all of `old`, in the same order."""
    (old_size, old_root), (new_size, new_root) = old, new
    if not 0 <= old_size <= new_size or any(len(item) != HASH_BYTES for item in (old_root, new_root, *proof)):
        raise ProofError(f"A ledger of {old_size} entries cannot have grown to {new_size}.")
    if old_size in {0, new_size}:
        if proof or (old_size and old_root != new_root):
            raise ProofError(f"Two different histories of {new_size} entries were signed.")
        return
    node, last = old_size - 1, new_size - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    rest = list(proof) if old_size & (old_size - 1) else [old_root, *proof]
    if not rest:
        raise ProofError("The consistency proof is empty.")
    first = second = rest.pop(0)
    for item in rest:
        if last == 0:
            raise ProofError("The consistency proof is too long.")
        if node & 1 or node == last:
            first, second = node_hash(item, first), node_hash(item, second)
            node, last = _to_right_child(node, last)
        else:
            second = node_hash(second, item)
        node, last = node >> 1, last >> 1
    if last or first != old_root or second != new_root:
        raise ProofError(f"The {old_size} entries seen before are not the first {old_size} of the {new_size} now.")


def _to_right_child(node: int, last: int) -> tuple[int, int]:
    """Climb while `node` is a left child without a right sibling: the tree's right edge."""
    while node and not node & 1:
        node, last = node >> 1, last >> 1
    return node, last


# --- the witness ----------------------------------------------------------------------------------------------------


def parse_request(request: bytes) -> tuple[int, list[bytes], Checkpoint]:
    """Read an `add-checkpoint` body: old size, consistency proof, head."""
    try:
        head, blank, note = request.decode().partition("\n\n")
    except UnicodeDecodeError as error:
        raise ProofError("The request is not UTF-8 text.") from error
    first, *proof = head.split("\n")
    old = first.removeprefix("old ")
    if not blank or first == old or not old.isascii() or not old.isdigit() or str(int(old)) != old:
        raise ProofError("This is not a witness request: it must open with 'old SIZE'.")
    if len(proof) > MAX_PROOF_HASHES:
        raise ProofError(f"The consistency proof has {len(proof)} hashes; {MAX_PROOF_HASHES} is the most.")
    return int(old), [decode64(line) for line in proof], parse_checkpoint(note)


def cosign(request: bytes, *, key: Path, state: Path, now: float, log: str = "") -> str:
    """Check the head in `request` against what this witness saw last, remember it, and return it cosigned.

    `log` is the ledger's public key line, needed the first time it is seen. Order of durability: the new head is in
    the state file, synced, before the cosignature exists; a crash between the two loses a cosignature, never memory.
    """
    private, witness = load_key(key, COSIGNER_KEY)
    old_size, proof, head = parse_request(request)
    with _locked(state):
        seen = json.loads(state.read_text(encoding="utf-8")) if state.exists() else {}
        known = seen.get(head.origin)
        vkey = known["vkey"] if known else log
        if not vkey:
            raise ProofError(f"'{head.origin}' is new to this witness. Give its public key once, with --log VKEY.")
        if log and parse_vkey(log) != parse_vkey(vkey):
            raise ProofError(f"'{head.origin}' is known under another key ({vkey}). Find out why before you go on.")
        check_log_signature(head, parse_vkey(vkey))
        size, root = (known["size"], decode64(known["root"])) if known else (0, hashlib.sha256().digest())
        _refuse_rollback(head, size, root)
        if old_size != size:
            raise ProofError(f"The request starts at size {old_size}, this witness stands at {size}: ask from {size}.")
        check_consistency((size, root), (head.size, head.root), proof)
        seen[head.origin] = {"vkey": vkey, "size": head.size, "root": encode64(head.root), "note": head.note}
        _replace(state, json.dumps(seen, indent=1, sort_keys=True) + "\n")
    seconds = int(now)
    signature = private.sign(cosigned_message(head, seconds))
    return head.note + signature_line(witness.name, witness.key_id + seconds.to_bytes(8, "big") + signature)


def _refuse_rollback(head: Checkpoint, size: int, root: bytes) -> None:
    if head.size < size:
        raise ProofError(
            f"Rollback: '{head.origin}' shows {head.size} entries, this witness has seen {size}. Entries were removed "
            "or an old backup was restored. Not cosigned."
        )
    if head.size == size and size and head.root != root:
        raise ProofError(f"Fork: '{head.origin}' signed two different histories of {size} entries. Not cosigned.")


@contextmanager
def _locked(state: Path) -> Iterator[None]:
    """Let one process at a time read and replace the state file."""
    with state.with_name(state.name + ".lock").open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _replace(path: Path, text: str) -> None:
    fresh = path.with_name(path.name + ".new")
    with fresh.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# --- proofs ---------------------------------------------------------------------------------------------------------


def check_proof(bundle: bytes, log: str = "") -> dict[str, Any]:
    """Check a `.baray-proof`; returns what it proves. `log` is the ledger's key line that the reader already holds.

    Without `log` the key inside the bundle is taken: then the proof says only that the holder of *that* key said so.
    """
    try:
        data = json.loads(bundle)
        about, entry, proof, keys = data["about"], data["entry"], data["proof"], data["keys"]
        if data["format"] != "baray-proof/v1" or not isinstance(about, dict):
            raise ProofError(f"'{data['format']}' is not a proof format this checker knows.")
        index, path, head = _parse_tlog_proof(proof)
        verifier = parse_vkey(log or keys["log"])
        check_log_signature(head, verifier)
        check_inclusion(index, head.size, leaf_hash(entry.encode()), path, head.root)
        said = json.loads(entry)
        _check_statement(about, said, data)
        witnesses = [parse_vkey(line) for line in keys["witnesses"]]
        times = {witness.name: check_cosignature(head, witness) for witness in witnesses}
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ProofError(f"This is not a proof bundle, or it is damaged ({type(error).__name__}: {error}).") from error
    return {"index": index, "size": head.size, "entry": said, "about": about, "log": verifier.vkey, "witnesses": times}


def _check_statement(about: dict[str, Any], said: dict[str, Any], data: dict[str, Any]) -> None:
    """Every word of the statement must be in the signed entry, in its batch, or in attached bytes that these bind."""
    facts = said.get("facts", {})
    bound = {**facts, **{name: said.get(name, "") for name in ("kind", "subject", "label")}}
    if "batch" in data:
        batch, root = data["batch"], bytes.fromhex(facts["root"].removeprefix("sha256:"))
        path = [decode64(item) for item in batch["path"]]
        check_inclusion(batch["index"], facts["count"], leaf_hash(batch["receipt_digest"].encode()), path, root)
        bound = {"kind": said["kind"], "receipt_digest": batch["receipt_digest"]}
    if "attached" in data:
        if _digest_of(data["attached"]) not in {facts.get("manifest"), bound.get("receipt_digest")}:
            raise ProofError("What is attached is not what the entry binds.")
        bound |= {f"attached_{name}": value for name, value in json.loads(data["attached"]).items()}
    if "statement" in data and facts.get("provenance") != _digest_of(data["statement"]):
        raise ProofError("The statement that came along is not the one that the entry names.")
    for name, value in about.items():
        if name not in bound or bound[name] != value:
            raise ProofError(f"The bundle says {name} = {value!r}, the signed entry does not.")


def _digest_of(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def _parse_tlog_proof(text: str) -> tuple[int, list[bytes], Checkpoint]:
    first, _, rest = text.partition("\n")
    head, blank, note = rest.partition("\n\n")
    index, *path = head.split("\n")
    number = index.removeprefix("index ")
    if first != "c2sp.org/tlog-proof@v1" or not blank or number == index or not number.isdigit():
        raise ProofError("The proof is not a c2sp.org/tlog-proof@v1.")
    return int(number), [decode64(line) for line in path if line], parse_checkpoint(note)


# --- the command ----------------------------------------------------------------------------------------------------


def main(
    arguments: Sequence[str] | None = None,
    now: Callable[[], float] = time.time,  # noqa: TID251 - runs alone, so its clock is chosen here
) -> int:
    """Run `init`, `cosign` or `verify`; 0 done, 1 refused."""
    parser = argparse.ArgumentParser(prog="witness.py", description="Witness a ledger's heads, and check its proofs.")
    commands = parser.add_subparsers(dest="command", required=True)
    key = "the ledger's public key line that you hold"
    init = commands.add_parser("init", help="make a witness key")
    init.add_argument("key", type=Path)
    init.add_argument("--name", default="", help="for example court.example/witness")
    sign = commands.add_parser("cosign", help="check a request and print the cosigned head")
    sign.add_argument("request", type=Path)
    sign.add_argument("--state", type=Path, required=True, help="what this witness has seen; keep it safe")
    sign.add_argument("--key", type=Path, required=True)
    sign.add_argument("--log", default="", help=f"{key}; needed the first time")
    check = commands.add_parser("verify", help="check a .baray-proof")
    check.add_argument("bundle", type=Path)
    check.add_argument("--log", default="", help=key)
    given = parser.parse_args(arguments)
    try:
        sys.stdout.write(_run(given, now))
    except (ProofError, OSError, ValueError) as error:
        sys.stderr.write(f"refused: {error}\n")
        return 1
    return 0


def _run(given: argparse.Namespace, now: Callable[[], float]) -> str:
    if given.command == "init":
        return create_key(given.key, given.name or given.key.stem, COSIGNER_KEY, os.urandom(32)) + "\n"
    if given.command == "cosign":
        return cosign(given.request.read_bytes(), key=given.key, state=given.state, now=now(), log=given.log)
    return json.dumps(check_proof(given.bundle.read_bytes(), given.log), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.exit(main())
