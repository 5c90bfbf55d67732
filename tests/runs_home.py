"""A home with a real database, a control that speaks the worker protocol on a unix socket, and real worker processes."""

from __future__ import annotations

import os
import signal
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from baray import access, fleet, runs
from baray.access import INTERNAL, PUBLIC, Label, Site
from baray.catalog import FileEntry, SourceRequest, VersionRow, add_source
from baray.core import Clock, Ids, SystemClock
from baray.ledger import FileArtifactSigner, FileSigner, Ledger, register_key
from baray.store import DiskBlobs, migrate
from baray.store import open_store as open_records

LIMIT_SECONDS = 20.0
HANDLERS = Path(__file__).with_name("handlers")


def open_site(home: Path, clock: Clock) -> Site:
    """Open the home's rows and bytes; makes them the first time."""
    home.mkdir(exist_ok=True)
    for name in ("runs", "run", "blobs"):
        (home / name).mkdir(exist_ok=True)
    migrate(home / "baray.db")
    signer = FileSigner(home / "ledger.key", name="baray.test/h")
    ledger = Ledger(origin="baray.test/h", signer=signer, clock=clock)
    store = open_records(home / "baray.db", sealer=ledger)
    blobs, artifacts = DiskBlobs(home / "blobs"), FileArtifactSigner(home / "artifacts.key")
    store.write(lambda tx: register_key(tx, ledger, artifacts.key))
    return Site(store=store, blobs=blobs, ledger=ledger, artifacts=artifacts, clock=clock, ids=Ids(clock))


def wait_until(found: Callable[[], Any], what: str, limit_seconds: float = LIMIT_SECONDS) -> Any:
    """Wait on a condition; its value once it is true."""
    end = time.monotonic() + limit_seconds
    while time.monotonic() < end:
        value = found()
        if value:
            return value
        time.sleep(0.005)
    raise AssertionError(f"not within {limit_seconds} s: {what}")


@dataclass
class Home:
    """A home under test, with the project `p` and the actor `u` in it."""

    path: Path
    clock: Clock = field(default_factory=SystemClock)
    serving: Any = None
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.site = open_site(self.path, self.clock)
        self.bell = runs.Bell()
        self.project, self.actor = self.site.store.write(self._people)
        self.swept = threading.Event()

    def _people(self, tx: Any) -> tuple[str, str]:
        known = access.project_named(tx, "main")
        if known is not None:
            return known.id, access.actor_named(tx, "operator").id
        access.bootstrap(tx, self.site)
        for name in ("local", "one", "two", "other"):
            fleet.admit(tx, self.site, name=name, clearance=None)
        return access.project_named(tx, "main").id, access.actor_named(tx, "operator").id

    @property
    def socket(self) -> Path:
        return self.path / "run" / "worker.sock"

    def serve(self) -> None:
        """Answer workers, and sweep, until `silence`."""
        home = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status, answer = runs.handle_worker(home.site, home.bell, self.path, body)
                self.send_response(status)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                return

            def address_string(self) -> str:
                return "worker"

        class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
            daemon_threads = True
            block_on_close = False

            def handle_error(self, request: Any, address: Any) -> None:
                if not isinstance(sys.exception(), ConnectionError):  # a worker that was killed hangs up in the middle
                    super().handle_error(request, address)

        self.socket.unlink(missing_ok=True)
        self.serving = Server(str(self.socket), Handler)
        threading.Thread(target=self.serving.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        self.swept = threading.Event()
        threading.Thread(target=self._sweep, args=(self.swept,), daemon=True).start()

    def _sweep(self, stop: threading.Event) -> None:
        while not stop.wait(0.2):
            if runs.sweep(self.site):
                self.bell.ring()

    def silence(self) -> None:
        """Control goes away: its socket too."""
        self.swept.set()
        self.bell.close()
        self.bell = runs.Bell()
        if self.serving is not None:
            self.serving.shutdown()
            self.serving.server_close()
            self.socket.unlink(missing_ok=True)
            self.serving = None

    def start_worker(self, slots: int = 2, name: str = "local") -> subprocess.Popen[bytes]:
        program = "import sys; from pathlib import Path; from baray.runs import worker;"
        program += "worker.main(Path(sys.argv[1]), Path(sys.argv[2]),"
        program += "int(sys.argv[3]), name=sys.argv[4], modules=(Path(sys.argv[5]),))"
        argv = [sys.executable, "-c", program, str(self.path), str(self.socket), str(slots), name, str(HANDLERS)]
        log = (self.path / f"worker-{name}.log").open("ab")
        process = subprocess.Popen(argv, start_new_session=True, stdout=log, stderr=log)
        log.close()
        self.workers.append(process)
        return process

    def add_source(self, name: str, files: dict[str, bytes], label: Label = PUBLIC) -> VersionRow:
        entries = tuple(
            FileEntry(path=path, digest=self.site.blobs.put_bytes(data), bytes=len(data))
            for path, data in files.items()
        )
        request = SourceRequest(
            project_id=self.project,
            actor_id=self.actor,
            name=name,
            title=name,
            label=label,
            licence=None,
            files=entries,
            held=frozenset(entry.digest for entry in entries),
        )
        return add_source(self.site, request)[0]

    def submit(self, **values: Any) -> runs.Run:
        request = {
            "project_id": self.project,
            "actor_id": self.actor,
            "kind": "command",
            "name": "c",
            "recipe": "command",
        }
        if "handler" in values:
            request |= {"kind": "dataset", "recipe": "test"}
        request |= {"label": INTERNAL} | values
        found = self.site.store.write(lambda tx: runs.submit(tx, self.site, runs.RunRequest(**request)))
        self.bell.ring()
        return found

    def cancel(self, run_id: str) -> runs.Run:
        found = self.site.store.write(lambda tx: runs.cancel(tx, self.site, run_id, actor_id=self.actor))
        self.bell.ring()
        return found

    def retry(self, run_id: str) -> runs.Run:
        found = self.site.store.write(lambda tx: runs.retry(tx, self.site, run_id, actor_id=self.actor))
        self.bell.ring()
        return found

    def get(self, run_id: str) -> runs.Run:
        found = self.site.store.read(lambda tx: runs.get_run(tx, run_id))
        assert found is not None
        return found

    def wait(self, run_id: str, limit_seconds: float = LIMIT_SECONDS) -> runs.Run:
        """The Run once it has ended."""
        end = time.monotonic() + limit_seconds
        while self.get(run_id).state not in {"succeeded", "failed", "cancelled"}:
            assert time.monotonic() < end, f"{self.get(run_id)}\n{self.log(run_id)}\n{self.why(run_id)}"
            time.sleep(0.002)
        return self.get(run_id)

    def why(self, run_id: str) -> dict[str, Any]:
        return self.site.store.read(lambda tx: runs.why(tx, run_id))

    def log(self, run_id: str) -> str:
        path = self.path / "runs" / run_id / "log.txt"
        return path.read_text() if path.exists() else ""

    def attempt_dir(self, run_id: str, number: int = 1) -> Path:
        return self.path / "runs" / run_id / f"attempt-{number}"

    def entries(self) -> list[tuple[str, str]]:
        """(kind, subject) of all ledger entries."""
        found = self.site.store.read(lambda tx: self.site.ledger.entries(tx, limit=100_000))
        return [(entry.kind, entry.subject) for entry in found]

    def close(self) -> None:
        self.silence()
        for worker in self.workers:
            if worker.poll() is None:
                os.killpg(worker.pid, signal.SIGKILL)
            worker.wait()
        self.site.store.close()


@contextmanager
def open_home(path: Path, clock: Clock | None = None) -> Iterator[Home]:
    home = Home(path, clock or SystemClock())
    try:
        yield home
    finally:
        home.close()


def alive_with(mark: str) -> list[int]:
    """Pids of living processes whose command line holds `mark`."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if mark.encode() in (entry / "cmdline").read_bytes() and " Z " not in (entry / "stat").read_text():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found
