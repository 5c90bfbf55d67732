"""A home whose Services have Replicas in real processes, looked after as control does it.

python tests/replica_hosting.py HOME   is such a control in a process of its own, for drills that kill it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

from baray import serve
from baray.access import PUBLIC
from baray.catalog import FileEntry, Output, Publication, publish
from runs_home import Home, alive_with, open_home


class Hosting:
    """A home whose Replicas are looked after, as control does it."""

    def __init__(self, home):
        self.home, self.site = home, home.site
        self.reconciler = serve.Reconciler(home.site, home.path, handler="speaking_handler:serve")
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._loop, daemon=True)

    def start(self):
        self.push()
        self.home.serve()
        self.thread.start()

    def _loop(self):
        while not self.stop.wait(0.05):
            serve.ingest(self.site, self.home.path / "spool")
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


@contextmanager
def open_hosting(path):
    """A fresh home at `path` with a worker; nothing of it is left in the end."""
    with open_home(path) as home:
        (home.path / "spool").mkdir()
        home.start_worker()
        made = Hosting(home)
        made.start()
        try:
            yield made
        finally:
            made.close()
            end_all(home.path)


def end_all(path):
    """Kill the Replicas of a home."""
    for pid in alive_with(str(path)):
        os.kill(pid, signal.SIGKILL)


def main():
    home = Home(Path(sys.argv[1]))
    home.socket.unlink(missing_ok=True)
    Hosting(home).start()
    signal.pause()


if __name__ == "__main__":
    main()
