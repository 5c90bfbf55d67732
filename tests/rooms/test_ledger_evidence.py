"""Witnesses, proof bundles, exports: what leaves the home and is checked elsewhere."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledger_homes import ACTOR, ORIGIN, WITNESS, opened

import baray.ledger
from baray.core import NotFound, Refused, canonical_json, digest_bytes, iso_time
from baray.ledger import (
    accept_cosignature,
    add_witness,
    batch_root,
    export,
    prove,
    public_file,
    request,
    tree,
    verify_bundle,
    verify_home,
    witnesses,
)
from baray.ledger import witness as outside

TOOL = Path(baray.ledger.__file__).with_name("witness.py")


@pytest.fixture
def home(tmp_path):
    with opened(tmp_path / "home") as found:
        found.append(300)
        yield found


@pytest.fixture
def keys(tmp_path):
    return tmp_path / "w.key", tmp_path / "w.state"


def cosign(home, keys, asked=None, log=None):
    asked = asked or home.store.read(request)
    return outside.cosign(asked, key=keys[0], state=keys[1], now=5.9, log=home.ledger.vkey if log is None else log)


def accept(home, answer):
    return home.store.write(lambda tx: accept_cosignature(tx, home.ledger, answer, actor=ACTOR))


# --- witnesses ------------------------------------------------------------------------------------------------------


def test_a_witness_follows_a_growing_ledger(home, keys):
    home.witnessed(*keys)
    assert verify_home(home.path).witnessed
    home.append(1000)
    home.witnessed(*keys)
    (row,) = home.store.read(witnesses)
    assert (row.name, row.size, row.time) == (WITNESS, 1302, float(int(home.clock.now())))
    said = [
        entry
        for entry in home.store.read(lambda tx: home.ledger.newest(tx, limit=2000))
        if entry.kind == "head.witnessed"
    ]
    assert [entry.facts["size"] for entry in said] == [1302, 301]
    report = verify_home(home.path)
    assert (report.ok, report.witnessed) == (True, True)


def test_the_request_is_an_add_checkpoint_body(home, keys):
    home.witnessed(*keys)
    home.append(7)
    asked = home.store.read(request)
    old, proof, head = outside.parse_request(asked)
    assert (old, head.size) == (301, 309)
    assert asked.startswith(b"old 301\n")
    assert asked.endswith(home.head().note.encode())
    assert len(asked.split(b"\n\n")) == 3
    assert proof == home.store.read(lambda tx: home.ledger.consistency(tx, 301, 309))


def test_a_witness_whose_answer_was_lost_is_asked_from_where_it_stands(home, keys):
    home.witnessed(*keys)
    home.append()
    cosign(home, keys)
    home.append()
    with pytest.raises(outside.ProofError, match="ask from 303"):
        cosign(home, keys)
    again = home.store.read(lambda tx: request(tx, WITNESS, old=303))
    assert accept(home, cosign(home, keys, again)).size == 304
    with pytest.raises(Refused, match="has seen 999"):
        home.store.read(lambda tx: request(tx, WITNESS, old=999))


def test_a_late_answer_and_a_line_alone_are_taken(home, keys):
    home.witnessed(*keys)
    home.clock.advance(100)
    home.append()
    late = cosign(home, keys)
    home.clock.advance(100)
    home.append(50)
    line = late.splitlines(keepends=True)[-1]
    assert accept(home, line).size == 303
    home.append()
    assert accept(home, cosign(home, keys)).size > 303
    assert accept(home, late).size > 303  # an older cosignature changes nothing
    assert verify_home(home.path).ok


def test_a_new_log_needs_its_key_once(home, keys):
    outside.create_key(keys[0], WITNESS, outside.COSIGNER_KEY, bytes(32))
    with pytest.raises(outside.ProofError, match="is new to this witness"):
        cosign(home, keys, log="")
    cosign(home, keys)
    assert cosign(home, keys, asked=b"old 300\n\n" + home.head().note.encode(), log="")


def test_rollbacks_and_forks_are_refused_in_plain_words(home, keys, tmp_path):
    home.witnessed(*keys)
    seen = keys[1].read_bytes()
    for number, words in ((250, "Rollback"), (301, "Fork"), (400, "not the first 301")):
        with opened(tmp_path / f"other{number}") as other:
            other.clock.advance(9)
            other.append(number)
            old = b"" if number == 400 else b"old 301\n\n" + other.head().note.encode()
            proof = (
                [outside.encode64(item) for item in other.store.read(lambda tx: other.ledger.consistency(tx, 301, 400))]
                if number == 400
                else []
            )
            asked = old or ("\n".join(["old 301", *proof]) + "\n\n" + other.head().note).encode()
            with pytest.raises(outside.ProofError, match=words):
                cosign(other, keys, asked)
    assert keys[1].read_bytes() == seen


def test_a_request_from_a_wrong_size_or_key_is_refused(home, keys, tmp_path):
    home.witnessed(*keys)
    with pytest.raises(outside.ProofError, match="ask from 301"):
        cosign(home, keys, b"old 0\n\n" + home.head().note.encode())
    other = outside.create_key(tmp_path / "k", ORIGIN, outside.LOG_KEY, bytes(32))
    with pytest.raises(outside.ProofError, match="known under another key"):
        cosign(home, keys, log=other)
    unsigned = home.store.read(request).rpartition(b"\n\n")[0] + b"\n\n" + "\u2014 x AAAAAAA=\n".encode()
    with pytest.raises(outside.ProofError, match="No signature"):
        cosign(home, keys, unsigned)


@pytest.mark.parametrize(
    "asked",
    [
        b"",
        b"old\n\nx",
        b"old 01\n\nx\n",
        b"new 0\n\nx",
        b"old 0\n\n\xff",
        b"old 0\nAA\n\nx\n1\nAA==\n\nx",
        b"old -1\n\n",
    ],
)
def test_other_requests_are_refused(keys, asked):
    outside.create_key(keys[0], WITNESS, outside.COSIGNER_KEY, bytes(32))
    with pytest.raises(outside.ProofError):
        outside.cosign(asked, key=keys[0], state=keys[1], now=1.0)


def test_foreign_cosignatures_are_refused(home, keys, tmp_path):
    with pytest.raises(Refused, match="No witness is registered"):
        accept(home, home.head().note)
    home.witnessed(*keys)
    with pytest.raises(Refused, match="None of the registered"):
        accept(home, home.head().note)
    stranger = (tmp_path / "s.key", tmp_path / "s.state")
    outside.create_key(stranger[0], "other.example/w", outside.COSIGNER_KEY, bytes(32))
    with pytest.raises(Refused, match="None of the registered"):
        accept(home, cosign(home, stranger, b"old 0\n\n" + home.head().note.encode()))
    with pytest.raises(Refused, match="not a signature line"):
        accept(home, "hello")
    with opened(tmp_path / "twin") as twin:
        twin.append(500)
        other = outside.cosign(
            b"old 0\n\n" + twin.head().note.encode(),
            key=keys[0],
            state=tmp_path / "fresh",
            now=1.0,
            log=twin.ledger.vkey,
        )
    with pytest.raises(Refused, match="not of this history"):
        accept(home, other)
    assert verify_home(home.path).ok


def test_witnesses_are_registered_once_and_only_with_their_own_kind_of_key(home):
    vkey = outside.Verifier(name=WITNESS, type=outside.COSIGNER_KEY, public=bytes(32)).vkey

    def add(line):
        return home.store.write(lambda tx: add_witness(tx, home.ledger, line, actor=ACTOR))

    assert add(vkey + "\n") == WITNESS
    for wrong, words in (
        (vkey, "already"),
        (home.ledger.vkey, "key of a log"),
        ("x", "not a public key"),
        (vkey.replace("w1", "w2"), "altered"),
    ):
        with pytest.raises(Refused, match=words):
            add(wrong)
    with pytest.raises(NotFound):
        home.store.read(lambda tx: request(tx, "nobody"))


def test_the_tool_runs_alone(home, tmp_path):
    tool = tmp_path / "usb" / "witness.py"
    tool.parent.mkdir()
    tool.write_bytes(TOOL.read_bytes())

    def run(*arguments, code=0):
        done = subprocess.run(
            [sys.executable, "-I", tool, *map(str, arguments)], capture_output=True, text=True, check=False
        )
        assert done.returncode == code, done.stderr
        return done.stdout if code == 0 else done.stderr

    key, state, asked = tmp_path / "usb" / "key", tmp_path / "usb" / "state", tmp_path / "usb" / "request"
    vkey = run("init", key, "--name", WITNESS)
    assert key.stat().st_mode & 0o777 == 0o600
    assert "File exists" in run("init", key, code=1)
    home.store.write(lambda tx: add_witness(tx, home.ledger, vkey, actor=ACTOR))
    asked.write_bytes(home.store.read(request))
    assert "--log VKEY" in run("cosign", asked, "--state", state, "--key", key, code=1)
    answer = run("cosign", asked, "--state", state, "--key", key, "--log", home.ledger.vkey)
    assert accept(home, answer).size == 301
    proof = tmp_path / "usb" / "entry.baray-proof"
    proof.write_bytes(home.store.read(lambda tx: prove(tx, 17)))
    shown = json.loads(run("verify", proof, "--log", home.ledger.vkey))
    assert (shown["index"], list(shown["witnesses"])) == (17, [WITNESS])
    proof.write_text(proof.read_text().replace("run.started", "run.stopped"))
    assert run("verify", proof, code=1).startswith("refused: ")


# --- proofs ---------------------------------------------------------------------------------------------------------


def test_a_version_is_proved_with_its_manifest(home, keys):
    version = home.publish("dataset", "letters", {"a": b"1"}, "public")
    (_kind, manifest) = home.store.read(lambda tx: tx.hot("SELECT id, manifest_digest FROM version").fetchone())
    attached = home.blobs.path(manifest).read_bytes()
    for what in (version, "dataset:letters@v1", "dataset:letters"):
        bundle = home.store.read(lambda tx, what=what: prove(tx, what, attached))
        report = verify_bundle(bundle, log=home.ledger.vkey)
        assert report.ok
        about = report.checked["about"]
        assert (about["subject"], about["label"], about["manifest"]) == (version, "public", manifest)
        assert (about["attached_kind"], about["attached_name"]) == ("dataset", "letters")
        assert not report.witnessed
        proved = report.as_json()["proves"]
        assert (proved["kind"], proved["subject"], proved["label"]) == ("version.published", version, "public")
        assert proved["digest"]["manifest"] == manifest
        assert proved["attached"]["name"] == "letters"
        text = "\n".join(report.lines())
        for shown in (version, manifest, "label: public", f"time: {iso_time(home.clock.now())}", home.ledger.vkey):
            assert shown in text
    home.witnessed(*keys)
    home.append(9)
    witnessed = verify_bundle(home.store.read(lambda tx: prove(tx, version, attached)))
    assert witnessed.witnessed
    assert list(witnessed.proves["witnessed"]) == [WITNESS]
    for old, new in (("letters", "other"), ('"public"', '"secret"'), (version, "v_" + "0" * 26)):
        assert not verify_bundle(bundle.replace(old.encode(), new.encode())).ok


def test_an_answer_is_proved_through_its_batch(home):
    receipts = {f"a_{n:026d}": canonical_json({"id": f"a_{n:026d}", "outcome": "answered"}) for n in range(700)}
    ids = list(receipts)
    for part in (ids[:3], ids[3:400], ids[400:]):
        home.store.write(lambda tx, part=part: take_in(home, tx, {name: receipts[name] for name in part}))
    for name in (ids[0], ids[3], ids[257], ids[699]):
        bundle = home.store.read(lambda tx, name=name: prove(tx, f"answer:{name}", receipts[name]))
        report = verify_bundle(bundle, log=home.ledger.vkey)
        assert report.findings == ()
        assert report.checked["about"]["attached_id"] == name
        assert report.checked["about"]["receipt_digest"] == digest_bytes(receipts[name])
    assert not verify_bundle(home.store.read(lambda tx: prove(tx, ids[5], receipts[ids[6]]))).ok
    home.store.write(lambda tx: tx.hot("UPDATE answer SET receipt_digest = 'sha256:0' WHERE id = ?", (ids[4],)))
    with pytest.raises(Refused, match="changed or erased"):
        home.store.read(lambda tx: prove(tx, ids[5]))
    with pytest.raises(NotFound):
        home.store.read(lambda tx: prove(tx, "answer:a_" + "z" * 26))


def take_in(home, tx, receipts):
    """Insert answers and enter their batch, as the serving side does."""
    service = ("e_1", "p_1", "desk", "d", "", "ready", "[]", 1)
    for table, row in (
        ("project (id, name, title, label, created)", ("p_1", "main", "", "public", 1)),
        ("service (id, project_id, kind, name, title, state, audience, created)", service),
        ("revision (id, service_id, number, spec, label, created)", ("x_1", "e_1", 1, "{}", "public", 1)),
    ):
        marks = ", ".join("?" * len(row))
        tx.hot(f"INSERT INTO {table} VALUES ({marks}) ON CONFLICT DO NOTHING", row)
    names = "id, receipt_digest, service_id, revision_id, project_id, actor_id, created, outcome, question, language"
    ids = ("e_1", "x_1", "p_1", "u_1", 1, "answered", "", "en", "public", "", "[]", 1)
    rows = [(name, digest_bytes(data), *ids) for name, data in receipts.items()]
    tx.hot(f"INSERT INTO answer ({names}, label, answer, citations, ms) VALUES ({', '.join('?' * 14)})", rows)
    facts = {"count": len(rows), "root": batch_root([row[1] for row in rows])}
    home.ledger.append(tx, "answers.batch", actor="system", subject="e_1", facts=facts)


@pytest.mark.parametrize("what", ["v_" + "z" * 26, "dataset:none@v1", "999", "entry:999"])
def test_what_is_not_there_cannot_be_proved(home, what):
    with pytest.raises(NotFound):
        home.store.read(lambda tx: prove(tx, what))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("proof")
    with opened(folder / "home") as home:
        home.append(300)
        home.publish("dataset", "letters", {"a": b"1"})
        home.witnessed(folder / "w.key", folder / "w.state")
        manifest = home.store.read(lambda tx: tx.hot("SELECT manifest_digest FROM version").scalar())
        return home.store.read(lambda tx: prove(tx, "dataset:letters@v1", home.blobs.path(manifest).read_bytes()))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_flipped_bit_of_what_a_proof_says_is_refused(bundle, data):
    whole = json.loads(bundle)
    name = data.draw(st.sampled_from(["entry", "proof", "attached"]))
    text = bytearray(whole[name].encode())
    at = data.draw(st.integers(0, len(text) * 8 - 1))
    text[at >> 3] ^= 1 << (at & 7)
    changed = text.decode(errors="replace")
    assert not verify_bundle(json.dumps({**whole, name: changed}).encode()).ok, (name, at)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    junk=st.one_of(
        st.binary(max_size=200),
        st.recursive(st.none() | st.integers() | st.text(max_size=9), st.lists).map(
            lambda value: json.dumps(value).encode()
        ),
    )
)
def test_junk_is_no_proof_and_raises_nothing(junk):
    assert not verify_bundle(junk).ok


def test_missing_parts_of_a_proof_are_refused(bundle):
    whole = json.loads(bundle)
    for name in ("about", "entry", "proof", "keys", "format"):
        for value in (None, 7, [], "x"):
            assert not verify_bundle(json.dumps({**whole, name: value}).encode()).ok
        assert not verify_bundle(json.dumps({key: value for key, value in whole.items() if key != name}).encode()).ok
    assert not verify_bundle(json.dumps({**whole, "about": {**whole["about"], "claim": "more"}}).encode()).ok


# --- exports and public files ---------------------------------------------------------------------------------------


def test_an_export_verifies_offline_and_its_damage_is_named(home, keys, tmp_path):
    home.append(66_000)
    home.witnessed(*keys)
    out = tmp_path / "ledger.tar"
    size = home.store.read(lambda tx: export(tx, out))
    report = verify_bundle(out, log=home.ledger.vkey)
    assert (report.findings, report.entries, report.witnessed) == ((), size, True)
    assert (
        verify_bundle(
            rewritten(out, tmp_path, "tile/entries/001", lambda data: data.replace(b"run.started", b"run.stopped", 1))
        )
        .findings[0]
        .where
        == "entry 256"
    )
    assert where(rewritten(out, tmp_path, "tile/0/002", lambda data: data[:-1] + b"\x00")) == ["tile 0/2"]
    assert where(rewritten(out, tmp_path, "tile/1/000", lambda data: bytes(32) + data[32:])) == ["tile 1/0"]
    assert (
        "head at size" in where(rewritten(out, tmp_path, "checkpoint", lambda data: data.replace(b"\n6", b"\n5", 1)))[0]
    )
    assert f"witness {WITNESS}" in where(
        rewritten(out, tmp_path, "witnessed/000", lambda data: data[:-20] + b"A" + data[-19:])
    )
    assert where(rewritten(out, tmp_path, "keys", lambda data: b"")) != []
    assert where(rewritten(out, tmp_path, "tile/entries/003", lambda data: data[:-1])) != []
    assert where(rewritten(out, tmp_path, "tile/0/999", lambda data: b"", add=True)) == ["tile/0/999"]
    (tmp_path / "cut.tar").write_bytes(out.read_bytes()[:5000])
    assert not verify_bundle(tmp_path / "cut.tar").ok
    assert not verify_bundle(tmp_path / "none.tar").ok


def where(path):
    return [finding.where for finding in verify_bundle(path).findings]


def rewritten(tar, folder, name, change, *, add=False):
    out = folder / "changed.tar"
    with tarfile.open(tar) as source, tarfile.open(out, "w") as target:
        for member in source.getmembers():
            data = source.extractfile(member).read()
            if member.name == name:
                data = change(data)
                member.size = len(data)
            target.addfile(member, io.BytesIO(data))
        if add:
            target.addfile(tarfile.TarInfo(name), io.BytesIO(b""))
    return out


def test_public_files_have_the_names_and_bytes_of_tlog_tiles(home):
    def get(path):
        return home.store.read(lambda tx: public_file(tx, path))

    entries = [entry.data for entry in home.store.read(lambda tx: home.ledger.entries(tx, limit=500))]
    assert get("checkpoint") == home.head().note.encode()
    assert get("tile/0/000") == tree.hash_leaves(entries[:256])
    assert get("tile/0/001.p/44") == tree.hash_leaves(entries[256:300])
    assert get("tile/0/001.p/10") == get("tile/0/001.p/44")[:320]
    assert get("tile/1/000.p/1") == tree.hash_row(tree.hash_leaves(entries[:256]))
    assert tree.unpack_entries(get("tile/entries/001.p/44")) == entries[256:]
    for path in (
        "tile/0/001",
        "tile/0/001.p/45",
        "tile/0/002",
        "tile/64/000",
        "tile/0/1",
        "tile/0/000.p/0",
        "x",
        "tile/0/../000",
    ):
        with pytest.raises(NotFound):
            get(path)
