"""kill -9 in the middle of a demo, three times one kind of process: the same digests, a verified ledger, no orphan."""

from __future__ import annotations

import json
import os
import random
import time

import pytest
from homes import Home, kill, wait_for

KILLS = 3
VICTIMS = ("control", "router", "worker", "supervisor")


@pytest.fixture
def home(tmp_path):
    home = Home(tmp_path / "home")
    yield home
    home.stop()


@pytest.fixture(scope="module")
def digests(tmp_path_factory):
    """Digests of what an undisturbed demo makes."""
    home = Home(tmp_path_factory.mktemp("calm") / "home")
    try:
        home.run("demo", "--size", "tiny", "--json")
        return digests_of(home)
    finally:
        home.stop()


@pytest.mark.parametrize("victim", VICTIMS)
def test_a_demo_survives_three_kills(victim, home, digests):
    demo = home.start("demo", "--size", "tiny", "--json")
    wait_for(lambda: (home.path / "endpoint.json").exists() or demo.poll() is not None)
    killed = kill_during(demo, home, victim, most=KILLS, pause=lambda: 0.0 if victim == "supervisor" else 0.4)
    assert len(killed) == KILLS, f"only {len(killed)} of {victim} could be killed"
    check(home, demo, digests)


@pytest.mark.soak
@pytest.mark.parametrize("number", range(int(os.environ.get("BARAY_SOAK_COUNT", "1"))))
def test_a_demo_survives_kills_at_random_instants(number, home, digests):
    chance = random.Random(number)
    demo = home.start("demo", "--size", "tiny", "--json")
    wait_for(lambda: (home.path / "endpoint.json").exists() or demo.poll() is not None)
    victim = VICTIMS[number % len(VICTIMS)]
    # A Run that is lost six times over fails, as it should: a supervisor is killed less often than that.
    most = chance.randint(1, 3 if victim == "supervisor" else 6)
    kill_during(demo, home, victim, most=most, pause=lambda: chance.uniform(0.0, 1.2))
    check(home, demo, digests)


def kill_during(demo, home, victim, *, most, pause):
    """Kill fresh processes of one kind until `most` are dead or the demo has ended; who was killed."""
    killed: list[int] = []
    while len(killed) < most and demo.poll() is None:
        fresh = [pid for pid in home.pids(victim) if pid not in killed]
        if fresh:
            killed.append(fresh[0])
            kill(fresh[0])
        time.sleep(max(0.01, pause() if fresh else 0.0))
    return killed


def check(home, demo, digests):
    """The demo ended well with the same digests, a verified ledger, every Answer in the books, and no orphan."""
    out, err = demo.communicate(timeout=150)
    assert demo.returncode == 0, err
    document = json.loads(out)
    assert document["ledger"]["verified"]
    assert document["tamper"]["found"]
    outcomes = [row["outcome"] for row in document["questions"]]
    assert outcomes == ["answered", "expired", "out-of-scope", "hidden", "answered"]
    assert digests_of(home) == digests
    for row in document["questions"]:
        assert home.json("lineage", row["id"])["chain"][0] == "answer"
    wait_for(lambda: not home.pids("supervisor"))
    home.stop()
    wait_for(lambda: not home.processes())
    report = home.json("ledger", "verify")
    assert report["ok"], report["findings"]


def digests_of(home):
    """Identities of all that a demo makes, the Index among them."""
    nodes = (
        home.json("lineage", "service:one-window")["nodes"] + home.json("lineage", "service:letters-router")["nodes"]
    )
    return {node["ref"]: node["digest"] for node in nodes if node["kind"] not in {"run", "service"}}
