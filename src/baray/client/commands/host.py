"""Commands that act on this machine: the server's own, loaded from the application only when called."""

from __future__ import annotations

import importlib
from typing import Any

import click

from baray.client.cli import Cli, Leaf, argument, option
from baray.client.output import fields
from baray.client.sdk.transport import Json


def _host(name: str, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - the application's own results
    return getattr(importlib.import_module("baray.app.commands"), name)(*args, **options)


def _end(code: object) -> None:
    """The host's commands return an exit code."""
    if isinstance(code, int) and code != 0:
        raise click.exceptions.Exit(code)


def _up(cli: Cli, **options: Any) -> None:  # noqa: ANN401
    _end(_host("up", home=cli.settings.home, **options))


def _down(cli: Cli) -> None:
    _end(_host("down", home=cli.settings.home))


def _status(cli: Cli) -> None:
    if cli.settings.server:
        document = _of_server(cli)
    elif cli.embedded.running() is None:  # asking how it goes must not start anything
        document = _host("status_local", home=cli.settings.home)
    else:
        document = _of_server(cli)
    cli.screen.show(document, lambda: _status_lines(document))


def _of_server(cli: Cli) -> Json:
    document = cli.client.status()
    return {"running": True, "console_url": cli.client.endpoint.url, **document}


def _status_lines(document: Json) -> list[str]:
    lines = fields((key, value) for key, value in document.items() if not isinstance(value, dict | list))
    for key in ("processes", "machines", "counts"):
        value = document.get(key)
        if isinstance(value, dict):
            lines.append(f"{key}: " + ", ".join(_counted(name, inner) for name, inner in value.items()))
        elif value:
            lines.append(f"{key}: " + ", ".join(str(inner) for inner in value))
    return lines + [f"! {warning}" for warning in document.get("warnings", [])]


def _counted(name: str, value: object) -> str:
    """`source 3`, or of a process `control (pid 17)`."""
    return f"{name} (pid {value.get('pid')})" if isinstance(value, dict) else f"{name} {value}"


def _doctor(cli: Cli) -> None:
    _end(_host("doctor", home=cli.settings.home, as_json=cli.screen.as_json))


def _worker(cli: Cli) -> None:
    _end(_host("worker", home=cli.settings.home))


def _migrate(cli: Cli) -> None:
    _end(_host("migrate", home=cli.settings.home))


def _verify(cli: Cli, bundle: str | None, heads: tuple[str, ...]) -> None:
    _end(_host("ledger_verify", home=cli.settings.home, bundle=bundle, heads=list(heads), as_json=cli.screen.as_json))


UP = Leaf(
    run=_up,
    params=(
        option("--host", default="127.0.0.1", metavar="H", help="Address to listen on."),
        option("--port", default=8642, help="Port of the console and the API; 0 takes a free one."),
        option("--router-port", default=8643, help="Port of what answers; 0 takes a free one."),
        option("--router-workers", default=0, help="Processes that answer; 0: BARAY_ROUTER_WORKERS, which is 1."),
        option("--detach", is_flag=True, help="Go to the background once it answers."),
        option("--behind-proxy", is_flag=True, help="Something in front does TLS."),
        option(
            "--idle-exit",
            "idle_exit_seconds",
            default=None,
            type=int,
            metavar="SECONDS",
            help="Stop after this long unused.",
        ),
    ),
    example="baray up --detach",
    project=False,
)
DOWN = Leaf(run=_down, example="baray down", project=False)
STATUS = Leaf(run=_status, example="baray status")
DOCTOR = Leaf(run=_doctor, example="baray doctor", project=False)
WORKER = Leaf(run=_worker, example="baray worker", project=False)
MIGRATE = Leaf(run=_migrate, example="baray migrate", project=False)
VERIFY = Leaf(
    run=_verify,
    params=(
        argument("bundle", required=False),
        option(
            "--head", "heads", multiple=True, metavar="FILE", help="A signed head you kept; the ledger must contain it."
        ),
    ),
    example="baray ledger verify --head kept-head.txt",
    project=False,
)
