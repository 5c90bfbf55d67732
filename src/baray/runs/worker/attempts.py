"""One Attempt on this machine: its folder, its supervisor, its end. Everything that must survive a dead worker is a file."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import py_compile
import select
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from baray.core import Fault
from baray.runs.context import replace_json
from baray.runs.protocol import LeaseGrant
from baray.runs.sandbox import (
    Bind,
    Cgroups,
    Command,
    Limits,
    Owner,
    environment_bind,
    find_bwrap,
    find_hatch,
    group_members,
    make_group,
    no_sandbox,
    proxy_uid,
    sandbox_plan,
    slot_owner,
    supervisor_plan,
    trusted_plan,
)
from baray.runs.sandbox.disk import make_image, why_no_images
from baray.runs.sandbox.launch import DISK, HATCH
from baray.runs.sandbox.plan import reduced_plan
from baray.runs.sandbox.reduced import interpreter_bind
from baray.runs.sandbox.tries import read_egress
from baray.runs.supervisor import boot_id, process_start
from baray.runs.worker.metrics import METRICS_FILE

_LOG = logging.getLogger("baray.worker")
_SUPERVISOR = Path(__file__).parent.with_name("supervisor.py")
_LAUNCH = Path(__file__).parents[1] / "sandbox" / "launch.py"
_MIN_FREE_SHARE, _MOST_RESERVE_BYTES = 0.05, 20 * 2**30  # of the disk is kept for the platform, but no more than this
_COMMAND_DISK_BYTES = 10 * 2**30  # unless it asks for more
_LEFTOVER_SECONDS = 5.0
IMAGE = "disk.img"
"""In ATTEMPT_DIR: the file system that a command writes to, where it has one of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """An Attempt that this worker answers for; its journal file is there until control has taken its result."""

    attempt_id: str
    """`t_...`."""
    run_id: str
    """`r_...`."""
    lease_token: str
    """Shown with every message about it."""
    number: int
    """From 1."""
    slot: int
    """Index of the uid it has to itself."""
    command: bool
    """A tenant's command, or a trusted handler."""
    outputs: bool
    """Whether a command's outputs have to be taken."""
    directory: str
    """ATTEMPT_DIR."""
    cgroups: tuple[str, ...]
    """Its cgroup folders."""

    @property
    def folder(self) -> Path:
        """ATTEMPT_DIR as a path."""
        return Path(self.directory)

    def state(self) -> dict[str, Any]:
        """The supervisor's state; empty if it has told none."""
        return _read_json(self.folder / "state.json")

    def result(self) -> dict[str, Any]:
        """What the handler (or the taking of outputs) left; empty if nothing."""
        return _read_json(self.folder / "result.json")

    def egress(self) -> tuple[dict[str, Any], ...]:
        """What the Attempt tried to reach, added up by target and decision."""
        return read_egress(self.folder / "egress.jsonl")

    def progress(self) -> dict[str, Any] | None:
        """How far the handler is."""
        return _read_json(self.folder.parent / "progress.json") or None

    def keep_provenance(self, envelope: str) -> None:
        """Lay what control signed about the Run into its directory: a copy, for people; control has the one that counts."""
        if envelope:
            path = self.folder.parent / "provenance.dsse.json"
            fresh = path.with_name(path.name + ".new")
            fresh.write_text(envelope, encoding="utf-8")
            fresh.rename(path)
            # Published: nobody resumes from its Checkpoints any more. A Run that failed or was cancelled keeps them for a retry.
            shutil.rmtree(self.folder.parent / "checkpoints", ignore_errors=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Where this worker runs Attempts, found once at its start."""

    home: Path
    """The home."""
    journal: Path
    """Folder with a file for each Attempt that it answers for."""
    cgroups: Cgroups
    """Where groups are made."""
    supervisor: Path
    """The supervisor, compiled."""
    modules: tuple[Path, ...]
    """Folders with trusted handlers beside the installed ones."""
    why_no_images: str
    """Why a command's disk is watched instead of being a file system of its own; empty where it is one."""
    reduced: bool = False
    """Whether commands get reduced isolation."""

    def held(self, grant: LeaseGrant, slot: int) -> Held:
        """The Attempt of a grant. Its journal file is written first, so that whatever follows can be found again."""
        folder = self.home / "runs" / grant.run_id / f"attempt-{grant.number}"
        command = grant.spec["command"] is not None
        held = Held(
            attempt_id=grant.attempt_id,
            run_id=grant.run_id,
            lease_token=grant.lease_token,
            number=grant.number,
            slot=slot,
            command=command,
            outputs=command and bool(grant.spec["sandbox"]["outputs"]),
            directory=str(folder),
            cgroups=tuple(str(parent / grant.attempt_id) for parent in self.cgroups.folders),
        )
        replace_json(self.journal / f"{grant.attempt_id}.json", asdict(held), durable=False)
        return held

    def open_attempts(self) -> list[Held]:
        """What an earlier worker left."""
        found = [_read_json(path) for path in sorted(self.journal.glob("t_*.json"))]
        return [Held(**{**one, "cgroups": tuple(one["cgroups"])}) for one in found if one]

    def launch(self, held: Held, grant: LeaseGrant) -> subprocess.Popen[bytes]:
        """Prepare the Attempt's folder and start its supervisor. Raises Refused `no_sandbox`, OSError."""
        owner = _home_owner(self.home)
        user = slot_owner(held.slot) if held.command and not self.reduced else owner
        _make_folders(self.home, held, owner, user)
        limits = self._limits(grant, command=held.command)
        groups = make_group(self.cgroups, held.attempt_id, limits)
        base = supervisor_plan(
            attempt_dir=held.folder,
            log=held.folder.parent / "log.txt",
            number=held.number,
            limits=limits,
            owner=user,
            cgroups=groups,
        )
        facts: dict[str, Any] = {"run_id": held.run_id, "blobs": str(self.home / "blobs"), "spec": dict(grant.spec)}
        facts |= {"inputs": list(grant.inputs), "uid": base["uid"], "limit_bytes": limits.disk_bytes}
        replace_json(held.folder.parent / "spec.json", dict(grant.spec), durable=False)
        (held.folder.parent / "progress.json").unlink(missing_ok=True)  # what an earlier Attempt told of itself
        replace_json(held.folder / "attempt.json", facts, durable=False)
        plan = self._plan(held, grant, base, limits)
        replace_json(held.folder / "supervisor.json", plan, durable=False)
        with (held.folder / "supervisor.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(self.supervisor), held.directory],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env={},
                start_new_session=True,  # it outlives this worker and its terminal
            )
        _hand_over(process, grant.run_token)
        return process

    def forget(self, held: Held) -> None:
        """Control has taken the result: only what people read stays."""
        for name in ("work", "out", "in"):
            shutil.rmtree(held.folder / name, ignore_errors=True)
        for name in (IMAGE, HATCH):
            (held.folder / name).unlink(missing_ok=True)
        _remove_groups(held)
        (self.journal / f"{held.attempt_id}.json").unlink(missing_ok=True)

    def _limits(self, grant: LeaseGrant, *, command: bool) -> Limits:
        wanted = grant.spec["resources"]
        disk = shutil.disk_usage(self.home)
        reserve = min(int(disk.total * _MIN_FREE_SHARE), _MOST_RESERVE_BYTES)
        room = max(1, disk.free - reserve)
        asked = wanted.get("disk_bytes") or (_COMMAND_DISK_BYTES if command else room)
        return Limits(
            cpus=wanted["cpus"],
            memory_bytes=wanted["memory_bytes"],
            time_seconds=wanted["time_seconds"],
            # Where there is less than was asked for, a round number: images of few sizes are made.
            disk_bytes=asked if asked <= room else 1 << (room.bit_length() - 1),
            reserve_bytes=reserve,
            grace_seconds=40.0 if grant.spec["kind"] == "replica" else 10.0,  # it answers who waits, for up to 30 s
        )

    def _handler(self, held: Held, base: dict[str, Any], limits: Limits) -> dict[str, Any]:
        environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": str(held.folder / "work")}
        environment |= {"BARAY_ATTEMPT": held.attempt_id, "PYTHONUNBUFFERED": "1"}
        # A thread that waits sleeps: on a busy machine spinning made a step 18 times longer, and changes no result.
        environment |= {"OMP_WAIT_POLICY": "passive", "TORCHINDUCTOR_CACHE_DIR": str(self.home / "cache" / "compiled")}
        environment |= {"CUBLAS_WORKSPACE_CONFIG": ":4096:8", "RAYON_NUM_THREADS": str(limits.cpus)}  # exact products
        if self.modules:
            environment["PYTHONPATH"] = ":".join(str(folder) for folder in self.modules)
        # -P: a module is never taken from the folder the process happens to stand in.
        return trusted_plan(base, [sys.executable, "-P", "-m", "baray.runs.attempt", held.directory], environment)

    def _plan(self, held: Held, grant: LeaseGrant, base: dict[str, Any], limits: Limits) -> dict[str, Any]:
        if not held.command:
            return self._handler(held, base, limits)
        return self._reduced(held, grant, base, limits) if self.reduced else self._command(held, grant, base, limits)

    def _reduced(self, held: Held, grant: LeaseGrant, base: dict[str, Any], limits: Limits) -> dict[str, Any]:
        """A command with reduced isolation: as the user of the home, for closed folders stand where they are."""
        if os.geteuid() == 0 and base["uid"] is None:
            raise no_sandbox("reduced isolation is never given to root", "Let an ordinary user own the home.")
        # Copies: their owner is the command's own user, who may change the mode of what it can open.
        _lay_inputs(self.home / "blobs", held.folder / "in", grant.inputs, linked=False)
        binds = (
            *interpreter_bind(),
            Bind(under=held.folder, path="in", to=""),
            *(Bind(under=held.folder, path=name, to="", write=True) for name in ("work", "out")),
        )
        told = {"BARAY_RUN": held.run_id, "BARAY_ATTEMPT": held.attempt_id}
        told["BARAY_METRICS"] = str(held.folder / "work" / METRICS_FILE)
        command = Command(argv=tuple(grant.spec["command"]), binds=binds, environment=told, bwrap="")
        return reduced_plan(base, command, limits, held.folder)

    def _command(self, held: Held, grant: LeaseGrant, base: dict[str, Any], limits: Limits) -> dict[str, Any]:
        bwrap = find_bwrap()
        _lay_inputs(self.home / "blobs", held.folder / "in", grant.inputs)
        environment, program = environment_bind()
        image = held.folder / IMAGE
        if not self.why_no_images:
            make_image(image, self.journal, limits.disk_bytes)
        writes = held.folder if self.why_no_images else Path(DISK)
        binds = (
            *environment,
            Bind(under=held.folder, path="in", to="/in"),
            Bind(under=writes, path="work", to="/job", write=True),
            Bind(under=writes, path="out", to="/out", write=True),
        )
        told = {"BARAY_RUN": held.run_id, "BARAY_ATTEMPT": held.attempt_id}
        command = Command(
            argv=tuple(grant.spec["command"]),
            binds=binds,
            environment=told,
            bwrap=bwrap,
            egress=tuple(grant.spec["sandbox"].get("egress", ())),
            egress_owner=proxy_uid(held.slot),
            interpreter=program,
            devices=grant.devices,
            hatch=find_hatch(self.home, held.folder, held.slot) if grant.run_token else None,
            image="" if self.why_no_images else str(image),
        )
        return sandbox_plan(base, command, limits)


def _hand_over(process: subprocess.Popen[bytes], token: str) -> None:
    """Give a supervisor the Run's own token by its standard input: it stands in no file, argument or environment."""
    assert process.stdin is not None
    try:
        with process.stdin as pipe:
            pipe.write(token.encode())
    except BrokenPipeError:
        _LOG.warning("a supervisor ended before it was told its Run's token")


def open_machine(home: Path, name: str, cgroups: Cgroups, modules: tuple[Path, ...], *, tier: str = "A") -> Machine:
    """Find this machine's parts. The supervisor is compiled once: as a script Python would compile it for every Attempt."""
    journal = home / "run" / f"attempts-{name}"
    journal.mkdir(mode=0o700, parents=True, exist_ok=True)
    compiled = journal / "supervisor.pyc"
    py_compile.compile(str(_SUPERVISOR), cfile=str(compiled), doraise=True)
    py_compile.compile(str(_LAUNCH), cfile=str(journal / "launch.pyc"), doraise=True)
    no_images = why_no_images(journal)
    if no_images:
        _LOG.info("what commands write is watched, not limited by a file system of their own: %s", no_images)
    return Machine(
        home=home,
        journal=journal,
        cgroups=cgroups,
        supervisor=compiled,
        modules=modules,
        why_no_images=no_images,
        reduced=tier == "B",
    )


def is_alive(held: Held) -> bool:
    """Whether the Attempt's supervisor runs. One that has told nothing yet is given up for good if it is not there."""
    state = held.state()
    if state:
        return bool(state["boot"] == boot_id() and process_start(state["pid"]) == state["start"])
    try:
        lock = os.open(held.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        (held.folder / "void").touch()  # under the lock: a supervisor that comes late sees it and leaves
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def wait_for_end(held: Held) -> None:
    """Wait until an adopted supervisor has ended."""
    state = held.state()
    while not state and is_alive(held):
        time.sleep(0.005)  # it holds the lock and is about to tell its pid
        state = held.state()
    if not state or not is_alive(held):
        return
    try:
        handle = os.pidfd_open(state["pid"])
    except ProcessLookupError:
        return
    try:
        if is_alive(held):  # the descriptor names this process now, and it is still the one we mean
            poller = select.poll()
            poller.register(handle, select.POLLIN)
            poller.poll()
    finally:
        os.close(handle)


def kill_leftovers(held: Held) -> None:
    """End every process of an Attempt whose supervisor was killed. Raises Fault `not_killed` if one will not go."""
    state = held.state()
    deadline = time.monotonic() + _LEFTOVER_SECONDS
    while found := _leftovers(held, state):
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if time.monotonic() > deadline:
            raise Fault("not_killed", f"Processes {found} of {held.attempt_id} do not end.", fix="Restart the machine.")
        time.sleep(0.005)
    _remove_groups(held)


def _remove_groups(held: Held) -> None:
    """The supervisor removes its groups; one that was busy in that moment, or whose supervisor was killed, is ours."""
    for folder in held.cgroups:
        if Path(folder).is_dir():
            try:
                Path(folder).rmdir()
            except OSError as error:
                _LOG.warning("the group %s stays: %s", folder, error)


def _leftovers(held: Held, state: dict[str, Any]) -> list[int]:
    """Living processes of the Attempt: by cgroup, by session, and by the mark in their environment."""
    mark = f"BARAY_ATTEMPT={held.attempt_id}".encode()
    session = state.get("child", 0) if state.get("boot") == boot_id() else 0
    found = set(group_members(list(held.cgroups)))
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_bytes().rpartition(b")")[2].split()
            # The session carries the child's pid; a process older than the child is another's with the same number.
            same = session and int(fields[3]) == session and int(fields[19]) >= state["child_start"]
            if same or mark in (entry / "environ").read_bytes().split(b"\0"):
                found.add(int(entry.name))
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return [pid for pid in found if process_start(pid)]


def _home_owner(home: Path) -> Owner:
    """Trusted handlers run as the user whom the home belongs to, where the worker itself is root."""
    found = home.stat()
    return Owner() if os.geteuid() != 0 or found.st_uid == 0 else Owner(uid=found.st_uid, gid=found.st_gid)


def _make_folders(home: Path, held: Held, owner: Owner, worker: Owner) -> None:
    run_dir = held.folder.parent
    for folder, mode, belongs in (
        (home / "runs", 0o755, owner),
        (run_dir, 0o2750, owner),  # its files belong to the home's group: control reads them
        (held.folder, 0o2750, owner),
        (held.folder / "in", 0o755, owner),
        (held.folder / "work", 0o700, worker),
        (held.folder / "out", 0o700, worker),
    ):
        if not folder.exists():
            folder.mkdir()
            if belongs.uid is not None and belongs.gid is not None:
                os.chown(folder, belongs.uid, belongs.gid)
            folder.chmod(mode)


def _lay_inputs(blobs: Path, folder: Path, inputs: tuple[Any, ...], *, linked: bool = True) -> None:
    """Lay inputs out as folders of links to blobs: shown read-only in the sandbox, and another uid owns them."""
    for one in inputs:
        top = folder / one["name"]
        top.mkdir(exist_ok=True)
        for file in one["files"]:
            parts = Path(file["path"]).parts
            if Path(file["path"]).is_absolute() or ".." in parts or "\0" in file["path"]:
                raise Fault("bad_path", f"Input '{one['name']}' names a file '{file['path']}'.")
            target = top / file["path"]
            target.parent.mkdir(parents=True, exist_ok=True)
            digest = file["digest"].removeprefix("sha256:")
            blob = blobs / digest[:2] / digest[2:]
            if not target.exists() and not (linked and _linked(blob, target)):
                shutil.copyfile(blob, target)
                target.chmod(0o444)
    for place in folder.rglob("*"):
        if place.is_dir():
            place.chmod(0o755)  # the slot's uid reads them, whatever our umask


def _linked(blob: Path, target: Path) -> bool:
    try:
        target.hardlink_to(blob)
    except OSError:
        return False  # another file system, or too many links
    return True


def _read_json(path: Path) -> dict[str, Any]:
    """A small JSON file; empty if there is none or it is not whole."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
