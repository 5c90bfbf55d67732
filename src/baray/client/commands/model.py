"""`baray model verify`: a folder is checked on this machine without a server, a ref by the server that holds it."""

from __future__ import annotations

import importlib
from pathlib import Path

import click

from baray.client.cli import Cli, Leaf, argument, option
from baray.client.output import fields
from baray.client.sdk.client import thing_path
from baray.core import parse_ref


def _verify(cli: Cli, target: str, keys: tuple[str, ...]) -> None:
    if Path(target).is_dir():
        check = importlib.import_module("baray.app.commands").model_verify
        home, as_json = cli.settings.home, cli.screen.as_json
        code = check(home=home, folder=Path(target), keys=list(keys), as_json=as_json)
    else:
        code = _verify_ref(cli, target)
    if code:
        raise click.exceptions.Exit(code)


def _verify_ref(cli: Cli, ref: str) -> int:
    document = cli.client.get(thing_path(parse_ref(ref, kind="model")) + "/verification")
    shown = {"ref": document["ref"], "verified": "yes" if document["ok"] else "no", "label": document["label"]}
    shown |= {"licences": ", ".join(document["licences"]), "files": len(document["files"]), "run": document["run"]}
    wrong = [("wrong", finding) for finding in document["findings"]]
    cli.screen.show(document, lambda: fields([*shown.items(), *wrong]))
    return 0 if document["ok"] else 1


VERIFY = Leaf(
    run=_verify,
    params=(
        argument("target", metavar="REF|DIR"),
        option("--key", "keys", multiple=True, metavar="FILE", help="The public key of who signed it, for a folder."),
    ),
    example="baray model verify ./router --key office-artifacts.pub",
)
