"""Sandbox: probes contained, and what it adds to the start of a command over the same command unsandboxed."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from figures import Context, Figure

from baray.runs import sandbox, supervisor
from baray.runs.sandbox.survey import survey

_CALLS = """
import os, time
begun = time.perf_counter_ns()
for _ in range(300_000): os.getppid()
print((time.perf_counter_ns() - begun) / 300_000)
"""


def measure(context: Context) -> Iterator[Figure]:
    """Both commands are started by the same supervisor with the same limits; only the sandbox differs."""
    probes, _ = survey(sandbox.find_bwrap(), sandbox.find_cgroups(), slot=97)
    yield Figure(name="probes.contained", value=sum(probe.contained for probe in probes), unit="probes")
    yield Figure(name="probes.total", value=len(probes), unit="probes")
    number = 15 if context.quick else 60
    cgroups = sandbox.find_cgroups()
    plain, held = [], []
    for turn in range(number):  # in turns, so that a busy moment meets both
        plain.append(start(context.folder / f"plain-{turn}", cgroups, in_sandbox=False))
        held.append(start(context.folder / f"held-{turn}", cgroups, in_sandbox=True))
    added = statistics.median(held) - statistics.median(plain)
    yield Figure(name="startup_ms", value=added * 1000, unit="ms")
    costs = {
        in_sandbox: min(
            call_nanoseconds(context.folder / f"calls-{in_sandbox}-{turn}", cgroups, in_sandbox=in_sandbox)
            for turn in range(3)
        )
        for in_sandbox in (False, True)
    }
    yield Figure(name="syscall_ns", value=costs[True], unit="ns", peer="without a sandbox", peer_value=costs[False])


def call_nanoseconds(folder: Path, cgroups: sandbox.Cgroups, *, in_sandbox: bool) -> float:
    """Nanoseconds that one small system call takes, by the program's own clock."""
    _, program = sandbox.environment_bind()
    plan = plan_command(folder, cgroups, (program, "-I", "-S", "-c", _CALLS), in_sandbox=in_sandbox)
    (folder / "supervisor.json").write_text(json.dumps(plan))
    subprocess.run([sys.executable, "-I", "-S", supervisor.__file__, str(folder)], check=True)
    return float((folder / "log.txt").read_text())


def start(folder: Path, cgroups: sandbox.Cgroups, *, in_sandbox: bool) -> float:
    """Seconds that /bin/true takes under the supervisor."""
    plan = plan_command(folder, cgroups, ("/bin/true",), in_sandbox=in_sandbox)
    (folder / "supervisor.json").write_text(json.dumps(plan))
    began = time.perf_counter()
    subprocess.run([sys.executable, "-I", "-S", supervisor.__file__, str(folder)], check=True)
    seconds = time.perf_counter() - began
    state = json.loads((folder / "state.json").read_text())
    assert (state["reason"], state["exit_code"]) == ("exited", 0), state
    return seconds


def plan_command(folder: Path, cgroups: sandbox.Cgroups, argv: tuple[str, ...], *, in_sandbox: bool) -> dict[str, Any]:
    """What the worker would write for a command."""
    for name in ("", "in", "work", "out"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    limits = sandbox.Limits()
    base = sandbox.supervisor_plan(
        attempt_dir=folder,
        log=folder / "log.txt",
        number=1,
        limits=limits,
        owner=sandbox.slot_owner(97),
        cgroups=sandbox.make_group(cgroups, f"bench-{folder.name}", limits),
    )
    if not in_sandbox:
        return sandbox.trusted_plan(base, list(argv), {})
    environment, _ = sandbox.environment_bind()
    binds = environment + tuple(
        sandbox.Bind(under=folder, path=path, to=to, write=path != "in")
        for path, to in (("in", "/in"), ("work", "/job"), ("out", "/out"))
    )
    command = sandbox.Command(argv=argv, binds=binds, environment={}, bwrap=sandbox.find_bwrap())
    return sandbox.sandbox_plan(base, command, limits)
