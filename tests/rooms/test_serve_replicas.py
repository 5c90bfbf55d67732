"""What is decided about Replicas, a pure function; and where they listen."""

from __future__ import annotations

import os

import pytest

from baray import serve
from baray.core import Refused
from baray.serve.engines.replica import listen
from baray.serve.replicas.decide import Replica, Seen, Wish, decide, state_of, wait_seconds
from baray.serve.replicas.load import Limits, Load, look, number

NOW = 1000.0


def replica(name, revision="one", state="ready", run="running", **values):
    usual = {
        "run_id": f"r_{name}",
        "socket": name,
        "since": NOW - 10,
        "made": NOW - 20,
        "failed": False,
        "served": True,
    }
    usual |= {"reason": "", "run_started": NOW - 19, "trouble": ""}
    return Replica(**{"id": name, "revision_id": revision, "state": state, "run": run} | usual | values)


def wish(**values):
    usual = {"service_id": "e", "stopped": False, "current": "one", "following": "", "proposed": 0.0, "wanted": 1}
    return Wish(**usual | values)


def told(changes):
    return [(change.what, change.replica or change.revision) for change in changes]


def test_what_is_missing_starts_and_what_is_too_many_is_drained_the_newest_first():
    assert told(decide(wish(wanted=2), [replica("a")], {}, NOW)) == [("start", "one")]
    both = [replica("a"), replica("b", made=NOW - 5)]
    assert told(decide(wish(), both, {}, NOW)) == [("drain", "b")]
    assert told(decide(wish(), [replica("a")], {}, NOW)) == []


def test_a_revision_takes_over_only_when_all_it_needs_are_healthy():
    old = [replica("a"), replica("b")]
    new = [replica("c", "two"), replica("d", "two", "starting", served=False)]
    asked = wish(following="two", wanted=2)
    assert told(decide(asked, old + new, {}, NOW)) == []
    changes = told(decide(asked, old + new, {"d": Seen(answers=True, passed=True)}, NOW))
    assert changes == [("ready", "d"), ("switch", "two"), ("drain", "a"), ("drain", "b")]


def test_a_revision_that_fails_three_times_is_given_up_and_earlier_failures_do_not_count():
    ended = [replica(str(n), "two", "ended", "failed", failed=True, served=False, made=NOW - n) for n in (1, 2, 3)]
    asked = wish(following="two", proposed=NOW - 9)
    (change,) = decide(asked, [replica("a"), *ended], {}, NOW)
    assert (change.what, change.revision) == ("reject", "two")
    assert told(decide(wish(following="two", proposed=NOW), [replica("a"), *ended], {}, NOW)) == [("start", "two")]


def test_who_drains_is_cancelled_when_idle_and_after_thirty_seconds_at_the_latest():
    def drains(since, **seen):
        one = replica("a", state="draining", since=since)
        return told(decide(wish(wanted=0), [one], {"a": Seen(looked=NOW, **seen)}, NOW))

    assert drains(NOW - 5, active=1) == []
    assert drains(NOW - 0.5) == []
    assert drains(NOW - 5) == [("cancel", "a")]
    assert drains(NOW - 31, active=1) == [("cancel", "a")]


def test_failed_starts_wait_longer_each_time():
    assert [wait_seconds(n) for n in (0, 1, 2, 3, 7, 20)] == [0.0, 1.0, 2.0, 4.0, 60.0, 60.0]
    dead = replica("a", state="ended", run="failed", failed=True, served=False, since=NOW - 0.5)
    assert told(decide(wish(), [dead], {}, NOW)) == []
    assert told(decide(wish(), [dead], {}, NOW + 1)) == [("start", "one")]


def test_a_service_that_comes_up_one_replica_after_the_other_starts_and_one_that_lost_a_replica_is_degraded():
    def state(*own, least=2):
        return state_of(own, least=least, wanted=2)

    coming = replica("b", state="starting", served=False)
    assert state(coming) == "starting"
    assert state(replica("a"), coming) == "starting"
    assert state(replica("a"), coming, least=1) == "ready"
    assert state(replica("a"), replica("b")) == "ready"
    lost = replica("c", state="ended", run="failed", failed=True)
    assert state(replica("a"), coming, lost) == "degraded"
    assert state(replica("a"), replica("b", state="starting")) == "degraded"
    never = [replica(str(n), state="ended", run="failed", failed=True, served=False, made=NOW - n) for n in (1, 2, 3)]
    assert [state(coming, *never[:n]) for n in (1, 2, 3)] == ["starting", "starting", "degraded"]


def test_the_number_follows_the_load():
    limits = Limits(least=0, most=2, idle_seconds=60.0)
    load = look(Load(used=NOW), now=NOW, active=1, waiting=3, asked=0.0, woken=False)
    assert number(load, limits, now=NOW + 1, wanted=1, ready=1, woken=False) == 1
    assert number(load, limits, now=NOW + 3, wanted=1, ready=1, woken=False) == 2
    assert number(load, limits, now=NOW + 3, wanted=2, ready=2, woken=False) == 2
    idle = Load(used=NOW - 61)
    assert number(idle, limits, now=NOW, wanted=2, ready=2, woken=False) == 0
    assert number(idle, limits, now=NOW, wanted=0, ready=0, woken=True) == 1


def link_to_own(place, elsewhere):
    place.symlink_to(elsewhere)


def link_to_nothing(place, _elsewhere):
    place.symlink_to("nothing")


def a_file(place, _elsewhere):
    place.write_bytes(b"")


def open_to_all(place, _elsewhere):
    place.mkdir()
    place.chmod(0o777)


def another_users(place, _elsewhere):
    if os.geteuid() != 0:
        pytest.skip("only root can give a folder away")
    place.mkdir(mode=0o700)
    os.chown(place, 12345, 12345)


@pytest.mark.parametrize("plant", [link_to_own, link_to_nothing, a_file, open_to_all, another_users])
def test_replicas_listen_in_no_folder_that_somebody_planted(site, tmp_path, monkeypatch, plant):
    home, temporary, elsewhere = tmp_path / ("long-" * 20), tmp_path / "t", tmp_path / "elsewhere"
    for folder in (home, temporary, elsewhere):
        folder.mkdir(mode=0o700)
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    for _ in range(2):  # the second start finds the folder of the first
        serve.Reconciler(site, home).close()
        (place,) = temporary.iterdir()
        assert place.stat().st_mode & 0o777 == 0o700
    listen(place / "one.sock").close()
    assert (place / "one.sock").is_socket()
    (place / "one.sock").unlink()
    place.rmdir()
    plant(place, elsewhere)
    before = place.lstat()
    for attempt in (lambda: serve.Reconciler(site, home), lambda: listen(place / "one.sock")):
        with pytest.raises(Refused, match="no folder for sockets") as refused:
            attempt()
        assert refused.value.code == "unsafe_folder"
    assert list(elsewhere.iterdir()) == []
    assert (place.lstat().st_mode, place.lstat().st_uid) == (before.st_mode, before.st_uid)
