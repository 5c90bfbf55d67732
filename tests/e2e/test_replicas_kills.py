"""kill -9 of a Replica, of the router and of control under load: what was in flight there fails, all else is answered.

Afterwards each request that a client saw whole is in the books once, with its tokens.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

import replica_hosting
from baray import runs, serve
from completion_load import PROMPT_TOKENS, Load
from replica_hosting import Hosting, end_all, open_hosting
from runs_home import open_home, open_site, wait_until
from serve_house import running_router, start_router


@pytest.fixture
def hosting(tmp_path):
    with open_hosting(tmp_path / "h") as made:
        yield made


def ready(hosting, **values):
    hosting.deploy(hosting.model(1, pause_seconds=0.02), **values)
    wait_until(lambda: hosting.standing()["state"] == "ready", "the first replica")


def more(load, number=20):
    """Wait until so many more requests were answered whole."""
    before = len(load.completed())
    wait_until(lambda: len(load.completed()) >= before + number, f"{number} more answers", 40)


def alive(pid):
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def assert_in_flight(load, killed, dead):
    """Only requests failed that were on their way between `killed` and `dead`: a client may ask again in between."""
    assert [one for one in load.failed() if one.began > dead or one.ended < killed] == []


def assert_books(site, project, load):
    """The books hold what the clients saw, and of the requests that failed for them no more than one Answer each."""
    rows = site.store.read(lambda tx: [tuple(row) for row in tx.hot("SELECT id, outcome, answer FROM answer")])
    said = {name: (outcome, json.loads(answer)) for name, outcome, answer in rows}
    for one in load.completed():
        outcome, answer = said[one.id]
        counts = (answer["prompt_tokens"], answer["completion_tokens"])
        assert (outcome, counts) == ("completed", (PROMPT_TOKENS, one.tokens))
    assert len(said) - len(load.completed()) <= len(load.failed())
    (used,) = site.store.read(lambda tx: serve.usage(tx, project))
    told = (
        len(said),
        sum(answer["prompt_tokens"] for _, answer in said.values()),
        sum(answer["completion_tokens"] for _, answer in said.values()),
    )
    assert (used["requests"], used["tokens_in"], used["tokens_out"]) == told


def settle(hosting, load):
    """The books once the receipts of all that was answered are rows."""

    def arrived():
        found = hosting.site.store.read(lambda tx: {row.id for row in tx.hot("SELECT id FROM answer")})
        return {one.id for one in load.completed()} <= found

    wait_until(arrived, "the receipts")
    hosting.close()
    serve.ingest(hosting.site, hosting.home.path / "spool")
    assert_books(hosting.site, hosting.home.project, load)


def test_a_replica_killed_under_load_fails_only_what_it_worked_on(hosting):
    ready(hosting)
    (first,) = hosting.standing()["replicas"]
    state = json.loads((hosting.home.attempt_dir(first["run"]) / "state.json").read_text())
    with running_router(hosting.home.path) as router, Load(port=router.port) as load:
        more(load)
        killed = time.monotonic()
        os.kill(state["child"], signal.SIGKILL)
        wait_until(lambda: not alive(state["child"]), "its death")
        dead = time.monotonic()
        more(load)
        load.stop()
    assert_in_flight(load, killed, dead)
    assert load.unreached == 0
    settle(hosting, load)


def test_a_router_killed_under_load_loses_only_what_it_had_begun(hosting):
    ready(hosting)
    router = start_router(hosting.home.path)
    # A connection for each request: one that was kept open would break on a request that no router ever had.
    with Load(port=router.port, requests_a_connection=1) as load:
        more(load)
        killed = time.monotonic()
        router.kill()
        dead = time.monotonic()
        with running_router(hosting.home.path) as again:
            load.port = again.port
            more(load)
            load.stop()
    assert_in_flight(load, killed, dead)
    settle(hosting, load)


@contextmanager
def control(home):
    """Control in a process of its own, killed in the end."""
    argv = [sys.executable, replica_hosting.__file__, str(home)]
    with (home / "control.log").open("ab") as log:
        process = subprocess.Popen(argv, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.kill()
        process.wait(10)


def upstreams(path: Path):
    (row,) = json.loads((path / "run" / "routes.json").read_text())["services"]
    return row["engine"]["upstreams"]


def write(path, do):
    """Change the rows of a home whose control is dead."""
    with open_home(path) as home:
        do(Hosting(home))


def test_control_killed_under_load_and_at_the_gate_of_a_revision_fails_nothing(tmp_path):
    path = tmp_path / "h"
    with open_home(path) as home, ExitStack() as stack:
        stack.callback(end_all, path)
        (path / "spool").mkdir()
        home.start_worker()
        write(path, lambda made: made.deploy(made.model(1, pause_seconds=0.02)))
        with control(path):
            wait_until(lambda: (path / "run" / "routes.json").exists() and upstreams(path), "the first replica")
            (first,) = upstreams(path)
            router = stack.enter_context(running_router(path))
            load = stack.enter_context(Load(port=router.port))
            more(load)
        more(load)
        write(path, lambda made: made.deploy(made.model(2, pause_seconds=0.02)))
        with control(path):
            folders = len(list((path / "runs").iterdir()))
            wait_until(lambda: len(list((path / "runs").iterdir())) > folders or upstreams(path) != [first], "a start")
        more(load)
        with control(path):
            wait_until(lambda: upstreams(path) and upstreams(path) != [first], "the second revision")
            more(load)
        load.stop()
    assert load.failed() == []
    assert load.unreached == 0
    site = open_site(path, home.clock)
    serve.ingest(site, path / "spool")
    assert_books(site, home.project, load)
    site.store.close()


def test_a_service_sleeps_when_nobody_asks_and_wakes_for_a_request(hosting):
    ready(hosting, replicas=(0, 1), idle_seconds=1.0)
    with running_router(hosting.home.path) as router:
        for _ in range(2):
            wait_until(lambda: hosting.service().wanted_replicas == 0, "the service to be idle")
            wait_until(lambda: not hosting.site.store.read(runs.active), "its replica to end")
            assert upstreams(hosting.home.path) == []
            body = {"model": "talk", "prompt": "x", "max_tokens": 3}
            status, value = router.json("POST", "/v1/completions", body)
            assert (status, value["usage"]["completion_tokens"]) == (200, 3)
            assert len(upstreams(hosting.home.path)) == 1
    entries = [kind for kind, _ in hosting.home.entries() if kind == "service.scaled"]
    assert len(entries) == 4
