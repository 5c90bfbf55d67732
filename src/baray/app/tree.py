"""`baray up`: the process tree of a home. It starts control, router and worker, and starts again what dies.

Order: take the home's lock; migrate; start control and wait until it answers; start router and worker; write
endpoint.json. The tree itself opens no database and holds no secret. When it ends, workers' supervisors live on:
what they run is adopted by the next worker.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from baray.app.layout import Layout, read_json, write_json
from baray.app.settings import SYSTEM_USER, Settings, child_environment, worker_options
from baray.core import Clock, Fault, Refused

START_SECONDS = 60.0
_BACKOFF_SECONDS = (0.05, 0.2, 1.0, 5.0)
_STEADY_SECONDS = 30.0  # after so long alive a death counts as the first


@dataclass(frozen=True, slots=True, kw_only=True)
class UpOptions:
    """How to run a home."""

    host: str = "127.0.0.1"
    """Address to bind; beyond loopback needs `behind_proxy`."""
    port: int = 8642
    """Control's port; 0 takes a free one."""
    router_port: int = 8643
    """The router's port; 0 takes a free one."""
    router_workers: int = 0
    """Router processes on the one port; 0: as the setting says."""
    behind_proxy: bool = False
    """A proxy in front terminates TLS."""
    idle_exit_seconds: float = 0.0
    """Leave after so long without requests and Runs; 0 means never."""


@dataclass(slots=True)
class Child:
    """One process of the tree."""

    name: str
    """control, router or worker."""
    argv: list[str]
    """How it is started."""
    user: str | None
    """Whom it runs as; None means the tree's own user."""
    process: subprocess.Popen[bytes] | None = None
    """The process, while there is one."""
    deaths: int = 0
    """Deaths in quick succession."""
    started: float = 0.0
    """When it was started, monotonic seconds."""
    again_at: float = 0.0
    """When to start it again, monotonic seconds."""
    pids: list[int] = field(default_factory=list)
    """Every process it has been, for status."""


class Tree:
    """Holds the home's lock and keeps its processes alive."""

    def __init__(self, settings: Settings, options: UpOptions, clock: Clock) -> None:
        """Take the lock and migrate. Raises Refused `home_in_use`, `not_loopback`, `bad_home`."""
        if not options.behind_proxy and options.host not in ("127.0.0.1", "::1", "localhost"):
            raise Refused(
                "not_loopback",
                f"{options.host} is reachable from other machines, and this server speaks plain HTTP.",
                fix="Put a TLS proxy in front and add --behind-proxy, or leave --host out.",
            )
        self._settings, self._options, self._clock = settings, options, clock
        self.layout = Layout(settings.home)
        self.layout.make()
        self._lock = _take_lock(self.layout.lock)
        self.user = _drop_to(self.layout)
        self._stop = threading.Event()
        self._children: list[Child] = []
        for name in ("endpoint.json", "run/control.json", "run/router.json"):
            (self.layout.home / name).unlink(missing_ok=True)

    def run(self, ready: Callable[[dict[str, Any]], None]) -> None:
        """Start everything, call `ready` with the endpoint, and keep it alive until SIGTERM or SIGINT."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop.set())
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        try:
            self._run_once(["migrate", "--home", str(self.layout.home)])
            self._give_home()
            options = self._options
            answering = ["--utc-offset", str(self._settings.utc_offset_minutes)]
            answering += ["--workers", str(options.router_workers or self._settings.router_workers)]
            control = [
                "--host",
                options.host,
                "--port",
                str(options.port),
                "--idle-exit",
                str(options.idle_exit_seconds),
                "--public-url",
                self._settings.public_url,
                "--proxy",
                self._settings.proxy,
                "--clearance",
                self._settings.clearance,
            ]
            self._start("control", [*control, *(["--behind-proxy"] if options.behind_proxy else [])], self.user)
            found = self._await("run/control.json")
            self._start("router", ["--host", options.host, "--port", str(options.router_port), *answering], self.user)
            self._start("worker", worker_options(self._settings), None)
            router = self._await("run/router.json")
            ready(self._write_endpoint(found, router))
            self._keep_alive()
        finally:
            self._end()

    def _start(self, name: str, arguments: list[str], user: str | None) -> None:
        argv = [sys.executable, "-m", "baray.app", name, "--home", str(self.layout.home), *arguments]
        child = Child(name=name, argv=argv, user=user)
        self._children.append(child)
        self._spawn(child)

    def _spawn(self, child: Child) -> None:
        child.started, child.again_at = self._clock.monotonic(), 0.0
        log = (self.layout.logs / f"{child.name}.log").open("ab")
        with log:
            child.process = subprocess.Popen(
                child.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=child_environment(),
                cwd=self.layout.home,
                start_new_session=True,
                **_identity(child.user),
            )
        child.pids.append(child.process.pid)
        tree = {one.name: {"pid": one.pids[-1], "starts": len(one.pids)} for one in self._children if one.pids}
        write_json(self.layout.sockets / "processes.json", tree | {"tree": {"pid": os.getpid(), "starts": 1}})

    def _keep_alive(self) -> None:
        while not self._stop.wait(0.05):
            now = self._clock.monotonic()
            for child in self._children:
                if child.again_at and now >= child.again_at:
                    self._spawn(child)
                elif child.process is not None and child.process.poll() is not None:
                    if child.process.returncode == 0 and child.name == "control":
                        return  # idle: control left by itself
                    self._mourn(child, now)

    def _mourn(self, child: Child, now: float) -> None:
        assert child.process is not None
        _say(self.layout, f"{child.name} ended with {child.process.returncode}; starting it again")
        child.process = None
        child.deaths = 1 if now - child.started > _STEADY_SECONDS else child.deaths + 1
        child.again_at = now + _BACKOFF_SECONDS[min(child.deaths, len(_BACKOFF_SECONDS)) - 1]

    def _run_once(self, arguments: list[str]) -> None:
        argv = [sys.executable, "-m", "baray.app", *arguments]
        done = subprocess.run(argv, env=child_environment(), capture_output=True, text=True, check=False)
        if done.returncode:
            raise Fault("not_started", f"{arguments[0]} failed: {done.stderr.strip()[-2000:]}")

    def _give_home(self) -> None:
        """After a start as root the home belongs to the user that control and router drop to."""
        if os.geteuid() == 0 and self.user is not None:
            record = pwd.getpwnam(self.user)
            for path in (self.layout.home, *self.layout.home.rglob("*")):
                if self.layout.runs not in path.parents and path.lstat().st_uid == 0:
                    os.chown(path, record.pw_uid, record.pw_gid, follow_symlinks=False)

    def _await(self, name: str) -> dict[str, Any]:
        deadline = self._clock.monotonic() + START_SECONDS
        while not self._stop.wait(0.01):
            found = read_json(self.layout.home / name)
            if found is not None:
                return found
            for child in self._children:
                if child.process is not None and child.process.poll() is not None:
                    tail = (self.layout.logs / f"{child.name}.log").read_text(errors="replace")[-2000:].strip()
                    raise Fault(
                        "not_started", f"{child.name} ended while starting: {tail.splitlines()[-1] if tail else ''}"
                    )
            if self._clock.monotonic() > deadline:
                raise Fault("not_started", f"No {name} after {START_SECONDS:.0f} s.", fix=f"See {self.layout.logs}")
        raise Refused("stopped", "Stopped while starting.")

    def _write_endpoint(self, control: dict[str, Any], router: dict[str, Any]) -> dict[str, Any]:
        host = f"[{self._options.host}]" if ":" in self._options.host else self._options.host
        endpoint = {
            "url": f"http://{host}:{control['port']}",
            "router_url": f"http://{host}:{router['port']}",
            "pid": os.getpid(),
            "token_file": str(self.layout.token),
            "user": self.user or f"uid {os.geteuid()}",
            "dropped": self.user is not None,
        }
        write_json(self.layout.endpoint, endpoint)
        return endpoint

    def _end(self) -> None:
        """Router first, so that no new question comes; then worker; control last, so that it takes their results."""
        self.layout.endpoint.unlink(missing_ok=True)
        for name in ("router", "worker", "control"):
            for child in self._children:
                if child.name == name and child.process is not None and child.process.poll() is None:
                    child.process.terminate()
                    _wait(child.process, 10.0)
        self._lock.close()


def _take_lock(path: Path) -> IO[str]:
    file = path.open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise Refused(
            "home_in_use",
            f"The home {path.parent} is running already.",
            fix="Use it as it is, or stop it: baray down",
            status=409,
        ) from error
    return file


def _drop_to(layout: Layout) -> str | None:
    """The system user, if we are root and that user can reach the environment and the home; else None."""
    if os.geteuid() != 0:
        return None
    try:
        record = pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        return None
    script = "import os, sys, baray.core; os.stat(sys.argv[1])"
    os.chown(layout.home, record.pw_uid, record.pw_gid)
    argv = [sys.executable, "-c", script, str(layout.lock)]
    try:
        subprocess.run(
            argv, capture_output=True, check=True, env=child_environment(), cwd="/", **_identity(SYSTEM_USER)
        )
    except (OSError, subprocess.CalledProcessError):  # it cannot even start our Python, or not see the home
        os.chown(layout.home, 0, 0)
        return None
    return SYSTEM_USER


def _identity(user: str | None) -> dict[str, Any]:
    if user is None:
        return {}
    record = pwd.getpwnam(user)
    return {"user": record.pw_uid, "group": record.pw_gid, "extra_groups": []}


def _wait(process: subprocess.Popen[bytes], seconds: float) -> None:
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _say(layout: Layout, text: str) -> None:
    with (layout.logs / "up.log").open("a", encoding="utf-8") as file:
        file.write(text + "\n")
