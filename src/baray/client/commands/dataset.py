"""`baray dataset ...`: build, look inside, compare."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from baray.client.cli import Cli, Leaf, argument, option
from baray.client.commands.source import add_source
from baray.client.commands.source import told as source_told
from baray.client.commands.watching import finish, making
from baray.client.output import fields, table
from baray.client.sdk.client import thing_path
from baray.client.sdk.transport import Json
from baray.core import Refused, check_name, parse_ref


def settings_of(pairs: tuple[str, ...]) -> Json:
    """`KEY=VALUE` pairs as options: numbers, true, false, null and lists are read as JSON, all else is text."""
    options: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise Refused("bad_setting", f"'{pair}' is not KEY=VALUE.", fix="Write it like --set min_words=3.")
        try:
            options[key] = json.loads(text)
        except ValueError:
            options[key] = text
    return options


def _build(cli: Cli, recipe: str, *, name: str, files: tuple[str, ...], **more: Any) -> None:  # noqa: ANN401
    check_name(name)
    source, dataset = more.pop("source"), more.pop("dataset")
    if [bool(source), bool(dataset), bool(files)].count(True) != 1:
        raise click.UsageError("Give one of --source, --dataset and --input, for example --source circulars.")
    follow = more.pop("follow")
    made_of = _made_of(cli, name, files) if files else _ref_of("source", source) or _ref_of("dataset", dataset)
    options = settings_of(more.pop("settings"))
    with making(cli, "dataset", name, label=more.get("label")):
        run = cli.client.build_dataset(recipe, name=name, options=options, **made_of, **more)
    finish(cli, run, label=f"dataset:{name}", wait=follow, follow=follow)


def _ref_of(kind: str, text: str | None) -> dict[str, str]:
    return {kind: str(parse_ref(text, kind=kind))} if text else {}


def _made_of(cli: Cli, name: str, inputs: tuple[str, ...]) -> dict[str, str]:
    """The Source or Dataset that `--input` names, or the Source that its files and folders become."""
    first = inputs[0]
    for kind in ("source", "dataset"):
        if first.startswith(f"{kind}:") and not Path(first).exists():
            if len(inputs) > 1:
                raise click.UsageError("Give one Source, one Dataset, or files and folders.")
            return _ref_of(kind, first)
    version, gathered = add_source(cli, name, inputs)
    cli.screen.say("{text}", text=source_told(cli, version, gathered))
    return {"source": version["ref"]}


def _head(cli: Cli, ref: str, number: int) -> None:
    rows = cli.client.get(thing_path(parse_ref(ref, kind="dataset")) + "/rows", n=number)
    cli.screen.show(rows, lambda: _documents(rows["items"]))


def _documents(rows: list[Json]) -> list[str]:
    lines: list[str] = []
    for row in rows:
        text = " ".join(str(row.get("text", "")).split())
        lines += [
            f"{row.get('path') or row.get('id')}  ({', '.join(filter(None, (row.get('language'), row.get('label'))))})",
            f"    {text[:300]}",
        ]
    return lines


def _dropped(cli: Cli, ref: str, reason: str | None, number: int) -> None:
    rows = cli.client.get(thing_path(parse_ref(ref, kind="dataset")) + "/dropped", n=number, reason=reason)

    def lines() -> list[str]:
        if not rows["items"]:
            return [cli.screen.tr("Nothing was dropped or refused.")]
        return table(("path", "step", "reason"), [(r.get("path"), r.get("step"), r["reason"]) for r in rows["items"]])

    cli.screen.show(rows, lines)


def report_lines(report: Json) -> list[str]:
    """A Dataset's report for people: in = kept + dropped + refused."""
    pairs: list[tuple[str, object]] = [(key, report.get(key)) for key in ("in", "kept", "redacted")]
    for group in ("dropped", "refused"):
        pairs += [(f"{group}: {reason}", number) for reason, number in sorted((report.get(group) or {}).items())]
    return fields(pairs) + _column_lines(report.get("columns") or [])


def _column_lines(columns: list[Json]) -> list[str]:
    """Columns of a table: what they are, and what is odd about them."""
    if not columns:
        return []
    rows = []
    for one in columns:
        almost = one.get("almost")
        odd = f"{almost['misfits']} not {almost['type']}: {almost['example'][:40]}" if almost else ""
        kind = f"{one['type']} ({one['unit']})" if "unit" in one else one["type"]
        distinct = f"{one['distinct']}{'' if one['distinct_exact'] else '+'}"
        rows.append((one["name"], kind, one["values"], one["nulls"], distinct, one.get("least"), one.get("most"), odd))
    return ["", *table(("column", "type", "values", "without", "distinct", "least", "most", "odd"), rows)]


_REF = argument("ref")
BUILD = Leaf(
    run=_build,
    params=(
        argument("recipe"),
        option("--name", required=True, help="Name of the Dataset."),
        option("--source", metavar="NAME", help="Source to build from."),
        option("--dataset", metavar="REF", help="Dataset to build from, for recipes that take one."),
        option(
            "--input",
            "files",
            multiple=True,
            metavar="PATH",
            help="Files or folder, registered as a Source first; or dataset:NAME, source:NAME.",
        ),
        option(
            "--set", "settings", multiple=True, metavar="KEY=VALUE", help="An option of the recipe; `baray recipes`."
        ),
        option("--memory", metavar="4GB", help="Memory it may take."),
        option("--label", metavar="LABEL", help="Raise the label of what is made."),
        option("--expect-label", metavar="LABEL", help="Refuse before starting if the label would be another."),
        option("--follow", is_flag=True, help="Show the log and wait."),
    ),
    example="baray dataset build text --name circulars --source circulars --follow",
)
HEAD = Leaf(
    run=_head,
    params=(_REF, option("-n", "number", default=5, help="How many.")),
    example="baray dataset head circulars",
)
DROPPED = Leaf(
    run=_dropped,
    params=(
        _REF,
        option("--reason", metavar="R", help="Only this reason."),
        option("-n", "number", default=50, help="How many."),
    ),
    example="baray dataset dropped circulars --reason near_duplicate",
)
