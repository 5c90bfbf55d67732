"""A home with a real database and ledger, an Index and a Model in it, and real router processes."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from baray import access, serve
from baray.access import Actor, Label, Site, TokenRequest, parse_label
from baray.catalog import FileEntry, Output, Publication, VersionRow, publish
from baray.core import Clock, Ids, SystemClock
from baray.ledger import FileArtifactSigner, FileSigner, Ledger
from baray.store import DiskBlobs, Tx, migrate, open_store
from baray.text import DocumentRow, write_index

BIRTH = "ថ្លៃសេវាធ្វើសំបុត្រកំណើតគឺ ៤០០០ រៀល។ ឯកសារដែលត្រូវយកមកគឺ សៀវភៅគ្រួសារ។"
LAND = "Transfer of a land title. The fee for the transfer of a land title is 100000 riel. Bring both identity cards."
SECRET = "Complaints against officers are kept for two years in the red cabinet of the chief."
MARKET = "The daily fee for a market stall is 1500 riel."
DOCUMENTS = (
    DocumentRow(
        id="d1", path="civil/birth.docx", text=BIRTH, label="public", title="សំបុត្រកំណើត", language="km",
        office="Civil registry", valid_until="2099-12-31",
    ),
    DocumentRow(
        id="d2", path="land/transfer.pdf", text=LAND, label="public", title="Land title", language="en", office="Land office"
    ),
    DocumentRow(id="d3", path="internal/complaints.txt", text=SECRET, label="internal", language="en", office="Administration"),
    DocumentRow(
        id="d4", path="fees/market.html", text=MARKET, label="public", title="Market stall fee", language="en",
        valid_until="2020-12-31",
    ),
)  # fmt: skip


def wait_until(found: Callable[[], Any], what: str, limit_seconds: float = 15.0) -> Any:
    """The value of `found` once it is true."""
    end = time.monotonic() + limit_seconds
    while time.monotonic() < end:
        value = found()
        if value:
            return value
        time.sleep(0.01)
    raise AssertionError(f"not within {limit_seconds} s: {what}")


@dataclass
class House:
    """A home under test: the project `main`, its operator, an officer cleared for internal things."""

    path: Path
    clock: Clock

    def __post_init__(self) -> None:
        for name in ("run", "blobs", "spool"):
            (self.path / name).mkdir(parents=True, exist_ok=True)
        migrate(self.path / "baray.db")
        ledger = Ledger(
            origin="baray.test/h", signer=FileSigner(self.path / "ledger.key", name="baray.test/h"), clock=self.clock
        )
        store = open_store(self.path / "baray.db", sealer=ledger)
        artifacts = FileArtifactSigner(self.path / "artifacts.key")
        blobs, ids = DiskBlobs(self.path / "blobs"), Ids(self.clock)
        self.site = Site(store=store, blobs=blobs, ledger=ledger, artifacts=artifacts, clock=self.clock, ids=ids)
        self.project, self.operator, self.officer = self.site.store.write(self._people)

    def _people(self, tx: Tx) -> tuple[str, str, str]:
        operator = access.bootstrap(tx, self.site)
        project = access.project_named(tx, "main").id
        officer = access.create_actor(
            tx, self.site, name="officer", kind="person", clearance=parse_label("internal"), by=operator
        )
        access.set_member(tx, self.site, project_id=project, actor_id=officer, role="member", by=operator)
        return project, operator, officer

    def token(self, actor_id: str) -> str:
        request = TokenRequest(kind="pat", name="test", seconds=3600.0)
        return self.site.store.write(
            lambda tx: access.create_token(tx, self.site, actor_id=actor_id, request=request, by=self.operator)
        )[1]

    def actor(self, actor_id: str) -> Actor:
        return self.site.store.read(lambda tx: access.load_actor(tx, actor_id))

    def publish(self, kind: str, name: str, folder: Path, label: Label, digest: str) -> VersionRow:
        """Make the files of `folder` a version."""
        files = tuple(
            FileEntry(path=file.name, digest=self.site.blobs.put_file(file), bytes=file.stat().st_size)
            for file in sorted(folder.iterdir())
        )
        output = Output(kind=kind, name=name, digest=digest, labels=(str(label),), files=files)

        def write(tx: Tx) -> VersionRow:
            publication = Publication(
                project_id=self.project, actor_id=self.operator, run_id=self.site.ids.new("r"), output=output,
                label=label, recipe="test", inputs=(),
            )  # fmt: skip
            return publish(tx, self.site, [publication], lambda _versions: "")[0]

        return self.site.store.write(write)

    def add_index(self, name: str = "papers", documents: tuple[DocumentRow, ...] = DOCUMENTS) -> VersionRow:
        folder = self.path / "made" / name / str(len(documents))
        facts = write_index(folder, documents)
        return self.publish("index", name, folder, parse_label("internal"), facts.digest)

    def request(self, artefact: VersionRow, name: str, **values: Any) -> serve.ServiceRequest:
        kind = "desk" if artefact.kind == "index" else "model"
        given = {
            "project_id": self.project,
            "actor_id": self.operator,
            "kind": kind,
            "name": name,
            "artefact": artefact,
        }
        return serve.ServiceRequest(**given | values)

    def desk(
        self, artefact: VersionRow, name: str = "counter", audience: tuple[str, ...] = ("public",), **values: Any
    ) -> serve.Service:
        request = self.request(artefact, name, audience=audience, **values)
        return self.site.store.write(lambda tx: serve.create_desk(tx, self.site, request))

    def model(
        self, artefact: VersionRow, name: str = "letters", audience: tuple[str, ...] = ("public",)
    ) -> serve.Service:
        request = self.request(artefact, name, audience=audience)
        return self.site.store.write(lambda tx: serve.deploy_model(tx, self.site, request))

    def push(self, change: Callable[[dict[str, Any]], None] = lambda snapshot: None, control: str = "") -> None:
        """Replace the router's snapshot, as control does."""
        snapshot = self.site.store.read(lambda tx: serve.snapshot(tx, self.site, control=control))
        change(snapshot)
        part = self.path / "run" / "routes.part"
        part.write_text(json.dumps(snapshot))
        part.replace(self.path / "run" / "routes.json")

    def ingest(self) -> serve.Ingested:
        return serve.ingest(self.site, self.path / "spool")

    def answers(self) -> list[dict[str, Any]]:
        """Every Answer of every Service."""

        def read(tx: Tx) -> list[dict[str, Any]]:
            services = serve.list_services(tx, self.project)
            return [row for service in services for row in serve.list_answers(tx, service.id, limit=500)]

        return self.site.store.read(read)

    def entries(self, kind: str) -> list[Any]:
        found = self.site.store.read(lambda tx: self.site.ledger.entries(tx, -1, 1000))
        return [entry for entry in found if entry.kind == kind]

    def close(self) -> None:
        self.site.store.close()


@dataclass
class Router:
    """A router process."""

    home: Path
    process: subprocess.Popen[bytes]
    port: int

    def ask(
        self, method: str, path: str, body: Any = None, *, token: str = "", headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """One request on a connection of its own: (status, headers, body)."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        sent = dict(headers or {})
        if token:
            sent["Authorization"] = f"Bearer {token}"
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        with contextlib.closing(connection):
            connection.request(method, path, body=data, headers=sent)
            response = connection.getresponse()
            content = response.read()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, content

    def json(self, method: str, path: str, body: Any = None, **values: Any) -> tuple[int, Any]:
        status, _, content = self.ask(method, path, body, **values)
        return status, json.loads(content)

    def question(self, text: str, model: str = "counter", **values: Any) -> Any:
        token = values.pop("token", "")
        status, found = self.json("POST", "/v1/answers", {"model": model, "question": text, **values}, token=token)
        assert status == 200, found
        return found

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(15)


def start_router(home: Path, **config: Any) -> Router:
    """A router on a free port, once it answers."""
    path = home / "router-config.json"
    path.write_text(json.dumps({"home": str(home), "port": 0} | config))
    (home / "run" / "router.json").unlink(missing_ok=True)
    with (home / "router.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "baray.serve.router", str(path)], stdout=log, stderr=log, env=dict(os.environ)
        )

    def told() -> Any:
        assert process.poll() is None, (home / "router.log").read_text()
        return (home / "run" / "router.json").exists()

    wait_until(told, "router.json")
    port = json.loads((home / "run" / "router.json").read_text())["port"]
    return Router(home=home, process=process, port=port)


@contextmanager
def running_router(home: Path, **config: Any) -> Iterator[Router]:
    """A router that is stopped in the end."""
    router = start_router(home, **config)
    try:
        yield router
    finally:
        router.stop()


def new_house(path: Path) -> House:
    """A fresh home at `path`."""
    return House(path=path, clock=SystemClock())
