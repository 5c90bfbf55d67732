"""From text to a language model by the commands, the trainer killed on the way: the same Model, each step told once."""

from __future__ import annotations

import json
import os
import random

import pytest
from homes import Home, kill, wait_for

KILLS = 2
WORDS = "land water the office asks fee letter ជំរាប សួរ ក្រុង province is paid on Monday".split()
OPTIONS = ("params=60k", "steps=150", "context=32", "batch_tokens=256", "checkpoint_every=5", "precision=fp32")


@pytest.fixture
def home(tmp_path):
    home = Home(tmp_path / "home")
    yield home
    home.stop()


def train(home: Home, name: str) -> dict:
    settings = [word for option in OPTIONS for word in ("--set", option)]
    return home.json("train", "lm", "--dataset", "tokens", "--name", name, "--cpus", "1", *settings)


def wait(home: Home, run: dict) -> dict:
    home.run("run", "wait", run["id"])
    return home.json("run", "show", run["id"])


@pytest.mark.slow
def test_a_killed_trainer_ends_with_the_model_of_an_undisturbed_one(home, tmp_path):
    chance = random.Random(1)
    folder = tmp_path / "papers"
    folder.mkdir()
    for number in range(30):
        lines = [" ".join(chance.choice(WORDS) for _ in range(12)).capitalize() + "." for _ in range(9)]
        (folder / f"{number}.txt").write_text("\n".join(lines), encoding="utf-8")
    home.run("dataset", "build", "text", "--name", "papers", "--input", str(folder), "--label", "public", "--follow")
    home.run("train", "tokenizer", "--dataset", "papers", "--name", "cutter", "--set", "vocab=520", "--follow")
    cut = ("--dataset", "papers", "--set", "tokenizer=model:cutter", "--set", "held_out=10%", "--follow")
    home.run("dataset", "build", "tokens", "--name", "tokens", *cut)
    (calm,) = wait(home, train(home, "calm"))["outputs"]

    run = train(home, "killed")
    run_dir = home.path / "runs" / run["id"]
    for number in range(1, KILLS + 1):
        attempt = run_dir / f"attempt-{number}"
        before = newest(run_dir)
        wait_for(lambda before=before: newest(run_dir) > max(before, 0), 90)
        kill(json.loads((attempt / "state.json").read_text())["child"])
        wait_for(lambda number=number: (run_dir / f"attempt-{number + 1}" / "state.json").exists(), 60)
    done = wait(home, run)
    (killed,) = done["outputs"]
    assert (killed["digest"], done["attempts"]) == (calm["digest"], KILLS + 1)
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["name"] == "loss"] == list(range(1, 151))
    wait_for(lambda: not (run_dir / "checkpoints").exists())
    assert home.json("ledger", "verify")["ok"]


def newest(run_dir: os.PathLike) -> int:
    """Step of the newest Checkpoint; -1 before the first."""
    return max((int(path.name[5:]) for path in run_dir.glob("checkpoints/step-*")), default=-1)
