"""The control process: the one that opens the database. HTTP API, console, worker protocol, and the upkeep loop."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import secrets
import signal
import socket
import struct
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio.to_thread
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from baray import access, data, fleet, runs, serve, signin, web
from baray.access import Site, TokenRequest, parse_label
from baray.app.layout import Layout, read_json, write_json
from baray.app.recipes import recipe_table
from baray.app.wire import open_site
from baray.core import Refused
from baray.ledger import register_key
from baray.store import Tx

_LOG = logging.getLogger("baray.control")
UPKEEP_SECONDS = 0.5
REPLICAS_SECONDS = 0.5
SIGNIN_FILE = "signin.toml"
MAX_WAITERS = 4
_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlOptions:
    """How to run control."""

    host: str
    """Address to bind."""
    port: int
    """Port; 0 takes a free one, the same again after a restart."""
    behind_proxy: bool
    """A proxy in front terminates TLS and sets Host."""
    idle_exit_seconds: float
    """Leave after so long without requests and Runs; 0 means never."""
    public_url: str = ""
    """Address of the console as people reach it; empty: the one that is asked."""
    proxy: str = "127.0.0.1"
    """Addresses whose forwarded headers are believed behind a proxy."""
    clearance: str = ""
    """What this machine may hold at most by its setting; empty: everything."""


class Control:
    """Wires the web to a home and keeps the home tidy."""

    def __init__(self, layout: Layout, options: ControlOptions) -> None:
        """Open the home, make the operator on the first start, and write the router's first snapshot."""
        self.layout, self.options = layout, options
        self.site: Site = open_site(layout)
        self._seal = signin.SealKey(layout.seal_key)
        signin.seal_stored(layout.database, self._seal)
        self.bell = runs.Bell()
        self._key = secrets.token_hex(32)
        self._outside = signin.read_outside(layout.home / SIGNIN_FILE)
        self._snapshot_lock = threading.Lock()  # guards the order of snapshots
        self._ingest_lock = threading.Lock()  # one reader of the spool at a time
        self._last_use = self.site.clock.monotonic()
        self.stopping = threading.Event()
        self._look = threading.Event()  # set when Services changed: their Replicas are looked at now
        self._reconciler = serve.Reconciler(self.site, layout.home)
        _first_start(self.site, layout)
        self.site.store.write(self._admit)
        self.push()

    def push(self) -> None:
        """Write the router's snapshot anew."""
        with self._snapshot_lock:
            control = hashlib.sha256(self._key.encode()).hexdigest()
            snapshot = self.site.store.read(lambda tx: serve.snapshot(tx, self.site, control=control))
            write_json(self.layout.routes, snapshot, mode=0o600)

    def _admit(self, tx: Tx) -> None:
        """This machine may hold what its setting says, until a person assigns it something else."""
        clearance = parse_label(self.options.clearance) if self.options.clearance else None
        fleet.admit(tx, self.site, name=runs.LOCAL_WORKER, clearance=clearance)

    def ingest(self) -> int:
        """Take receipts that wait in the spool; returns how many."""
        with self._ingest_lock:
            return serve.ingest(self.site, self.layout.spool).answers

    def house(self) -> web.House:
        """What the web needs."""
        hosts = {"localhost", "127.0.0.1", "::1", self.options.host.lower()}
        hosts |= {urlsplit(self.options.public_url).hostname or "localhost"}
        return web.House(
            site=self.site,
            home=self.layout.home,
            reader=web.ReaderChild([sys.executable, "-m", data.READER_MODULE]),
            queries=web.QueryChildren([sys.executable, "-m", data.QUERY_MODULE]),
            hosts=frozenset(hosts) if not self.options.behind_proxy else frozenset(),
            reception=signin.open_reception(
                self.site,
                lanes=(os.cpu_count() or 2) - 1,
                seal=self._seal,
                outside=signin.Outside(self._outside, self.site.clock) if self._outside else None,
            ),
            public_url=self.options.public_url,
            default_project=access.DEFAULT_PROJECT,
            router_url=self._router_url,
            control_key=self._key,
            uploads=web.Uploads(),
            push=self._changed,
            ingest=self.ingest,
            waiters=threading.BoundedSemaphore(MAX_WAITERS),
            bell=self.bell,
            recipes=recipe_table(),
            status=self.status,
            pace=runs.Pace(),
            touch=self.touch,
        )

    def touch(self) -> None:
        """A request came: the server is in use."""
        self._last_use = self.site.clock.monotonic()

    def status(self) -> dict[str, Any]:
        """State of the process tree and its warnings."""
        processes = read_json(self.layout.sockets / "processes.json") or {}
        return {"home": str(self.layout.home), "router_url": self._router_url(), "processes": processes}

    def upkeep(self) -> None:
        """Every half second: expired leases, receipts, idleness. One thread; an error is logged and the next round comes."""
        while not self.stopping.wait(UPKEEP_SECONDS):
            self._try("upkeep", self._tidy)

    def keep_replicas(self) -> None:
        """Every half second, and when Services change: Replicas as their Services ask. One thread, as `upkeep`."""
        while not self.stopping.is_set():
            self._look.wait(REPLICAS_SECONDS)
            self._look.clear()
            self._try("looking after replicas", self._reconcile)

    def _tidy(self) -> None:
        if runs.sweep(self.site):
            self.bell.ring()
        self.ingest()
        self._leave_if_idle()

    def _reconcile(self) -> None:
        if self._reconciler.step():
            self.push()
            self.bell.ring()

    def _try(self, what: str, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception:  # noqa: BLE001 - a loop that must outlive its errors: recorded, and tried again
            if not self.stopping.is_set():
                _LOG.exception("%s failed; trying again", what)

    def _changed(self) -> None:
        """Services or who may ask them changed."""
        self.push()
        self._look.set()

    def close(self) -> None:
        """Take the last receipts and close the database."""
        self.stopping.set()
        self._look.set()
        self._reconciler.close()
        self.bell.close()
        self.ingest()
        self.site.store.close()

    def _leave_if_idle(self) -> None:
        limit = self.options.idle_exit_seconds
        if not limit:
            return
        if self.site.store.read(runs.active) > 0:
            self.touch()
        if self.site.clock.monotonic() - self._last_use > limit:
            _LOG.info("no requests for %.0f s: leaving", limit)
            self.stopping.set()

    def _router_url(self) -> str:
        found = read_json(self.layout.sockets / "router.json")
        host = f"[{self.options.host}]" if ":" in self.options.host else self.options.host
        return f"http://{host}:{found['port']}" if found else ""


def run_control(home: Path, options: ControlOptions) -> None:
    """Run control until SIGTERM. Raises Refused `port_in_use`."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("uvicorn.access").setLevel(logging.WARNING)
    for number in (signal.SIGTERM, signal.SIGINT):
        # The servers raise the signal again when they are done; by then it has done its work.
        signal.signal(number, lambda *_: None)
    layout = Layout(home)
    listener = _listen(layout, options)
    control = Control(layout, options)
    try:
        asyncio.run(_serve(control, listener))
    finally:
        control.close()


async def _serve(control: Control, listener: socket.socket) -> None:
    anyio.to_thread.current_default_thread_limiter().total_tokens = 32
    app = web.make_app(control.house())
    public = uvicorn.Server(
        uvicorn.Config(
            app,
            loop="uvloop",
            http="httptools",
            log_level="warning",
            timeout_keep_alive=30,
            # Believed only where a proxy is said to be: else anybody chooses the address that is held against them.
            proxy_headers=control.options.behind_proxy,
            forwarded_allow_ips=control.options.proxy,
        )
    )
    workers = uvicorn.Server(
        uvicorn.Config(
            _worker_app(control),
            http=_checked_protocol({0, control.layout.home.stat().st_uid}),
            log_level="warning",
            lifespan="off",
            timeout_keep_alive=60,
        )
    )
    pipe = _listen_unix(control.layout.worker_socket)
    loops = {"upkeep": control.upkeep, "replicas": control.keep_replicas}
    for name, loop in loops.items():
        threading.Thread(target=loop, name=name, daemon=True).start()
    port = listener.getsockname()[1]
    write_json(control.layout.sockets / "control.json", {"port": port, "host": control.options.host})
    side = asyncio.create_task(workers.serve(sockets=[pipe]))
    main = asyncio.create_task(public.serve(sockets=[listener]))
    while not main.done():
        if control.stopping.is_set():
            public.should_exit = True
        await asyncio.sleep(0.1)
    control.stopping.set()
    control.bell.close()
    workers.should_exit = True
    await asyncio.gather(main, side)


def _worker_app(control: Control) -> Any:  # noqa: ANN401 - an ASGI application
    limiter = anyio.CapacityLimiter(16)

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        status, answer = await anyio.to_thread.run_sync(
            lambda: runs.handle_worker(control.site, control.bell, scope["path"], body), limiter=limiter
        )
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    return app


def _checked_protocol(uids: set[int]) -> type[HttpToolsProtocol]:
    """A protocol that hangs up on peers with another uid (SO_PEERCRED): a socket's mode alone is not enough."""

    class PeerChecked(HttpToolsProtocol):
        def connection_made(self, transport: Any) -> None:  # noqa: ANN401 - uvicorn's signature
            connection = transport.get_extra_info("socket")
            raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
            if _CREDENTIALS.unpack(raw)[1] not in uids:
                transport.abort()
                return
            super().connection_made(transport)

    return PeerChecked


def _listen(layout: Layout, options: ControlOptions) -> socket.socket:
    before = read_json(layout.sockets / "control.json")
    port = options.port or (before["port"] if before else 0)
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    # The protocol is named so that the event loop turns Nagle's algorithm off: else every answer waits 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((options.host, port))
    except OSError as error:
        fix = "Stop what uses it, or choose another: baray up --port 0"
        raise Refused(
            "port_in_use", f"Port {port} of {options.host} cannot be used: {error.strerror}.", fix=fix
        ) from error
    listener.listen(512)
    return listener


def _listen_unix(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    path.chmod(0o600)
    listener.listen(64)
    return listener


def _first_start(site: Site, layout: Layout) -> None:
    """Make the operator, its token and a first sign-in link where they are missing; say that the home started."""
    known = layout.token.read_text(encoding="ascii").strip() if layout.token.exists() else ""

    def start(tx: Tx) -> tuple[str, str]:
        first = access.actor_named(tx, access.OPERATOR) is None
        operator = access.bootstrap(tx, site)
        site.ledger.append(tx, "home.started", actor="system", subject="home")
        register_key(tx, site.ledger, site.artifacts.key)
        secret = link = ""
        if not _still_good(tx, site, known):
            asked = TokenRequest(kind="pat", name="embedded operator", seconds=access.MAX_TOKEN_SECONDS)
            secret = access.create_token(tx, site, actor_id=operator, request=asked, by="system")[1]
        if first:
            asked = TokenRequest(kind="lnk", name="first sign-in", seconds=access.LINK_SECONDS)
            link = access.create_token(tx, site, actor_id=operator, request=asked, by="system")[1]
        return secret, link

    secret, link = site.store.write(start)
    if secret:
        _keep_secret(layout.token, secret + "\n")
    if link:
        _keep_secret(layout.sockets / "sign-in.json", json.dumps({"link": link}))


def _still_good(tx: Tx, site: Site, secret: str) -> bool:
    """Whether the embedded operator's token works for another day."""
    try:
        access.authenticate(tx, secret, site.clock.now() + 86400.0)
    except Refused:
        return False
    return True


def _keep_secret(path: Path, text: str) -> None:
    temporary = path.with_name(path.name + ".new")
    temporary.unlink(missing_ok=True)
    temporary.touch(mode=0o600)
    temporary.write_text(text, encoding="ascii")
    temporary.rename(path)
