"""A world for sweeps: a real server with two projects that hold the same kinds of things, and people of every role in each.

Everything is made through the API, as people would; `Asked` describes one example request of every route.
"""

from __future__ import annotations

import csv
import hashlib
import http.client
import io
import json
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote, urlencode, urlsplit

from homes import Home, wait_for
from sweep_examples import EXAMPLES, FORM, USUAL, Asked

from baray import access, web
from baray.runs.protocol import HeldLease, Renewal, WorkerOffer
from baray.runs.worker.client import Control

EXPECTED = Path(__file__).parent / "expected"


@dataclass(frozen=True)
class Reply:
    """One response."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", errors="replace")

    def json(self) -> Any:
        return json.loads(self.body)


class Line:
    """A kept connection to one address: a new one for each request would hide small gaps in time."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self._connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)

    def ask(self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Reply:
        for last in (False, True):
            try:
                self._connection.request(method, path, body, headers or {})
                response = self._connection.getresponse()
                data = response.read()
            except (http.client.HTTPException, OSError) as error:
                self._connection.close()
                if last or isinstance(error, TimeoutError):  # anything else: the server let an idle connection go
                    raise
            else:
                return Reply(response.status, {key.lower(): value for key, value in response.getheaders()}, data)
        raise AssertionError

    def close(self) -> None:
        self._connection.close()


@dataclass
class World:
    """A running server and what was made in it."""

    home: Home
    url: str
    router: str
    operator: str
    """The operator's token."""
    made: dict[str, dict[str, str]] = field(default_factory=dict)
    """Project -> what an example names -> name or id there."""
    tokens: dict[tuple[str, str], str] = field(default_factory=dict)
    """(project, role) -> token of somebody with that role there and nowhere else."""
    own: dict[str, OwnToken] = field(default_factory=dict)
    """Project -> a Run of it with its own token."""
    lines: dict[str, Any] = field(default_factory=dict)
    count: int = 0

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | Any = None,
        *,
        token: str | None = "",
        to: str = "",
        kind: str = "application/json",
    ) -> Reply:
        """One request: of the operator by default, of nobody with `token=None`."""
        to = to or self.url
        headers = {} if token is None else {"Authorization": f"Bearer {token or self.operator}"}
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        if data is not None:
            headers["Content-Type"] = kind
        if token is None and method not in ("GET", "HEAD"):
            headers["Origin"] = self.url
        line = self.lines.setdefault(to, Line(to))
        return line.ask(method, path, data, headers)

    def api(self, method: str, path: str, body: Any = None, *, token: str = "", status: tuple[int, ...] = ()) -> Any:
        """The document of a request that has to succeed."""
        reply = self.ask(method, f"/api/v1/{path}", body, token=token)
        assert reply.status in (status or (200, 201, 202)), (method, path, reply.status, reply.text)
        return reply.json()

    def fresh(self) -> str:
        """A name that nothing has."""
        self.count += 1
        return f"fresh-{self.count}"

    def send(self, project: str, data: bytes, *, token: str = "") -> dict[str, Any]:
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        reply = self.ask("PUT", f"/api/v1/blobs/{digest}?project={project}", data, token=token, kind="text/plain")
        assert reply.status == 201, reply.text
        return {"digest": digest, "bytes": len(data)}

    def source(self, project: str, name: str, files: dict[str, bytes], label: str, **more: Any) -> Any:
        listed = [{"path": path} | self.send(project, data) for path, data in files.items()]
        body = {"name": name, "files": listed, "label": label, **more}
        return self.api("POST", f"sources?project={project}", body)

    def finish(self, project: str, run: dict[str, Any], state: str = "succeeded") -> Any:
        """Wait until a Run has ended in `state`."""

        def ended() -> Any:
            found = self.api("GET", f"runs/{run['id']}?project={project}")
            return found if found["state"] in ("succeeded", "failed", "cancelled") else None

        found = wait_for(ended, 60)
        assert found["state"] == state, found
        return found

    def person(self, name: str, clearance: str, roles: dict[str, str]) -> str:
        """The token of a new person."""
        self.api("POST", "users", {"name": name, "clearance": clearance})
        for project, role in roles.items():
            self.api("POST", f"projects/{project}/members?project={project}", {"actor": name, "role": role})
        return self.token(name)

    def token(self, name: str) -> str:
        """A token of `name` that may do all that they may."""
        asked = {"name": f"of {name}", "actor": name, "expires": "1h", "scopes": list(access.SCOPES)}
        return str(self.api("POST", "tokens", asked)["token"])

    def close(self) -> None:
        for line in self.lines.values():
            line.close()


@contextmanager
def serving(path: Path) -> Iterator[World]:
    """A server on a new home."""
    home = Home(path / "home")
    home.run("up", "--detach", "--port", "0", "--router-port", "0")
    try:
        endpoint = json.loads((home.path / "endpoint.json").read_text())
        token = (home.path / "operator.token").read_text().strip()
        with closing(World(home=home, url=endpoint["url"], router=endpoint["router_url"], operator=token)) as world:
            yield world
    finally:
        home.stop()


def letters(count: int = 60) -> bytes:
    """A CSV of letters of two units that a word tells apart."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["id", "language", "unit", "text"])
    for number in range(count):
        unit, word = (("land", "plot and title"), ("water", "pipe and tap"))[number % 2]
        writer.writerow([f"l{number}", "en", unit, f"Letter {number * 7919 % 1000} about a {word}. Please help."])
    return out.getvalue().encode()


def furnish(world: World, project: str, label: str = "internal") -> None:
    """Make one thing of every kind in `project`; names differ between projects, as ids do."""
    world.api("POST", "projects", {"name": project})
    name, at = f"papers-{project}", f"?project={project}"
    fact = f"The office of {project} is open from seven to eleven in the morning. It is closed on Sunday.\n".encode()
    source = world.source(project, name, {"hours.txt": fact, "more.txt": fact + b"Bring a pen."}, label)
    letter = world.source(project, f"letters-{project}", {"letters.csv": letters()}, label)
    dataset = world.api("POST", f"datasets{at}", {"name": name, "source": source["ref"]})
    training = {"name": f"model-{project}", "recipe": "text-classifier", "source": letter["ref"]}
    model = world.api("POST", f"models{at}", training)
    echo = {"command": ["/bin/echo", "out"], "name": f"echo-{project}"}
    run = world.api("POST", f"runs{at}", echo)
    failing = world.api("POST", f"runs{at}", {"command": ["/bin/false"], "name": f"fails-{project}"})
    world.finish(project, dataset)
    index = world.api("POST", f"indexes{at}", {"name": name, "dataset": name})
    world.finish(project, index)
    for one in (model, run):
        world.finish(project, one)
    world.finish(project, failing, "failed")
    desk = {"name": f"desk-{project}", "kind": "desk", "index": name, "audience": ["project"]}
    world.api("POST", f"services{at}", desk)
    routing = {"name": f"routing-{project}", "kind": "model", "model": f"model-{project}", "audience": ["project"]}
    world.api("POST", f"services{at}", routing)
    asked = {"question": "When is the office open?"}
    answer = wait_for(lambda: _asked(world, f"services/desk-{project}/ask{at}", asked), 10)
    token = world.api("POST", f"tokens{at}", {"name": f"spare of {project}", "expires": "1h"})
    world.api("POST", "users", {"name": f"somebody-{project}"})
    lower = {"ref": f"source:{name}", "to": "public", "reason": "an example"}
    asked_for = world.api("POST", f"labels/lower{at}", lower) if label != "public" else {"id": "lw_" + "0" * 26}
    world.made[project] = {
        "project": project, "source": name, "dataset": name, "index": name, "model": f"model-{project}",
        "run": run["id"], "failing": failing["id"], "desk": f"desk-{project}", "routing": f"routing-{project}",
        "answer": answer["id"].removeprefix("answer:"), "token": token["id"], "actor": f"somebody-{project}",
        "digest": "sha256:" + hashlib.sha256(fact).hexdigest(),
        "file": "report.json", "link": "nothing", "lowering": asked_for["id"],
    }  # fmt: skip


def _asked(world: World, path: str, body: Any) -> Any:
    reply = world.ask("POST", f"/api/v1/{path}", body)
    return reply.json() if reply.status == 200 and reply.json()["outcome"] == "answered" else None


class OwnToken:
    """A Run's own token, which no command ever sees: it is got as a worker gets it, by playing a machine of 1,000 cores."""

    def __init__(self, world: World, project: str) -> None:
        self.control = Control(world.home.path / "run" / "worker.sock", 30)
        world.lines[f"worker {len(world.lines)}"] = self.control  # closed with the world
        source = world.source(project, world.fresh(), {"a.txt": b"open to all"}, "public")
        asked = {"command": ["/bin/true"], "cpus": 1000, "name": "itself", "inputs": [source["ref"]]}
        self.run = world.api("POST", f"runs?project={project}", asked)
        self.worker = f"plays-{world.fresh()}"
        offer = WorkerOffer(worker=self.worker, cpus=1000, memory_bytes=2**40, tier="A", limits="soft", wait_seconds=10)
        self.grant = self.control.post("/worker/lease", offer).body["grant"]
        assert self.grant["run_id"] == self.run["id"], self.grant

    def live(self) -> str:
        """The token, and a minute in which it is good."""
        held = HeldLease(attempt_id=self.grant["attempt_id"], lease_token=self.grant["lease_token"])
        reply = self.control.post("/worker/renew", Renewal(worker=self.worker, leases=(held,)))
        assert not reply.body["stale"]
        return str(self.grant["run_token"])


def missing(things: dict[str, str]) -> dict[str, str]:
    """Names and ids of the same form as `things`, of which nothing exists; ids are as old as those."""
    found = {}
    for word, name in things.items():
        other = "0" if name[-1] != "0" else "1"
        found[word] = name[:-1] + other if re.fullmatch(r"[a-z]{1,2}_\w{26}|sha256:\w{64}", name) else f"no-{word}-here"
    return found | {"file": things["file"], "link": things["link"]}


_PLACE = re.compile(r"\{(\w+)(?::path)?\}|\b(NAME)\b")


def routes() -> list[str]:
    """Every route there is: `METHOD /path` of control (API and console), `router METHOD /path` of the router."""
    found = {f"{method} {path}" for path, methods in _control_routes() for method in methods - {"HEAD"}}
    return sorted(found) + [f"router {one}" for one in router_routes()]


def _control_routes() -> Iterator[tuple[str, set[str]]]:
    """(path, methods); FastAPI keeps an included router's routes as contexts that know their whole path."""
    for route in web.make_app(cast("web.House", None)).routes:
        for one in getattr(route, "effective_route_contexts", lambda route=route: [route])():
            if getattr(one, "methods", None):
                yield re.sub(r":path\}", "}", one.path), set(one.methods)


def router_routes() -> list[str]:
    from baray.serve.router.application import Application

    application = Application(house=cast("Any", None), follower=cast("Any", None), home=Path("nowhere"))
    found = [f"{place.method} {path}" for path, place in application._places.items()]
    return sorted(found + [f"{place.method} {folder}NAME" for folder, place in application._folders.items()])


@dataclass(frozen=True)
class Request:
    """A request that is ready to be sent."""

    method: str
    path: str
    body: bytes | None
    to_router: bool
    kind: str

    def send(self, world: World, token: str | None) -> Reply:
        to = world.router if self.to_router else world.url
        return world.ask(self.method, self.path, self.body, token=token, to=to, kind=self.kind)


def request_of(world: World, route: str, things: dict[str, str], project: str) -> Request:
    """The example request of `route` about `things`, asked in `project` (none: in the caller's own)."""
    example = EXAMPLES.get(route, Asked())
    to_router = route.startswith("router ")
    method, _, template = route.removeprefix("router ").partition(" ")
    words = things | {"fresh": world.fresh()}

    def fill(match: re.Match[str]) -> str:
        place = match[1] or match[2]
        word = example.path.get(place) or _usual(template, place)
        if word.startswith("="):
            return quote(word[1:], safe="/:")
        return quote(word.format_map(words) if "{" in word else words[word], safe="/")

    path = _PLACE.sub(fill, template)
    query = _filled(example.query, words)
    if project and not to_router:
        query += ("&" if query else "") + urlencode({"project": project})
    body = _filled(example.body, words)
    data = body if body is None or isinstance(body, bytes) else body.encode() if example.form else _json(body)
    if data is None and method in ("POST", "PUT"):
        data = b""
    kind = FORM if example.form else "application/json" if not isinstance(example.body, bytes) else "text/plain"
    return Request(method, f"{path}?{query}" if query else path, data, to_router, kind)


def _usual(template: str, place: str) -> str:
    for start, words in USUAL.items():
        if template.startswith(start) and place in words:
            return words[place]
    raise AssertionError(
        f"tests/e2e/sweep_examples.py: EXAMPLES or USUAL must say what stands at {{{place}}} of {template}"
    )


def _filled(value: Any, words: dict[str, str]) -> Any:
    if isinstance(value, str):
        return re.sub(r"\{(\w+)\}", lambda match: words[match[1]], value)
    if isinstance(value, list):
        return [_filled(one, words) for one in value]
    if isinstance(value, dict):
        return {key: _filled(one, words) for key, one in value.items()}
    return value


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


@dataclass(frozen=True)
class Named:
    """A request that names one thing which its sender may not know of, and the same request naming nothing."""

    route: str
    word: str
    project: str
    """Where the sender asks."""
    hidden: str
    missing: str

    def pair(self, world: World) -> tuple[Request, Request]:
        own, count = world.made[self.project], world.count
        hidden = request_of(world, self.route, own | {self.word: self.hidden}, self.project)
        world.count = count  # the same fresh names in both
        return hidden, request_of(world, self.route, own | {self.word: self.missing}, self.project)

    def same(self, hidden: Reply, nothing: Reply) -> bool:
        """Whether both say the same, but for the name that the sender wrote."""
        said = hidden.text
        for name, other in ((self.hidden, self.missing), (quote(self.hidden), quote(self.missing))):
            said = said.replace(name, other)
        return (hidden.status, said) == (nothing.status, nothing.text)


def named(world: World, project: str, things: dict[str, str]) -> list[Named]:
    """Every place of every route where one of `things` can be named by somebody in `project`."""
    found = []
    for route in routes():
        for word, nothing in missing(things).items():
            one = Named(route, word, project, things[word], nothing)
            hidden, none = one.pair(world)
            if things[word] != world.made[project][word] and (hidden.path, hidden.body) != (none.path, none.body):
                found.append(one)
    return found
