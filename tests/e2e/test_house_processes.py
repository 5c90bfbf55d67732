"""The processes that answer HTTP hold no library for data, in a home that has done real work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "ray", "polars", "pyarrow", "numba", "sklearn", "scipy", "numpy", "pandas")


@pytest.fixture
def baray(tmp_path):
    """`baray(words...)` runs a command in a home of its own and returns its JSON document; the home is stopped after."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("BARAY_")}
    environ = clean | {"BARAY_HOME": str(tmp_path / "home")}

    def run(*words):
        command = [sys.executable, "-m", "baray", *words, "--json"]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    yield run
    subprocess.run([sys.executable, "-m", "baray", "down"], env=environ, capture_output=True, check=False, timeout=60)


def mapped(pid: int) -> set[str]:
    """Heavy packages of which a process has a file mapped."""
    maps = Path("/proc", str(pid), "maps").read_text()
    return {name for name in HEAVY if f"/site-packages/{name}/" in maps or f"/site-packages/_{name}" in maps}


def test_control_and_router_hold_nothing_heavy_after_work(baray, tmp_path):
    papers = tmp_path / "papers"
    papers.mkdir()
    papers.joinpath("hours.txt").write_text("The office is open from seven to eleven in the morning.\n" * 3)
    baray("desk", "create", "hours", "--documents", str(papers))
    assert baray("dataset", "head", "hours")
    assert baray("desk", "ask", "hours", "When is the office open?")["outcome"] == "answered"
    processes = baray("status")["processes"]
    found = {name: mapped(processes[name]["pid"]) for name in ("control", "router")}
    assert found == {"control": set(), "router": set()}


def test_the_look_into_a_process_sees_a_library():
    program = "import polars, sys; print('there', flush=True); sys.stdin.read()"
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", program], stdin=pipe, stdout=pipe) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"there\n"
        found = mapped(child.pid)
    assert "polars" in found
