"""`baray service deploy|stop`."""

from __future__ import annotations

import click

from baray.client.cli import Cli, Leaf, argument, option
from baray.client.commands.desk import hosted
from baray.client.output import table
from baray.core import check_name, parse_ref


def _deploy(cli: Cli, name: str, model: str, audience: tuple[str, ...], title: str) -> None:
    check_name(name)
    ref = str(parse_ref(model, kind="model"))
    service = cli.client.put_service(
        name, kind="model", of=ref, audience=audience or ("project",), page={"title": title} if title else None
    )
    line = hosted(cli, service)
    router = cli.client.status().get("router_url") or ""
    fix = f'POST {router}/v1/classify {{"model": "{name}", "input": "..."}}'
    cli.screen.show(service, lambda: [line, f"  {fix}"])


def _stop(cli: Cli, name: str) -> None:
    short = parse_ref(name, kind="service").name
    service = cli.client.post(f"services/{short}/stop", repeatable=True)
    cli.screen.show(service, lambda: [f"service:{short} is {service.get('state', 'stopped')}."])


def _usage(cli: Cli, by: str) -> None:
    page = cli.client.get("usage", by=by)
    names = {row["id"]: row["name"] for row in cli.client.get("services")["items"]} if by == "service" else {}
    for row in page["items"]:
        row[by] = names.get(row.get(by), row.get(by))
    heads = list(page["items"][0]) if page["items"] else [by, "requests"]
    cli.screen.show(page, lambda: table(heads, [[row.get(head) for head in heads] for row in page["items"]]))


DEPLOY = Leaf(
    run=_deploy,
    params=(
        argument("name"),
        option("--model", required=True, metavar="REF", help="Model version to serve."),
        option("--audience", multiple=True, metavar="WHO", help="Who may ask: public, project, or names of actors."),
        option("--title", default="", help="Title in any script."),
    ),
    example="baray service deploy router --model model:router",
)
STOP = Leaf(run=_stop, params=(argument("name"),), example="baray service stop router")
USAGE = Leaf(
    run=_usage,
    params=(option("--by", type=click.Choice(["service", "project", "key"]), default="service", help="Summed up by."),),
    example="baray usage --by key",
)
