"""`baray run ...`."""

from __future__ import annotations

import json
from typing import Any

import click

from baray.client.cli import Cli, Leaf, argument, option
from baray.client.commands.curves import Curve, Point, compared
from baray.client.commands.watching import finish, making, told, watch
from baray.client.output import clean, fields, table
from baray.client.sdk.client import run_id
from baray.client.sdk.transport import Json
from baray.core import Refused, format_seconds, parse_bytes, parse_seconds

_LEAST = {"memory": "1GB", "disk": "1GB", "time": "10min"}


def _start(cli: Cli, command: tuple[str, ...], *, follow: bool, **asked: Any) -> None:  # noqa: ANN401
    sizes = [(name, parse_bytes(asked[name])) for name in ("memory", "disk")]
    for name, number in (*sizes, ("time", parse_seconds(asked["time"]))):
        if number <= 0:
            raise Refused(
                "bad_quantity",
                f"'{asked[name]}' is not a quantity.",
                fix=f"Give --{name} more than nothing, for example {_LEAST[name]}.",
            )
    body = {key: list(value) if isinstance(value, tuple) else value for key, value in asked.items()}
    body = {key: value for key, value in body.items() if value not in (None, "", [])}
    with making(cli, "project", cli.project):
        run = cli.client.start_run({**body, "command": list(command)})
    finish(cli, run, label=f"run:{run['id']}", wait=follow, follow=follow)


def _list(cli: Cli, state: str | None, limit: int) -> None:
    page = cli.client.pages("runs", limit=limit, state=state)
    heads = ("id", "kind", "name", "state", "seconds", "label")
    rows = [(run["id"], run["kind"], run["name"], run["state"], _seconds(run), run["label"]) for run in page["items"]]
    cli.screen.show(page, lambda: table(heads, rows))


def _show(cli: Cli, run: str, *, provenance: bool) -> None:
    if provenance:
        envelope = cli.client.get(f"runs/{run_id(run)}/provenance")
        cli.screen.show(envelope, lambda: [json.dumps(envelope)])
        return
    document = cli.client.run(run)
    document["metrics"] = _last_metrics(cli, document)
    cli.screen.show(document, lambda: _run_lines(document))


def _run_lines(run: Json) -> list[str]:
    error = run.get("error") or {}
    progress = run.get("progress") or {}
    outputs = ", ".join(f"{output['ref']} ({output['label']})" for output in run.get("outputs", []))
    pairs: list[tuple[str, object]] = [(key, run.get(key)) for key in ("id", "kind", "name", "state", "label", "actor")]
    pairs += [(key, run.get(key)) for key in ("created", "started", "ended")]
    pairs += [("took", _seconds(run)), ("attempts", run.get("attempts")), ("made", outputs)]
    if progress.get("total"):
        pairs.append(("progress", f"{progress['done']}/{progress['total']} {progress.get('unit', '')}"))
    pairs += [(f"metric {name}", value) for name, value in run.get("metrics", {}).items()]
    pairs += [("error", error.get("message")), ("code", error.get("code")), ("to mend it", error.get("fix"))]
    return fields(pairs)


def _logs(cli: Cli, run: str, *, follow: bool) -> None:
    cli.while_waiting = f"Run {run_id(run)} goes on. Cancel it: baray run cancel {run_id(run)}" if follow else ""
    if cli.screen.as_json:
        cli.screen.show({"id": run_id(run), "text": "".join(cli.client.log(run, follow=follow))}, list)
        return
    for piece in cli.client.log(run, follow=follow):
        cli.screen.out.write(clean(piece))
        cli.screen.out.flush()


def _wait(cli: Cli, run: str) -> None:
    ended = watch(cli, cli.client.run(run), label=f"run:{run_id(run)}")
    cli.screen.show(ended, lambda: [told(cli, ended)])


def _cancel(cli: Cli, run: str) -> None:
    document = cli.client.post(f"runs/{run_id(run)}/cancel", repeatable=True)
    cli.screen.show(document, lambda: [f"Run {document['id']} is {document['state']}; a running one ends in a moment."])


def _retry(cli: Cli, run: str, *, follow: bool) -> None:
    document = cli.client.post(f"runs/{run_id(run)}/retry")
    finish(cli, document, label=f"run:{document['id']}", wait=follow, follow=follow)


def _why(cli: Cli, run: str) -> None:
    document = cli.client.get(f"runs/{run_id(run)}/why")
    cli.screen.show(document, lambda: fields((key, _flat(value)) for key, value in document.items()))


def _compare(cli: Cli, runs: tuple[str, ...]) -> None:
    found = [cli.client.run(run) for run in runs]
    columns = [_facts(cli, run) for run in found]
    keys = list(dict.fromkeys(key for column in columns for key in column))
    different = {key: [column.get(key) for column in columns] for key in keys if _differs(key, columns)}
    curves = [_losses(cli, run) for run in found]
    document = {"runs": [run["id"] for run in found], "facts": columns, "different": different, "curves": curves}
    heads = ("", *(run["id"] for run in found), "")
    rows = [(key, *(_flat(column.get(key)) for column in columns), "*" if key in different else "") for key in keys]
    drawn = [("loss", *compared(curves), "")] if any(curves) else []
    cli.screen.show(document, lambda: table(heads, [*drawn, *rows]))


def _differs(key: str, columns: list[dict[str, Any]]) -> bool:
    return any(column.get(key) != columns[0].get(key) for column in columns)


def _losses(cli: Cli, run: Json) -> list[Point]:
    curve = Curve(cli, run["id"])
    curve.look()
    return curve.points


def _facts(cli: Cli, run: Json) -> dict[str, Any]:
    facts = {key: run.get(key) for key in ("kind", "name", "state", "seconds", "attempts", "label")}
    spec = run.get("spec") or {}
    for key, value in spec.items():
        nested = value if isinstance(value, dict) and value else {"": value}
        facts |= {f"spec.{key}.{inner}".rstrip("."): one for inner, one in nested.items()}
    facts = {key: value for key, value in facts.items() if key not in {"spec.name", "spec.kind", "spec.label"}}
    facts |= {f"output {number}": output["digest"] for number, output in enumerate(run.get("outputs", []), 1)}
    return facts | {f"metric.{name}": value for name, value in _last_metrics(cli, run).items()}


def _last_metrics(cli: Cli, run: Json) -> dict[str, float]:
    items = cli.client.get(f"runs/{run['id']}/metrics").get("items", [])
    return {metric["name"]: metric["value"] for metric in items}  # the last one stays


def _seconds(run: Json) -> str:
    return "" if run.get("seconds") is None else format_seconds(run["seconds"])


def _flat(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}={_flat(inner)}" for key, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_flat(inner) for inner in value)
    return "" if value is None else str(value)


_RUN = argument("run", metavar="RUN")
_FOLLOW = option("--follow", is_flag=True, help="Show the log and wait.")
START = Leaf(
    run=_start,
    params=(
        argument("command", nargs=-1, required=True, metavar="-- COMMAND..."),
        option("--name", default="", help="Name to find it by."),
        option("--cpus", default=1, type=click.IntRange(min=1), help="Processor cores."),
        option("--memory", default="1GB", metavar="4GB", help="Memory it may take."),
        option("--disk", default="10GB", metavar="10GB", help="Disk it may fill."),
        option("--time", default="1h", metavar="2h", help="Stopped after this long."),
        option("--priority", default=0, help="Higher goes first."),
        option("--after", multiple=True, metavar="RUN", help="Wait until that Run has succeeded."),
        option("--input", "inputs", multiple=True, metavar="REF", help="Mounted read-only at /in/NAME."),
        option("--output", "outputs", multiple=True, metavar="NAME", help="What /out/NAME holds becomes a Dataset."),
        option(
            "--allow-egress",
            multiple=True,
            metavar="HOST:PORT",
            help="A target on the internet that it may reach; only while everything it sees is public.",
        ),
        option("--max-attempts", default=1, type=click.IntRange(min=1), help="How often it is tried."),
        option("--expect-label", metavar="LABEL", help="Refuse before starting if the label would be another."),
        _FOLLOW,
    ),
    example="baray run start --input dataset:circulars --output counts -- python count.py",
)
LIST = Leaf(
    run=_list,
    params=(
        option("--state", metavar="STATE", help="queued, running, succeeded, failed or cancelled."),
        option("--limit", default=50, help="How many at most."),
    ),
    example="baray run list --state running",
)
SHOW = Leaf(
    run=_show,
    params=(_RUN, option("--provenance", is_flag=True, help="What was signed about it, for other tools to check.")),
    example="baray run show r_01... --provenance",
)
LOGS = Leaf(
    run=_logs,
    params=(_RUN, option("--follow", is_flag=True, help="Also what is still to come.")),
    example="baray run logs r_01... --follow",
)
WAIT = Leaf(run=_wait, params=(_RUN,), example="baray run wait r_01...")
CANCEL = Leaf(run=_cancel, params=(_RUN,), example="baray run cancel r_01...")
RETRY = Leaf(run=_retry, params=(_RUN, _FOLLOW), example="baray run retry r_01...")
WHY = Leaf(run=_why, params=(_RUN,), example="baray run why r_01...")
COMPARE = Leaf(
    run=_compare,
    params=(argument("runs", nargs=-1, required=True, metavar="RUN RUN..."),),
    example="baray run compare r_01... r_02...",
)
