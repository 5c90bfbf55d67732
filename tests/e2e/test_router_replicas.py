"""Completions through the router to Replicas in processes of their own: streams, counts, cuts, retries, waking."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from baray.access import PUBLIC, Bounds, TokenRequest, create_token
from serve_house import new_house, running_router, wait_until

SPEAKER = Path(__file__).parent.parent / "speaking_replica.py"


@dataclass
class Speaking:
    """A speaking Replica's process."""

    path: Path
    process: subprocess.Popen

    def health(self):
        with closing(socket.socket(socket.AF_UNIX)) as one:
            one.connect(str(self.path))
            one.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
            data = b""
            while more := one.recv(65536):
                data += more
        return json.loads(data.partition(b"\r\n\r\n")[2])

    def kill(self):
        self.process.kill()
        self.process.wait(10)


@pytest.fixture
def speak(tmp_path):
    started = []

    def start(name: str, pause_seconds: float = 0.0) -> Speaking:
        path = tmp_path / f"{name}.sock"
        argv = [sys.executable, str(SPEAKER), str(path), str(pause_seconds)]
        one = Speaking(path, subprocess.Popen(argv))
        started.append(one)
        wait_until(path.exists, "the replica's socket")
        return one

    yield start
    for one in started:
        one.kill()


@pytest.fixture
def house(tmp_path):
    made = new_house(tmp_path / "home")
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    made.model(made.publish("model", "talk", folder, PUBLIC, "sha256:" + "2" * 64), name="talk")
    yield made
    made.close()


def route_to(house, *speaking):
    def change(snapshot):
        (row,) = snapshot["services"]
        upstreams = [{"replica": f"r_{one.path.stem}", "socket": str(one.path)} for one in speaking]
        row["engine"] = {"kind": "replica", "name": "torch", "upstreams": upstreams, "limits": {"context": 256}}

    house.push(change)


def key_of(house, bounds):
    request = TokenRequest(kind="svc", name="test", seconds=3600.0, scopes=frozenset({"ask"}), bounds=bounds)
    return house.site.store.write(
        lambda tx: create_token(tx, house.site, actor_id=house.officer, request=request, by=house.operator)
    )[1]


def ask(router, token="", **values):
    asked = {"model": "talk", "prompt": "hello", **values}
    status, headers, body = router.ask("POST", "/v1/completions", asked, token=token)
    return status, headers, body


def events(body: bytes):
    return [part.removeprefix(b"data: ") for part in body.split(b"\n\n") if part]


def receipts(house):
    house.ingest()
    return [row | {"said": json.loads(row["answer"])} for row in house.answers()]


def test_a_completion_comes_whole_with_its_id_and_is_counted(house, speak):
    route_to(house, speak("one"))
    with running_router(house.path) as router:
        status, headers, body = ask(router, max_tokens=4)
        assert status == 200, body
        value = json.loads(body)
        answer = headers["x-baray-answer"].removeprefix("answer:")
        assert value["id"] == f"cmpl-{answer}"
        assert value["choices"][0]["text"] == "សួស្តី how are you"
        wait_until(lambda: receipts(house), "the receipt")
    (row,) = receipts(house)
    assert (row["id"], row["outcome"]) == (answer, "completed")
    assert (row["said"]["prompt_tokens"], row["said"]["completion_tokens"], row["said"]["finish"]) == (7, 4, "length")
    assert "hello" not in json.dumps(row)
    usage = house.site.store.read(lambda tx: [tuple(row) for row in tx.hot("SELECT tokens_in, tokens_out FROM usage")])
    assert usage == [(7, 4)]


@pytest.mark.parametrize("asks_usage", [False, True])
def test_a_stream_passes_event_by_event_and_hides_usage_unless_asked(house, speak, asks_usage):
    route_to(house, speak("one"))
    options = {"stream_options": {"include_usage": True}} if asks_usage else {}
    with running_router(house.path) as router:
        status, headers, body = ask(router, stream=True, max_tokens=5, **options)
        assert (status, headers["content-type"].partition(";")[0]) == (200, "text/event-stream")
        told = events(body)
        assert told[-1] == b"[DONE]"
        values = [json.loads(one) for one in told[:-1]]
        assert "".join(value["choices"][0]["text"] for value in values if value["choices"]) == "សួស្តី how are you?"
        assert [value["usage"]["completion_tokens"] for value in values if "usage" in value] == [5] * asks_usage
        wait_until(lambda: receipts(house), "the receipt")
    (row,) = receipts(house)
    assert (row["outcome"], row["said"]["prompt_tokens"], row["said"]["completion_tokens"]) == ("completed", 7, 5)


def test_who_hangs_up_stops_the_replica_and_pays_for_what_came(house, speak):
    one = speak("one", pause_seconds=0.02)
    route_to(house, one)
    with running_router(house.path) as router:
        with closing(socket.create_connection(("127.0.0.1", router.port), timeout=10)) as connection:
            body = json.dumps({"model": "talk", "prompt": "x", "stream": True, "max_tokens": 900}).encode()
            head = f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            connection.sendall(head + body)
            seen = b""
            while seen.count(b"data: ") < 5:
                seen += connection.recv(65536)
        left = time.monotonic()
        wait_until(lambda: one.health()["active"] == 0, "the replica to stop")
        assert time.monotonic() - left < 2.0
        wait_until(lambda: receipts(house), "the receipt")
    (row,) = receipts(house)
    assert row["outcome"] == "cut"
    assert 5 <= row["said"]["completion_tokens"] < 200
    assert row["said"]["prompt_tokens"] == 7


def test_who_hangs_up_before_any_answer_has_used_up_their_tokens(house, speak):
    one = speak("one", pause_seconds=0.02)
    route_to(house, one)
    secret = key_of(house, Bounds(tokens_per_day=50))
    route_to(house, one)
    with running_router(house.path) as router:
        assert ask(router, token=secret, max_tokens=1)[0] == 200
        with closing(socket.create_connection(("127.0.0.1", router.port), timeout=10)) as connection:
            body = json.dumps({"model": "talk", "prompt": "x" * 100, "max_tokens": 900}).encode()
            head = f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {secret}\r\n"
            connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            wait_until(lambda: one.health()["active"] == 1, "the request to be on its way")
        wait_until(lambda: one.health()["active"] == 0, "the replica to stop")
        wait_until(lambda: len(receipts(house)) == 2, "the receipts")
        status, _, told = ask(router, token=secret, max_tokens=1)
        assert (status, json.loads(told)["error"]["code"]) == (429, "quota_spent")


def test_a_request_is_sent_to_another_replica_only_before_its_first_byte(house, speak):
    slow, quick = speak("slow", pause_seconds=0.5), speak("quick")
    route_to(house, slow)
    with running_router(house.path) as router:
        answers = []
        waiting = threading.Thread(target=lambda: answers.append(ask(router, max_tokens=20)))
        waiting.start()
        wait_until(lambda: slow.health()["active"] == 1, "the first request to be on its way")
        route_to(house, slow, quick)
        slow.kill()
        waiting.join(15)
        # It was on its way when there was one Replica: it is lost with it, and says so.
        assert answers[0][0] == 502
        assert [ask(router, max_tokens=2)[0] for _ in range(5)] == [200] * 5
        wait_until(lambda: len(receipts(house)) == 6, "the receipts")
    assert sorted(row["outcome"] for row in receipts(house)) == ["completed"] * 5 + ["failed"]


def test_a_stream_whose_replica_dies_says_so_and_does_not_end_as_if_all_were_well(house, speak):
    one = speak("one", pause_seconds=0.05)
    route_to(house, one)
    with running_router(house.path) as router:
        connection = http.client.HTTPConnection("127.0.0.1", router.port, timeout=20)
        with closing(connection):
            connection.request(
                "POST",
                "/v1/completions",
                json.dumps({"model": "talk", "prompt": "x", "stream": True, "max_tokens": 900}),
            )
            response = connection.getresponse()
            first = response.read1(64)
            one.kill()
            rest = response.read()
        told = events(first + rest)
        assert json.loads(told[-1])["error"]["code"] == "replica_lost"
        assert b"[DONE]" not in told
        wait_until(lambda: receipts(house), "the receipt")
    assert receipts(house)[0]["outcome"] == "failed"


def test_errors_of_a_replica_pass_as_they_are_and_a_classifier_is_named(house, speak):
    route_to(house, speak("one"))
    with running_router(house.path) as router:
        status, _, body = ask(router, max_tokens=5000)
        assert (status, json.loads(body)["error"]["code"]) == (400, "context_length_exceeded")
        status, _, body = ask(router, model="nobody")
        assert (status, json.loads(body)["error"]["code"]) == (404, "not_found")


def test_a_service_without_replicas_is_woken_by_a_request(house, speak):
    route_to(house)
    service = house.site.store.read(lambda tx: tx.hot("SELECT id FROM service").first()).id
    with running_router(house.path) as router:
        answers = []
        waiting = threading.Thread(target=lambda: answers.append(ask(router, max_tokens=2)))
        waiting.start()
        wait_until((house.path / "run" / "wanted" / service).exists, "the wish to be woken")
        route_to(house, speak("one"))
        waiting.join(15)
    assert answers[0][0] == 200


@pytest.mark.parametrize("changed", [{"label": "secret"}, {"audience": ["operator"]}])
def test_what_was_closed_while_a_service_woke_stays_closed_to_who_waited(house, speak, changed):
    route_to(house)
    service = house.site.store.read(lambda tx: tx.hot("SELECT id FROM service").first()).id
    one = speak("one")

    def close(snapshot):
        (row,) = snapshot["services"]
        upstreams = [{"replica": "r_one", "socket": str(one.path)}]
        row["engine"] = {"kind": "replica", "name": "torch", "upstreams": upstreams, "limits": {"context": 256}}
        row.update(changed)

    with running_router(house.path) as router:
        answers = []
        waiting = threading.Thread(target=lambda: answers.append(ask(router, max_tokens=2)))
        waiting.start()
        wait_until((house.path / "run" / "wanted" / service).exists, "the wish to be woken")
        house.push(close)
        waiting.join(15)
        assert (answers[0][0], json.loads(answers[0][2])["error"]["code"]) == (404, "not_found")
        assert one.health()["asked"] == 0


def test_who_finds_the_only_replica_dead_waits_for_a_fresh_one(house, speak):
    dead = speak("dead")
    route_to(house, dead)
    with running_router(house.path) as router:
        assert ask(router, max_tokens=2)[0] == 200
        dead.kill()
        answers = []
        waiting = threading.Thread(target=lambda: answers.append(ask(router, max_tokens=2)))
        waiting.start()
        service = house.site.store.read(lambda tx: tx.hot("SELECT id FROM service").first()).id
        wait_until((house.path / "run" / "wanted" / service).exists, "the wish for another")
        route_to(house, speak("fresh"))
        waiting.join(15)
        assert answers[0][0] == 200
        wait_until(lambda: len(receipts(house)) == 2, "the receipts")
    assert [row["outcome"] for row in receipts(house)] == ["completed"] * 2
