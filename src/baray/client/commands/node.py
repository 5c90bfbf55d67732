"""`baray node`, `baray project egress`: what a machine may hold, and what a project's commands may reach."""

from __future__ import annotations

import click

from baray.client.cli import Cli, Leaf, argument, option
from baray.client.output import fields, table
from baray.client.sdk.transport import Json

_HEADS = ("name", "clearance", "assigned", "says", "by", "changed", "tier", "limits", "cpus", "memory_bytes")
_ANYTHING = "anything"


def _list(cli: Cli) -> None:
    page = cli.client.get("nodes")
    rows = [[_cell(row, head) for head in _HEADS[:7]] for row in page["items"]]
    cli.screen.show(page, lambda: table(_HEADS[:7], rows))


def _show(cli: Cli, name: str, to: str | None) -> None:
    document = cli.client.get(f"nodes/{name}", **({} if to is None else {"to": to}))

    def lines() -> list[str]:
        shown = fields((head, _cell(document, head)) for head in _HEADS)
        return shown if to is None else [*shown, "", *_above(document, "runs there, and would go on or be cancelled")]

    cli.screen.show(document, lines)


def _clear(cli: Cli, name: str, to: str | None, *, no_limit: bool, running: str) -> None:
    if (to is None) != no_limit:
        raise click.UsageError("Write --to LABEL, or --no-limit.")
    body: Json = {"label": to or "", "running": running}
    document = cli.client.post(f"nodes/{name}/clearance", body, repeatable=True)
    what = "is being cancelled" if running == "cancel" else "goes on to its end"
    said = document["says"]
    own = [f"Its own setting says {said}: the lower of both counts."] if said else []
    held = f"{name} may hold {document['clearance'] or _ANYTHING} from its next Run on."
    cli.screen.show(document, lambda: [held, *own, *_above(document, what)])


def _above(document: Json, what: str) -> list[str]:
    """Runs that are there and above the label, with what becomes of them."""
    hidden = document["above_hidden"]
    lines = table(
        ("run", "name", "label", ""), [(row["run"], row["name"], row["label"], what) for row in document["above"]]
    )
    return (lines if document["above"] else []) + ([f"Runs that you may not see: {hidden} ({what})"] if hidden else [])


def _cell(row: Json, head: str) -> object:
    value = row.get(head)
    if value is None:
        return _ANYTHING if head in ("clearance", "assigned") else ""
    return value


def _allow(cli: Cli, project: str, target: str, up_to: str) -> None:
    document = cli.client.post(f"projects/{project}/egress", {"target": target, "up_to": up_to}, repeatable=True)
    cli.screen.show(document, lambda: [f"Commands of {project} may reach {target}, up to {document['up_to']}."])


def _leaves(cli: Cli, project: str) -> None:
    page = cli.client.get(f"projects/{project}/egress")
    heads = ("target", "up_to", "by", "created")
    cli.screen.show(page, lambda: table(heads, [[row[head] for head in heads] for row in page["items"]]))


def _revoke(cli: Cli, project: str, target: str) -> None:
    document = cli.client.post(f"projects/{project}/egress/revoke", {"target": target})
    cli.screen.show(document, lambda: [f"No Run of {project} above public starts with {target} any more."])


_NAME = argument("name")
_PROJECT = argument("project")
_TARGET = argument("target", metavar="HOST:PORT")
_LABEL_HELP = "LEVEL[:CATEGORY,...]"

LIST = Leaf(run=_list, example="baray node list")
SHOW = Leaf(
    run=_show,
    params=(_NAME, option("--to", metavar="LABEL", help="Also what runs there above this label; changes nothing.")),
    example="baray node show local --to internal",
)
CLEAR = Leaf(
    run=_clear,
    params=(
        _NAME,
        option("--to", metavar="LABEL", help=_LABEL_HELP),
        option("--no-limit", is_flag=True, help="It may hold everything."),
        option(
            "--running",
            type=click.Choice(["go-on", "cancel"]),
            default="go-on",
            help="What becomes of Runs there above the label.",
        ),
    ),
    example="baray node clear local --to internal",
)
EGRESS_ALLOW = Leaf(
    run=_allow,
    params=(
        _PROJECT,
        _TARGET,
        option(
            "--up-to", default="internal", metavar="LABEL", help="Highest label of a Run that may; internal at most."
        ),
    ),
    example="baray project egress allow health registry.example:443 --up-to internal",
)
EGRESS_LIST = Leaf(run=_leaves, params=(_PROJECT,), example="baray project egress list health")
EGRESS_REVOKE = Leaf(
    run=_revoke, params=(_PROJECT, _TARGET), example="baray project egress revoke health registry.example:443"
)
