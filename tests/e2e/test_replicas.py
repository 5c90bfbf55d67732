"""Replicas of a Service as Runs: up, revised behind a gate, rolled back, killed, stopped; by real processes."""

from __future__ import annotations

import json
import os
import signal
import threading

import pytest

from baray import runs, serve
from baray.access import PUBLIC
from baray.catalog import FileEntry, Output, Publication, publish
from runs_home import alive_with, open_home, wait_until
from serve_house import running_router


class Hosting:
    """A home whose Replicas are looked after, as control does it."""

    def __init__(self, home):
        self.home, self.site = home, home.site
        self.reconciler = serve.Reconciler(home.site, home.path, handler="speaking_handler:serve")
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._loop, daemon=True)
        self.push()
        home.serve()
        home.start_worker()
        self.thread.start()

    def _loop(self):
        while not self.stop.wait(0.05):
            if self.reconciler.step():
                self.push()
                self.home.bell.ring()

    def push(self):
        snapshot = self.site.store.read(lambda tx: serve.snapshot(tx, self.site))
        part = self.home.path / "run" / "routes.part"
        part.write_text(json.dumps(snapshot))
        part.replace(self.home.path / "run" / "routes.json")

    def model(self, number, **config):
        folder = self.home.path / f"model-{number}"
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps({"max_position_embeddings": 64, "number": number} | config))
        path = folder / "config.json"
        entry = FileEntry(path=path.name, digest=self.site.blobs.put_file(path), bytes=path.stat().st_size)
        digest = f"sha256:{number:064d}"
        output = Output(kind="model", name="talk", digest=digest, labels=("public",), files=(entry,))

        def write(tx):
            made = Publication(
                project_id=self.home.project, actor_id=self.home.actor, run_id=self.site.ids.new("r"), output=output,
                label=PUBLIC, recipe="test", inputs=(),
            )  # fmt: skip
            return publish(tx, self.site, [made], lambda _versions: "")[0]

        return self.site.store.write(write)

    def deploy(self, artefact, **values):
        request = serve.ServiceRequest(
            project_id=self.home.project, actor_id=self.home.actor, kind="model", name="talk", artefact=artefact,
            audience=("public",), **values,
        )  # fmt: skip
        return self.site.store.write(lambda tx: serve.deploy_model(tx, self.site, request))

    def service(self):
        return self.site.store.read(lambda tx: serve.get_service(tx, self.home.project, "talk"))

    def standing(self):
        return self.site.store.read(lambda tx: serve.standing(tx, serve.get_service(tx, self.home.project, "talk")))

    def close(self):
        self.stop.set()
        self.thread.join(10)
        self.reconciler.close()


@pytest.fixture
def hosting(tmp_path):
    with open_home(tmp_path / "h") as home:
        made = Hosting(home)
        yield made
        made.close()
        for pid in alive_with(str(home.path)):
            os.kill(pid, signal.SIGKILL)


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
