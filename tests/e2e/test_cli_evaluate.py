"""From text to tokens and Scores through the command line, and what the console shows of it."""

from __future__ import annotations

import http.client
import json
from urllib.parse import urlsplit

import pytest
from homes import Home

WORDS = (
    "the clerk greets citizens and asks for queue number fee service named before any work begins office closes".split()
)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = Home(tmp_path_factory.mktemp("tokens") / "home")
    folder = home.path.parent / "papers"
    folder.mkdir()
    for number in range(24):
        lines = [" ".join(WORDS[(number * 7 + at * 3 + line) % len(WORDS)] for at in range(9)) for line in range(12)]
        (folder / f"paper-{number}.txt").write_text(".\n".join(lines) + f". Number {number * 991}.\n")
    home.run(
        "dataset", "build", "text", "--name", "papers", "--input", "papers", "--set", "near_duplicates=0", "--follow"
    )
    home.run("train", "tokenizer", "--dataset", "papers", "--name", "cutter", "--set", "vocab=600", "--follow")
    yield home
    home.stop()


def test_tokens_are_made_of_a_dataset_and_a_tokenizer(home):
    build = ("dataset", "build", "tokens", "--name", "papers-tokens", "--input", "dataset:papers")
    home.run(*build, "--set", "tokenizer=model:cutter", "--set", "held_out=20%", "--follow")
    shown = home.json("dataset", "show", "papers-tokens")
    assert shown["summary"]["tokens"] > 1000
    assert shown["report"]["in"] == shown["report"]["kept"] == 24
    rows = home.json("dataset", "head", "papers-tokens", "-n", "2")["items"]
    assert rows[0]["text"].startswith(tuple(WORDS))
    made_of = home.json("lineage", "dataset:papers-tokens")
    assert {node["ref"] for node in made_of["nodes"]} >= {"dataset:papers@v1", "model:cutter@v1"}
    error = home.json(*build, code=1)["error"]
    assert error["code"] == "bad_option"
    assert "tokenizer=model:NAME" in error["fix"]
    wrong = home.json("dataset", "build", "tokens", "--name", "x", "--source", "papers", code=1)["error"]
    assert wrong["code"] == "wrong_input"


def test_an_evaluation_stands_beside_its_model(home):
    found = home.json("evaluate", "cutter", "--dataset", "papers", "--metric", "tokens_per_character")
    (score,) = found["scores"]
    assert 0.1 < score["value"] < 1
    assert home.json("evaluate", "cutter", "--dataset", "papers", "--metric", "tokens_per_character")["reused"] is True
    model = home.json("model", "show", "cutter")
    assert [one["ref"] for one in model["evaluations"]] == [found["ref"]]
    assert "tokens_per_character" in home.run("model", "show", "cutter")[0]
    chain = home.json("lineage", found["ref"])["chain"]
    assert chain[:2] == ["evaluation", "model"]
    assert "tokens_per_character" in page(home, "/models/cutter")
    error = home.json("evaluate", "cutter", "--dataset", "papers", "--metric", "perplexity", code=1)["error"]
    assert "tokens_per_character" in error["fix"]
    home.run("ledger", "verify")


def page(home: Home, path: str) -> str:
    """A page of the console as the operator of this home sees it."""
    endpoint = json.loads((home.path / "endpoint.json").read_text())
    token = home.run("token", "create", "page")[0].strip()
    address = urlsplit(endpoint["url"])
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)
    connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
    text = connection.getresponse().read().decode()
    connection.close()
    return text
