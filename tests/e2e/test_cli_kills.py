"""kill -9 in the middle of a demo, three times one kind of process: the same digests, a verified ledger, no orphan."""

from __future__ import annotations

import json
import time

import pytest
from homes import Home, kill, wait_for

KILLS = 3


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


def digests_of(home):
    kinds = {"dataset": "one-window", "model": "letters-router", "source": "one-window"}
    return {kind: home.json(kind, "show", f"{name}@v1")["digest"] for kind, name in kinds.items()}


@pytest.mark.parametrize("victim", ["control", "router", "worker", "supervisor"])
def test_a_demo_survives_three_kills(victim, home, digests):
    demo = home.start("demo", "--size", "tiny", "--json")
    wait_for(lambda: (home.path / "endpoint.json").exists() or demo.poll() is not None)
    killed: list[int] = []
    while len(killed) < KILLS and demo.poll() is None:
        fresh = [pid for pid in home.pids(victim) if pid not in killed]
        if fresh:
            killed.append(fresh[0])
            kill(fresh[0])
        time.sleep(0.4 if fresh and victim != "supervisor" else 0.01)
    out, err = demo.communicate(timeout=100)
    assert demo.returncode == 0, err
    assert len(killed) == KILLS, f"only {len(killed)} of {victim} could be killed"
    document = json.loads(out)
    assert document["ledger"]["verified"]
    assert document["tamper"]["found"]
    assert [row["outcome"] for row in document["questions"]] == [
        "answered",
        "expired",
        "out-of-scope",
        "hidden",
        "answered",
    ]
    assert digests_of(home) == digests
    wait_for(lambda: not home.pids("supervisor"))
    for row in document["questions"]:  # every Answer that was given is in the books
        assert home.json("lineage", row["id"])["chain"][0] == "answer"
