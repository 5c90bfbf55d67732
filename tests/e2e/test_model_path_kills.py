"""The whole path of a model as it is run: `baray up`, two Replicas of the real engine, several router processes, a key, clients.

Replicas, router processes, control and the worker are killed at random instants. Only what the killed process was answering fails,
and the books hold what the clients saw. `scripts/soak -k model_path` kills each of the four BARAY_SOAK_COUNT times.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import time
from collections import Counter
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from homes import Home, alive, wait_for

from completion_load import COUNTED, Load, Told
from engine_models import PROMPTS, make_model

CLIENTS = 6
WORKERS = 3
MOST_TOKENS = 60
WHAT = ("replica", "router", "control", "worker")
START_SECONDS = 180
STILL_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """One kill; times are monotonic seconds, before the signal and after the death."""

    what: str
    began: float
    ended: float
    ports: frozenset[int] = frozenset()
    """Of a router process: the clients' ends of its connections."""
    held: frozenset[float] | None = None
    """Of a Replica that stood still while others answered: when the requests began that were left."""


@dataclass(kw_only=True)
class House:
    """A home that is up."""

    home: Home
    kills: list[Kill] = field(default_factory=list)

    def upstreams(self) -> list[dict]:
        (row,) = json.loads((self.home.path / "run" / "routes.json").read_text())["services"]
        return row["engine"]["upstreams"]

    def replicas(self) -> list[int]:
        """Processes of the Replicas that are sent to."""
        return [pid for one in self.upstreams() if (pid := self._process(one["replica"])) and alive(pid)]

    def _process(self, run: str) -> int:
        states = sorted((self.home.path / "runs" / run).glob("attempt-*/state.json"))
        return int(json.loads(states[-1].read_text()).get("child", 0)) if states else 0

    def routers(self) -> list[int]:
        (parent,) = self.home.pids("router") or [0]
        return children(parent) if parent else []

    def found(self, what: str) -> list[int]:
        """Processes of a kind, if one of them may be killed now: another Replica has to stand."""
        if what in {"control", "worker"}:
            return self.home.pids(what)
        if what == "router":
            return self.routers()
        found = self.replicas()
        return found if len(found) == 2 else []

    def kill(self, what: str, pid: int, load: Load, *, held: bool) -> None:
        """Stop it first, so that what it has in hand cannot change while it is written down."""
        began, found = time.monotonic(), {}
        os.kill(pid, signal.SIGSTOP)
        with load.held() if held else nullcontext():
            if what == "router":
                found["ports"] = client_ports(pid)
            elif held:
                found["held"] = left_over(load)
            os.kill(pid, signal.SIGKILL)
            wait_for(lambda: not alive(pid))
        self.kills.append(Kill(what=what, began=began, ended=time.monotonic(), **found))


def left_over(load: Load) -> frozenset[float]:
    """When the requests began that do not end though nothing new is asked and everybody else answers."""
    before = None
    while before != (before := frozenset(load.under_way.values())):
        time.sleep(STILL_SECONDS)
    return before


def children(pid: int) -> list[int]:
    try:
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def client_ports(pid: int) -> frozenset[int]:
    """The far ends of the TCP connections that a process has accepted."""
    held = {str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir()}
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return frozenset(int(row[2].partition(":")[2], 16) for row in rows if f"socket:[{row[9]}]" in held)


@pytest.fixture
def house(tmp_path):
    make_model(tmp_path / "made")
    home = Home(tmp_path / "home")
    home.run("up", "--detach", "--port", "0", "--router-port", "0", "--router-workers", str(WORKERS))
    try:
        home.run("model", "import", str(tmp_path / "made"), "--name", "small", "--licence", "Apache-2.0")
        home.run("service", "deploy", "talk", "--model", "model:small", "--replicas", "2:2", "--engine", "torch")
        made = House(home=home)
        wait_for(lambda: len(made.replicas()) == 2, START_SECONDS)
        yield made
    finally:
        home.start("service", "stop", "talk").communicate()  # a Replica outlives the server that started it
        wait_for(lambda: not home.pids("supervisor"), 60)
        home.stop()


@pytest.mark.parametrize("times", [pytest.param(1, marks=pytest.mark.slow), pytest.param(0, marks=pytest.mark.soak)])
def test_kills_anywhere_on_the_model_path_fail_only_what_was_in_flight_there(house, times):
    times = times or int(os.environ.get("BARAY_SOAK_COUNT", "20"))
    chance = random.Random(times)
    key = house.home.json("key", "create", "clients", "--clearance", "internal")
    router = json.loads((house.home.path / "endpoint.json").read_text())["router_url"]
    load = Load(
        port=int(router.rpartition(":")[2]), clients=CLIENTS, prompts=PROMPTS, most_tokens=MOST_TOKENS,
        key=key["token"], more=COUNTED,
    )  # fmt: skip
    with load:
        more(load)
        left = [what for what in WHAT for _ in range(times)]
        while left:
            time.sleep(chance.uniform(0, 3))  # the instant is the point
            what = chance.choice(left)
            pids = house.found(what)
            if pids:
                house.kill(what, chance.choice(pids), load, held=what == "replica" and chance.random() < 0.5)
                left.remove(what)
        more(load)
        load.stop()
    rows = wait_for(lambda: books(house.home, load), 60)
    strange = [one for one in load.failed() if not explained(one, house.kills)]
    lost = Counter(
        f"{kill.what}, {'stream' if one.streams else 'whole'}"
        for one in load.failed()
        for kill in house.kills
        if in_flight(one, kill)
    )
    print(
        f"{times} kills each: {len(load.told)} requests, {len(load.failed())} failed {dict(lost)}, {len(strange)} strange"
    )
    assert strange == [], "\n".join(map(str, strange))
    assert load.unreached == 0
    assert_books(house.home, key["id"], load, rows)


def more(load: Load, number: int = 20) -> None:
    """Wait until so many more requests were answered whole."""
    before = len(load.completed())
    wait_for(lambda: len(load.completed()) >= before + number, 90)


def explained(one: Told, kills: list[Kill]) -> bool:
    return any(in_flight(one, kill) for kill in kills)


def in_flight(one: Told, kill: Kill) -> bool:
    """Whether the killed process may have had it; control and worker have none, of a Replica's the router says that it is lost."""
    if kill.what in {"control", "worker"} or one.began > kill.ended or one.ended < kill.began:
        return False
    if kill.what == "router":
        return one.port in kill.ports
    return "replica_lost" in one.trouble and (kill.held is None or one.began in kill.held)


def books(home: Home, load: Load) -> dict[str, tuple[str, int, int]]:
    """Answer -> outcome and tokens, once control has every one that a client saw whole."""
    with closing(sqlite3.connect(f"file:{home.path / 'baray.db'}?mode=ro", uri=True)) as records:
        found = records.execute("SELECT id, outcome, answer FROM answer").fetchall()
    rows = {name: (outcome, json.loads(answer)) for name, outcome, answer in found}
    counts = {name: (what, said["prompt_tokens"], said["completion_tokens"]) for name, (what, said) in rows.items()}
    return counts if {one.id for one in load.completed()} <= set(counts) else {}


def assert_books(home: Home, key: str, load: Load, rows: dict[str, tuple[str, int, int]]) -> None:
    """Each answer once as its client saw it, cut ones up to where they were cut; usage is their sum."""
    for one in load.completed():
        assert rows[one.id] == ("completed", one.prompt_tokens, one.tokens), one
    known = {one.id: one for one in load.failed() if one.id}
    others = {name: row for name, row in rows.items() if name not in {one.id for one in load.completed()}}
    assert len(others) <= len(load.failed())
    for name, row in others.items():
        if name in known and row[0] == "failed":
            assert row[2] == known[name].events, (row, known[name])
    (used,) = [row for row in home.json("usage", "--by", "key")["items"] if row["key"] == key]
    told = (len(rows), sum(row[1] for row in rows.values()), sum(row[2] for row in rows.values()))
    assert (used["requests"], used["tokens_in"], used["tokens_out"]) == told
