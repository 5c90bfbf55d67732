"""The embedded server: started by the command that needs it, once, and found again."""

from __future__ import annotations

import json

import pytest
from homes import Home


@pytest.fixture
def home(tmp_path):
    home = Home(tmp_path / "home")
    yield home
    home.stop()


def test_many_commands_at_once_start_one_server(home):
    processes = [home.start("whoami", "--json") for _ in range(4)]
    documents = [json.loads(process.communicate(timeout=90)[0]) for process in processes]
    assert [process.returncode for process in processes] == [0] * 4
    assert {document["name"] for document in documents} == {"operator"}
    assert json.loads((home.path / "run" / "processes.json").read_text())["control"]["starts"] == 1
    assert home.json("status")["home"] == str(home.path)


def test_status_starts_nothing_and_other_homes_are_named(home):
    document = home.json("status")
    assert document["running"] is False
    assert not (home.path / "endpoint.json").exists()
    other = home.path.parent / "other"
    assert home.json("status", "--home", str(other))["home"] == str(other)


def test_a_home_that_cannot_be_is_said_with_the_reason(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("x")
    home = Home(blocked / "home")
    error = home_error(home)
    assert error["code"] == "server_not_started"
    assert str(home.path) in error["detail"]
    assert error["fix"]


def home_error(home):
    process = Home(home.path.parent.parent / "x").start("whoami", "--json", "--home", str(home.path))
    out, err = process.communicate(timeout=90)
    assert process.returncode == 1, err
    return json.loads(out)["error"]


def test_text_filters_need_no_server(home):
    out, _ = home.run("text", "clusters")
    assert out == ""
    assert not home.path.exists()
