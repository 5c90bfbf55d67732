"""A home of its own for a test, the `baray` command in it, and what runs there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LIMIT_SECONDS = 120


@dataclass(frozen=True)
class Home:
    """A directory, and the command that acts on it."""

    path: Path

    def environ(self, **more: str) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR", "CI") if name in os.environ}
        return {**kept, "HOME": str(self.path.parent), "BARAY_HOME": str(self.path), **more}

    def start(self, *argv: str, **environ: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "baray", *argv],
            env=self.environ(**environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.path.parent,
        )

    def run(self, *argv: str, code: int = 0, **environ: str) -> tuple[str, str]:
        """Run a command to its end; its stdout and stderr."""
        process = self.start(*argv, **environ)
        try:
            out, err = process.communicate(timeout=LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
        assert process.returncode == code, f"baray {' '.join(argv)} ended with {process.returncode}\n{out}\n{err}"
        return out, err

    def json(self, *argv: str, code: int = 0, **environ: str) -> Any:
        """The document that a command prints with --json."""
        cut = argv.index("--") if "--" in argv else len(argv)
        return json.loads(self.run(*argv[:cut], "--json", *argv[cut:], code=code, **environ)[0])

    def pids(self, name: str) -> list[int]:
        """Live processes of one kind: control, router, worker, tree or supervisor."""
        if name != "supervisor":
            try:
                found = json.loads((self.path / "run" / "processes.json").read_text())
            except (FileNotFoundError, ValueError):
                return []
            return [pid for pid in [int(found.get(name, {}).get("pid", 0))] if pid and alive(pid)]
        return [
            int(process.name)
            for process in Path("/proc").iterdir()
            if process.name.isdigit() and self._supervises(process)
        ]

    def _supervises(self, process: Path) -> bool:
        try:
            line = (process / "cmdline").read_bytes()
        except OSError:
            return False
        return b"supervisor.py" in line and str(self.path).encode() in line

    def processes(self) -> list[str]:
        """Command lines of every live process that names this home, and of what works inside it."""
        found = []
        for process in Path("/proc").iterdir():
            if process.name.isdigit() and int(process.name) != os.getpid():
                try:
                    line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    place = str((process / "cwd").readlink())
                except OSError:
                    continue
                if str(self.path) in line or place.startswith(str(self.path)):
                    found.append(line)
        return found

    def stop(self) -> None:
        """Stop the server and wait until nothing of it runs."""
        self.run("down")
        wait_for(lambda: not any(self.pids(name) for name in ("control", "router", "worker", "tree", "supervisor")))


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        told = Path(f"/proc/{pid}/stat").read_text()
    except (ProcessLookupError, FileNotFoundError):  # the second: it ended between the two looks
        return False
    return "Z" not in told.rpartition(")")[2].split()[:1]


def kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def wait_for(true: Callable[[], Any], seconds: float = 30.0) -> Any:
    """Wait until `true()` is something; what it was."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = true()
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError(f"it did not come within {seconds} s")
