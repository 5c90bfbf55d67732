"""Demo: the main job on the whole sample in a new home, and the memory of the idle platform afterwards."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from figures import Context, Figure

IDLE_SECONDS = 20  # until pools have shrunk and the reader child has been idle for a while


def measure(context: Context) -> Iterator[Figure]:
    """Play the demo, wait, add up the proportional set size of every process of the home."""
    home, result = context.folder / "home", context.folder / "demo.json"
    size = "tiny" if context.quick else "normal"
    run_baray("demo", "--home", str(home), "--size", size, "--json", str(result))
    try:
        for act, seconds in json.loads(result.read_text())["seconds"].items():
            if act not in ("install", "teach"):  # installed before, and not there yet
                yield Figure(name=f"seconds.{act}", value=seconds, unit="s")
        time.sleep(IDLE_SECONDS / 4 if context.quick else IDLE_SECONDS)
        yield Figure(name="idle_mb", value=sum(map(pss_bytes, processes_of(home))) / 1e6, unit="MB")
    finally:
        run_baray("down", "--home", str(home))


def run_baray(*arguments: str) -> None:
    """Run a command of `baray` with this environment, without settings of the person who measures."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("BARAY_")}
    done = subprocess.run(
        [sys.executable, "-m", "baray", *arguments], env=clean, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"baray {arguments[0]} failed:\n{done.stdout}{done.stderr}")


def processes_of(home: Path) -> list[Path]:
    """Find the home's processes by their command lines, and all their children."""
    parents = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            status = (process / "status").read_text()
            command = (process / "cmdline").read_bytes()
        except OSError:
            continue
        parent = re.search(r"^PPid:\s+(\d+)", status, re.MULTILINE)
        assert parent is not None
        parents[process.name] = (parent[1], os.fsencode(home) in command)
    found = {pid for pid, (_, ours) in parents.items() if ours}
    while more := {pid for pid, (parent, _) in parents.items() if parent in found} - found:
        found |= more
    return [Path("/proc", pid) for pid in sorted(found) if pid != str(os.getpid())]


def pss_bytes(process: Path) -> int:
    """Read a process's proportional set size."""
    try:
        text = (process / "smaps_rollup").read_text()
    except OSError:
        return 0
    found = re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0
