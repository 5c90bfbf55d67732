"""Replicas of a Service as Runs: up, revised behind a gate, rolled back, killed, stopped; by real processes."""

from __future__ import annotations

import json
import os
import signal
import threading

import pytest

from baray import runs, serve
from replica_hosting import open_hosting
from runs_home import wait_until
from serve_house import running_router


@pytest.fixture
def hosting(tmp_path):
    with open_hosting(tmp_path / "h") as made:
        yield made


def ask(router):
    status, _, body = router.ask("POST", "/v1/completions", {"model": "talk", "prompt": "x", "max_tokens": 2})
    return status, body


def test_a_model_is_answered_for_by_a_replica_and_revised_and_rolled_back_without_a_lost_request(hosting):
    hosting.deploy(hosting.model(1))
    wait_until(lambda: hosting.standing()["state"] == "ready", "the first replica")
    with running_router(hosting.home.path) as router:
        assert ask(router)[0] == 200
        answers, over = [], threading.Event()

        def load():
            while not over.is_set():
                answers.append(ask(router))

        loading = threading.Thread(target=load)
        loading.start()
        hosting.deploy(hosting.model(2))
        wait_until(lambda: hosting.service().revision == 2, "the second revision")
        service = hosting.service()
        back = {"actor_id": hosting.home.actor}
        hosting.site.store.write(lambda tx: serve.roll_back(tx, hosting.site, service, 1, **back))
        wait_until(lambda: hosting.service().revision == 1, "the first revision again")
        hosting.deploy(hosting.model(3, broken=True))
        wait_until(lambda: hosting.service().trouble, "the broken revision to be given up")
        over.set()
        loading.join(20)
    assert {status for status, _ in answers} == {200}
    assert hosting.service().revision == 1
    assert "The weights make no sense." in hosting.standing()["reason"]
    kinds = [kind for kind, _ in hosting.home.entries() if kind.startswith("service.")]
    assert kinds[:5] == [
        "service.created", "service.proposed", "service.revised", "service.rolled_back", "service.revised",
    ]  # fmt: skip
    assert kinds[5:] == ["service.proposed", "service.kept"]


def test_a_killed_replica_is_replaced_and_a_stopped_service_has_none(hosting):
    hosting.deploy(hosting.model(1))
    wait_until(lambda: hosting.standing()["state"] == "ready", "the first replica")
    (first,) = hosting.standing()["replicas"]
    state = json.loads((hosting.home.attempt_dir(first["run"]) / "state.json").read_text())
    os.kill(state["child"], signal.SIGKILL)
    wait_until(
        lambda: any(one["state"] == "ready" and one["run"] != first["run"] for one in hosting.standing()["replicas"]),
        "another",
    )
    service = hosting.service()
    hosting.site.store.write(lambda tx: serve.stop_service(tx, hosting.site, service, actor_id=hosting.home.actor))

    def none_left():
        return not hosting.site.store.read(runs.active)

    wait_until(none_left, "the replicas to end")
    folder = hosting.home.path / "run" / "replicas"
    wait_until(lambda: not list(folder.glob("*.sock")), "their sockets to go")
