"""Statements about Runs, signatures of Models, and the key that both are made with."""

from __future__ import annotations

import base64
import json
import stat
import subprocess
from pathlib import Path

import pytest

from baray.core import Refused, digest_bytes
from baray.ledger import (
    FileArtifactSigner,
    ModelFacts,
    ProofError,
    check_folder,
    check_model,
    open_envelope,
    parse_key,
    register_key,
    registered_key,
    seal,
    sign_model,
)

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "ledger" / "artifacts.json").read_text(encoding="utf-8"))
FILES = {"model.safetensors": b"weights", "README.md": "# សាកល្បង\n".encode()}


@pytest.fixture
def signer(tmp_path):
    return FileArtifactSigner(tmp_path / "keys.key")


def facts(**more):
    said = {"name": "router", "digest": digest_bytes(b"identity"), "label": "internal", "run": "r_1"}
    return ModelFacts(**said | {"licences": ("CC-BY-4.0", "អាជ្ញាបណ្ណ")} | more)


def folder_of(tmp_path, signer, files=FILES, **more):
    folder = tmp_path / "model"
    folder.mkdir(exist_ok=True)
    for path, data in files.items():
        (folder / path).write_bytes(data)
    (folder / "model.sig").write_bytes(
        sign_model(facts(**more), {path: digest_bytes(data) for path, data in files.items()}, signer)
    )
    return folder


def test_known_answers(tmp_path):
    """The signature is deterministic: these bytes are what other tools were shown."""
    path = tmp_path / "artifacts.key"
    path.write_text(VECTORS["private_key"])
    path.chmod(0o600)
    signer = FileArtifactSigner(path)
    assert signer.key.text == VECTORS["public"]
    assert signer.key.id == VECTORS["key_id"]
    assert seal(VECTORS["statement"], signer) == VECTORS["envelope"]
    said = ModelFacts(**{**VECTORS["facts"], "licences": tuple(VECTORS["facts"]["licences"])})
    assert sign_model(said, VECTORS["files"], signer).decode() == VECTORS["model_sig"]


def test_a_key_is_made_once_and_kept_from_others(tmp_path):
    path = tmp_path / "artifacts.key"
    first = FileArtifactSigner(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert FileArtifactSigner(path).key == first.key == parse_key(path.with_suffix(".pub").read_text())
    assert parse_key(first.key.text) == first.key
    path.chmod(0o640)
    with pytest.raises(Refused, match="Others may read"):
        FileArtifactSigner(path)


@pytest.mark.parametrize("text", ["", "-----BEGIN PRIVATE KEY-----\n\n-----END PRIVATE KEY-----\n", "x" * 300])
def test_a_damaged_key_is_refused(tmp_path, text):
    path = tmp_path / "artifacts.key"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(Refused) as refused:
        FileArtifactSigner(path)
    assert refused.value.code == "bad_key"


def test_a_key_on_another_curve_is_refused(tmp_path, need):
    path = tmp_path / "artifacts.key"
    argv = [need("openssl"), "ecparam", "-name", "secp384r1", "-genkey", "-noout", "-out", str(path)]
    subprocess.run(argv, check=True)
    path.chmod(0o600)
    with pytest.raises(Refused, match="P-256"):
        FileArtifactSigner(path)


@pytest.mark.parametrize("text", ["", "p256_", "p256_zz", "p256_02" + "f" * 64, "no key", "p256_04" + "1" * 128])
def test_what_is_no_public_key_is_refused(text):
    with pytest.raises(ProofError):
        parse_key(text)


def test_an_envelope_opens_with_its_key_only(signer, tmp_path):
    statement = {"_type": "https://in-toto.io/Statement/v1", "subject": [], "predicateType": "x", "predicate": {}}
    envelope = seal(statement, signer)
    assert open_envelope(envelope, [signer.key]) == statement
    with pytest.raises(ProofError, match="not known"):
        open_envelope(envelope, [FileArtifactSigner(tmp_path / "other.key").key])
    with pytest.raises(ProofError, match="not known"):
        open_envelope(envelope, [])


def test_every_changed_byte_of_an_envelope_is_refused(signer):
    statement = {"_type": "https://in-toto.io/Statement/v1", "subject": [], "predicateType": "x", "predicate": {}}
    envelope = seal(statement, signer)
    payload = base64.b64decode(envelope["payload"])
    for at in range(len(payload)):
        changed = payload[:at] + bytes([payload[at] ^ 1]) + payload[at + 1 :]
        with pytest.raises(ProofError):
            open_envelope({**envelope, "payload": base64.b64encode(changed).decode()}, [signer.key])


@pytest.mark.parametrize("junk", [None, [], {}, "x", {"payloadType": "application/vnd.in-toto+json", "payload": 3}])
def test_junk_is_no_envelope(signer, junk):
    with pytest.raises(ProofError):
        open_envelope(junk, [signer.key])


def test_a_signed_folder_is_checked_with_its_label_and_licences(tmp_path, signer):
    checked = check_folder(folder_of(tmp_path, signer), [signer.key])
    assert checked.ok, checked.findings
    assert (checked.name, checked.label, checked.licences) == ("router", "internal", ("CC-BY-4.0", "អាជ្ញាបណ្ណ"))
    assert checked.files == ("README.md", "model.safetensors")


def test_a_changed_a_missing_and_an_added_file_are_named(tmp_path, signer):
    folder = folder_of(tmp_path, signer)
    (folder / "model.safetensors").write_bytes(b"Weights")
    (folder / "README.md").rename(folder / "extra.md")
    findings = check_folder(folder, [signer.key]).findings
    assert [finding.partition(":")[0] for finding in findings] == ["README.md", "extra.md", "model.safetensors"]


def test_a_link_in_the_folder_is_named(tmp_path, signer):
    folder = folder_of(tmp_path, signer)
    (folder / "link").symlink_to("/etc/passwd")
    assert check_folder(folder, [signer.key]).findings == ("link: is not a plain file",)


def test_another_label_in_the_signature_is_found(tmp_path, signer):
    folder = folder_of(tmp_path, signer)
    bundle = json.loads((folder / "model.sig").read_bytes())
    payload = base64.b64decode(bundle["dsseEnvelope"]["payload"])
    assert payload.count(b'"internal"') == 1
    changed = payload.replace(b'"internal"', b'"public"')
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(changed).decode()
    (folder / "model.sig").write_text(json.dumps(bundle))
    (finding,) = check_folder(folder, [signer.key]).findings
    assert finding.startswith("model.sig: It was changed")


@pytest.mark.parametrize("junk", [b"", b"{}", b"[]", b"\xff", b'{"mediaType": "application/json"}', b"[" * 100_000])
def test_junk_is_no_signature(signer, junk):
    (finding,) = check_model(junk, {}, [signer.key]).findings
    assert finding.startswith("model.sig: ")


def test_another_key_is_not_taken(tmp_path, signer):
    other = FileArtifactSigner(tmp_path / "other.key")
    (finding,) = check_folder(folder_of(tmp_path, signer), [other.key]).findings
    assert "not one that you trust" in finding


def test_a_key_is_registered_once_and_again_when_it_changes(site, tmp_path):
    def register(key):
        site.store.write(lambda tx: register_key(tx, site.ledger, key))

    other = FileArtifactSigner(tmp_path / "other.key").key
    for key in (site.artifacts.key, site.artifacts.key, other):
        register(key)
    found = site.store.read(lambda tx: site.ledger.entries(tx, limit=1000))
    said = [entry.facts["public"] for entry in found if entry.kind == "key.registered"]
    assert said == [site.artifacts.key.text, other.text]
    assert site.store.read(registered_key) == other
