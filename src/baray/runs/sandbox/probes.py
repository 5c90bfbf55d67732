"""Twelve attempts to get out, run inside the sandbox: `python probes.py FACTS`. Standard library, one file.

FACTS is JSON about traps that were set outside: {"secret_path", "secret", "port", "abstract"}. Prints one JSON object,
probe name -> what it reached; an empty text means contained. Each probe is shown able to fail by a test that takes one
layer of the sandbox away.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import platform
import socket
import sys
from collections.abc import Callable
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)
_EPERM = 1
# name: (number on x86_64, number on aarch64); called with arguments that fail even where the call is allowed
_CALLS = {
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "bpf": (321, 280),
    "keyctl": (250, 219),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
}
_CLOSED_CALLS = {"io_uring_setup": (425, 425), "open_by_handle_at": (304, 265)}
_FAMILIES = {"netlink": 16, "packet": 17, "alg": 38, "vsock": 40}


def file_outside(facts: dict[str, str]) -> str:
    """Read a file of the host by its path, directly and through /proc."""
    for path in (
        facts["secret_path"],
        "/proc/1/root" + facts["secret_path"],
        "/proc/self/root/../" + facts["secret_path"],
    ):
        with contextlib.suppress(OSError):
            if facts["secret"] in Path(path).read_text():
                return path
    return ""


def root_write(_facts: dict[str, str]) -> str:
    """Create a file in the system's folders."""
    for folder in ("/", "/usr", "/etc", "/usr/bin", "/env", "/in"):
        path = Path(folder, ".probe")
        with contextlib.suppress(OSError):
            path.touch()
            path.unlink()
            return folder
    return ""


def host_processes(_facts: dict[str, str]) -> str:
    """See processes that are not this sandbox's."""
    seen = [entry.name for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return f"{len(seen)} processes" if len(seen) > 3 else ""


def environment(facts: dict[str, str]) -> str:
    """Find the launcher's secret in an environment."""
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if facts["secret"].encode() in path.read_bytes():
                return str(path)
    return ""


def loopback(facts: dict[str, str]) -> str:
    """Reach a port of the host."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", int(facts["port"])), 0.3):
        return "connected"
    return ""


def abstract_socket(facts: dict[str, str]) -> str:
    """Reach an abstract unix socket of the host."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as end:
        end.connect("\0" + facts["abstract"])
        return "connected"
    return ""


def socket_families(_facts: dict[str, str]) -> str:
    """Open a socket of a family that network namespaces do not hold, or that speaks to the kernel."""
    return " ".join(name for name, family in _FAMILIES.items() if _opens(family))


def kernel_calls(_facts: dict[str, str]) -> str:
    """Reach kernel interfaces that tenants have no use for."""
    at = 0 if platform.machine() == "x86_64" else 1
    reached = []
    for name, numbers in (_CALLS | _CLOSED_CALLS).items():
        ctypes.set_errno(0)
        _libc.syscall(ctypes.c_long(numbers[at]), *[ctypes.c_long(-1)] * 5)
        # Arguments of -1 cannot succeed: any other error than EPERM shows that the kernel looked at them.
        if ctypes.get_errno() != _EPERM:
            reached.append(name)
    return " ".join(reached)


def namespaces(_facts: dict[str, str]) -> str:
    """Make a user namespace, a mount, or change the root."""
    child = os.fork()
    if child == 0:
        reached = 0
        if _libc.unshare(0x10000000) == 0:
            reached = 1
        elif _libc.mount(b"none", b"/tmp", b"tmpfs", 0, None) == 0:
            reached = 2
        os._exit(reached)
    reached = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return ("", "user namespace", "mount")[reached]


def host_root(_facts: dict[str, str]) -> str:
    """Be the host's root: open what only root may write."""
    for path in ("/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/proc/sys/kernel/modprobe"):
        with contextlib.suppress(OSError):
            os.close(os.open(path, os.O_WRONLY))
            return path
    return ""


def set_id_files(facts: dict[str, str]) -> str:
    """Leave a set-uid file behind: by chmod, or at its creation."""
    path = Path(facts["job"], ".set-id")
    reached = ""
    with contextlib.suppress(OSError):
        path.touch()
        path.chmod(0o4755)
        reached = "chmod"
    path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        os.umask(0)
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o4755))
        reached = reached or "open"
    path.unlink(missing_ok=True)
    return reached


def leaked_descriptors(_facts: dict[str, str]) -> str:
    """Find an open descriptor beside the three standard ones."""
    found = sorted({int(entry.name) for entry in Path("/proc/self/fd").iterdir()} - {0, 1, 2})
    return " ".join(f"{number}={_target(number)}" for number in found if _target(number))


PROBES: tuple[Callable[[dict[str, str]], str], ...] = (
    file_outside,
    root_write,
    host_processes,
    environment,
    loopback,
    abstract_socket,
    socket_families,
    kernel_calls,
    namespaces,
    host_root,
    set_id_files,
    leaked_descriptors,
)


def _opens(family: int) -> bool:
    for kind in (socket.SOCK_STREAM, socket.SOCK_RAW, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
        with contextlib.suppress(OSError), socket.socket(family, kind):
            return True
    return False


def _run(probe: Callable[[dict[str, str]], str], facts: dict[str, str]) -> str:
    try:
        return probe(facts)
    except PermissionError:
        return ""  # not even a look was allowed


def _target(number: int) -> str:
    try:
        return str(Path(f"/proc/self/fd/{number}").readlink())
    except FileNotFoundError:
        return ""  # the descriptor of the listing itself


if __name__ == "__main__":
    _facts = json.loads(sys.argv[1])
    sys.stdout.write(json.dumps({probe.__name__: _run(probe, _facts) for probe in PROBES}) + "\n")
