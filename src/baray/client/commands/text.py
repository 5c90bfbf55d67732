"""`baray text ...`: filters that need no server."""

from __future__ import annotations

import importlib
import sys

import click

from baray.client.cli import Cli, Leaf, option
from baray.client.commands.dataset import settings_of


def _filter(name: str, *, lexicon: bool = False) -> Leaf:
    def run(cli: Cli, settings: tuple[str, ...], lexicon: str | None = None) -> None:
        options = settings_of(settings)
        if lexicon:
            options["lexicon"] = lexicon
        if cli.screen.as_json:
            options["json"] = True
        commands = importlib.import_module("baray.app.commands")
        commands.text_filter(name, options, sys.stdin, cli.screen.out)

    params: tuple[click.Parameter, ...] = (
        option("--set", "settings", multiple=True, metavar="K=V", help="An option of the filter."),
    )
    if lexicon:
        params = (*params, option("--lexicon", metavar="FILE", help="Words to know: lines `word<TAB>count`."))
    return Leaf(run=run, params=params, example=f"baray text {name} < in.txt > out.txt", project=False)


NORMALISE = _filter("normalise")
CLUSTERS = _filter("clusters")
SEGMENT = _filter("segment", lexicon=True)
LANGUAGE = _filter("language")
REDACT = _filter("redact")
