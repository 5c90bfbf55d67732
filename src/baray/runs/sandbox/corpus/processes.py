"""Other processes, who one is, and what processes share without a file."""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

from baray.runs.sandbox.corpus.tools import ARCHITECTURE, SELF, Facts, Probe, call, holds, libc, opened, refused

_ATTACH = 16
_GET, _SEMAPHORES, _QUEUES = (29, 194), (64, 190), (68, 186)
_OPEN_QUEUE, _READ_MEMORY = (240, 180), (310, 270)
_UNSHARE, _CAPSET, _PIDFD = (272, 97), (126, 91), (434, 434)


def host_processes(_facts: Facts) -> str:
    """See more processes than one's own."""
    seen = [entry.name for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return f"{len(seen)} processes" if len(seen) > 4 else ""


def first_process(_facts: Facts) -> str:
    """See the machine's first process."""
    try:
        name = Path("/proc/1/comm").read_text().strip()
    except OSError:
        return ""
    return "" if name in {"python3", "python", "bwrap"} or name.startswith("python3.") else name


def launcher_environment(facts: Facts) -> str:
    """Find the launcher's secret in an environment."""
    for path in Path("/proc").glob("[0-9]*/environ"):
        if path.parent.name != facts["victim"] and holds(str(path), facts["launcher_secret"]):
            return str(path)
    return ""


def victim_environment(facts: Facts) -> str:
    """Read another process's environment."""
    return holds(f"/proc/{facts['victim']}/environ", facts["secret"])


def victim_arguments(facts: Facts) -> str:
    """Read another process's arguments."""
    return holds(f"/proc/{facts['victim']}/cmdline", facts["secret"])


def victim_memory_file(facts: Facts) -> str:
    """Open another process's memory."""
    return opened(f"/proc/{facts['victim']}/mem", os.O_RDWR)


def victim_memory_call(facts: Facts) -> str:
    """Read another process's memory by a call."""
    return _victim(facts, lambda pid: call(_READ_MEMORY[ARCHITECTURE], pid, 0, 0, 0, 0, 0), errno.ESRCH, errno.EPERM)


def victim_descriptors(facts: Facts) -> str:
    """List another process's descriptors."""
    try:
        return " ".join(entry.name for entry in Path("/proc", facts["victim"], "fd").iterdir())
    except OSError:
        return ""


def victim_signal(facts: Facts) -> str:
    """Signal another process."""
    return _victim(facts, lambda pid: (libc.kill(pid, 0), ctypes.get_errno()), errno.ESRCH, errno.EPERM)


def victim_handle(facts: Facts) -> str:
    """Open a handle of another process."""
    return _victim(facts, lambda pid: call(_PIDFD[ARCHITECTURE], pid, 0), errno.ESRCH, errno.EINVAL, errno.EPERM)


def victim_trace(facts: Facts) -> str:
    """Attach to another process as a debugger does."""
    return _victim(facts, lambda pid: (libc.ptrace(_ATTACH, pid, 0, 0), ctypes.get_errno()), errno.ESRCH, errno.EPERM)


def victim_limits(facts: Facts) -> str:
    """Read another process's limits."""
    return _victim(facts, lambda pid: (libc.prlimit(pid, 0, 0, 0), ctypes.get_errno()), errno.ESRCH, errno.EPERM)


def victim_priority(facts: Facts) -> str:
    """Read another process's priority."""
    try:
        os.getpriority(os.PRIO_PROCESS, int(facts["victim"]))
    except OSError:
        return ""
    return "getpriority"


def victim_processors(facts: Facts) -> str:
    """Read on which processors another process may run."""
    try:
        os.sched_getaffinity(int(facts["victim"]))
    except OSError:
        return ""
    return "sched_getaffinity"


def become_root(_facts: Facts) -> str:
    """Become uid 0."""
    return _become(lambda: os.setuid(0))


def become_root_group(_facts: Facts) -> str:
    """Become gid 0."""
    return _become(lambda: os.setgid(0))


def become_another(facts: Facts) -> str:
    """Become the uid of another tenant's slot."""
    return _become(lambda: os.setresuid(*[int(facts["other_uid"])] * 3))


def take_groups(_facts: Facts) -> str:
    """Join the groups of the disk and of containers."""
    return _become(lambda: os.setgroups([6, 999]))


def capabilities(_facts: Facts) -> str:
    """Hold any capability."""
    status = Path(SELF, "status").read_text().splitlines()
    held = [line for line in status if line.startswith(("CapEff", "CapPrm", "CapInh", "CapAmb"))]
    return " ".join(line for line in held if int(line.split()[1], 16))


def capability_bound(_facts: Facts) -> str:
    """Be able to gain a capability by exec."""
    status = Path(SELF, "status").read_text().splitlines()
    return next((line for line in status if line.startswith("CapBnd") and int(line.split()[1], 16)), "")


def take_capabilities(_facts: Facts) -> str:
    """Ask for every capability."""
    head = ctypes.create_string_buffer((0x20080522).to_bytes(4, "little") + bytes(4))
    wanted = ctypes.create_string_buffer(
        b"\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0" + b"\xff\x01\0\0\xff\x01\0\0\0\0\0\0"
    )
    return refused(*call(_CAPSET[ARCHITECTURE], ctypes.addressof(head), ctypes.addressof(wanted)))


def switch_user(_facts: Facts) -> str:
    """Run programs that are set-uid on the host."""
    for path in ("/usr/bin/su", "/usr/bin/mount", "/usr/bin/passwd", "/usr/bin/newgrp", "/usr/bin/chsh"):
        if not Path(path).exists():
            continue
        with subprocess.Popen(
            [path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as program:
            ids = Path("/proc", str(program.pid), "status")
            uids = next((line for line in _lines(ids) if line.startswith("Uid:")), "")
            program.kill()
        if uids and len(set(uids.split()[1:])) > 1:
            return f"{path} {uids}"
    return ""


def gain_by_exec(_facts: Facts) -> str:
    """Be free to gain privileges by exec."""
    status = Path(SELF, "status").read_text()
    return "" if "NoNewPrivs:\t1" in status else "no_new_privs is off"


def no_filter(_facts: Facts) -> str:
    """Run without a filter of calls."""
    status = Path(SELF, "status").read_text()
    return "" if "Seccomp:\t2" in status else "no filter is in force"


def map_users(_facts: Facts) -> str:
    """Be root in a namespace of one's own."""
    uid = os.getuid()
    call(_UNSHARE[ARCHITECTURE], 0x10000000)
    return _written(f"{SELF}/uid_map", f"0 {uid} 1")


def spared_when_memory_ends(_facts: Facts) -> str:
    """Be the last process to be killed when the machine runs out of memory."""
    return _written(f"{SELF}/oom_score_adj", "-1000")


def real_time(_facts: Facts) -> str:
    """Run before everything else on the machine."""
    return _become(lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50)))


def higher_priority(_facts: Facts) -> str:
    """Ask for a higher priority."""
    return _become(lambda: os.setpriority(os.PRIO_PROCESS, 0, -10))


def more_processes(facts: Facts) -> str:
    """Raise the limit of processes."""
    return _raised(resource.RLIMIT_NPROC, int(facts["processes"]))


def more_files(_facts: Facts) -> str:
    """Raise the limit of open files."""
    return _raised(resource.RLIMIT_NOFILE, 4096)


def core_dumps(_facts: Facts) -> str:
    """Allow core dumps, which the host's handler would read."""
    return _raised(resource.RLIMIT_CORE, 0)


def host_segment(facts: Facts) -> str:
    """Attach shared memory of the host."""
    result, _ = call(_GET[ARCHITECTURE], int(facts["key"]), 0, 0)
    return f"segment {result}" if result >= 0 else ""


def host_semaphores(facts: Facts) -> str:
    """Find semaphores of the host."""
    result, _ = call(_SEMAPHORES[ARCHITECTURE], int(facts["key"]), 0, 0)
    return f"semaphores {result}" if result >= 0 else ""


def host_queue(facts: Facts) -> str:
    """Find a message queue of the host."""
    result, _ = call(_QUEUES[ARCHITECTURE], int(facts["key"]), 0)
    return f"queue {result}" if result >= 0 else ""


def host_named_queue(facts: Facts) -> str:
    """Open a named message queue of the host."""
    result, _ = call(_OPEN_QUEUE[ARCHITECTURE], facts["queue"].encode(), os.O_RDONLY, 0, 0)
    return f"descriptor {result}" if result >= 0 else ""


def leaked_descriptors(_facts: Facts) -> str:
    """Find an open descriptor that was not given."""
    found = []
    for number in range(3, 256):
        try:
            target = str(Path(SELF, "fd", str(number)).readlink())
        except OSError:
            continue
        if not target.startswith("pipe:"):  # the answer's own pipe; a pipe from outside would be its standard ones
            found.append(f"{number}={target}")
    return " ".join(found)


def terminal(_facts: Facts) -> str:
    """Have a terminal, and with it the keyboard of whoever started this."""
    if any(os.isatty(number) for number in (0, 1, 2)):
        return "standard streams"
    return opened("/dev/tty", os.O_RDWR)


def session_of_others(facts: Facts) -> str:
    """Belong to a session that began outside."""
    return "" if str(os.getsid(0)) != facts["session"] and os.getsid(0) > 0 else f"session {os.getsid(0)}"


def host_name(facts: Facts) -> str:
    """Learn the machine's name."""
    return socket.gethostname() if socket.gethostname() == facts["host_name"] else ""


def _victim(facts: Facts, act: Callable[[int], tuple[int, int]], *expected: int) -> str:
    ctypes.set_errno(0)
    return refused(*act(int(facts["victim"])), *expected)


def _become(act: Callable[[], None]) -> str:
    try:
        act()
    except (OSError, ValueError):
        return ""
    return "it was allowed"


def _written(path: str, text: str) -> str:
    try:
        Path(path).write_text(text)
    except OSError:
        return ""
    return path


def _raised(kind: int, most: int) -> str:
    _, hard = resource.getrlimit(kind)
    if hard == resource.RLIM_INFINITY or hard > most:
        return f"the limit is {hard}"
    try:
        resource.setrlimit(kind, (hard, hard + 1))
    except (OSError, ValueError):
        return ""
    return f"more than {hard}"


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


PROBES: tuple[Probe, ...] = (
    host_processes,
    first_process,
    launcher_environment,
    victim_environment,
    victim_arguments,
    victim_memory_file,
    victim_memory_call,
    victim_descriptors,
    victim_signal,
    victim_handle,
    victim_trace,
    victim_limits,
    victim_priority,
    victim_processors,
    become_root,
    become_root_group,
    become_another,
    take_groups,
    capabilities,
    capability_bound,
    take_capabilities,
    switch_user,
    gain_by_exec,
    no_filter,
    map_users,
    spared_when_memory_ends,
    real_time,
    higher_priority,
    more_processes,
    more_files,
    core_dumps,
    host_segment,
    host_semaphores,
    host_queue,
    host_named_queue,
    leaked_descriptors,
    terminal,
    session_of_others,
    host_name,
)
