"""The embedded server of a home: find it, or start it and wait until it answers."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import tempfile
import urllib.parse
from collections.abc import Callable, Mapping
from pathlib import Path

from baray.client.sdk.transport import Endpoint, Json, Timing
from baray.core import Fault, Refused

START_LIMIT_SECONDS = 60.0
RETURN_LIMIT_SECONDS = 10.0
IDLE_EXIT_SECONDS = 900
_LOG_TAIL_LINES = 15


class Embedded:
    """Finds the server of one home; starting it twice at once is safe, `up` holds the home's lock."""

    def __init__(self, home: Path, *, timing: Timing, environ: Mapping[str, str], say: Callable[..., None]) -> None:
        """`say` gets one line, and the values in it, when a server is started."""
        self._home = home
        self._timing = timing
        self._environ = environ
        self._say = say

    def find(self) -> Endpoint:
        """The endpoint of a server that answers; one is started if there is none."""
        endpoint = self.running()
        if endpoint is not None:
            return endpoint
        # Control that was killed comes back by itself as long as its parent lives: wait before starting another.
        if self._process_alive():
            endpoint = self._wait(RETURN_LIMIT_SECONDS)
            if endpoint is not None:
                return endpoint
        return self._start()

    def running(self) -> Endpoint | None:
        """The endpoint if a server answers there now, else None."""
        facts = self._facts()
        if facts is None or not _answers(str(facts["url"])):
            return None
        return Endpoint(
            url=str(facts["url"]).rstrip("/"),
            token=self._token(Path(str(facts["token_file"]))),
            router_url=str(facts.get("router_url") or "").rstrip("/"),
            seen=True,
        )

    def _facts(self) -> Json | None:
        try:
            facts = json.loads((self._home / "endpoint.json").read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return None
        except PermissionError as error:
            raise self._not_ours(self._home) from error
        return facts if isinstance(facts, dict) and "url" in facts and "token_file" in facts else None

    def _token(self, path: Path) -> str:
        try:
            return path.read_text(encoding="utf-8").strip()
        except PermissionError as error:
            raise self._not_ours(path) from error

    def _not_ours(self, path: Path) -> Refused:
        return Refused(
            "home_not_readable",
            f"{path} belongs to another user.",
            fix="Run as that user, or set BARAY_HOME to a home of your own, or BARAY_SERVER and BARAY_TOKEN.",
        )

    def _process_alive(self) -> bool:
        facts = self._facts()
        if facts is None:
            return False
        try:
            os.kill(int(facts.get("pid", 0)) or -1, 0)
        except PermissionError:
            return True
        except (ProcessLookupError, ValueError, OSError):
            return False
        return True

    def _wait(self, limit_seconds: float) -> Endpoint | None:
        end = self._timing.clock.monotonic() + limit_seconds
        while self._timing.clock.monotonic() < end:
            endpoint = self.running()
            if endpoint is not None:
                return endpoint
            self._timing.sleep(0.05)
        return None

    def _start(self) -> Endpoint:
        self._say("Starting Baray in {home} ...", home=self._home)
        command = [sys.executable, "-m", "baray", "up", "--home", str(self._home), "--detach"]
        command += ["--port", "0", "--router-port", "0", "--idle-exit", str(IDLE_EXIT_SECONDS)]
        environ = {name: value for name, value in self._environ.items() if name not in {"BARAY_SERVER", "BARAY_TOKEN"}}
        # A file, not a pipe: the detached server would hold a pipe open for ever.
        with tempfile.TemporaryFile() as said:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, env=environ)
            endpoint = self._wait_started(process)
            if endpoint is not None:
                return endpoint
            said.seek(0)
            words = said.read().decode(errors="replace").strip()
        raise Fault(
            "server_not_started",
            f"The server of {self._home} did not start: {words or 'it said nothing'}{self._log_tail()}",
            fix="Run `baray doctor`, or start it by hand with `baray up` to see what it says.",
        )

    def _wait_started(self, process: subprocess.Popen[bytes]) -> Endpoint | None:
        end = self._timing.clock.monotonic() + START_LIMIT_SECONDS
        while self._timing.clock.monotonic() < end:
            endpoint = self.running()
            if endpoint is not None:
                process.wait(timeout=RETURN_LIMIT_SECONDS)
                return endpoint
            # Another client's `up` may have won the home's lock: ours then fails, and theirs will answer soon.
            if process.poll() not in {None, 0}:
                return self._wait(RETURN_LIMIT_SECONDS)
            self._timing.sleep(0.02)
        process.kill()
        process.wait()
        return None

    def _log_tail(self) -> str:
        try:
            lines = (self._home / "log" / "up.log").read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return ""
        return "\n" + "\n".join(lines[-_LOG_TAIL_LINES:]) if lines else ""


def _answers(url: str) -> bool:
    """Whether `/healthz` says 200 within two seconds."""
    address = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=2.0)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
