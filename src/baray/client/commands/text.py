"""`baray text ...`: filters that need no server."""

from __future__ import annotations

import importlib
import sys

from baray.client.cli import Cli, Leaf, option
from baray.client.commands.dataset import settings_of


def _filter(name: str) -> Leaf:
    def run(cli: Cli, settings: tuple[str, ...]) -> None:
        options = settings_of(settings) | ({"json": True} if cli.screen.as_json else {})
        importlib.import_module("baray.app.commands").text_filter(name, options, sys.stdin, cli.screen.out)

    settings = option("--set", "settings", multiple=True, metavar="K=V", help="An option of the filter.")
    return Leaf(run=run, params=(settings,), example=f"baray text {name} < in.txt > out.txt", project=False)


NORMALISE = _filter("normalise")
CLUSTERS = _filter("clusters")
LANGUAGE = _filter("language")
REDACT = _filter("redact")
