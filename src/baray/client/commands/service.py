"""`baray service deploy|logs|revisions|rollback|scale|stop`, `usage`."""

from __future__ import annotations

import click

from baray.client.cli import Cli, Leaf, argument, option
from baray.client.commands.desk import hosted, revision_rows
from baray.client.output import clean, table
from baray.client.sdk.transport import Json
from baray.core import Fault, Refused, check_name, parse_ref

WAIT_SECONDS = 0.2
_NO_WAIT = option("--wait/--no-wait", default=True, help="Wait until it answers.")


def _deploy(cli: Cli, name: str, model: str, audience: tuple[str, ...], *, wait: bool, **page: str) -> None:
    check_name(name)
    ref = str(parse_ref(model, kind="model"))
    service = cli.client.put_service(
        name,
        kind="model",
        of=ref,
        audience=audience or ("project",),
        page={key: value for key, value in page.items() if value},
    )
    # The router itself answers for what is light; a language model answers when a Replica of it is healthy.
    by_replicas = "replicas" in service
    if by_replicas and wait:
        service = await_ready(cli, service)
    line = hosted(cli, service)
    router = cli.client.status().get("router_url") or ""
    fix = f'baray ask {name} "..."   or POST {router}/v1/completions' if by_replicas else ""
    fix = fix or f'POST {router}/v1/classify {{"model": "{name}", "input": "..."}}'
    cli.screen.show(service, lambda: [line, f"  {fix}"])


def await_ready(cli: Cli, service: Json) -> Json:
    """Wait until the newest Revision answers. Raises Fault `not_ready` with its reason when it does not come up."""
    name = service["name"]
    cli.while_waiting = f"service:{name} goes on starting. Look: baray service show {name}"
    before, wanted = service["revision_id"], service.get("next")
    with cli.screen.progress(f"service:{name}") as progress:
        while service["state"] != "ready" or service.get("next"):
            if service["state"] == "stopped" or (service["state"] == "degraded" and not service.get("next")):
                raise _not_ready(name, service)
            told = (service.get("next") or service).get("reason") or ""
            progress.note(f"{'starting' if service.get('next') else service['state']} {told}".strip())
            cli.timing.sleep(WAIT_SECONDS)
            service = cli.client.get(f"services/{name}")
    cli.while_waiting = ""
    if wanted and service["revision_id"] == before:
        raise _not_ready(name, service)
    return service


def _not_ready(name: str, service: Json) -> Fault:
    why = service.get("reason") or f"it is {service['state']}"
    return Fault("not_ready", f"service:{name} did not come up: {why}", fix=f"See its log: baray service logs {name}")


def _logs(cli: Cli, name: str, *, follow: bool) -> None:
    short = parse_ref(name, kind="service").name
    processes = cli.client.get(f"services/{short}").get("processes") or []
    runs = [one["run"] for one in processes if one["run"]]
    if not runs:
        raise Refused("no_log", f"service:{short} has no process of its own: the router answers for it.")
    if cli.screen.as_json:
        pieces = [{"run": run, "text": "".join(cli.client.log(run, follow=follow))} for run in runs]
        cli.screen.show({"service": short, "logs": pieces}, list)
        return
    for run in runs:
        cli.screen.out.write(f"-- run:{run}\n")
        for piece in cli.client.log(run, follow=follow and run == runs[-1]):
            cli.screen.out.write(clean(piece))
            cli.screen.out.flush()


def _revisions(cli: Cli, name: str) -> None:
    short = parse_ref(name, kind="service").name
    service = cli.client.get(f"services/{short}")
    document = {"items": service["revisions"], "next": None}
    cli.screen.show(document, lambda: table(["revision", "state", "answers from", "made"], revision_rows(service)))


def _rollback(cli: Cli, name: str, revision: int, *, wait: bool) -> None:
    short = parse_ref(name, kind="service").name
    service = cli.client.post(f"services/{short}/rollback", {"revision": revision}, repeatable=True)
    if wait and service.get("next"):
        service = await_ready(cli, service)
    cli.screen.show(service, lambda: [f"service:{short} answers with revision {service['revision']}."])


def _scale(cli: Cli, name: str, replicas: str) -> None:
    short = parse_ref(name, kind="service").name
    service = cli.client.post(f"services/{short}/scale", {"replicas": replicas}, repeatable=True)
    cli.screen.show(service, lambda: [f"service:{short} may have {service['replicas']} replicas."])


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
        option(
            "--engine",
            default="",
            type=click.Choice(["", "auto", "torch", "llamacpp", "vllm"]),
            help="What runs a language model; auto takes the best that is there.",
        ),
        option("--replicas", default="", metavar="MIN:MAX", help="Processes of a language model; 0:1 lets it sleep."),
        _NO_WAIT,
    ),
    example="baray service deploy chat --model model:khmer-lm --replicas 1:2",
)
LOGS = Leaf(
    run=_logs,
    params=(argument("name"), option("--follow", is_flag=True, help="Also what is still to come.")),
    example="baray service logs chat",
)
REVISIONS = Leaf(run=_revisions, params=(argument("name"),), example="baray service revisions chat")
ROLLBACK = Leaf(
    run=_rollback,
    params=(argument("name"), argument("revision", type=click.IntRange(min=1)), _NO_WAIT),
    example="baray service rollback chat 2",
)
SCALE = Leaf(
    run=_scale,
    params=(argument("name"), argument("replicas", metavar="MIN:MAX")),
    example="baray service scale chat 0:2",
)
STOP = Leaf(run=_stop, params=(argument("name"),), example="baray service stop router")
USAGE = Leaf(
    run=_usage,
    params=(option("--by", type=click.Choice(["service", "project", "key"]), default="service", help="Summed up by."),),
    example="baray usage --by key",
)
