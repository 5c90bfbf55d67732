"""What the store says and keeps when the disk is full, the sealer fails, or the process is killed."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from store_rows import LIMIT_SECONDS, Groups, entries, held, keys, put

from baray.core import Fault, SystemClock
from baray.ledger import FileSigner, Ledger, verify_home
from baray.store import open_store

PROGRAM = Path(__file__).with_name("store_process.py")


@pytest.fixture
def sealer():
    return Groups()


@pytest.fixture
def store(database, sealer):
    opened = open_store(database, sealer=sealer)
    yield opened
    opened.close()


def fill(store, pages):
    """Let the writer's connection grow the database by a few pages only."""

    def limit(tx):
        count = tx.hot("PRAGMA page_count").scalar_one()
        tx.hot(f"PRAGMA max_page_count = {count + pages}")

    store.write(limit)


def test_one_action_too_many_for_the_disk_is_refused_alone_or_with_its_group(store):
    fill(store, 2)
    with held(store):
        small, large, after = store.submit(put("a")), store.submit(put("b", "x" * 100_000)), store.submit(put("c"))
    error = large.exception(LIMIT_SECONDS)
    assert (error.code, error.status) == ("not_stored", 507)
    assert "disk is full" in error.message
    assert "Free space" in error.fix
    assert "xxxx" not in str(error) + str(error.__cause__)
    told = {"a": small.exception(LIMIT_SECONDS), "c": after.exception(LIMIT_SECONDS)}
    assert {getattr(one, "code", one) for one in told.values()} <= {None, "not_stored"}
    stored = [key for key, one in told.items() if one is None]
    assert keys(store) == entries(store) == stored, "what was acknowledged is there, and nothing else"
    store.write(put("small again"))
    assert keys(store) == [*stored, "small again"]


def test_a_full_disk_in_the_sealing_refuses_the_group(store, sealer):
    def grow(tx, first, found):
        Groups.seal(sealer, tx, first, found)
        tx.hot("INSERT INTO meta (key, value) VALUES ('tile', ?)", ("x" * 100_000,))

    fill(store, 2)
    sealer.seal = grow
    with held(store):
        waiting = [store.submit(put(f"k{number}")) for number in range(5)]
    assert {future.exception(LIMIT_SECONDS).code for future in waiting} == {"not_stored"}
    assert keys(store) == entries(store) == []
    del sealer.seal
    assert store.write(put("space again")) == 0


@pytest.mark.parametrize("where", ["fail", "fail_size"])
def test_a_sealer_that_raises_refuses_its_whole_group_and_no_other(store, sealer, where):
    store.write(put("before"))
    with held(store):
        setattr(sealer, where, Fault("ledger_damaged", "Its root is another.", fix="Restore a backup."))
        waiting = [store.submit(put(f"k{number}")) for number in range(5)]
    errors = [future.exception(LIMIT_SECONDS) for future in waiting]
    assert [(error.code, error.fix) for error in errors] == [("not_stored", "Restore a backup.")] * 5
    assert all("Its root is another." in error.message for error in errors)
    assert len({id(error) for error in errors}) == 5, "callers in several threads do not share one error"
    setattr(sealer, where, None)
    assert store.write(put("after")) == 1
    assert keys(store) == entries(store) == ["before", "after"]


def test_a_refusal_of_its_own_is_not_hidden_by_the_loss_of_the_group(store, sealer):
    def refuse(_tx):
        raise ValueError("mine")

    with held(store):
        stored, refused = store.submit(put("a")), store.submit(refuse)
        sealer.fail = OSError("key gone")
    assert stored.exception(LIMIT_SECONDS).code == "not_stored"
    assert isinstance(refused.exception(LIMIT_SECONDS), ValueError)


def test_a_transaction_that_ended_under_an_action_is_a_lost_group(store):
    def end(tx):
        put("half")(tx)
        tx.hot("ROLLBACK")

    with held(store):
        first, wrong, last = store.submit(put("a")), store.submit(end), store.submit(put("b"))
    assert first.exception(LIMIT_SECONDS).code == wrong.exception(LIMIT_SECONDS).code == "not_stored"
    kept = [] if last.exception(LIMIT_SECONDS) else ["b"]
    assert keys(store) == entries(store) == kept
    store.write(put("c"))
    assert keys(store) == [*kept, "c"]


def test_a_commit_that_fails_and_leaves_its_transaction_open_is_ended(store):
    def orphan(tx):
        tx.hot("PRAGMA defer_foreign_keys = ON")
        tx.hot("INSERT INTO member (project_id, actor_id, role) VALUES ('p_none', 'u_none', 'owner')")

    store.write(put("before"))
    with held(store):
        waiting = [store.submit(put("a")), store.submit(orphan)]
    assert [future.exception(LIMIT_SECONDS).code for future in waiting] == ["not_stored"] * 2
    assert "FOREIGN KEY" in waiting[0].exception(0).message
    assert store.write(put("after")) == 1
    assert keys(store) == entries(store) == ["before", "after"]


def test_a_full_disk_for_real_loses_nothing_that_was_acknowledged(tmp_path, need, missing):
    disk = tmp_path / "disk"
    disk.mkdir()
    sandbox = [need("bwrap"), "--dev-bind", "/", "/", "--size", "6000000", "--tmpfs", str(disk)]
    probe = subprocess.run([*sandbox, "true"], capture_output=True, check=False, timeout=LIMIT_SECONDS)
    if probe.returncode != 0:
        missing("bubblewrap's own mounts")
    told = run(*sandbox, sys.executable, str(PROGRAM), "full-disk", str(disk))
    assert (told["error"]["code"], told["error"]["status"]) == ("not_stored", 507)
    assert told["blob_error"] == {"code": "not_stored", "status": 507}
    assert told["acknowledged"] > 5
    assert told["lost"] == []
    assert told["left_by_blob"] == []
    assert told["after"] == "stored"


def test_a_disk_that_fails_in_the_commit_leaves_the_state_unknown(tmp_path):
    told = run(sys.executable, str(PROGRAM), "io-error", str(tmp_path))
    assert (told["error"]["code"], told["error"]["status"]) == ("store_io", 503)
    assert told["acknowledged"] > 0
    assert told["lost"] == []
    assert told["after"] == "stored"


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LIMIT_SECONDS)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_after_kill_9_all_that_was_acknowledged_is_there(tmp_path, database):
    """Ten kills of one home, each a random while after the first acknowledgement."""
    chance = random.Random(11)
    command = [sys.executable, str(PROGRAM), "write", str(tmp_path)]
    writers = [
        subprocess.Popen([*command, str(turn)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) for turn in range(10)
    ]
    acknowledged = set()
    for writer in writers:
        acknowledged |= killed_writer(writer, chance.uniform(0.0, 0.12))
    assert len(acknowledged) > 20
    signer = FileSigner(tmp_path / "ledger.key", name="baray.example/kill")
    ledger = Ledger(origin=signer.name, signer=signer, clock=SystemClock())
    store = open_store(database, sealer=ledger)
    found = keys(store)
    assert acknowledged - set(found) == set()
    assert store.read(ledger.size) == len(found) - 1, "a row and its entry, or neither; one row is the ledger's own key"
    store.write(lambda tx: ledger.append(tx, "home.started", actor="system", subject="home"))
    store.close()
    report = verify_home(tmp_path)
    assert report.ok, report.findings


def killed_writer(writer, seconds):
    """Let one writer go, kill it a while after its first acknowledgement; what it had acknowledged."""
    writer.stdin.write(b"go\n")
    writer.stdin.flush()
    first = writer.stdout.readline()
    assert first.endswith(b"\n")
    time.sleep(seconds)  # the moment of the kill is the point
    writer.send_signal(signal.SIGKILL)
    rest, _ = writer.communicate(timeout=LIMIT_SECONDS)
    return {line.decode() for line in (first + rest).split(b"\n")[:-1]}
