"""The ledger's format is frozen: known answers for every form of bytes that leaves the process.

A ledger that was written by any released version must verify for ever. These answers were computed once, and their tree
was checked against the public vectors of RFC 6962 implementations; they are never computed anew to make a test pass.
"""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import pytest

from baray.core import TestClock
from baray.ledger import (
    FileSigner,
    Ledger,
    accept_cosignature,
    add_witness,
    batch_root,
    prove,
    public_file,
    request,
    verify_bundle,
    verify_home,
)
from baray.ledger import witness as outside
from baray.store import migrate, open_store

ANSWERS = Path(__file__).parents[1] / "vectors" / "ledger" / "v1.json"
ORIGIN = "baray.example/known"
ACTOR = "u_01jdq5s3k00000000000000000"
VERSION = "v_01jdq5s3k00000000000000001"
PROJECT = "p_01jdq5s3k00000000000000002"
START = 1_790_000_000.0
EVENTS = [
    ("home.created", {"actor": "system", "subject": "home"}),
    (
        "version.published",
        {
            "actor": ACTOR,
            "subject": VERSION,
            "project": PROJECT,
            "label": "internal:tax@ministry",
            "facts": {"digest": "sha256:" + "1" * 64, "manifest": "sha256:" + "2" * 64, "rows": 17, "score": 0.913},
        },
    ),
    ("access.denied", {"actor": ACTOR, "subject": "service:desk", "project": PROJECT, "decision": "label.level"}),
]


def known():
    return json.loads(ANSWERS.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def computed(tmp_path_factory):
    return compute(tmp_path_factory.mktemp("known"))


def compute(folder):
    """What this version writes for fixed keys, times and events."""
    clock = TestClock(START)
    migrate(folder / "baray.db")
    signer = FileSigner(folder / "ledger.key", name=ORIGIN, chance=lambda number: bytes(range(number)))
    ledger = Ledger(origin=ORIGIN, signer=signer, clock=clock, chance=lambda number: b"salt"[:1] * number)
    store = open_store(folder / "baray.db", sealer=ledger)
    found = {"log_key_file": (folder / "ledger.key").read_text(), "log_vkey": signer.vkey}
    for kind, fields in EVENTS:
        store.write(lambda tx, kind=kind, fields=fields: ledger.append(tx, kind, **fields))
        clock.advance(1.5)
    entries = store.read(lambda tx: [entry.data for entry in ledger.entries(tx)])
    found["entries"] = [data.decode() for data in entries]
    found["leaf_hashes"] = [outside.leaf_hash(data).hex() for data in entries]
    found["tile/0/000.p/3"] = get(store, "tile/0/000.p/3").hex()
    found["sha256 of tile/entries/000.p/3"] = sha256(get(store, "tile/entries/000.p/3")).hexdigest()
    found["checkpoint of 3"] = get(store, "checkpoint").decode()

    def many(tx):
        for number in range(70_000 - 3):
            ledger.append(tx, "run.started", actor=ACTOR, subject=f"entry:{number}")

    store.write(many)
    clock.advance(60)
    found["checkpoint of 70000"] = get(store, "checkpoint").decode()
    for path in ("tile/0/000", "tile/0/273.p/112", "tile/1/000", "tile/1/001.p/17", "tile/2/000.p/1"):
        found[f"sha256 of {path}"] = sha256(get(store, path)).hexdigest()
    found["inclusion of 17 in 70000"] = [item.hex() for item in store.read(lambda tx: ledger.inclusion(tx, 17, 70_000))]
    found["consistency of 3 with 70000"] = [
        item.hex() for item in store.read(lambda tx: ledger.consistency(tx, 3, 70_000))
    ]
    found |= witness_forms(folder, store, ledger, clock)
    found["commitment"] = store.write(lambda tx: ledger.commitment(tx, "សុខ ដារ៉ា"))
    found["batch root"] = batch_root(["sha256:" + digit * 64 for digit in "012"])
    store.close()
    return found


def witness_forms(folder, store, ledger, clock):
    found = {}
    vkey = outside.create_key(folder / "w.key", "court.example/w", outside.COSIGNER_KEY, bytes(range(32, 64)))
    found["witness_key_file"], found["witness_vkey"] = (folder / "w.key").read_text(), vkey
    store.write(lambda tx: add_witness(tx, ledger, vkey, actor=ACTOR))
    for step in ("first", "second"):
        asked = store.read(request)
        found[f"{step} request"] = asked.decode()
        answer = outside.cosign(asked, key=folder / "w.key", state=folder / "w.state", now=clock.now(), log=ledger.vkey)
        found[f"{step} cosigned head"] = answer
        store.write(lambda tx, answer=answer: accept_cosignature(tx, ledger, answer, actor=ACTOR))
        clock.advance(60)
    found["witness state"] = (folder / "w.state").read_text()
    found["proof of version"] = store.read(lambda tx: prove(tx, VERSION)).decode()
    return found


def get(store, path):
    return store.read(lambda tx: public_file(tx, path))


def test_every_form_is_what_it_was(computed):
    answers = known()
    assert computed.keys() == answers.keys()
    different = {name for name in answers if computed[name] != answers[name]}
    assert different == set()


def test_the_frozen_proof_still_verifies():
    answers = known()
    report = verify_bundle(answers["proof of version"].encode(), log=answers["log_vkey"])
    assert (report.ok, report.witnessed) == (True, True)


def test_a_proof_of_before_still_verifies_and_what_was_asked_for_is_not_shown_as_proved():
    """Bundles once repeated the caller's words, which nothing bound."""
    old = (ANSWERS.parent / "proof-with-question.baray-proof").read_bytes()
    assert b'"asked_for"' in old
    report = verify_bundle(old.replace(VERSION.encode(), b"dataset:forged", 1), log=known()["log_vkey"])
    assert report.ok
    assert "forged" not in json.dumps(report.as_json())
    assert "asked_for" not in known()["proof of version"]


def test_the_frozen_heads_and_cosignatures_still_verify():
    answers = known()
    log, witness = outside.parse_vkey(answers["log_vkey"]), outside.parse_vkey(answers["witness_vkey"])
    for name in ("checkpoint of 3", "checkpoint of 70000", "first cosigned head", "second cosigned head"):
        outside.check_log_signature(outside.parse_checkpoint(answers[name]), log)
    for name in ("first cosigned head", "second cosigned head"):
        assert outside.check_cosignature(outside.parse_checkpoint(answers[name]), witness) >= START


def test_the_frozen_proofs_still_verify():
    answers = known()
    small, large = (outside.parse_checkpoint(answers[f"checkpoint of {size}"]) for size in (3, 70_000))
    proof = [bytes.fromhex(item) for item in answers["consistency of 3 with 70000"]]
    outside.check_consistency((small.size, small.root), (large.size, large.root), proof)
    for index, leaf in enumerate(answers["leaf_hashes"]):
        assert outside.leaf_hash(answers["entries"][index].encode()).hex() == leaf


def test_the_home_that_made_the_answers_verifies(tmp_path):
    compute(tmp_path)
    assert verify_home(tmp_path).findings[0].where == f"row of version {VERSION}"  # the only thing it lacks
