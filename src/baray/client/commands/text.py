"""`baray text ...`: filters that need no server."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from baray.client.cli import Cli, Leaf, option
from baray.client.commands.dataset import settings_of

_LEARNT = "No lexicon was given: {words} words are learnt from the breaks of the text itself. Better: --lexicon FILE"
_CLUSTERS = "No lexicon was given, and the text has too few breaks to learn one: its clusters are parted. Better: --lexicon FILE"


def _filter(name: str, settings_help: str) -> Leaf:
    def run(cli: Cli, settings: tuple[str, ...], lexicon: str | None = None) -> None:
        importlib.import_module("baray.app.commands").text_filter(
            name,
            settings_of(settings),
            lexicon=Path(lexicon) if lexicon else None,
            streams=(sys.stdin.buffer, cli.screen.out),
            on_learnt=lambda words: cli.screen.say(_LEARNT if words else _CLUSTERS, words=words),
            as_json=cli.screen.as_json,
        )

    params = (
        option("--lexicon", metavar="FILE", help="Words to part by, for segment: lines of word, tab, count."),
        option("--set", "settings", multiple=True, metavar="K=V", help=settings_help),
    )
    return Leaf(run=run, params=params, example=f"baray text {name} < in.txt > out.txt", project=False)


_NONE = "An option of the filter: this one has none."
NORMALISE = _filter(
    "normalise", "digits=keep, ascii or khmer; fold_coeng_da=true writes coeng TA for coeng DA, for keys."
)
SEGMENT = _filter("segment", _NONE)
CLUSTERS = _filter("clusters", _NONE)
LANGUAGE = _filter("language", _NONE)
REDACT = _filter("redact", "names=FILE: names to take out too, one a line.")
