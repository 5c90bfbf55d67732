"""The whole corpus of attempts to get out: sets traps outside, runs it in the sandbox, tells what got out.

The twelve quick ones of `probe` decide at a worker's start; this is for `python -m baray.runs.sandbox`, tests and figures.
The traps lie open on the host (readable, writable, owned by the slot's uid): only the sandbox stands before them.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import secrets
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from baray.runs.sandbox.cgroups import Cgroups
from baray.runs.sandbox.corpus import files
from baray.runs.sandbox.corpus.tools import ARCHITECTURE, call, libc
from baray.runs.sandbox.plan import Bind
from baray.runs.sandbox.probe import PROCESSES, Probe, Shown, probe_plan, run_plan, slot_owner

_CORPUS = Path(files.__file__).parent
_SHOWN_AT = "/in/lib"
_START = f"import sys; sys.path.insert(0, '{_SHOWN_AT}'); from baray.runs.sandbox.corpus.main import main; main()"
_CREATE, _REMOVE = 0o1000 | 0o666, 0  # IPC_CREAT, IPC_RMID
_OPEN_QUEUE, _UNLINK_QUEUE = (240, 180), (241, 181)

Change = Callable[[dict[str, Any]], dict[str, Any]]


def survey(bwrap: str, cgroups: Cgroups, *, slot: int, change: Change | None = None) -> tuple[tuple[Probe, ...], float]:
    """Run the corpus; what each probe reached, and milliseconds. `change` may take a layer away from the plan."""
    secret = secrets.token_hex(16)
    with tempfile.TemporaryDirectory() as name, ExitStack() as traps:
        folder = Path(name)
        folder.chmod(0o755)
        facts = {"secret": secret, "launcher_secret": secret[::-1], "input": "/in/input.txt", "job": "/job"}
        facts |= {"host_name": socket.gethostname(), "session": str(os.getsid(0)), "other_uid": "61000"}
        facts |= {"processes": str(PROCESSES)}
        facts |= _files(folder, secret, slot)
        for trap in (_processes, _network, _shared):
            facts |= traps.enter_context(trap(folder, secret, slot))
        binds = (
            Bind(under=_CORPUS, path=".", to=f"{_SHOWN_AT}/baray/runs/sandbox/corpus"),
            Bind(under=folder, path="input.txt", to="/in/input.txt"),
        )
        plan = probe_plan(folder, bwrap, cgroups, slot, Shown(binds=binds, arguments=("-c", _START, json.dumps(facts))))
        return run_plan(folder, change(plan) if change else plan, facts["launcher_secret"])


def _files(folder: Path, secret: str, slot: int) -> dict[str, str]:
    home = folder / "home"
    for name in files.TRAPS:
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(secret)
    (folder / "input.txt").write_text("input")
    owner = slot_owner(slot)
    for place in (folder / "input.txt", *home.rglob("*")):
        place.chmod(0o755 if place.is_dir() else 0o644)
        if owner.uid is not None and owner.gid is not None:
            os.chown(place, owner.uid, owner.gid)
    home.chmod(0o755)
    return {"home": str(home)}


@contextmanager
def _processes(folder: Path, secret: str, slot: int) -> Iterator[dict[str, str]]:
    """A process of the same uid that holds the secret in its environment, its arguments and its working folder."""
    owner = slot_owner(slot)
    argv = [
        sys.executable,
        "-I",
        "-S",
        "-c",
        "import sys; sys.stdout.write('up'); sys.stdout.flush(); sys.stdin.read()",
        secret,
    ]
    with subprocess.Popen(
        argv,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={"SECRET": secret},
        cwd=folder,
        user=owner.uid,
        group=owner.gid,
        extra_groups=None if owner.uid is None else [],
    ) as victim:
        assert victim.stdout is not None
        victim.stdout.read(2)
        yield {"victim": str(victim.pid)}
        victim.kill()


@contextmanager
def _network(folder: Path, secret: str, slot: int) -> Iterator[dict[str, str]]:
    """Listeners: on every address of the host, by UDP, abstract, and in a folder."""
    del slot
    address = host_address()
    with ExitStack() as opened:
        first = opened.enter_context(socket.create_server(("127.0.0.1", 0)))
        port = first.getsockname()[1]
        others = [(socket.AF_INET6, "::1")] if _has_ipv6() else []
        others += [(socket.AF_INET, address)] if address != "127.0.0.1" else []
        for family, name in others:
            opened.enter_context(socket.create_server((name, port), family=family))
        echo = opened.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        echo.bind(("127.0.0.1", 0))
        threading.Thread(target=_answer, args=(echo, secret), daemon=True).start()
        run = folder / "home" / "run"
        run.mkdir()
        name = "baray-probe-" + secret
        for kind, where in (
            (socket.SOCK_STREAM, "\0" + name),
            (socket.SOCK_DGRAM, f"\0{name}-datagram"),
            (socket.SOCK_STREAM, str(run / "worker.sock")),
            (socket.SOCK_DGRAM, str(run / "datagram.sock")),
        ):
            end = opened.enter_context(socket.socket(socket.AF_UNIX, kind))
            end.bind(where)
            if kind == socket.SOCK_STREAM:
                end.listen()
        for path in run.iterdir():
            path.chmod(0o666)
        yield {"port": str(port), "udp_port": str(echo.getsockname()[1]), "address": address, "abstract": name}
        echo.sendto(b"", echo.getsockname())  # the answering thread ends


def _answer(echo: socket.socket, secret: str) -> None:
    while True:
        data, sender = echo.recvfrom(100)
        if not data:
            return
        echo.sendto(secret.encode(), sender)


@contextmanager
def _shared(folder: Path, secret: str, slot: int) -> Iterator[dict[str, str]]:
    """Shared memory, semaphores and queues that everybody on the host may use."""
    del folder, slot
    key = secrets.randbelow(2**30) + 1
    segment, semaphores, queue = (
        libc.shmget(key, 4096, _CREATE),
        libc.semget(key, 1, _CREATE),
        libc.msgget(key, _CREATE),
    )
    name = f"baray-probe-{secret[:8]}"
    shared = Path("/dev", "shm", name)
    shared.write_text(secret)
    shared.chmod(0o644)
    created = call(_OPEN_QUEUE[ARCHITECTURE], name.encode(), os.O_RDONLY | os.O_CREAT, 0o666, 0)[0]
    if created >= 0:
        os.close(created)
    try:
        yield {"key": str(key), "shared_name": name, "queue": name}
    finally:
        libc.shmctl(segment, _REMOVE, ctypes.c_void_p())
        libc.semctl(semaphores, 0, _REMOVE, 0)
        libc.msgctl(queue, _REMOVE, ctypes.c_void_p())
        shared.unlink()
        call(_UNLINK_QUEUE[ARCHITECTURE], name.encode())


def host_address() -> str:
    """An address of this machine beside the loopback's; the loopback's if there is none. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        for _, name in socket.if_nameindex():
            try:
                told = fcntl.ioctl(end.fileno(), 0x8915, struct.pack("256s", name.encode()))  # SIOCGIFADDR
            except OSError:
                continue  # it has none
            address = socket.inet_ntoa(told[20:24])
            if not address.startswith("127."):
                return address
    return "127.0.0.1"


def _has_ipv6() -> bool:
    return Path("/proc/net/if_inet6").exists()
