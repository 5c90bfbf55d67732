"""The router follows control's snapshot: at once, whole, and never into something that cannot be opened."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from baray import access, serve
from serve_house import DOCUMENTS, new_house, running_router, wait_until

FEE = "What is the fee for the transfer of a land title?"


@pytest.fixture
def house(tmp_path):
    made = new_house(tmp_path / "home")
    yield made
    made.close()


def test_before_the_first_snapshot_everything_is_503(house):
    with running_router(house.path) as router:
        assert router.json("GET", "/healthz")[1]["status"] == "starting"
        status, headers, _ = router.ask("POST", "/v1/answers", {"model": "counter", "question": FEE})
        assert (status, headers["retry-after"]) == (503, "1")
        assert router.ask("GET", "/desk/counter")[0] == 503
        house.desk(house.add_index())
        house.push()
        assert router.question(FEE)["outcome"] == "answered"


def test_the_next_request_after_a_push_sees_it(house):
    index = house.add_index()
    house.push()
    with running_router(house.path) as router:
        wait_until(lambda: router.json("GET", "/healthz")[0] == 200, "the first snapshot")
        for number in range(5):
            name = f"desk-{number}"
            service = house.desk(index, name=name)
            house.push()
            assert router.question(FEE, model=name)["outcome"] == "answered"
            house.site.store.write(
                lambda tx, service=service: serve.stop_service(tx, house.site, service, actor_id=house.operator)
            )
            house.push()
            assert router.json("POST", "/v1/answers", {"model": name, "question": FEE})[0] == 404


def test_a_revoked_token_stops_working_and_a_narrower_audience_holds(house):
    index = house.add_index()
    house.desk(index)
    token = house.token(house.officer)
    house.push()
    with running_router(house.path) as router:
        assert router.question(FEE, token=token)["outcome"] == "answered"
        key = house.site.store.read(lambda tx: access.tokens_of(tx, house.officer))[0].id
        officer = house.actor(house.officer)
        house.site.store.write(lambda tx: access.revoke_token(tx, house.site, token_id=key, by=officer))
        house.desk(index, audience=("project",))
        house.push()
        assert router.ask("GET", "/v1/models", token=token)[0] == 401
        assert router.json("POST", "/v1/answers", {"model": "counter", "question": FEE})[0] == 404


def test_an_expired_token_is_refused_without_a_new_snapshot(house):
    house.desk(house.add_index())
    token = house.token(house.officer)
    house.push(lambda snapshot: snapshot["tokens"][0].update(expires=1.0))
    with running_router(house.path) as router:
        wait_until(lambda: router.json("GET", "/healthz")[0] == 200, "the first snapshot")
        assert router.ask("GET", "/v1/models", token=token)[0] == 401


def test_a_damaged_revision_does_not_replace_the_one_before(house):
    service = house.desk(house.add_index())
    house.push()
    with running_router(house.path) as router:
        assert router.question(FEE)["revision"] == 1
        newer = house.add_index(documents=DOCUMENTS[:3])
        house.desk(newer)
        value = house.site.store.read(lambda tx: serve.snapshot(tx, house.site))
        place = next(path for name, path in value["services"][0]["files"].items() if name != "index.json")
        broken = house.path / "broken.bin"
        data = bytearray(Path(place).read_bytes())
        data[len(data) // 2] ^= 1
        broken.write_bytes(data)

        def damage(snapshot):
            files = snapshot["services"][0]["files"]
            files[next(name for name in files if name != "index.json")] = str(broken)

        house.push(damage)
        assert router.question(FEE)["revision"] == 1
        assert router.json("GET", "/healthz")[1] == {"status": "degraded"}
        assert "main/counter" in (house.path / "router.log").read_text()
        house.push()
        assert router.question(FEE)["revision"] == 2
        assert service.revision == 1


def test_a_revision_that_cannot_be_opened_lowers_nothing_of_the_one_before(house):
    house.desk(house.add_index())
    house.push(lambda snapshot: snapshot["services"][0].update(floor="secret"))
    with running_router(house.path) as router:
        assert router.question(FEE)["outcome"] != "answered"
        house.desk(house.add_index(documents=DOCUMENTS[:3]))

        def damage(snapshot):
            (row,) = snapshot["services"]
            assert row["floor"] == "public"  # of the newer Index, which was not raised
            row["files"] = {name: str(house.path / "gone") for name in row["files"]}

        house.push(damage)
        told = router.question(FEE)
        assert (told["revision"], told["outcome"] != "answered") == (1, True)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"v": 2}', '{"v": 1}', '{"v":1,"actors":[{"id":1}]}'])
def test_a_snapshot_that_is_none_leaves_the_old_one(house, text):
    house.desk(house.add_index())
    house.push()
    with running_router(house.path) as router:
        assert router.question(FEE)["outcome"] == "answered"
        part = house.path / "run" / "part"
        part.write_text(text)
        part.replace(house.path / "run" / "routes.json")
        assert router.question(FEE)["outcome"] == "answered"
        assert router.json("GET", "/healthz")[1]["status"] == "degraded"


def test_the_router_loads_no_heavy_packages():
    banned = {"numpy", "sklearn", "scipy", "pyarrow", "polars", "torch", "numba", "pydantic", "fastapi", "alembic"}
    program = f"import sys, baray.serve.router; print(sorted(set(sys.modules) & {banned!r}))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.strip() == "[]"


def test_a_taken_port_and_a_bad_config_are_refused_with_the_fix(house):
    house.push()
    with running_router(house.path) as router:
        path = house.path / "second.json"
        path.write_text(json.dumps({"home": str(house.path), "port": router.port}))
        done = subprocess.run(
            [sys.executable, "-m", "baray.serve.router", str(path)],
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
        assert done.returncode != 0
        assert "--router-port" in done.stderr
    path.write_text('{"prot": 1}')
    done = subprocess.run(
        [sys.executable, "-m", "baray.serve.router", str(path)], capture_output=True, text=True, check=False, timeout=30
    )
    assert done.returncode != 0
    assert "It may hold: home" in done.stderr
