"""Several router processes on one port: kills lose only what was being answered, stops let streams end."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from baray.access import PUBLIC
from serve_house import new_house, running_router, wait_until

SPEAKER = Path(__file__).parent.parent / "speaking_replica.py"


@pytest.fixture
def house(tmp_path):
    made = new_house(tmp_path / "home")
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    made.model(made.publish("model", "talk", folder, PUBLIC, "sha256:" + "2" * 64), name="talk")
    path = tmp_path / "one.sock"
    replica = subprocess.Popen([sys.executable, str(SPEAKER), str(path), "0.01"])
    wait_until(path.exists, "the replica's socket")

    def behind(snapshot):
        upstreams = [{"replica": "r_1", "socket": str(path)}]
        engine = {"kind": "replica", "name": "torch", "upstreams": upstreams, "limits": {"context": 256}}
        snapshot["services"][0]["engine"] = engine

    made.push(behind)
    yield made
    replica.kill()
    replica.wait(10)
    made.close()


def children(pid):
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def ready(router, number):
    """The processes that answer, once each has begun to follow the snapshot."""
    wait_until(lambda: len(children(router.process.pid)) == number, f"{number} processes")
    wait_until(lambda: all(router.ask("GET", "/healthz")[0] == 200 for _ in range(4 * number)), "healthy ones")
    return children(router.process.pid)


def ask(port, tokens, outcomes, streams, begun=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    body = {"model": "talk", "prompt": "x", "max_tokens": tokens, "stream": streams}
    with closing(connection):
        try:
            connection.request("POST", "/v1/completions", json.dumps(body))
            response = connection.getresponse()
            whole = response.read1(64)
            if begun is not None:
                begun.set()
            whole += response.read()
            good = response.status == 200 and (not streams or whole.endswith(b"data: [DONE]\n\n"))
            answer = (response.getheader("x-baray-answer") or "").removeprefix("answer:")
        except (OSError, http.client.HTTPException):
            good, answer = False, ""
        outcomes.append((good, answer))


def test_a_kill_under_load_loses_only_what_that_process_was_answering(house):
    with running_router(house.path, workers=3) as router:
        pids = ready(router, 3)
        outcomes, stop = [], threading.Event()

        def go_on():
            while not stop.is_set():
                ask(router.port, 5, outcomes, streams=len(outcomes) % 2 == 0)

        callers = [threading.Thread(target=go_on) for _ in range(6)]
        for one in callers:
            one.start()
        wait_until(lambda: len(outcomes) >= 12, "a dozen answers")
        for _ in range(2):
            before = len(outcomes)
            os.kill(children(router.process.pid)[0], signal.SIGKILL)
            wait_until(lambda before=before: len(outcomes) >= before + 12, "answers after the kill")
        wait_until(lambda: len(children(router.process.pid)) == 3, "three processes again")
        stop.set()
        for one in callers:
            one.join(30)
        assert set(children(router.process.pid)) != set(pids)
        assert router.ask("GET", "/healthz")[0] == 200
    lost = [answer for good, answer in outcomes if not good]
    assert len(lost) <= 12, f"{len(lost)} of {len(outcomes)} failed: more than six callers can have had under way twice"
    good = {answer for good, answer in outcomes if good}

    def kept():
        house.ingest()
        return {row["id"] for row in house.answers()} >= good

    # Every answer that came whole has its receipt, whoever was killed since.
    wait_until(kept, "the receipts of all that was answered")


def test_a_stop_lets_a_stream_end_and_takes_nothing_new(house):
    with running_router(house.path, workers=2, drain_seconds=20) as router:
        ready(router, 2)
        outcomes, begun = [], threading.Event()
        caller = threading.Thread(target=ask, args=(router.port, 100, outcomes, True, begun))
        caller.start()
        assert begun.wait(20)
        router.process.send_signal(signal.SIGTERM)
        caller.join(30)
        assert [good for good, _ in outcomes] == [True]
        assert router.process.wait(20) == 0
    house.ingest()
    assert [row["outcome"] for row in house.answers()] == ["completed"]


def test_a_stream_that_outlasts_the_drain_is_cut_and_counted(house):
    with running_router(house.path, drain_seconds=1) as router:
        outcomes, begun = [], threading.Event()
        caller = threading.Thread(target=ask, args=(router.port, 900, outcomes, True, begun))
        caller.start()
        assert begun.wait(20)
        started = time.monotonic()
        router.process.send_signal(signal.SIGTERM)
        assert router.process.wait(20) is not None
        assert time.monotonic() - started < 8.0
        caller.join(30)
        assert [good for good, _ in outcomes] == [False]
    house.ingest()
    (row,) = house.answers()
    assert row["outcome"] == "cut"
    assert 1 <= json.loads(row["answer"])["completion_tokens"] < 900


def test_processes_end_with_their_parent_and_follow_routes(house):
    with running_router(house.path, workers=2) as router:
        pids = ready(router, 2)
        house.push(lambda snapshot: snapshot["services"].clear())
        # Whichever process takes it: the next request after a push is answered from it.
        body = {"model": "talk", "prompt": "x"}
        assert {router.ask("POST", "/v1/completions", body)[0] for _ in range(8)} == {404}
        router.kill()
        wait_until(lambda: not any(alive(pid) for pid in pids), "the processes to end")


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
