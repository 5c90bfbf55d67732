"""kill -9 of a router under load: every answer that was given is in the spool, and becomes a row once."""

from __future__ import annotations

import http.client
import json
import threading
from contextlib import closing

import pytest

from serve_house import Router, new_house, start_router, wait_until

KILLS = 3
CLIENTS = 4
FEE = "What is the fee for the transfer of a land title?"


@pytest.fixture
def house(tmp_path):
    made = new_house(tmp_path / "home")
    made.desk(made.add_index())
    made.push()
    yield made
    made.close()


def ask_until_it_dies(router: Router, given: list[str]) -> None:
    """Ask on one connection as fast as it goes; note the id of every answer whose last byte came."""
    with closing(http.client.HTTPConnection("127.0.0.1", router.port, timeout=10)) as connection:
        try:
            while True:
                connection.request("POST", "/v1/answers", body=json.dumps({"model": "counter", "question": FEE}))
                value = json.loads(connection.getresponse().read())
                given.append(value["id"].removeprefix("answer:"))
        except (OSError, http.client.HTTPException, ValueError):
            return


def test_no_acknowledged_answer_is_lost_to_kill_9(house):
    given: list[str] = []
    for round_number in range(KILLS):
        router = start_router(house.path)
        router.question(FEE)
        before = len(given)
        clients = [threading.Thread(target=ask_until_it_dies, args=(router, given)) for _ in range(CLIENTS)]
        for client in clients:
            client.start()
        wanted = before + 50 * (round_number + 1)
        wait_until(lambda wanted=wanted: len(given) > wanted, "some answers")
        house.ingest()  # control takes what is complete while the router goes on
        router.kill()
        for client in clients:
            client.join(15)
    house.ingest()
    assert sorted((house.path / "spool").iterdir()) == []
    stored = house.site.store.read(
        lambda tx: {row.id for row in tx.hot("SELECT id FROM answer")},
    )
    assert len(given) == len(set(given)) > 50 * KILLS
    assert set(given) - stored == set()
    counts = [entry.facts["count"] for entry in house.entries("answers.batch")]
    assert sum(counts) == len(stored)


def test_a_router_that_is_stopped_hands_over_everything(house):
    router = start_router(house.path)
    given = {router.question(FEE)["id"].removeprefix("answer:") for _ in range(20)}
    router.stop()
    assert router.process.returncode in {0, -15}
    assert {path.suffix for path in (house.path / "spool").iterdir()} == {".jsonl"}
    house.ingest()
    stored = house.site.store.read(lambda tx: {row.id for row in tx.hot("SELECT id FROM answer")})
    assert given == stored


def test_without_room_for_a_receipt_no_answer_is_given(house):
    router = start_router(house.path)
    try:
        router.question(FEE)
        spool = house.path / "spool"
        wait_until(lambda: not list(spool.glob("*.part")), "the rotation")
        for path in spool.iterdir():
            path.unlink()
        spool.rmdir()
        spool.write_text("in the way")
        status, value = router.json("POST", "/v1/answers", {"model": "counter", "question": FEE})
        assert (status, value["code"]) == (503, "receipt_not_kept")
        assert router.json("GET", "/healthz")[1]["status"] == "degraded"
        assert router.ask("GET", "/desk/counter?q=fee")[0] == 503
        spool.unlink()
        spool.mkdir()
        assert router.question(FEE)["outcome"] == "answered"
        assert router.json("GET", "/healthz")[1]["status"] == "ok"
    finally:
        router.stop()
