"""What isolation this machine gives: the twelve probes, run the same way a tenant's command is run."""

from __future__ import annotations

import json
import os
import pwd
import secrets
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from baray.core import Refused
from baray.runs.sandbox.cgroups import Cgroups, find_cgroups, make_group
from baray.runs.sandbox.plan import Bind, Command, Hatch, Limits, Owner, sandbox_plan, supervisor_plan

FIRST_SLOT_UID = 61000
FIRST_PROXY_UID = 62000
FIRST_HATCH_UID = 63000
SUPERVISOR = Path(__file__).parent.with_name("supervisor.py")
PROBES = Path(__file__).with_name("probes.py")
PROGRAM_FOLDERS = "/usr/bin:/bin:/usr/local/bin"
PROCESSES = 64
"""That a probe's sandbox may have."""
_START_LIMIT_SECONDS = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One attempt to get out."""

    name: str
    """Name of the probe."""
    contained: bool
    """Whether the sandbox held."""
    reached: str
    """What it reached, if anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TierReport:
    """What the sandbox can do here."""

    tier: str
    """"A": all probes contained; "B": reduced isolation, which the settings allow; "none": commands are refused."""
    limits: str
    """"cgroup v2", "cgroup v1" or "soft"."""
    missing: str
    """The feature that tier A misses; empty there."""
    fix: str
    """What an operator does about it."""
    probes: tuple[Probe, ...]
    """The probes that ran."""
    milliseconds: float
    """How long the probes took, start-up included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A program of ours for the sandbox."""

    binds: tuple[Bind, ...]
    """What it is made of."""
    arguments: tuple[str, ...]
    """After the interpreter and its options."""


def find_bwrap(folders: str = PROGRAM_FOLDERS) -> str:
    """Path of a usable bwrap in `folders`. Raises Refused `no_sandbox` with the missing feature and the fix."""
    path = shutil.which("bwrap", path=folders)
    if path is None:
        raise no_sandbox("bubblewrap is not installed", "As root: apt-get install bubblewrap")
    if Path(path).stat().st_mode & stat.S_ISUID:
        raise no_sandbox(f"{path} is set-uid, which this sandbox never uses", f"As root: chmod u-s {path}")
    told = subprocess.run([path, "--help"], capture_output=True, text=True, check=False)
    if "--ro-bind-fd" not in told.stdout + told.stderr:
        raise no_sandbox(f"{path} has no --ro-bind-fd", "Install bubblewrap 0.8.0-2+deb12u1 or later.")
    return path


def no_sandbox(missing: str, fix: str) -> Refused:
    """The refusal of a tenant's command on a machine without isolation."""
    return Refused("no_sandbox", f"Commands cannot be run here: {missing}.", fix=fix, status=503)


def probe(*, cgroups: Cgroups | None = None, slot: int = 99, folders: str = PROGRAM_FOLDERS) -> TierReport:
    """Run the probes and judge. Never raises for what is missing: the report says it."""
    groups = find_cgroups() if cgroups is None else cgroups
    try:
        bwrap = find_bwrap(folders)
        probes, milliseconds = run_probes(bwrap, groups, slot=slot)
    except Refused as refused:
        missing = refused.message.removeprefix("Commands cannot be run here: ").removesuffix(".")
        return TierReport(
            tier="none", limits=groups.name, missing=missing, fix=refused.fix, probes=(), milliseconds=0.0
        )
    open_ones = [found.name for found in probes if not found.contained]
    return TierReport(
        tier="none" if open_ones else "A",
        limits=groups.name,
        missing=f"the sandbox did not hold: {', '.join(open_ones)}" if open_ones else "",
        fix="Run: baray doctor" if open_ones else "",
        probes=probes,
        milliseconds=milliseconds,
    )


def run_probes(
    bwrap: str, cgroups: Cgroups, *, slot: int, change: Callable[[dict[str, Any]], dict[str, Any]] | None = None
) -> tuple[tuple[Probe, ...], float]:
    """Run the probes in a sandbox; `change` may take a layer away from the plan, to show that a probe can fail."""
    with traps() as (folder, facts):
        bind = Bind(under=PROBES.parent, path=PROBES.name, to="/in/probes.py")
        shown = Shown(binds=(bind,), arguments=("/in/probes.py", json.dumps(facts)))
        plan = probe_plan(folder, bwrap, cgroups, slot, shown)
        return run_plan(folder, change(plan) if change else plan, facts["secret"])


@contextmanager
def traps() -> Iterator[tuple[Path, dict[str, str]]]:
    """What the twelve probes try to reach: an empty folder beside it for the Attempt, and the facts for them."""
    secret = secrets.token_hex(16)
    with tempfile.TemporaryDirectory() as name, socket.socket() as listener, socket.socket(socket.AF_UNIX) as abstract:
        folder = Path(name)
        folder.chmod(0o755)  # the traps lie open on the host: only the sandbox may stand before them
        (folder / "secret").write_text(secret)
        (folder / "secret").chmod(0o644)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        abstract.bind("\0baray-probe-" + secret)
        abstract.listen()
        facts = {"secret_path": str(folder / "secret"), "secret": secret, "port": str(listener.getsockname()[1])}
        yield folder, facts | {"abstract": "baray-probe-" + secret, "job": "/job"}


def slot_owner(slot: int) -> Owner:
    """The uid of a slot when started as root; as an ordinary user, that user."""
    if os.geteuid() != 0:
        return Owner()
    return Owner(uid=FIRST_SLOT_UID + slot, gid=FIRST_SLOT_UID + slot)


def proxy_uid(slot: int) -> int | None:
    """The uid of a slot's proxy where root starts it: neither the command's nor the home's."""
    return FIRST_PROXY_UID + slot if os.geteuid() == 0 else None


def find_hatch(home: Path, folder: Path, slot: int) -> Hatch | None:
    """The way from a command in ATTEMPT_DIR to its own Run; None where control does not say where it listens."""
    try:
        found = json.loads((home / "run" / "control.json").read_text(encoding="utf-8"))
        host, port = str(found["host"]), int(found["port"])
    except (OSError, ValueError, KeyError):
        return None
    # A uid that nobody else has, for its process holds the Run's token.
    return Hatch(folder=folder, host=host, port=port, owner=FIRST_HATCH_UID + slot if os.geteuid() == 0 else None)


def environment_bind(base: Path = Path(sys.base_prefix)) -> tuple[tuple[Bind, ...], str]:
    """A bind of this interpreter's folder at /env if it lies outside /usr, and its path inside."""
    program = Path(os.path.realpath(sys.executable))
    if base.is_relative_to("/usr"):
        return (), str(program)
    bind = Bind(under=base, path=".", to="/env")
    return (bind,), str(Path("/env") / program.relative_to(os.path.realpath(base)))


def probe_plan(folder: Path, bwrap: str, cgroups: Cgroups, slot: int, shown: Shown) -> dict[str, Any]:
    """The plan of a program of ours that is run as a tenant's command would be."""
    environment, program = environment_bind()
    binds = (*environment, *shown.binds, Bind(under=folder, path="work", to="/job", write=True))
    argv = (program, "-I", "-S", "-B", *shown.arguments)
    base, limits = probe_base(folder, cgroups, slot)
    return sandbox_plan(base, Command(argv=argv, binds=binds, environment={}, bwrap=bwrap), limits)


def probe_base(folder: Path, cgroups: Cgroups, slot: int) -> tuple[dict[str, Any], Limits]:
    """The folders, the limits and the first part of such a plan."""
    owner = slot_owner(slot)
    for part in ("work", "out"):
        (folder / part).mkdir()
        if owner.uid is not None and owner.gid is not None:
            os.chown(folder / part, owner.uid, owner.gid)
    limits = Limits(memory_bytes=2**28, time_seconds=_START_LIMIT_SECONDS, processes=PROCESSES)
    groups = make_group(cgroups, f"probe-{os.getpid()}-{folder.name}", limits)
    base = supervisor_plan(
        attempt_dir=folder, log=folder / "log.txt", number=1, limits=limits, owner=owner, cgroups=groups
    )
    return base, limits


def run_plan(folder: Path, plan: dict[str, Any], secret: str) -> tuple[tuple[Probe, ...], float]:
    """Run it and read what its probes told. Raises Refused `no_sandbox` if they told nothing."""
    # The launcher's environment holds a secret, as a careless operator's would.
    plan = {**plan, "env": {**plan["env"], "BARAY_PROBE_SECRET": secret}}
    (folder / "supervisor.json").write_text(json.dumps(plan))
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-I", "-S", str(SUPERVISOR), str(folder)], check=False)
    milliseconds = (time.perf_counter() - begun) * 1000
    log = (folder / "log.txt").read_text(errors="replace") if (folder / "log.txt").exists() else ""
    state = json.loads((folder / "state.json").read_text()) if (folder / "state.json").exists() else {}
    try:
        told = json.loads(log.strip().splitlines()[-1])
        return tuple(
            Probe(name=name, contained=not reached, reached=reached) for name, reached in told.items()
        ), milliseconds
    except (IndexError, ValueError) as error:
        raise _why(log, state) from error


def _why(log: str, state: dict[str, Any]) -> Refused:
    if "namespace" in log or "Operation not permitted" in log or "uid map" in log:
        return no_sandbox(
            f"this machine refuses user namespaces to {pwd.getpwuid(os.geteuid()).pw_name}: {log.strip()[:300]}",
            "As root: sysctl -w kernel.unprivileged_userns_clone=1 (or user.max_user_namespaces=10000), on Ubuntu also "
            "an AppArmor profile for bwrap; in a container, allow unprivileged user namespaces.",
        )
    detail = f"{state.get('message', '')} {log.strip()[:300]}".strip() or "it ended without a word"
    return no_sandbox(f"the sandbox did not start: {detail}", "Run: baray doctor")
