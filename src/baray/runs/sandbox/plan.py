"""What a supervisor is told to start: the words of `supervisor.json`, and bwrap's arguments for a tenant's command."""

from __future__ import annotations

import os
import platform
import resource
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from baray.runs.sandbox import egress, hatch
from baray.runs.sandbox.egress import HELPER, PORT
from baray.runs.sandbox.filter import filter_path
from baray.runs.sandbox.launch import HATCH, HELPER_DESCRIPTOR

_DIRECTORIES = ("bin", "sbin", "lib", "lib64", "lib32", "libx32")
_ETC = ("/etc/ld.so.cache", "/etc/alternatives")  # the second is where numerical libraries are found on Debian
_REDUCED_READS = (
    "/usr",
    "/dev/null",
    "/dev/zero",
    "/dev/random",
    "/dev/urandom",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/sys/devices/system/cpu",
)
_TMP_BYTES = 64 * 2**20
_MAX_SHARED_BYTES = 2**30
HATCH_SHOWN = "/baray.sock"
"""Where a command finds its hatch; BARAY_API_SOCKET says it."""
EGRESS_BYTES = 10 * 2**30
"""That one Attempt may exchange with all its targets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one Attempt may use."""

    cpus: int = 1
    """Cores."""
    memory_bytes: int = 2 * 2**30
    """Memory of the whole tree of processes, tmpfs included where a cgroup is in force."""
    time_seconds: float = 0.0
    """Wall time; 0 means no limit."""
    processes: int = 512
    """Processes and threads."""
    file_bytes: int = 2**40
    """Size of one file."""
    disk_bytes: int = 0
    """Disk used below the Attempt's own folders; 0 means no limit."""
    reserve_bytes: int = 0
    """Free space on the disk of the home below which the Attempt is stopped, whoever filled it."""
    log_bytes: int = 64 * 2**20
    """What is kept of stdout and stderr."""
    grace_seconds: float = 10.0
    """From SIGTERM to SIGKILL."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bind:
    """A folder or file shown in the sandbox. The supervisor opens it without following a single link."""

    under: Path
    """A folder that no tenant can write to."""
    path: str
    """Relative path below it; may lie in a tenant's hands."""
    to: str
    """Absolute path inside."""
    write: bool = False
    """Whether the command may write there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """The uid and gid a child gets; None keeps the launcher's (only if that is not root, for a sandbox)."""

    uid: int | None = None
    gid: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hatch:
    """The way from a command to its own Run."""

    folder: Path
    """Where its socket is made: ATTEMPT_DIR."""
    host: str
    """Where control listens."""
    port: int
    """And its port."""
    owner: int | None = None
    """The uid of its process where the launcher is root."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A tenant's command and what it sees."""

    argv: tuple[str, ...]
    """Program and arguments; the program is looked up in PATH inside the sandbox."""
    binds: tuple[Bind, ...]
    """Folders shown inside."""
    environment: dict[str, str]
    """Variables declared for it; nothing else is inherited."""
    bwrap: str
    """Path of the bwrap program."""
    egress: tuple[str, ...] = ()
    """Targets (`host:port`) that it may reach, through a proxy."""
    egress_owner: int | None = None
    """The uid of the proxy where the launcher is root."""
    interpreter: str = ""
    """Path of a Python inside; needed for egress."""
    devices: tuple[str, ...] = ()
    """Device nodes that the Lease gives to it: those of its GPUs."""
    hatch: Hatch | None = None
    """The way to its own Run, if control can be reached."""
    image: str = ""
    """File with an ext4 file system for what it writes, as large as its disk limit; empty: the supervisor watches."""


def supervisor_plan(
    *, attempt_dir: Path, log: Path, number: int, limits: Limits, owner: Owner, cgroups: list[str]
) -> dict[str, Any]:
    """The part of `supervisor.json` that every Attempt has."""
    return {
        "v": 1,
        "number": number,
        "log": str(log),
        "uid": owner.uid,
        "gid": owner.gid,
        "cgroups": cgroups,
        "cwd": "/",
        "reduced": None,
        "limits": {
            "time_seconds": limits.time_seconds,
            "memory_bytes": limits.memory_bytes,
            # Without a memory cgroup the supervisor adds up the tree's memory itself.
            "watch_memory": not any("memory" in _controllers(folder) for folder in cgroups),
            "disk_bytes": limits.disk_bytes,
            "reserve_bytes": limits.reserve_bytes,
            "disk_folders": [str(attempt_dir / "work"), str(attempt_dir / "out")],
            "log_bytes": limits.log_bytes,
            "grace_seconds": limits.grace_seconds,
        },
    }


def trusted_plan(base: dict[str, Any], argv: list[str], environment: dict[str, str]) -> dict[str, Any]:
    """The plan of a trusted handler: a plain process."""
    return {**base, "argv": argv, "env": environment, "sandbox": None}


def sandbox_plan(base: dict[str, Any], command: Command, limits: Limits) -> dict[str, Any]:
    """The plan of a tenant's command in the sandbox."""
    inside = {"PATH": "/env/bin:/usr/bin:/bin", "HOME": "/job", "LANG": "C.UTF-8", "USER": "job", "LOGNAME": "job"}
    if command.egress:
        proxy = f"http://127.0.0.1:{PORT}"
        inside |= dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), proxy)
    inside |= {"OMP_NUM_THREADS": str(limits.cpus), "BARAY_IN": "/in", "BARAY_OUT": "/out"} | command.environment
    if command.hatch is not None:
        inside["BARAY_API_SOCKET"] = HATCH_SHOWN
    shared = min(limits.memory_bytes // 2, _MAX_SHARED_BYTES)
    head = [command.bwrap, "--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent", "--new-session"]
    head += ["--as-pid-1", "--cap-drop", "ALL", "--clearenv"]
    for name, value in inside.items():
        head += ["--setenv", name, value]
    head += ["--uid", "65534", "--gid", "65534", "--hostname", "job", "--ro-bind", "/usr", "/usr", *_system_folders()]
    for path in _ETC:
        head += ["--ro-bind-try", path, path]
    middle = ["--proc", "/proc", "--dev", "/dev", "--size", str(_TMP_BYTES), "--tmpfs", "/tmp"]  # noqa: S108 - inside
    middle += ["--size", str(shared), "--tmpfs", "/dev/shm"]  # noqa: S108 - inside
    middle += ["--perms", "0700", "--dir", "/run", "--chdir", "/job", "--remount-ro", "/"]
    # Set inside the new user namespace these count for this sandbox alone; set before it they would count all of the uid.
    rlimits = ["/usr/bin/prlimit", "--core=0", "--nofile=4096"]
    rlimits += [f"--nproc={limits.processes}", f"--fsize={limits.file_bytes}", "--"]
    for device in command.devices:
        middle += ["--dev-bind", device, device]
    # Without a size of its own, and in no count of a process's memory: nothing may be kept between the device nodes.
    middle += ["--remount-ro", "/dev"]
    if command.image:
        base = {**base, "limits": {**base["limits"], "disk_folders": []}}
    return {
        **base,
        "argv": [*rlimits, *_by_helper(command), *command.argv],
        "env": {"PATH": "/usr/bin:/bin"},
        "sandbox": {
            "head": head,
            "binds": [
                {"under": str(bind.under), "path": bind.path, "to": bind.to, "write": bind.write}
                for bind in (*command.binds, *_hatch_bind(command))
            ],
            "middle": middle,
            "image": command.image,
            "egress": _egress(command),
            "hatch": _hatch(command),
            "seccomp": str(filter_path(platform.machine())),
        },
    }


def reduced_plan(base: dict[str, Any], command: Command, limits: Limits, folder: Path) -> dict[str, Any]:
    """The plan of a tenant's command with reduced isolation: no namespaces, so its folders stand where they are."""
    work = str(folder / "work")
    inside = {"PATH": "/usr/bin:/bin", "HOME": work, "TMPDIR": work, "LANG": "C.UTF-8"}
    inside |= {"BARAY_IN": str(folder / "in"), "BARAY_OUT": str(folder / "out")} | command.environment
    reads = [*_REDUCED_READS, *(f"/{name}" for name in _DIRECTORIES), *_ETC]
    reads += [str(bind.under / bind.path) for bind in command.binds if not bind.write]
    writes = [str(bind.under / bind.path) for bind in command.binds if bind.write]
    processes = _threads_of(os.geteuid() if base["uid"] is None else base["uid"]) + limits.processes
    hard = {resource.RLIMIT_CORE: 0, resource.RLIMIT_NOFILE: 4096, resource.RLIMIT_NPROC: processes}
    hard |= {resource.RLIMIT_FSIZE: limits.file_bytes, resource.RLIMIT_AS: limits.memory_bytes}
    program = shutil.which(command.argv[0], path=inside["PATH"]) or command.argv[0]
    return {
        **base,
        "argv": [program, *command.argv[1:]],
        "env": inside,
        "cwd": work,
        "sandbox": None,
        "reduced": {
            "paths": [[path, False] for path in reads] + [[path, True] for path in (*writes, "/dev/null")],
            "limits": {str(kind): value for kind, value in hard.items()},
            "filter": filter_path(platform.machine(), reduced=True).read_bytes().hex(),
        },
    }


def _threads_of(uid: int) -> int:
    """Threads that a user has: without a namespace of its own the kernel counts a command's among them."""
    count = 0
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if entry.stat().st_uid == uid:
                count += len(list((entry / "task").iterdir()))
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # it ended
    return count


def _by_helper(command: Command) -> list[str]:
    """The words before a command with egress: the helper that makes its way out and then becomes the command."""
    return [command.interpreter, "-I", "-S", "-c", HELPER, str(HELPER_DESCRIPTOR)] if command.egress else []


def _egress(command: Command) -> dict[str, Any] | None:
    if not command.egress:
        return None
    rules = {"allow": list(command.egress), "bytes": EGRESS_BYTES, "loopback": False, "uid": command.egress_owner}
    return {"program": [sys.executable, "-I", "-S", egress.__file__], "rules": rules}


def _hatch_bind(command: Command) -> tuple[Bind, ...]:
    return () if command.hatch is None else (Bind(under=command.hatch.folder, path=HATCH, to=HATCH_SHOWN),)


def _hatch(command: Command) -> dict[str, Any] | None:
    found = command.hatch
    if found is None:
        return None
    rules = {"host": found.host, "port": found.port, "uid": found.owner}
    return {"program": [sys.executable, "-I", "-S", hatch.__file__], "rules": rules}


def _system_folders() -> list[str]:
    """`/bin`, `/lib` and their like as they are on this machine: links into /usr, or folders of their own."""
    arguments: list[str] = []
    for name in _DIRECTORIES:
        place = Path("/", name)
        if place.is_symlink():
            arguments += ["--symlink", str(place.readlink()), str(place)]
        elif place.is_dir():
            arguments += ["--ro-bind", str(place), str(place)]
    return arguments


def _controllers(folder: str) -> set[str]:
    """Names of a cgroup's files tell which controllers are in force there."""
    return {file.name.partition(".")[0] for file in Path(folder).glob("*")}
