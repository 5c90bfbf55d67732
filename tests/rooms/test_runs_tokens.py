"""A Run's own token: made with a lease, kept as a hash, good for as long as that lease."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pytest

from baray import fleet, runs
from baray.access import (
    INTERNAL,
    create_actor,
    disable_actor,
    hash_secret,
    kind_of,
    load_actor,
    parse_label,
    set_member,
)
from baray.core import Refused
from baray.runs import server
from baray.runs.protocol import LEASE_SECONDS, HeldLease, Renewal, WorkerOffer

POINT = json.dumps({"step": 1, "name": "loss", "value": 0.5}).encode()


@pytest.fixture(autouse=True)
def machine(site):
    """Of this machine nobody has said that it may not hold everything."""
    site.store.write(lambda tx: fleet.admit(tx, site, name=runs.LOCAL_WORKER, clearance=None))


def submit(site, project, actor, **values):
    request = {"project_id": project, "actor_id": actor.id, "kind": "command", "name": "c", "recipe": "command"}
    request |= {"label": INTERNAL, "command": ("true",)} | values
    return site.store.write(lambda tx: runs.submit(tx, site, runs.RunRequest(**request)))


def grant(site, tier="A"):
    offer = WorkerOffer(worker="local", cpus=4, memory_bytes=2**36, tier=tier, limits="soft")
    return runs.lease(site, offer).grant


def found(site, token):
    return site.store.read(lambda tx: runs.by_token(tx, token, site.clock.now()))


def dead(site, token):
    with pytest.raises(Refused) as caught:
        found(site, token)
    return (caught.value.code, caught.value.status) == ("bad_token", 401)


def test_a_lease_of_a_command_comes_with_a_token_of_which_the_hash_is_kept(site, main_project, operator, tmp_path):
    run = submit(site, main_project, operator)
    got = grant(site)
    assert kind_of(got.run_token) == "run"
    assert found(site, got.run_token).run.id == run.id
    with closing(sqlite3.connect(tmp_path / "baray.db")) as connection:
        assert connection.execute("SELECT token_hash FROM attempt").fetchall() == [(hash_secret(got.run_token),)]
        assert got.run_token not in "\n".join(connection.iterdump())


def test_a_trusted_handler_and_reduced_isolation_have_none(site, main_project, operator):
    submit(site, main_project, operator, command=(), handler="m:f", kind="dataset", recipe="test")
    assert grant(site).run_token == ""
    submit(site, main_project, operator)
    assert grant(site, tier="B").run_token == ""


def test_it_is_dead_with_the_lease_and_lives_as_long_as_that_is_renewed(site, main_project, operator):
    submit(site, main_project, operator)
    got = grant(site)
    held = HeldLease(attempt_id=got.attempt_id, lease_token=got.lease_token)
    for _ in range(3):
        site.clock.advance(LEASE_SECONDS - 1)
        runs.renew(site, Renewal(worker="local", leases=(held,)))
        assert found(site, got.run_token).attempt_id == got.attempt_id
    site.clock.advance(LEASE_SECONDS)
    assert dead(site, got.run_token)


def test_it_is_dead_when_its_actor_is_disabled(site, main_project, operator):
    def make(tx):
        somebody = create_actor(tx, site, name="somebody", kind="person", clearance=INTERNAL, by="system")
        set_member(tx, site, project_id=main_project, actor_id=somebody, role="member", by="system")
        return load_actor(tx, somebody)

    submit(site, main_project, site.store.write(make))
    token = grant(site).run_token
    assert found(site, token)
    site.store.write(lambda tx: disable_actor(tx, site, name="somebody", by=operator.id))
    assert dead(site, token)


def test_the_next_attempt_has_another(site, main_project, operator, tmp_path):
    submit(site, main_project, operator, max_attempts=2)
    first = grant(site)
    second = grant(site)  # the worker does not answer for the first: it was lost on the way
    assert second.number == 2
    assert dead(site, first.run_token)
    assert found(site, second.run_token).number == 2
    with pytest.raises(Refused, match="has ended"):
        runs.report(site, tmp_path / "r", first.run_token, POINT)
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("label", ["public", "internal", "restricted", "secret"])
def test_a_report_is_kept_at_every_label_and_entered_once(site, main_project, operator, tmp_path, label):
    run = submit(site, main_project, operator, label=parse_label(label))
    token = grant(site).run_token
    for _ in range(2):
        assert runs.report(site, tmp_path / "r", token, POINT) == 1
    lines = [json.loads(line) for line in (tmp_path / "r" / "metrics.jsonl").read_text().splitlines()]
    assert [(one["step"], one["name"], one["value"]) for one in lines] == [(1, "loss", 0.5)] * 2
    entries = site.store.read(lambda tx: site.ledger.entries(tx, limit=1000))
    (entry,) = [one for one in entries if one.kind == "run.reported"]
    assert (entry.actor, entry.subject, entry.label, entry.facts["for"]) == (run.id, run.id, label, operator.id)


def test_numbers_end(site, main_project, operator, tmp_path, monkeypatch):
    monkeypatch.setattr(server, "MAX_POINTS", 3)
    submit(site, main_project, operator)
    token = grant(site).run_token
    runs.report(site, tmp_path / "r", token, b"[" + POINT + b"," + POINT + b"]")
    with pytest.raises(Refused) as caught:
        runs.report(site, tmp_path / "r", token, b"[" + POINT + b"," + POINT + b"]")
    assert (caught.value.code, caught.value.status) == ("too_many_points", 413)
    assert len((tmp_path / "r" / "metrics.jsonl").read_text().splitlines()) == 2


def test_the_pace_fills_again_and_is_each_attempts_own():
    pace = runs.Pace()

    def taken(attempt, now):
        for count in range(1000):
            try:
                pace.take(attempt, now)
            except Refused:
                return count
        return 1000

    assert taken("a", 0.0) == taken("b", 0.0) == 40
    assert taken("a", 1.0) == 20
    assert taken("a", 100.0) == 40
    with pytest.raises(Refused) as caught:
        pace.take("a", 100.0)
    assert (caught.value.code, caught.value.status, caught.value.headers) == ("too_fast", 429, {"Retry-After": "1"})
