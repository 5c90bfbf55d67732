"""Keys at the router: which Services they ask, how often, how many tokens a day; counted for all processes together."""

from __future__ import annotations

import json
import multiprocessing
import resource
import struct
import urllib.error
import urllib.request

import pytest
from homes import Home

from baray import access
from baray.access import Bounds, TokenRequest
from baray.core import Fault, Refused, SystemClock
from baray.serve.router.quotas import DAY_SECONDS, SLOT, SLOTS, Quotas
from serve_house import new_house, running_router, wait_until


class Standing:
    """A clock that goes when it is told to."""

    def __init__(self, now: float = 20_000 * DAY_SECONDS + 100.0) -> None:
        self.time = now

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


@pytest.fixture
def house(tmp_path):
    made = new_house(tmp_path / "home")
    index = made.add_index()
    made.desk(index, name="counter")
    made.desk(index, name="other")
    yield made
    made.close()


def key(house, **bounds):
    request = TokenRequest(kind="svc", name="test", seconds=3600.0, scopes=frozenset({"ask"}), bounds=Bounds(**bounds))
    secret = house.site.store.write(
        lambda tx: access.create_token(tx, house.site, actor_id=house.officer, request=request, by=house.operator)
    )[1]
    house.push()
    return secret


def ask(router, secret, model="counter"):
    body = {"model": model, "question": "What is the fee for a land title?"}
    status, headers, content = router.ask("POST", "/v1/answers", body, token=secret)
    return status, headers, json.loads(content)


def test_a_key_asks_only_its_services_and_sees_no_others(house):
    secret = key(house, services=frozenset({"main/counter"}))
    with running_router(house.path) as router:
        assert ask(router, secret)[0] == 200
        status, _, told = ask(router, secret, "other")
        missing = ask(router, secret, "nothing")
        assert (status, told["code"]) == (missing[0], missing[2]["code"]) == (404, "not_found")
        _, listed = router.json("GET", "/v1/models", token=secret)
        assert [one["id"] for one in listed["data"]] == ["counter"]
        assert router.ask("GET", "/v1/models/other", token=secret)[0] == 404


def test_a_key_that_asks_too_often_is_told_when_to_come_back(house):
    secret = key(house, requests_per_minute=3)
    with running_router(house.path) as router:
        seen = [ask(router, secret) for _ in range(5)]
        assert [status for status, _, _ in seen] == [200, 200, 200, 429, 429]
        _, headers, told = seen[-1]
        assert told["code"] == "too_many_requests"
        assert 1 <= int(headers["retry-after"]) <= 20
        assert headers["content-type"] == "application/problem+json"
        assert ask(router, "")[0] == 200  # the public has no quota
        # What was refused leaves no receipt.
        wait_until(lambda: house.ingest() and len(house.answers()) == 4, "the receipts")


def test_what_control_asks_for_a_key_counts_on_that_key(house):
    secret = key(house, requests_per_minute=2, services=frozenset({"main/counter"}))
    control = "secret-of-control"
    house.push(control=access.hash_secret(control))
    (row,) = house.site.store.read(access.service_keys)
    with running_router(house.path) as router:
        body = {"model": "counter", "question": "What is the fee?", "as": "officer"}

        def by_control(**more):
            return router.ask("POST", "/v1/answers", body | more, token=control, headers={"X-Baray-Key": row.id})[0]

        assert [by_control(), by_control(model="other"), ask(router, secret)[0], by_control()] == [200, 404, 200, 429]
        # Nobody but control may say so.
        body.pop("as")
        assert router.ask("POST", "/v1/answers", body, headers={"X-Baray-Key": row.id})[0] == 200


def test_the_bounds_of_a_key_stand_in_the_ledger_without_names(house):
    key(house, services=frozenset({"main/counter"}), requests_per_minute=3, tokens_per_day=7)
    facts = house.entries("token.created")[-1].facts
    assert (facts["services"], facts["requests_per_minute"], facts["tokens_per_day"]) == (1, 3, 7)


def count(quotas, number, bounds):
    """How many of so many requests are allowed."""
    done = 0
    for _ in range(number):
        try:
            quotas.take("k_1", bounds)
        except Refused:
            continue
        done += 1
    return done


def test_requests_fill_up_again_evenly(tmp_path):
    clock = Standing()
    quotas = Quotas(tmp_path / "quotas", clock=clock)
    bounds = Bounds(requests_per_minute=6)

    def granted(number):
        return count(quotas, number, bounds)

    assert granted(10) == 6
    clock.time += 10.0
    assert granted(10) == 1
    clock.time += 3600.0
    assert granted(10) == 6
    clock.time -= 7200.0  # a clock that is set back gives nothing
    assert granted(1) == 0
    quotas.close()


def test_tokens_of_a_day_count_until_midnight_and_outlive_the_process(tmp_path):
    clock = Standing()
    bounds = Bounds(tokens_per_day=100)
    quotas = Quotas(tmp_path / "quotas", clock=clock)
    quotas.take("k_1", bounds)
    quotas.spend("k_1", bounds, 60)
    quotas.spend("k_1", bounds, 40)
    quotas.close()
    again = Quotas(tmp_path / "quotas", clock=clock)
    with pytest.raises(Refused, match="used 100 of its 100") as found:
        again.take("k_1", bounds)
    assert found.value.headers["retry-after"] == str(DAY_SECONDS - 100)
    again.take("k_2", bounds)
    clock.time += DAY_SECONDS
    again.take("k_1", bounds)
    again.close()


def _take(path, number, done):
    done.put(count(Quotas(path, clock=SystemClock()), number, Bounds(requests_per_minute=300)))


def test_processes_together_grant_exactly_the_quota(tmp_path):
    spawn = multiprocessing.get_context("spawn")
    done = spawn.Queue()
    workers = [spawn.Process(target=_take, args=(tmp_path / "quotas", 400, done)) for _ in range(3)]
    for one in workers:
        one.start()
    granted = sum(done.get(timeout=60) for _ in workers)
    for one in workers:
        one.join(10)
    assert 300 <= granted <= 330  # five more each second that it took


def test_the_file_of_counts_reads_as_written_down(tmp_path):
    """Known answer: `<40sddqq` at crc32 of the padded id, modulo 4096."""
    clock = Standing(20_000 * DAY_SECONDS + 0.0)
    quotas = Quotas(tmp_path / "quotas", clock=clock)
    bounds = Bounds(requests_per_minute=10, tokens_per_day=100)
    quotas.take("k_1", bounds)
    quotas.spend("k_1", bounds, 7)
    quotas.close()
    data = (tmp_path / "quotas").read_bytes()
    assert len(data) == SLOTS * SLOT.size == 4096 * 72
    (at,) = [place for place in range(0, len(data), 72) if data[place]]
    assert at == 206 * 72
    written = struct.unpack("<40sddqq", data[at : at + 72])
    assert written == (b"k_1".ljust(40, b"\0"), 9.0, 1_728_000_000.0, 20_000, 7)


def test_more_keys_than_slots_evict_those_of_longest_ago(tmp_path):
    clock = Standing()
    quotas = Quotas(tmp_path / "quotas", clock=clock)
    for number in range(SLOTS + 500):
        clock.time += 0.001
        quotas.take(f"k_{number}", Bounds(requests_per_minute=1))
    with pytest.raises(Refused):
        quotas.take(f"k_{SLOTS + 499}", Bounds(requests_per_minute=1))
    quotas.close()


def test_the_file_of_counts_has_no_holes_and_a_full_disk_is_told(tmp_path):
    """Writing to a hole where the disk is full would end the router's process by SIGBUS."""
    bounds = Bounds(requests_per_minute=10)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    quotas = Quotas(tmp_path / "quotas", clock=Standing())
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(Fault, match="could not be counted") as found:
            quotas.take("k_1", bounds)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (found.value.code, found.value.status) == ("receipt_not_kept", 503)
    quotas.take("k_1", bounds)
    assert (tmp_path / "quotas").stat().st_blocks * 512 >= SLOTS * SLOT.size
    quotas.close()


@pytest.mark.parametrize("wrong", [["nothing"], ["a/b/c"], ["main/UP"], [f"main/{n}" for n in range(101)]])
def test_bounds_that_name_no_service_are_refused(wrong):
    with pytest.raises(Refused, match=r"PROJECT/NAME|cannot name"):
        access.check_bounds(wrong, 0, 0)
    with pytest.raises(Refused, match="requests a minute"):
        access.check_bounds([], -1, 0)


def test_a_key_by_the_command_line_from_making_it_to_its_end(tmp_path):
    home = Home(tmp_path / "home")
    home.run("up", "--detach", "--port", "0", "--router-port", "0")
    try:
        router = json.loads((home.path / "endpoint.json").read_text())["router_url"]
        refused = home.json("key", "create", "site", "--service", "nothing", code=1)
        assert refused["error"]["code"] == "not_found"
        made = home.json("key", "create", "site", "--requests-per-minute", "9", "--tokens-per-day", "1000")
        (listed,) = home.json("key", "list")["items"]
        assert (listed["id"], listed["actor"], listed["scopes"]) == (made["id"], "site", ["ask"])
        assert listed["bounds"] == {"requests_per_minute": 9, "services": None, "tokens_per_day": 1000}
        assert made["token"] not in json.dumps(listed)

        def status():
            asked = urllib.request.Request(f"{router}/v1/models", headers={"Authorization": f"Bearer {made['token']}"})
            try:
                with urllib.request.urlopen(asked, timeout=10) as response:
                    return response.status
            except urllib.error.HTTPError as error:
                with error:
                    return error.code

        assert status() == 200
        home.run("key", "revoke", made["id"])
        assert status() == 401
    finally:
        home.stop()
