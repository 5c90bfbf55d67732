"""`examples/train_and_chat.py`: from a folder of Khmer text to a chat with its model."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest
from homes import Home, wait_for

EXAMPLE = Path(__file__).parents[2] / "examples" / "train_and_chat.py"
SAMPLE = resources.files("baray") / "samples" / "one-window" / "documents"
LIMIT_SECONDS = 400
STEPS = ("1. Clean", "2. Learn", "3. Train", "4. Measure", "5. Teach", "6. Give it a name")


@pytest.fixture
def home(tmp_path):
    if importlib.util.find_spec("torch") is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("not installed: torch")
    home = Home(tmp_path / "home")
    yield home
    home.run("service", "stop", "papers-chat")  # a Replica outlives the server that started it
    wait_for(lambda: not home.pids("supervisor"), seconds=60)
    home.stop()


@pytest.mark.slow
def test_a_folder_of_khmer_text_becomes_a_chat(home, tmp_path):
    folder = tmp_path / "papers"
    folder.mkdir()
    for path in sorted(Path(str(SAMPLE)).rglob("*")):
        if path.suffix in {".txt", ".md"} and path.stat().st_size > 0:
            shutil.copy(path, folder)
    command = [sys.executable, str(EXAMPLE), str(folder), "--name", "papers", "--minutes", "0.1", "--params", "200k"]
    done = subprocess.run(
        command,
        input="ម៉ោងធ្វើការ\nWhen is the office open?\n",
        env=home.environ(PYTHONUTF8="1"),
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert [step for step in STEPS if step in done.stdout] == list(STEPS)
    answers = done.stdout.partition("or end with Ctrl-D.\n")[2].splitlines()
    assert len([line for line in answers if line.strip()]) >= 2, done.stdout
    wait_for(lambda: any(row["requests"] == 2 for row in home.json("usage")["items"]))
