"""Running the router: its config, its socket, its loop (uvloop), and `router.json`."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
from dataclasses import dataclass, fields
from pathlib import Path

import uvloop

from baray.core import Ids, Refused, SystemClock
from baray.serve.router import crew
from baray.serve.router.application import Application
from baray.serve.router.engines import House
from baray.serve.router.follower import Follower
from baray.serve.router.listener import BACKLOG, Listener
from baray.serve.router.quotas import Quotas
from baray.serve.router.spool import Spool


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterConfig:
    """Deployment of one router process. Control writes it; nothing else is read from the environment."""

    home: str
    """The home; `run/routes.json`, `run/router.json` and `spool/` lie in it."""
    host: str = "127.0.0.1"
    """Address to bind."""
    port: int = 8643
    """Port to bind; 0 takes a free one, told in `router.json`."""
    socket_fd: int | None = None
    """A listening socket that was inherited; then host and port are not used."""
    utc_offset_minutes: int = 420
    """Local time minus UTC: days of validity end at the office's midnight. Cambodia is at +420."""
    max_connections: int = 1000
    """More at once are answered 503, by each process."""
    workers: int = 1
    """Processes that answer on the one socket; a parent beside them if more than one."""
    drain_seconds: int = 8
    """How long answers that stream may go on after SIGTERM."""
    log_level: str = "warning"
    """Of the process's own log on stderr. Requests are never logged."""


def read_config(path: Path) -> RouterConfig:
    """Read a config written as JSON. Raises Refused `bad_config`."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        return RouterConfig(**value)
    except (OSError, ValueError, TypeError) as error:
        names = ", ".join(item.name for item in fields(RouterConfig))
        raise Refused("bad_config", f"{path} is no router's config: {error}.", fix=f"It may hold: {names}.") from error


def make_app(config: RouterConfig) -> Application:
    """The application of a home."""
    home = Path(config.home)
    clock = SystemClock()
    ids = Ids(clock)
    house = House(
        spool=Spool(home / "spool", clock=clock, ids=ids),
        quotas=Quotas(home / "run" / "quotas", clock=clock),
        clock=clock,
        ids=ids,
        utc_offset_seconds=config.utc_offset_minutes * 60.0,
    )
    return Application(house=house, follower=Follower(home / "run" / "routes.json"), home=home)


def main(config: RouterConfig) -> None:
    """Serve until SIGTERM or SIGINT."""
    logging.basicConfig(level=config.log_level.upper(), format="%(asctime)s router %(levelname)s %(message)s")
    listener = _listen(config)
    # The socket listens already: a client that reads router.json early waits in the backlog, it is not refused.
    _tell(Path(config.home) / "run" / "router.json", listener.getsockname()[1])
    if config.workers > 1:
        crew.lead(config.workers, lambda: _serve(config, listener), clock=SystemClock())
    else:
        _serve(config, listener)


def _serve(config: RouterConfig, listener: socket.socket) -> None:
    """Answer on `listener` until SIGTERM or SIGINT; nothing is shared with other processes but the socket."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_live(config, listener))


async def _live(config: RouterConfig, listener: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    stop, hurry = asyncio.Event(), asyncio.Event()

    def told() -> None:
        (hurry if stop.is_set() else stop).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told)
    app = make_app(config)
    app.start()
    callers = Listener(app.respond, most=config.max_connections, clock=SystemClock())
    await callers.open(listener)
    await stop.wait()
    await callers.drain(config.drain_seconds, hurry)
    await app.stop()


def _listen(config: RouterConfig) -> socket.socket:
    if config.socket_fd is not None:
        return socket.socket(fileno=config.socket_fd)
    try:
        listener = socket.create_server((config.host, config.port), backlog=BACKLOG, reuse_port=False)
        # Accepted connections inherit it: the event loop itself only does so where the protocol is named.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError as error:
        raise Refused(
            "port_taken",
            f"The router cannot listen on {config.host}:{config.port}: {error.strerror}.",
            fix="Choose another: baray up --router-port PORT (0 takes a free one).",
        ) from error
    listener.set_inheritable(False)
    return listener


def _tell(path: Path, port: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}.part")
    part.write_text(json.dumps({"port": port, "pid": os.getpid()}) + "\n", encoding="utf-8")
    part.replace(path)
