"""Clients that people have: OpenAI's own, curl, LangChain's and LlamaIndex's classes, against a router with a Replica behind it.

Each stands in an environment of its own, as the tools of `test_conformance` do. The Replica here speaks as engines do,
without an engine; `test_clients_engines` has engines that compute.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from environments import environment

from baray import access
from baray.access import PUBLIC, Bounds, TokenRequest
from serve_house import House, Router, new_house, running_router, wait_until

HERE = Path(__file__).parent
SPEAKER = HERE.parent / "speaking_replica.py"
SAID = ["សួស្តី", " how", " are", " you", "?"]


@dataclass(frozen=True)
class Place:
    """A router with a model behind it, and keys."""

    house: House
    router: Router
    key: str
    once: str
    """A key that may ask once a minute."""
    counted: tuple[str, str]
    """Id and secret of a key that one test alone uses: what is counted of others may still be on its way."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.router.port}"


def key(house: House, **bounds: int) -> tuple[str, str]:
    """A key of the officer that only asks: its id and its secret."""
    request = TokenRequest(kind="svc", name="test", seconds=3600.0, scopes=frozenset({"ask"}), bounds=Bounds(**bounds))
    return house.site.store.write(
        lambda tx: access.create_token(tx, house.site, actor_id=house.officer, request=request, by=house.operator)
    )


@contextmanager
def open_place(folder: Path, name: str, socket: Path) -> Iterator[Place]:
    """A home whose model `talk` is answered for by the Replica at `socket`, and its router."""
    house = new_house(folder / "home")
    weights = folder / "weights"
    weights.mkdir()
    (weights / "config.json").write_text("{}")
    house.model(
        house.publish("model", "talk", weights, PUBLIC, "sha256:" + "2" * 64), name="talk", audience=("project",)
    )
    try:
        (_, free), (_, once), counted = key(house), key(house, requests_per_minute=1), key(house)

        def behind(snapshot: dict) -> None:
            upstreams = [{"replica": "r_1", "socket": str(socket)}]
            engine = {"kind": "replica", "name": name, "upstreams": upstreams, "limits": {"context": 256}}
            snapshot["services"][0]["engine"] = engine

        house.push(behind)
        with running_router(house.path) as router:
            yield Place(house, router, free, once, counted)
    finally:
        house.close()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("clients")
    socket = folder / "one.sock"
    replica = subprocess.Popen([sys.executable, str(SPEAKER), str(socket), "0.002"])
    try:
        wait_until(socket.exists, "the replica's socket")
        with open_place(folder, "torch", socket) as opened:
            yield opened
    finally:
        replica.kill()
        replica.wait(10)


@pytest.fixture(scope="session")
def client(missing: Callable[[str], None]) -> Callable[..., dict]:
    """`client("openai", ...)`: what the client's script said."""

    def run(name: str, *argv: str) -> dict:
        line = [str(environment(name, missing)), "-I", str(HERE / "checks" / f"{name}_check.py"), *argv]
        environ = {"LANG": "C.UTF-8", "HOME": str(HERE), "NLTK_DATA": "/nowhere"}
        done = subprocess.run(line, capture_output=True, text=True, timeout=200, check=False, env=environ)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run


def test_the_official_client(place: Place, client: Callable[..., dict]) -> None:
    said = client("openai", place.url, "talk", place.key, place.once)
    assert (said["models"], said["model"]) == (["talk"], "talk")
    assert said["chat"] == ["".join(SAID[:4]), "length", 4]
    assert said["text"] == ["".join(SAID[:4]), 7, "cmpl"]
    assert (said["stream"], said["stream_usage"]) == (SAID, [5])
    assert said["answer"].startswith("answer:a_")
    assert said["embeddings"] == [[pytest.approx(0.03), 0.5, -0.25], [pytest.approx(0.05), 0.5, -0.25]]
    assert said["async"] == {"whole": ["".join(SAID[:3])] * 4, "pieces": SAID}
    assert said["not found"] == ["NotFoundError", "not_found", None]
    assert said["no model"] == ["NotFoundError", "not_found", None]
    assert said["bad key"] == ["AuthenticationError", "bad_token", None]
    assert said["bad request"] == ["BadRequestError", "context_length_exceeded", None]
    assert said["once"] == 2
    assert said["spent"][:2] == ["RateLimitError", "too_many_requests"]
    assert 1 <= int(said["spent"][2]) <= 60


def test_what_the_client_saw_is_what_was_counted(place: Place) -> None:
    """Completions by curl, one that streams and one whole; usage by key tells both, to the token."""

    def used() -> dict[str, tuple[int, int, int]]:
        place.house.ingest()
        rows = place.house.site.store.read(
            lambda tx: list(tx.hot("SELECT key_id, requests, tokens_in, tokens_out FROM usage"))
        )
        return {row.key_id: (row.requests, row.tokens_in, row.tokens_out) for row in rows}

    mine, secret = place.counted
    streamed = curl(place, secret, {"model": "talk", "prompt": "hello", "max_tokens": 5, "stream": True})
    whole = json.loads(curl(place, secret, {"model": "talk", "prompt": "hello", "max_tokens": 3}))
    events = [line.removeprefix("data: ") for line in streamed.splitlines() if line]
    assert [json.loads(one)["choices"][0]["text"] for one in events[:-1]] == SAID
    assert (events[-1], whole["usage"]["completion_tokens"]) == ("[DONE]", 3)
    wait_until(lambda: used().get(mine) == (2, 14, 8), "both receipts")


def curl(place: Place, secret: str, body: dict) -> str:
    """`curl -N`, as the documents show it."""
    argv = ["curl", "-sN", f"{place.url}/v1/completions", "-H", f"Authorization: Bearer {secret}"]
    argv += ["-H", "Content-Type: application/json", "-d", json.dumps(body)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=30, check=True).stdout


@pytest.mark.slow
def test_langchain(place: Place, client: Callable[..., dict]) -> None:
    said = client("langchain", place.url, "talk", place.key)
    whole = "".join(SAID[:4])
    assert (said["chat"], said["async"], said["text"]) == (whole, whole, whole)
    assert (said["usage"], said["stream"], said["batch"]) == (4, SAID[:4], [whole, whole])
    assert said["embeddings"][1] == [pytest.approx(0.05), 0.5, -0.25]


@pytest.mark.slow
def test_llamaindex(place: Place, client: Callable[..., dict]) -> None:
    said = client("llamaindex", place.url, "talk", place.key)
    whole = "".join(SAID[:4])
    assert (said["chat"], said["async"], said["text"]) == (whole, whole, whole)
    assert said["stream"] == SAID[:4]
    assert said["embeddings"][1] == [pytest.approx(0.05), 0.5, -0.25]
