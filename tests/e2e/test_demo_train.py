"""The second act of the demo: a language model, killed, resumed, measured, opened, asked; and its curves as people see them."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import urllib.request

import pytest
from browser import browser, missing
from homes import LIMIT_SECONDS, Home, wait_for

TRAIN_KEYS = {"dataset", "tokens", "model", "loss", "bits_per_byte", "resumed_identical", "service", "answer"}
STEPS = 50
LM = ("--set", "params=200k", "--set", "context=64", "--set", "batch_tokens=1024")


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """A home after a tiny demo with its second act, the demo's document, and what it told."""
    if importlib.util.find_spec("torch") is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("not installed: torch")
    home = Home(tmp_path_factory.mktemp("demo") / "home")
    try:
        yield home, *play(home)
    finally:
        end(home)


def play(home):
    process = home.start("demo", "--size", "tiny", "--train", "--json")
    out, err = process.communicate(timeout=3 * LIMIT_SECONDS)
    assert process.returncode == 0, f"{out}\n{err}"
    return json.loads(out), err


def end(home):
    """A Replica outlives the server that started it: the Service is stopped first."""
    home.start("service", "stop", "one-window-lm").communicate(timeout=LIMIT_SECONDS)
    wait_for(lambda: not home.pids("supervisor"), seconds=60)
    home.stop()


def training(home, name):
    """The Run that made a Model: a Replica's Run is called like its Service."""
    return next(run for run in home.json("run", "list")["items"] if (run["kind"], run["name"]) == ("model", name))


def ask(home, **body):
    endpoint = json.loads((home.path / "endpoint.json").read_text())
    token = (home.path / "operator.token").read_text().strip()
    request = urllib.request.Request(
        endpoint["router_url"] + "/v1/completions",
        json.dumps(body).encode(),
        {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


def test_the_document_tells_of_a_model_that_lost_nothing(demo):
    _, document, story = demo
    told = document["train"]
    assert set(told) == TRAIN_KEYS
    assert told["resumed_identical"] is True
    assert told["dataset"] == "dataset:one-window-lm-tokens@v1"
    assert told["model"] == "model:one-window-lm@v1"
    assert told["service"] == "service:one-window-lm"
    assert told["tokens"] > 1000
    assert [told["loss"][0][0], told["loss"][-1][0]] == [1, STEPS]
    assert told["loss"][-1][1] < told["loss"][0][1] / 2
    bits = told["bits_per_byte"]
    assert set(bits) == {"model", "unigram", "trigram", "lzma"}
    assert bits["model"] < bits["unigram"]
    assert told["answer"]
    assert set(document["seconds"]) == {"install", "process", "train", "host", "ask", "teach", "prove", "total"}
    assert document["seconds"]["total"] >= document["seconds"]["train"]
    assert "opens the export as Qwen3ForCausalLM" in story
    assert "The same 24 greedy tokens as in transformers." in story


def test_the_training_was_killed_and_went_on(demo):
    home, _, story = demo
    process, step = re.search(r"kill -9 of process (\d+) after step (\d+)", story).groups()
    resumed = int(re.search(r"went on from the Checkpoint of step (\d+)", story)[1])
    assert 0 < resumed <= int(step) + 1 < STEPS
    run = training(home, "one-window-lm")
    log = home.run("run", "logs", run["id"])[0]
    assert log.count("resumed at step") == 1
    states = (home.path / "runs" / run["id"]).glob("attempt-*/state.json")
    children = [json.loads(state.read_text())["child"] for state in sorted(states)]
    assert children[0] == int(process)
    assert len(children) == 2
    other = training(home, "one-window-lm-undisturbed")
    both = home.json("run", "compare", run["id"], other["id"])
    assert both["curves"][0] == both["curves"][1]
    assert [point[0] for point in both["curves"][0]] == list(range(1, STEPS + 1))
    table = home.run("run", "compare", run["id"], other["id"])[0].splitlines()[1]
    assert table.startswith("loss")
    assert len(set(table.split()[1:])) == 1


def test_the_router_says_it_again(demo):
    home, document, _ = demo
    rows = home.json("dataset", "head", "one-window", "-n", "1")["items"]
    words = " ".join(rows[0]["text"].split())[:24].rpartition(" ")[0]
    said = ask(home, model="one-window-lm", prompt=words, max_tokens=24, temperature=0)
    assert said["choices"][0]["text"] == document["train"]["answer"]
    assert said["usage"]["completion_tokens"] <= 24


def test_a_second_demo_reuses_it_all(demo):
    home, document, _ = demo
    again, story = play(home)
    assert again["train"] == document["train"]
    assert "kill -9" not in story
    assert story.count("Nothing changed: reusing") >= 9


def test_a_terminal_shows_the_loss_while_it_falls(demo):
    home, _, _ = demo
    _, err = home.run(
        *("train", "lm", "--dataset", "one-window-lm-tokens", "--name", "other", *LM), "--set", "steps=400", "--follow"
    )
    assert "step 400 of 400" in err
    (line, *_) = re.findall(r"^model:other: ([▁▂▃▄▅▆▇█]+)  loss [\d.]+  \d+/400  [\d,]+ tokens/s", err, re.MULTILINE)
    assert line[0] == "█"


def test_a_page_draws_the_curve_while_it_grows(demo, tmp_path):
    home, _, _ = demo
    if missing():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(missing())
    first = training(home, "one-window-lm")
    long = home.json(
        "train",
        "lm",
        "--dataset",
        "one-window-lm-tokens",
        "--name",
        "long",
        *LM,
        "--set",
        "steps=30000",
        "--set",
        "compile=no",
    )
    with browser(tmp_path / "profile") as chromium:
        chromium.open(home.json("login")["url"])
        chromium.click("main button")
        chromium.wait_for(lambda: "/sign-in" not in chromium.address)
        site = "/".join(chromium.address.split("/")[:3])
        for path in (f"/runs/{long['id']}", f"/runs/compare?run={first['id']}&run={long['id']}"):
            chromium.open(site + path)
            chromium.run("window.stays = true")
            chromium.wait_for(lambda: drawn(chromium))
            seen = drawn(chromium)
            chromium.wait_for(lambda seen=seen: drawn(chromium) not in ("", seen))
            assert chromium.run("return window.stays"), "the page was loaded anew"
        assert chromium.run("return document.querySelectorAll('svg path.line').length") == 2
        home.json("run", "cancel", long["id"])
        chromium.wait_for(lambda: "cancelled" in chromium.text)
    wait_for(lambda: home.json("run", "show", long["id"])["state"] == "cancelled")


def drawn(chromium):
    """The last curve of the page, as it is drawn now."""
    return chromium.run("return [...document.querySelectorAll('svg path.line')].pop()?.getAttribute('d') ?? ''")


@pytest.mark.soak
@pytest.mark.parametrize("number", range(max(1, int(os.environ.get("BARAY_SOAK_COUNT", "10")) // 10)))
def test_many_second_acts_lose_nothing(number, tmp_path):
    """`demo --train` of scripts/soak: each in a home of its own."""
    home = Home(tmp_path / "home")
    try:
        document, story = play(home)
        assert document["train"]["resumed_identical"], story
        assert "kill -9 of process" in story
    finally:
        end(home)
