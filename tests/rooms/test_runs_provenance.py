"""What control signs about a Run that succeeded: in the same transaction, or not at all."""

from __future__ import annotations

import json
import sqlite3
import tarfile
from contextlib import closing
from dataclasses import replace

import pytest

from baray import runs
from baray.access import INTERNAL, PUBLIC
from baray.catalog import FileEntry, SourceRequest, add_source, by_id, provenance, read_manifest
from baray.core import TestClock, canonical_json, digest_bytes
from baray.ledger import (
    FileArtifactSigner,
    check_model,
    export,
    open_envelope,
    prove,
    public_file,
    register_key,
    seal,
    verify_bundle,
    verify_home,
)
from baray.ledger.witness import check_proof
from baray.runs.protocol import AttemptResult, WorkerOffer
from runs_home import open_home, wait_until

TITLE = "លិខិតរដ្ឋបាល"


@pytest.fixture
def home(tmp_path):
    with open_home(tmp_path / "home", TestClock()) as opened:
        yield opened


@pytest.fixture
def living(tmp_path):
    """A home on the machine's own clock, for real workers."""
    with open_home(tmp_path / "home") as opened:
        yield opened


def source(home, name="letters", licence="CC-BY-4.0", label=INTERNAL):
    data = name.encode()
    files = (FileEntry(path="ក.txt", digest=home.site.blobs.put_bytes(data), bytes=len(data)),)
    values = {"project_id": home.project, "actor_id": home.actor, "name": name, "title": TITLE, "label": label}
    held = frozenset(file.digest for file in files)
    return add_source(home.site, SourceRequest(**values, licence=licence, files=files, held=held))[0]


def lease(home):
    return runs.lease(home.site, WorkerOffer(worker="local", cpus=2, memory_bytes=2**40, tier="A", limits="soft")).grant


def finish(home, *outputs):
    grant = lease(home)
    held = {"attempt_id": grant.attempt_id, "run_id": grant.run_id, "lease_token": grant.lease_token}
    assert runs.apply(home.site, AttemptResult(**held, outcome="succeeded", outputs=outputs))
    return grant.run_id


def output(home, kind="dataset", name="made", files=("data.txt",)):
    rows = [
        {"path": path, "digest": home.site.blobs.put_bytes(path.encode()), "bytes": len(path.encode())}
        for path in files
    ]
    return {
        "kind": kind,
        "name": name,
        "digest": digest_bytes(name.encode()),
        "labels": [],
        "files": rows,
        "summary": {},
    }


def envelope(home, run_id):
    return home.site.store.read(lambda tx: provenance(tx, run_id))


def statement(home, run_id):
    return open_envelope(json.loads(envelope(home, run_id)), [home.site.artifacts.key])


def facts(home, kind):
    found = home.site.store.read(lambda tx: home.site.ledger.entries(tx, limit=1000))
    return [entry.facts for entry in found if entry.kind == kind]


def test_it_names_inputs_and_outputs_with_digests_and_labels(home):
    letters = source(home)
    run = home.submit(handler="m:f", inputs={"source": letters}, options={"title": TITLE}, label=PUBLIC)
    finish(home, output(home))
    said = statement(home, run.id)
    (made,) = home.get(run.id).outputs
    version = home.site.store.read(lambda tx: by_id(tx, made["id"]))
    first, file = said["subject"]
    assert first["name"] == "dataset:made@v1"
    assert f"sha256:{first['digest']['sha256']}" == version.manifest_digest
    assert first["annotations"] == {
        "identity": made["digest"], "label": "internal", "title": "made", "version": made["id"], "files": 1,
    }  # fmt: skip
    assert (file["name"], file["digest"]["sha256"]) == (
        "dataset:made@v1/data.txt", digest_bytes(b"data.txt")[7:],
    )  # fmt: skip
    definition, details = said["predicate"]["buildDefinition"], said["predicate"]["runDetails"]
    (given,) = definition["resolvedDependencies"]
    assert (given["name"], given["uri"]) == ("source", "urn:baray:source:letters@v1")
    assert f"sha256:{given['digest']['sha256']}" == letters.manifest_digest
    assert given["annotations"]["title"] == TITLE
    assert given["annotations"]["label"] == "internal"
    assert given["annotations"]["licences"] == ["CC-BY-4.0"]
    assert definition["externalParameters"]["options"] == {"title": TITLE}
    assert definition["externalParameters"]["inputs"] == {"source": "source:letters@v1"}
    assert definition["internalParameters"]["spec"] == run.memo_key
    assert details["builder"]["id"] == "urn:baray:home:baray.test/h"
    assert details["metadata"]["invocationId"].startswith(f"run:{run.id}/t_")


def test_its_digest_stands_in_the_entries_of_the_run_and_of_its_versions(home):
    run = home.submit(handler="m:f")
    finish(home, output(home), output(home, name="more"))
    digest = digest_bytes(envelope(home, run.id))
    assert [found["provenance"] for found in facts(home, "version.published")] == [digest, digest]
    assert [found["provenance"] for found in facts(home, "run.succeeded")] == [digest]


def test_a_run_without_outputs_is_told_of_by_its_spec(home):
    run = home.submit(command=("true",))
    finish(home)
    (subject,) = statement(home, run.id)["subject"]
    assert subject == {"name": f"run:{run.id}", "digest": {"sha256": run.memo_key[7:]}}


def test_a_failed_run_has_none(home):
    run = home.submit(command=("false",))
    grant = lease(home)
    held = {"attempt_id": grant.attempt_id, "run_id": grant.run_id, "lease_token": grant.lease_token}
    runs.apply(home.site, AttemptResult(**held, outcome="failed", error={"code": "c", "message": "m", "fix": ""}))
    assert home.get(run.id).state == "failed"
    assert envelope(home, run.id) is None


def test_an_action_that_is_undone_leaves_no_statement(home):
    run = home.submit(handler="m:f")
    finish(home, {**output(home), "name": "No Name"})
    assert home.get(run.id).state == "failed"
    assert envelope(home, run.id) is None


def test_many_files_are_named_by_the_manifest_alone(home):
    run = home.submit(handler="m:f")
    finish(home, output(home, files=tuple(f"{number}.txt" for number in range(201))))
    (subject,) = statement(home, run.id)["subject"]
    assert subject["annotations"]["files"] == 201


def test_a_model_is_signed_by_control_whatever_its_maker_wrote(home):
    letters, papers = source(home), source(home, "papers", None)
    home.submit(handler="m:f", inputs={"a": letters, "b": papers}, label=PUBLIC)
    run_id = finish(home, output(home, "model", "router", ("model.safetensors", "model.sig")))
    (made,) = home.get(run_id).outputs
    version = home.site.store.read(lambda tx: by_id(tx, made["id"]))
    manifest = read_manifest(home.site, version)
    files = {file["path"]: file["digest"] for file in manifest["files"]}
    signature = home.site.blobs.path(files.pop("model.sig")).read_bytes()
    assert signature != b"model.sig"
    checked = check_model(signature, files, [home.site.artifacts.key])
    assert checked.ok, checked.findings
    assert (checked.name, checked.digest, checked.label) == ("router", made["digest"], "internal")
    assert (checked.licences, checked.run) == (("CC-BY-4.0", "NOASSERTION"), run_id)


def test_licences_come_through_what_lies_between(home):
    letters = source(home)
    home.submit(handler="m:f", inputs={"source": letters})
    first = home.get(finish(home, output(home))).outputs[0]
    dataset = home.site.store.read(lambda tx: by_id(tx, first["id"]))
    home.submit(handler="m:g", inputs={"dataset": dataset})
    run_id = finish(home, output(home, "model", "router", ("w",)))
    (given,) = statement(home, run_id)["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert given["annotations"]["licences"] == ["CC-BY-4.0"]


def test_a_worker_lays_a_copy_into_the_runs_directory(living):
    living.serve()
    living.start_worker()
    run = living.submit(handler="drill_handlers:copy", inputs={"source": source(living)})
    assert living.wait(run.id).state == "succeeded", living.log(run.id)
    path = living.path / "runs" / run.id / "provenance.dsse.json"
    wait_until(path.exists, "the copy")
    assert path.read_bytes() == envelope(living, run.id)


def spoil(home, statement, *values):
    """Change a row behind the platform's back."""
    home.site.store.close()
    with closing(sqlite3.connect(home.path / "baray.db")) as connection:
        assert connection.execute(statement, values).rowcount == 1
        connection.commit()


def named(home):
    return [finding.where for finding in verify_home(home.path).findings]


@pytest.fixture
def made(home):
    """A home with a Model, whose Run is returned."""
    home.submit(handler="m:f", inputs={"a": source(home)})
    return finish(home, output(home, "model", "router", ("model.safetensors", "README.md")))


def test_offline_verification_looks_at_what_was_signed(home, made):
    report = verify_home(home.path)
    assert report.ok, report.findings
    assert (report.checked["statements"], report.checked["signatures"]) == (1, 1)


def test_a_changed_statement_is_named(home, made):
    text = envelope(home, made).decode()
    spoil(home, "UPDATE provenance SET envelope = ?", text[:-1] + " }")
    assert named(home) == [f"provenance of run:{made}"]


def test_a_statement_signed_anew_is_named(home, made):
    """Even with the platform's own key, and with its digest put right: the entry knows the first one."""
    said = {**statement(home, made), "predicate": {}}
    fresh = canonical_json(seal(said, home.site.artifacts)).decode()
    spoil(home, "UPDATE provenance SET envelope = ?, digest = ?", fresh, digest_bytes(fresh.encode()))
    assert named(home) == [f"provenance of run:{made}"]


def test_a_missing_and_an_added_statement_are_named(home, made):
    spoil(home, "UPDATE provenance SET run_id = 'r_2'")
    assert set(named(home)) == {"provenance of run:r_2", f"provenance of run:{made}"}


def test_a_changed_model_sig_is_named(home, made):
    files = read_manifest(home.site, home.site.store.read(lambda tx: by_id(tx, home.get(made).outputs[0]["id"])))[
        "files"
    ]
    path = home.site.blobs.path(next(file["digest"] for file in files if file["path"] == "model.sig"))
    data = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(data[:100] + bytes([data[100] ^ 1]) + data[101:])
    assert "model.sig of model:router@v1" in named(home)


def test_a_key_that_no_entry_registered_vouches_for_nothing(tmp_path):
    with open_home(tmp_path / "home", TestClock()) as home:
        other = FileArtifactSigner(tmp_path / "other.key")
        home.site = replace(home.site, artifacts=other)
        home.submit(handler="m:f")
        run_id = finish(home, output(home, "model", "router", ("w",)))
        assert named(home) == [f"provenance of run:{run_id}", "model.sig of model:router@v1"]


def test_a_key_registered_later_does_not_vouch_for_what_was_before(tmp_path):
    with open_home(tmp_path / "home", TestClock()) as home:
        other = FileArtifactSigner(tmp_path / "other.key")
        home.site = replace(home.site, artifacts=other)
        home.submit(handler="m:f")
        first = finish(home)
        home.site.store.write(lambda tx: register_key(tx, home.site.ledger, other.key))
        home.submit(handler="m:g")
        finish(home)
        assert named(home) == [f"provenance of run:{first}"]


def proof(home, made, statement=None):
    given = envelope(home, made) if statement is None else statement
    version = home.get(made).outputs[0]["id"]
    return home.site.store.read(lambda tx: prove(tx, version, b"", given))


def test_a_proof_of_a_version_carries_the_statement(home, made):
    bundle = proof(home, made)
    report = verify_bundle(bundle, log=home.site.ledger.vkey)
    assert report.ok, report.findings
    assert report.checked["statements"] == 1
    assert json.loads(bundle)["statement"].encode() == envelope(home, made)
    assert check_proof(bundle)["about"]["subject"] == home.get(made).outputs[0]["id"]


def test_another_statement_does_not_go_along(home, made):
    assert "statement" not in json.loads(proof(home, made, b'{"payload": ""}'))


@pytest.mark.parametrize("change", ["statement", "key", "no key", "cut"])
def test_a_proof_with_a_changed_statement_is_refused(home, made, change, tmp_path):
    bundle = json.loads(proof(home, made))
    if change == "statement":
        bundle["statement"] = bundle["statement"].replace('"payload":"', '"payload":"e30', 1)
    elif change == "key":
        bundle["keys"]["artifacts"] = [FileArtifactSigner(tmp_path / "other.key").key.text]
    elif change == "no key":
        del bundle["keys"]["artifacts"]
    else:
        bundle["statement"] = ""
    assert not verify_bundle(json.dumps(bundle).encode()).ok


def test_an_export_carries_the_key(home, made, tmp_path):
    out = tmp_path / "ledger.tar"
    home.site.store.read(lambda tx: export(tx, out))
    with tarfile.open(out) as archive:
        keys = archive.extractfile("keys").read().decode().splitlines()
    assert keys[-1] == f"artifacts {home.site.artifacts.key.text}"
    assert verify_bundle(out).ok
    assert home.site.store.read(lambda tx: public_file(tx, "artifacts.pub")) == home.site.artifacts.key.pem.encode()
