"""Replicas that speak nonsense and callers that misbehave: nothing leaks, nobody waits for ever, one receipt each."""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
import socket
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from baray import ledger, serve
from baray.access import PUBLIC
from baray.core import canonical_json
from serve_house import new_house, running_router, wait_until

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
STOP = b'data: {"choices":[{"text":"","finish_reason":"stop"}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}\n\n'
END = STOP + USAGE + b"data: [DONE]\n\n"


def event(text):
    return b"data: " + json.dumps({"choices": [{"text": text}]}, ensure_ascii=False).encode() + b"\n\n"


class Raw:
    """A Replica that says what its script says, byte by byte, over a unix socket."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.script: Callable[[socket.socket], None] = lambda connection: None
        self.open = 0
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        self.open += 1
        try:
            with closing(connection), contextlib.suppress(OSError):
                data = b""
                while b"\r\n\r\n" not in data:
                    more = connection.recv(65536)
                    if not more:
                        return  # whom it was for had left before it was asked
                    data += more
                head, _, body = data.partition(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
                while len(body) < length:
                    body += connection.recv(65536)
                self.script(connection)
        finally:
            self.open -= 1

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def place(tmp_path):
    house = new_house(tmp_path / "home")
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    house.model(house.publish("model", "talk", folder, PUBLIC, "sha256:" + "2" * 64), name="talk")
    replica = Raw(tmp_path / "raw.sock")

    def behind(snapshot):
        upstreams = [{"replica": "r_1", "socket": str(replica.path)}]
        engine = {"kind": "replica", "name": "torch", "upstreams": upstreams, "limits": {"context": 256}}
        snapshot["services"][0]["engine"] = engine

    house.push(behind)
    with running_router(house.path) as router:
        yield house, router, replica
    replica.close()
    house.close()


def ask(router, **more):
    return router.ask("POST", "/v1/completions", {"model": "talk", "prompt": "x", **more})


def receipts(house, number):
    def kept():
        house.ingest()
        found = house.answers()
        return found if len(found) >= number else None

    found = wait_until(kept, f"{number} receipts")
    assert len(found) == number
    return [row["outcome"] for row in reversed(found)]


def says(*parts):
    return lambda connection: [connection.sendall(part) for part in parts]


NONSENSE = {
    "nothing": says(),
    "no HTTP": says(b"hello\r\n\r\n"),
    "half a head": says(b"HTTP/1.1 200 OK\r\nContent-Le"),
    "less than promised": says(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}"),
    "broken chunks": says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
    "a length that is none": says(b"HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\n"),
    "a head without end": says(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000),
}


@pytest.mark.parametrize("streams", [False, True])
def test_a_replica_that_speaks_no_http_is_lost_and_says_so(place, streams):
    house, router, replica = place
    for script in NONSENSE.values():
        replica.script = script
        status, _, body = ask(router, stream=streams)
        told = body.removeprefix(b"data: ") if status == 200 else body
        assert json.loads(told)["error"]["code"] == "replica_lost", body
        assert b"[DONE]" not in body
    assert receipts(house, len(NONSENSE)) == ["failed"] * len(NONSENSE)
    wait_until(lambda: replica.open == 0, "no connection left")


def test_a_stream_of_nonsense_passes_and_its_tokens_are_those_of_usage(place):
    house, router, replica = place
    parts = [
        b"data: {not json\n\n",
        b": a comment\n\n",
        b'data: {"usage": 3}\n\n',
        b'data: ["usage"]\n\n',
        b"\xff\xfe\n\n",
    ]
    replica.script = says(HEAD, *parts, event("one"), END, b"after the end\n\n")
    status, _, body = ask(router, stream=True)
    assert status == 200
    assert all(part in body for part in parts)
    assert body.endswith(b"data: [DONE]\n\n")
    assert receipts(house, 1) == ["completed"]
    said = json.loads(house.answers()[0]["answer"])
    assert (said["prompt_tokens"], said["completion_tokens"], said["finish"]) == (3, 4, "stop")


def whole(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body


FORGED = {
    "more tokens than fit anywhere": b'"finish_reason":"stop"}],"usage":{"prompt_tokens":%d}' % 10**40,
    "tokens that are none": b'"finish_reason":"stop"}],"usage":{"prompt_tokens":true,"completion_tokens":[1]}',
    "an end that is no text": b'"finish_reason":"\\ud800"}]',
    "a long end": b'"finish_reason":"%b"}]' % (b"x" * 1_000_000),
    "lists without end": b'"finish_reason":"stop"}],"usage":' + b"[" * 200_000,
}


@pytest.mark.parametrize("streams", [False, True])
def test_what_a_replica_counts_wrongly_passes_and_its_receipt_is_kept(place, streams):
    house, router, replica = place
    for name, forged in FORGED.items():
        body = b'{"choices":[{"text":"hi",' + forged + b"}"
        replica.script = says(HEAD, b"data: " + body + b"\n\n", END) if streams else says(whole(body))
        status, _, came = ask(router, stream=streams)
        assert (status, body in came) == (200, True), name
        assert came.endswith(b"data: [DONE]\n\n") == streams, name
    assert receipts(house, len(FORGED)) == ["completed"] * len(FORGED)
    for row in house.answers():
        said = json.loads(row["answer"])
        assert (said["prompt_tokens"], said["finish"] in {"", "stop"}) == (3 if streams else 0, True)


def test_lines_may_end_in_two_characters_and_bytes_may_come_alone(place):
    house, router, replica = place
    khmer = event("សួស្តី កម្ពុជា") + END
    whole = [khmer, khmer.replace(b"\n", b"\r\n")]
    for data in whole:
        alone = [data[at : at + 1] for at in range(len(data))]

        def slowly(connection, alone=alone):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
            connection.sendall(HEAD)
            for one in alone:
                connection.sendall(one)

        replica.script = slowly
        _, _, body = ask(router, stream=True)
        assert body == event("សួស្តី កម្ពុជា") + STOP + b"data: [DONE]\n\n"
    assert receipts(house, 2) == ["completed"] * 2


def test_an_event_without_end_ends_the_stream_and_a_large_one_passes(place):
    house, router, replica = place
    large = event("x" * (1 << 20))
    replica.script = says(HEAD, large, END)
    assert large in ask(router, stream=True)[2]

    def endless(connection):
        connection.sendall(HEAD + b"data: ")
        while True:
            connection.sendall(b"x" * 65536)

    replica.script = endless
    status, _, body = ask(router, stream=True)
    assert (status, json.loads(body.removeprefix(b"data: "))["error"]["code"]) == (200, "replica_lost")
    replica.script = lambda connection: (connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n"), endless(connection))
    assert ask(router)[0] == 502
    assert receipts(house, 3) == ["completed", "failed", "failed"]
    wait_until(lambda: replica.open == 0, "the replica to be let go")


def resident(pid):
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


def test_a_slow_caller_holds_the_replica_up_and_costs_no_memory(place):
    house, router, replica = place
    sent = []

    def fast(connection):
        connection.sendall(HEAD)
        while True:
            connection.sendall(event("x" * 10_000))
            sent.append(10_000)

    replica.script = fast
    assert router.ask("GET", "/healthz")[0] == 200
    before = resident(router.process.pid)
    with closing(socket.create_connection(("127.0.0.1", router.port), timeout=20)) as caller:
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        caller.sendall(request_bytes(stream=True))
        assert caller.recv(1000)

        def stuck():
            number = len(sent)
            time.sleep(0.5)
            return len(sent) == number

        wait_until(stuck, "the replica to wait")
        assert sum(sent) < 20_000_000
        assert resident(router.process.pid) - before < 30_000_000
    wait_until(lambda: replica.open == 0, "the replica to be let go")
    assert receipts(house, 1) == ["cut"]


def request_bytes(**more):
    body = json.dumps({"model": "talk", "prompt": "x", **more}).encode()
    return b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def test_requests_in_a_row_on_one_connection_are_answered_in_order(place):
    house, router, replica = place
    replica.script = says(HEAD, event("one"), END)
    with closing(socket.create_connection(("127.0.0.1", router.port), timeout=20)) as caller:
        caller.sendall(
            request_bytes(stream=True) * 3 + b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        data = b""
        while more := caller.recv(65536):
            data += more
    assert data.count(b"HTTP/1.1 200") == 4
    assert data.count(b"data: [DONE]") == 3
    assert data.rstrip().endswith(b'{"status": "ok"}')
    assert receipts(house, 3) == ["completed"] * 3


def test_hanging_up_at_every_stage_leaves_nothing_behind(place):
    house, router, replica = place
    rng = random.Random(7)
    whole = request_bytes(stream=True)

    def silent(connection):
        connection.recv(1)  # until the router lets go

    def slow(connection):
        connection.sendall(HEAD)
        for _ in range(200):
            connection.sendall(event("x"))
            time.sleep(0.01)

    def files():
        return len(list(Path(f"/proc/{router.process.pid}/fd").iterdir()))

    assert router.ask("GET", "/healthz")[0] == 200
    before = files()
    asked = 0
    for number in range(60):
        replica.script = silent if number % 2 else slow
        cut = rng.choice([0, rng.randrange(len(whole)), len(whole)])
        with closing(socket.create_connection(("127.0.0.1", router.port), timeout=20)) as caller:
            caller.sendall(whole[:cut])
            if cut == len(whole):
                asked += 1
                if number % 2 == 0:
                    assert caller.recv(rng.randrange(1, 2000))
                else:
                    wait_until(lambda: replica.open > 0, "the replica to be asked")
            if number % 3 == 0:
                caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")  # a reset, not an end
        wait_until(lambda: replica.open == 0, "the replica to be let go")
    assert asked >= 10
    assert receipts(house, asked) == ["cut"] * asked
    wait_until(lambda: files() <= before + 3, "no descriptor left")
    replica.script = says(HEAD, END)
    assert ask(router, stream=True)[0] == 200


@pytest.mark.parametrize("body", ['{"model":"talk","prompt":"x","n":1e999}', '{"model":"talk","prompt":"\\ud800"}'])
def test_json_that_is_none_is_refused_before_anything_is_asked(place, body):
    house, router, _ = place
    status, _, told = router.ask("POST", "/v1/completions", body.encode())
    assert (status, json.loads(told)["error"]["code"]) == (400, "bad_json")
    house.ingest()
    assert house.answers() == []


@pytest.mark.parametrize("streams", [False, True])
def test_a_completion_is_proved_by_whoever_holds_its_texts(place, streams):
    """As docs/auditor.md says: the receipt in the bundle binds what was sent and what came, salted with the id."""
    house, router, replica = place
    given = b'{"choices":[{"text":"hi","finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":1}}'
    plain = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(given) + given
    replica.script = says(HEAD, event("hi"), END) if streams else says(plain)
    sent = {"model": "talk", "prompt": "តើអ្វី?", "temperature": 0.7, "stream": streams}
    _, headers, came = router.ask("POST", "/v1/completions", sent)
    name = headers["x-baray-answer"].removeprefix("answer:")
    receipts(house, 1)

    def read(tx):
        receipt = serve.receipt_of(serve.get_answer(tx, name)).canonical()
        return ledger.prove(tx, f"answer:{name}", receipt)

    bundle = house.site.store.read(read)
    report = ledger.verify_bundle(bundle, log=house.site.ledger.vkey)
    assert report.findings == ()
    assert report.checked["about"]["attached_id"] == name
    said = json.loads(house.answers()[0]["answer"])
    for member, data in (("request", canonical_json(sent)), ("response", came)):
        assert said[member] == "sha256:" + hashlib.sha256(name.encode() + b"\n" + data).hexdigest()
    assert not ledger.verify_bundle(bundle.replace(b"completed", b"cut_short"), log=house.site.ledger.vkey).ok
