"""The web application in this process, on a real home, asked over ASGI: for tests of what each caller is told."""

from __future__ import annotations

import dataclasses
import json
import sys
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import anyio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from baray import access, catalog, data, fleet, runs, serve, web
from baray.access import Actor, Site, TokenRequest, parse_label
from baray.app.recipes import recipe_table
from baray.catalog import FileEntry, Raise, SourceRequest, VersionRow, Word, add_source
from baray.runs.protocol import AttemptResult, WorkerOffer
from baray.store import Tx

DAY = 86_400.0


@dataclass
class LabelHouse:
    """A home with its application; people are made as tests need them."""

    site: Site
    home: Path
    tokens: dict[str, str] = field(default_factory=dict)
    pushed: int = 0

    def __post_init__(self) -> None:
        for name in ("runs", "run", "spool"):
            (self.home / name).mkdir(exist_ok=True)
        self.project = self.site.store.read(lambda tx: access.project_named(tx, "main")).id
        self.operator = self.site.store.read(lambda tx: access.actor_named(tx, "operator")).id
        self.site.store.write(lambda tx: fleet.admit(tx, self.site, name="w", clearance=None))
        self.bell = runs.Bell()
        self.tokens["operator"] = self._token(self.operator)
        self.app = web.make_app(self._house())

    def _house(self) -> web.House:
        wiring: dict[str, Any] = {
            "site": self.site,
            "home": self.home,
            "reader": web.ReaderChild([sys.executable, "-m", data.READER_MODULE]),
            "hosts": frozenset({"localhost"}),
            "default_project": "main",
            "router_url": lambda: "",
            "control_key": "0" * 64,
            "uploads": web.Uploads(),
            "push": self._push,
            "ingest": lambda: 0,
            "bell": self.bell,
            "recipes": recipe_table(),
            "status": dict,
            "touch": lambda: None,
            "public_url": "",
            "waiters": threading.BoundedSemaphore(4),
        }
        # What this house does not wire (signing in, for one) is not there, and no test here asks for it.
        return web.House(**{one.name: wiring.get(one.name) for one in dataclasses.fields(web.House)})

    def _push(self) -> None:
        self.pushed += 1

    def _token(self, actor_id: str) -> str:
        request = TokenRequest(kind="pat", name="test", seconds=80 * DAY)
        return self.site.store.write(
            lambda tx: access.create_token(tx, self.site, actor_id=actor_id, request=request, by=actor_id)
        )[1]

    def person(self, name: str, clearance: str = "internal", role: str | None = "member") -> str:
        """Make an actor with a token; its id."""

        def make(tx: Tx) -> str:
            made = access.create_actor(
                tx, self.site, name=name, kind="person", clearance=parse_label(clearance), by=self.operator
            )
            access.set_member(tx, self.site, project_id=self.project, actor_id=made, role=role, by=self.operator)
            return made

        actor_id = self.site.store.write(make)
        self.tokens[name] = self._token(actor_id)
        return actor_id

    def actor(self, name: str) -> Actor:
        return self.site.store.read(lambda tx: access.load_actor(tx, access.actor_named(tx, name).id))

    # -- asking

    def ask(self, method: str, path: str, body: Any = None, *, by: str = "operator") -> tuple[int, Any]:
        """(status, JSON or text) of one request."""
        status, raw = anyio.run(self._ask, method, path, body, by)
        try:
            return status, json.loads(raw)
        except ValueError:
            return status, raw.decode()

    def api(self, method: str, path: str, body: Any = None, *, by: str = "operator") -> tuple[int, Any]:
        return self.ask(method, f"/api/v1/{path}", body, by=by)

    def form(self, path: str, fields: dict[str, str], *, by: str) -> tuple[int, Any]:
        """POST a form, as the console's pages do."""
        status, raw = anyio.run(self._ask, "POST", path, urlencode(fields).encode(), by)
        return status, raw.decode()

    async def _ask(self, method: str, path: str, body: Any, by: str) -> tuple[int, bytes]:
        url = urlsplit(path)
        sent = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        kind = b"application/x-www-form-urlencoded" if isinstance(body, bytes) else b"application/json"
        headers = [(b"host", b"localhost"), (b"content-type", kind)]
        headers += [(b"authorization", f"Bearer {self.tokens[by]}".encode()), (b"accept", b"text/html")]
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
            "path": url.path, "raw_path": url.path.encode(), "query_string": url.query.encode(), "root_path": "",
            "headers": headers, "client": ("127.0.0.1", 1), "server": ("localhost", 80), "state": {},
        }  # fmt: skip
        answered: dict[str, Any] = {"body": b""}
        messages = [{"type": "http.request", "body": sent, "more_body": False}]

        async def receive() -> dict[str, Any]:
            if messages:
                return messages.pop()
            await anyio.sleep_forever()
            raise AssertionError

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                answered["status"] = message["status"]
            answered["body"] += message.get("body", b"")

        await self.app(scope, receive, send)
        return answered["status"], answered["body"]

    # -- making

    def source(self, name: str, label: str = "internal", text: bytes | None = None) -> VersionRow:
        content = text if text is not None else f"{name} in {label}".encode()
        entry = FileEntry(path="a.txt", digest=self.site.blobs.put_bytes(content), bytes=len(content))
        request = SourceRequest(
            project_id=self.project, actor_id=self.operator, name=name, title=name, label=parse_label(label),
            licence=None, files=(entry,), held=frozenset({entry.digest}),
        )  # fmt: skip
        return add_source(self.site, request)[0]

    def submit(self, name: str, inputs: list[VersionRow], kind: str = "dataset", **values: Any) -> runs.Run:
        asked: dict[str, Any] = {"project_id": self.project, "actor_id": self.operator, "kind": kind, "name": name}
        asked |= {"recipe": "test", "handler": "m:f", "label": access.PUBLIC, "options": {"of": name}}
        asked |= {"inputs": {f"i{number}": version for number, version in enumerate(inputs)}}
        return self.site.store.write(lambda tx: runs.submit(tx, self.site, runs.RunRequest(**asked | values)))

    def lease(self, **offer: Any) -> Any:
        held = self.site.store.read(lambda tx: [row.id for row in tx.hot("SELECT id FROM attempt WHERE ended IS NULL")])
        given: dict[str, Any] = {"worker": "w", "cpus": 64, "memory_bytes": 1 << 40, "tier": "A", "limits": "soft"}
        return runs.lease(self.site, WorkerOffer(**given | {"held": tuple(held)} | offer)).grant

    def tell_worker(self, **facts: Any) -> None:
        """Let control know of a worker `w`, as its poll does."""
        offer = {"worker": "w", "cpus": 64, "memory_bytes": 1 << 40, "tier": "A", "limits": "soft", "wait_seconds": 0}
        status, _ = runs.handle_worker(self.site, self.bell, "/worker/lease", json.dumps(offer | facts).encode())
        assert status == 200

    def finish(self, grant: Any, *, labels: tuple[str, ...] = (), data_bytes: bytes | None = None) -> VersionRow:
        """Publish one output of a leased Run; the version."""
        content = data_bytes if data_bytes is not None else grant.run_id.encode()
        digest = self.site.blobs.put_bytes(content)
        kind = grant.spec["kind"] if grant.spec["kind"] != "command" else "dataset"
        output = {"kind": kind, "name": grant.spec["name"], "digest": digest, "labels": list(labels), "summary": {}}
        output["files"] = [{"path": "data/part.bin", "digest": digest, "bytes": len(content)}]
        ids = {"attempt_id": grant.attempt_id, "run_id": grant.run_id, "lease_token": grant.lease_token}
        assert runs.apply(self.site, AttemptResult(**ids, outcome="succeeded", outputs=(output,)))
        run = self.site.store.read(lambda tx: runs.get_run(tx, grant.run_id))
        assert run is not None
        return self.version(run.outputs[0]["id"])

    def made(self, name: str, inputs: list[VersionRow], kind: str = "dataset", **values: Any) -> VersionRow:
        """A version that a Run made of `inputs`."""
        labels = values.pop("labels", ())
        run = self.submit(name, inputs, kind, **values)
        grant = self.lease()
        assert grant.run_id == run.id
        return self.finish(grant, labels=labels)

    def version(self, version_id: str) -> VersionRow:
        found = self.site.store.read(lambda tx: catalog.by_id(tx, version_id))
        assert found is not None
        return found

    def service(self, name: str, artefact: VersionRow, audience: tuple[str, ...] = ("project",)) -> serve.Service:
        kind = "desk" if artefact.kind == "index" else "model"
        request = serve.ServiceRequest(
            project_id=self.project, actor_id=self.operator, kind=kind, name=name, artefact=artefact, audience=audience
        )
        put = serve.create_desk if kind == "desk" else serve.deploy_model
        return self.site.store.write(lambda tx: put(tx, self.site, request))

    def entries(self, kind: str) -> list[dict[str, Any]]:
        found = self.site.store.read(lambda tx: self.site.ledger.entries(tx, -1, 100_000))
        return [entry.as_json() for entry in found if entry.kind == kind]


def lift(house, version, to, reason="it names people"):
    asked = Raise(version=version, to=parse_label(to), reason=reason, actor_id=house.operator)
    return house.site.store.write(lambda tx: catalog.raise_label(tx, house.site, asked))


class Signer:
    """A person with a key."""

    def __init__(self, house, name, clearance="secret:land", role="steward"):
        self.house, self.name = house, name
        self.id = house.person(name, clearance, role)
        self.key = Ed25519PrivateKey.generate()
        self.register()

    def register(self):
        public = "ed25519." + self.key.public_key().public_bytes_raw().hex()
        self.house.site.store.write(lambda tx: catalog.set_key(tx, self.house.site, self.actor(), public))

    def actor(self):
        return replace(self.house.actor(self.name), fresh=True)

    def sign(self, asked, verdict="approve"):
        message = catalog.message(verdict, catalog.statement_digest(asked))
        return "ed25519." + self.key.sign(message).hex()

    def give(self, asked, verdict="approve", signature=None):
        word = Word(lowering_id=asked.id, verdict=verdict, signature=signature or self.sign(asked, verdict))
        return self.house.site.store.write(lambda tx: catalog.give_word(tx, self.house.site, self.actor(), word))

    def ask(self, version, to="public", reason="names were taken out by hand"):
        return self.house.site.store.write(
            lambda tx: catalog.ask_lowering(
                tx, self.house.site, self.actor(), version, to=parse_label(to), reason=reason
            )
        )
