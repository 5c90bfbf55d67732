"""The queue and its leases, through the door, on real rows and a clock that tests move. No process is started."""

from __future__ import annotations

import json
import threading

import pytest

from baray import runs
from baray.access import INTERNAL, PUBLIC, parse_label
from baray.core import NotFound, Refused, TestClock
from baray.runs.protocol import LEASE_SECONDS, AttemptResult, HeldLease, Renewal, WorkerOffer
from runs_home import open_home, wait_until

GIB = 2**30


@pytest.fixture
def home(tmp_path):
    with open_home(tmp_path / "home", TestClock()) as opened:
        yield opened


def offer(name="local", *, cpus=2, memory_bytes=64 * GIB, tier="A", held=()):
    return WorkerOffer(worker=name, cpus=cpus, memory_bytes=memory_bytes, tier=tier, limits="soft", held=tuple(held))


def lease(home, name="local", **facts):
    """A grant for a worker that answers for all that it was granted so far."""
    rows = home.site.store.read(lambda tx: list(tx.hot("SELECT id FROM attempt WHERE worker = ?", (name,))))
    return runs.lease(home.site, offer(name, held=[row.id for row in rows], **facts)).grant


def tell(home, grant, outcome, **facts):
    held = {"attempt_id": grant.attempt_id, "run_id": grant.run_id, "lease_token": grant.lease_token}
    return runs.apply(home.site, AttemptResult(**held, outcome=outcome, **facts))


def output(home, name="made", labels=(), data=b"rows"):
    digest = home.site.blobs.put_bytes(data)
    files = [{"path": "data.txt", "digest": digest, "bytes": len(data)}]
    return {"kind": "dataset", "name": name, "digest": digest, "labels": list(labels), "files": files, "summary": {}}


def test_a_run_goes_its_way(home):
    run = home.submit(command=("true",))
    assert (run.state, run.attempts, run.label) == ("queued", 0, "internal")
    grant = lease(home)
    assert (grant.run_id, grant.number, grant.spec["command"]) == (run.id, 1, ["true"])
    assert home.get(run.id).state == "running"
    assert tell(home, grant, "succeeded", exit_code=0, reason="exited")
    done = home.get(run.id)
    assert (done.state, done.attempts, done.error) == ("succeeded", 1, None)
    told = [kind for kind, subject in home.entries() if subject == run.id]
    assert told == ["run.submitted", "run.started", "run.succeeded"]


def test_an_output_is_published_with_its_lineage(home):
    source = home.add_source("letters", {"a.txt": b"a"}, INTERNAL)
    run = home.submit(handler="m:f", name="made", inputs={"source": source}, label=PUBLIC)
    assert run.label == "internal"
    grant = lease(home)
    (given,) = grant.inputs
    assert (given["name"], given["ref"], given["files"][0]["path"]) == ("source", "source:letters@v1", "a.txt")
    assert tell(home, grant, "succeeded", outputs=(output(home),))
    (made,) = home.get(run.id).outputs
    assert (made["ref"], made["label"]) == ("dataset:made@v1", "internal")
    parents = home.site.store.read(
        lambda tx: [tuple(row) for row in tx.hot("SELECT child, parent, role FROM edge ORDER BY role")]
    )
    assert parents == [(run.id, source.id, "input"), (made["id"], run.id, "made-by")]
    assert [kind for kind, _ in home.entries()][-2:] == ["version.published", "run.succeeded"]


def test_rows_give_the_label_only_where_the_recipe_is_row_wise(home):
    source = home.add_source("letters", {"a.txt": b"a"}, parse_label("restricted"))
    for rule, label in (("rows", "internal"), ("join", "restricted")):
        run = home.submit(handler="m:f", name=rule, inputs={"s": source}, label=PUBLIC, output_label_rule=rule)
        assert tell(home, lease(home), "succeeded", outputs=(output(home, rule, ["public", "internal"]),))
        assert home.get(run.id).outputs[0]["label"] == label


def test_a_label_that_was_asked_for_is_above_what_rows_carry(home):
    source = home.add_source("letters", {"a.txt": b"a"}, parse_label("public"))
    asked = {"inputs": {"s": source}, "label": PUBLIC, "output_label_rule": "rows", "name": "made", "handler": "m:f"}
    plain = home.submit(**asked)
    assert tell(home, lease(home), "succeeded", outputs=(output(home, "made", ["public"]),))
    raised = home.submit(**asked, raised=parse_label("restricted"))
    assert raised.id != plain.id, "what was made without the label is not given back for it"
    assert raised.label == "restricted"
    assert tell(home, lease(home), "succeeded", outputs=(output(home, "made", ["public"]),))
    assert [home.get(run.id).outputs[0]["label"] for run in (plain, raised)] == ["public", "restricted"]


def test_an_output_whose_bytes_were_not_kept_fails_the_run(home):
    run = home.submit(handler="m:f", name="made", max_attempts=3)
    lost = output(home)
    lost["files"][0]["digest"] = "sha256:" + "0" * 64
    assert tell(home, lease(home), "succeeded", outputs=(lost,))
    assert home.get(run.id).state == "failed"
    assert home.get(run.id).error["code"] == "missing_blob"


def test_an_unexpected_label_is_refused_before_it_runs(home):
    source = home.add_source("letters", {"a.txt": b"a"}, INTERNAL)
    with pytest.raises(Refused, match="would be 'internal', not 'public'"):
        home.submit(handler="m:f", name="x", inputs={"s": source}, label=PUBLIC, expect_label=PUBLIC)
    assert home.submit(handler="m:f", name="x", inputs={"s": source}, label=PUBLIC, expect_label=INTERNAL).id


def test_an_identical_run_is_given_back(home):
    first = home.submit(handler="m:f", name="x", options={"a": 1})
    assert home.submit(handler="m:f", name="x", options={"a": 1}).id == first.id
    assert home.submit(handler="m:f", name="x", options={"a": 2}).id != first.id
    assert tell(home, lease(home), "succeeded")
    again = home.submit(handler="m:f", name="x", options={"a": 1})
    assert (again.id, again.reused, again.state) == (first.id, True, "succeeded")


def test_a_replica_is_never_given_back_and_has_no_time_limit(home):
    first = home.submit(handler="m:f", name="x", kind="replica")
    assert home.submit(handler="m:f", name="x", kind="replica").id != first.id
    assert first.spec["resources"]["time_seconds"] == 0


def test_a_replica_is_not_tried_again_by_hand(home):
    """Its Service does not know of it any more: it would hold its memory for ever."""
    run = home.submit(handler="m:f", name="talk", kind="replica")
    home.site.store.write(lambda tx: runs.cancel(tx, home.site, run.id, actor_id=home.actor))
    with pytest.raises(Refused, match="process of a Service") as found:
        home.site.store.write(lambda tx: runs.retry(tx, home.site, run.id, actor_id=home.actor))
    assert "baray service show talk" in found.value.fix
    assert home.get(run.id).state == "cancelled"


def test_a_failed_run_and_a_command_are_not_given_back(home):
    first = home.submit(handler="m:f", name="x")
    assert tell(home, lease(home), "refused", error={"code": "c", "message": "m", "fix": "f"})
    assert home.get(first.id).error == {"code": "c", "message": "m", "fix": "f"}
    assert home.submit(handler="m:f", name="x").id != first.id
    assert home.submit(command=("true",)).id != home.submit(command=("true",)).id


def test_a_stale_token_changes_nothing(home):
    run = home.submit(command=("true",), max_attempts=2)
    grant = lease(home)
    home.clock.advance(LEASE_SECONDS / 3)
    assert runs.sweep(home.site) == 0
    for _ in range(4):  # control lives, the worker is silent
        home.clock.advance(LEASE_SECONDS / 3)
        runs.sweep(home.site)
    assert home.get(run.id).state == "queued"
    second = lease(home, name="other")
    assert not tell(home, grant, "succeeded", outputs=(output(home),))
    assert home.get(run.id).state == "running"
    assert tell(home, second, "succeeded")
    assert not tell(home, second, "succeeded"), "a result that comes twice counts once"
    assert [kind for kind, subject in home.entries() if subject == run.id].count("run.succeeded") == 1


def test_leases_outlive_a_control_that_was_down(home):
    run = home.submit(command=("true",))
    grant = lease(home)
    runs.sweep(home.site)
    home.clock.advance(10 * LEASE_SECONDS)  # nobody swept, nobody could renew
    runs.sweep(home.site)
    assert home.get(run.id).state == "running"
    assert tell(home, grant, "succeeded")


def test_renewal_keeps_a_lease_and_brings_news(home):
    run = home.submit(command=("true",))
    grant = lease(home)
    progress = {"done": 1, "total": 2, "unit": "files"}
    for _ in range(8):
        home.clock.advance(LEASE_SECONDS / 4)
        held = HeldLease(attempt_id=grant.attempt_id, lease_token=grant.lease_token, progress=progress)
        answer = runs.renew(home.site, Renewal(worker="local", leases=(held,)))
        assert (answer.stale, answer.cancel) == ((), ())
        runs.sweep(home.site)
    assert home.get(run.id).progress == progress
    home.cancel(run.id)
    assert runs.renew(home.site, Renewal(worker="local", leases=(held,))).cancel == (grant.attempt_id,)
    forged = HeldLease(attempt_id=grant.attempt_id, lease_token="l_other")
    assert runs.renew(home.site, Renewal(worker="local", leases=(forged,))).stale == (grant.attempt_id,)


def test_failures_are_tried_again_later_each_time_and_then_fail(home):
    run = home.submit(command=("true",), max_attempts=3)
    waits = []
    for _ in range(2):
        assert tell(home, lease(home), "failed", error={"code": "c", "message": "m", "fix": ""})
        assert home.get(run.id).state == "queued"
        assert lease(home) is None, "not before its time"
        waits.append(home.get(run.id).retry_at - home.clock.now())
        home.clock.advance(waits[-1])
        assert runs.sweep(home.site) >= 1, "the bell is rung when a retry is due"
    assert waits == [1.0, 2.0]
    assert tell(home, lease(home), "failed", error={"code": "c", "message": "m", "fix": ""})
    assert (home.get(run.id).state, home.get(run.id).attempts) == ("failed", 3)


def test_lost_attempts_are_tried_at_once_but_not_for_ever(home):
    run = home.submit(command=("true",), max_attempts=1)
    for _ in range(5):
        assert tell(home, lease(home), "lost", error={"code": "attempt_lost", "message": "m", "fix": ""})
        assert home.get(run.id).state == "queued"
    assert tell(home, lease(home), "lost", error={"code": "attempt_lost", "message": "m", "fix": ""})
    assert home.get(run.id).state == "failed"


def test_attempts_that_kept_a_newer_checkpoint_are_lost_and_killed_as_often_as_it_takes(home):
    run = home.submit(handler="m:f", name="made", max_attempts=1)
    told = {"code": "attempt_lost", "message": "m", "fix": ""}
    for number in range(8):
        progress = {"done": 1, "total": 9, "unit": "steps", "since": number, "kept": number + 1}
        outcome, reason = ("failed", "signalled") if number % 2 else ("lost", "lost")
        assert tell(home, lease(home), outcome, reason=reason, error=told, progress=progress)
        assert (home.get(run.id).state, home.get(run.id).progress["done"]) == ("queued", 1)
    stuck = progress | {"since": 8, "kept": 8}
    assert tell(home, lease(home), "failed", reason="signalled", error=told, progress=stuck)
    assert home.get(run.id).state == "failed"


def test_a_grant_that_was_lost_on_the_way_is_given_again(home):
    run = home.submit(command=("true",))
    first = runs.lease(home.site, offer()).grant
    assert runs.lease(home.site, offer(held=(first.attempt_id,))).grant is None
    again = runs.lease(home.site, offer()).grant  # the worker does not know of it: it never got the answer
    assert (again.run_id, again.number) == (run.id, 2)
    assert not tell(home, first, "succeeded")


def test_an_offer_that_nobody_waits_for_takes_nothing(home):
    run = home.submit(command=("true",))
    assert runs.lease(home.site, offer(), lambda: False).grant is None
    assert home.get(run.id).state == "queued"


def test_a_worker_that_starts_again_ends_the_polls_of_the_one_before(home):
    """The long poll of a killed worker still waits in control: it must end, and take nothing."""
    body = {"worker": "local", "cpus": 1, "memory_bytes": 64 * GIB, "tier": "A", "limits": "soft", "wait_seconds": 20.0}
    answers = []

    def poll():
        answers.append(
            json.loads(runs.handle_worker(home.site, home.bell, "/worker/lease", json.dumps(body).encode())[1])
        )

    threads = [threading.Thread(target=poll) for _ in range(2)]
    threads[0].start()
    wait_until(lambda: home.bell.waiting, "the first poll waits")
    threads[1].start()
    threads[0].join(timeout=10)
    assert [answer["grant"] for answer in answers] == [None]
    run = home.submit(command=("true",))
    threads[1].join(timeout=10)
    assert answers[1]["grant"]["run_id"] == run.id


def test_order_is_priority_then_first_come(home):
    low = [home.submit(command=("true",)) for _ in range(3)]
    high = [home.submit(command=("true",), priority=5) for _ in range(2)]
    urgent = home.submit(command=("true",), priority=9)
    got = [lease(home, cpus=10).run_id for _ in range(6)]
    assert got == [run.id for run in (urgent, *high, *low)]


def test_a_worker_gets_what_fits_its_room(home):
    big = home.submit(command=("true",), resources={"cpus": 2, "memory_bytes": GIB})
    huge = home.submit(command=("true",), resources={"memory_bytes": 100 * GIB})
    small = home.submit(command=("true",))
    first = lease(home, cpus=2)
    assert first.run_id == big.id
    assert lease(home, cpus=2) is None, "both cores are taken"
    assert lease(home, name="other", cpus=1).run_id == small.id
    assert "memory" in home_why(home, huge) or "bytes" in home_why(home, huge)
    assert tell(home, first, "succeeded")


def home_why(home, run):
    home.site.store.write(
        lambda tx: tx.hot(
            "INSERT OR REPLACE INTO meta VALUES ('worker:local', ?)",
            (json.dumps({"cpus": 2, "memory_bytes": 64 * GIB, "tier": "A"}),),
        )
    )
    return home.why(run.id)["reason"]


def test_small_runs_do_not_overtake_a_big_one_for_ever(home):
    holding = home.submit(command=("true",))
    assert lease(home).run_id == holding.id
    big = home.submit(command=("true",), resources={"cpus": 2})
    small = home.submit(command=("true",))
    assert lease(home).run_id == small.id
    another = home.submit(command=("true",))
    home.clock.advance(61)
    assert tell(home, lease(home, name="other"), "succeeded")  # the big one fits elsewhere
    assert home.get(big.id).state == "succeeded"
    big = home.submit(command=("true",), resources={"cpus": 2}, priority=1)
    home.clock.advance(61)
    assert lease(home, cpus=3) is None, "one core is free, and it is kept for the big one"
    assert home.get(another.id).state == "queued"


def test_runs_come_after_others(home):
    first = home.submit(command=("true",))
    second = home.submit(command=("true",), after=(first.id,))
    grant = lease(home)
    assert grant.run_id == first.id
    assert lease(home) is None
    assert first.id in home.why(second.id)["reason"]
    assert tell(home, grant, "succeeded")
    assert lease(home).run_id == second.id


def test_what_comes_after_a_failure_is_cancelled_with_it(home):
    first = home.submit(command=("true",))
    second = home.submit(command=("true",), after=(first.id,))
    third = home.submit(command=("true",), after=(second.id,))
    assert tell(home, lease(home), "refused", error={"code": "c", "message": "m", "fix": ""})
    assert [home.get(run.id).state for run in (second, third)] == ["cancelled", "cancelled"]
    assert home.get(third.id).error["code"] == "after_failed"
    with pytest.raises(Refused, match="nothing can come after"):
        home.submit(command=("true",), after=(first.id,))
    with pytest.raises(NotFound):
        home.submit(command=("true",), after=("r_unknown",))


def test_cancel_and_retry_by_hand(home):
    run = home.submit(command=("true",))
    assert home.cancel(run.id).state == "cancelled"
    assert lease(home) is None
    assert home.retry(run.id).state == "queued"
    grant = lease(home)
    assert home.cancel(run.id).state == "running"
    answer = runs.lease(home.site, offer(held=(grant.attempt_id,)))
    assert (answer.grant, answer.cancel) == (None, (grant.attempt_id,))
    assert tell(home, grant, "cancelled")
    assert home.get(run.id).state == "cancelled"
    with pytest.raises(Refused, match="only one that failed or was cancelled"):
        home.retry(home.submit(command=("true",)).id)


def test_a_retried_run_has_its_attempts_again(home):
    run = home.submit(command=("true",), max_attempts=1)
    assert tell(home, lease(home), "failed")
    assert home.get(run.id).state == "failed"
    home.retry(run.id)
    assert tell(home, lease(home), "failed")
    assert (home.get(run.id).state, home.get(run.id).attempts) == ("failed", 2)


def test_commands_are_refused_where_no_worker_can_hold_them(home):
    body = {"worker": "local", "cpus": 1, "memory_bytes": GIB, "tier": "none", "limits": "soft", "wait_seconds": 0.0}
    body |= {"missing": "bubblewrap is not installed", "fix": "As root: apt-get install bubblewrap"}
    status, _ = runs.handle_worker(home.site, home.bell, "/worker/lease", json.dumps(body).encode())
    assert status == 200
    with pytest.raises(Refused, match="bubblewrap is not installed") as caught:
        home.submit(command=("true",))
    assert (caught.value.code, caught.value.status) == ("no_sandbox", 503)
    assert home.submit(handler="m:f", name="x").state == "queued"
    assert lease(home, tier="none").spec["handler"] == "m:f"


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/worker/lease", b"{", 400, "bad_message"),
        ("/worker/lease", b"[]", 400, "bad_message"),
        ("/worker/lease", b'{"worker": "x"}', 400, "bad_message"),
        ("/worker/other", b"{}", 404, "not_found"),
    ],
)
def test_a_bad_message_is_refused(home, path, body, status, code):
    found, answer = runs.handle_worker(home.site, home.bell, path, body)
    assert (found, json.loads(answer)["code"]) == (status, code)


def test_lists_and_counts(home):
    made = [home.submit(command=("true",)) for _ in range(5)]
    assert tell(home, lease(home), "succeeded")
    read = home.site.store.read
    page = read(lambda tx: runs.list_runs(tx, home.project, limit=2))
    rest = read(lambda tx: runs.list_runs(tx, home.project, after=page[-1].id, limit=9))
    assert [run.id for run in (*page, *rest)] == sorted((run.id for run in made), reverse=True)
    assert read(lambda tx: runs.counts(tx, home.project)) == {
        "queued": 4,
        "running": 0,
        "succeeded": 1,
        "failed": 0,
        "cancelled": 0,
    }
    assert read(runs.active) == 4


def test_the_spec_is_frozen_in_this_form(home):
    """A memo key that changes its form would make every built version be built again."""
    run = home.submit(handler="m:f", name="x", options={"a": 1})
    assert run.spec == {
        "kind": "dataset",
        "recipe": "test",
        "handler": "m:f",
        "options": {"a": 1},
        "name": "x",
        "inputs": {},
        "command": None,
        "resources": {"cpus": 1, "memory_bytes": 2 * GIB, "time_seconds": 86400.0, "gpus": 0},
        "sandbox": None,
        "label": "internal",
        "label_rule": "join",
        "today": "2026-09-21",
    }
    assert run.memo_key == "sha256:087b65abccd8eee01f6326823184710552ecfdf6e55b1a79f3dae72e3bd4839b"
