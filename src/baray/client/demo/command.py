"""`baray demo`: the main job, narrated, and its JSON document."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

from baray.client.cli import Cli, Leaf, option
from baray.client.demo.acts import Stage, ask, host, process, train
from baray.client.demo.language import learn
from baray.client.demo.prove import prove
from baray.client.demo.sample import material
from baray.client.demo.story import Story
from baray.client.sdk.transport import Json
from baray.core import Refused

T = TypeVar("T")
PATIENCE_SECONDS = 60.0


def _demo(cli: Cli, size: str, source: str | None, *, train_act: bool, json_file: Path | None) -> None:
    if cli.settings.server:
        raise Refused(
            "demo_is_local",
            f"The demo proves things on a home of this machine, not on {cli.settings.server}.",
            fix="Unset BARAY_SERVER, or name a home: baray demo --home DIR",
        )
    if train_act and importlib.util.find_spec("torch") is None:
        raise Refused(
            "not_installed", "A language model needs torch, and it is not installed here.", fix="Run: scripts/setup lm"
        )
    cli.patience_seconds = PATIENCE_SECONDS
    cli.while_waiting = "What was begun goes on. Look: baray run list. Run the demo again: it goes on where it was."
    story = Story(screen=cli.screen, out=cli.screen.err if cli.screen.as_json else cli.screen.out)
    with material(size, Path(source).expanduser() if source else None) as given:
        document = _play(Stage(cli=cli, story=story, material=given), language=size if train_act else None)
    cli.while_waiting = ""
    if json_file is not None:
        json_file.write_text(json.dumps(document, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    cli.screen.show(document, list)
    if not (document["ledger"]["verified"] and document["tamper"]["found"]):
        raise Refused(
            "not_proven", "The ledger did not verify, or a flipped byte was not found.", fix="baray ledger verify"
        )


def _play(stage: Stage, *, language: str | None) -> Json:
    cli, story = stage.cli, stage.story
    began = cli.timing.clock.monotonic()
    seconds: dict[str, float] = {"install": cli.settings.install_seconds or 0.0}

    def timed(name: str, act: Callable[[], T]) -> T:
        start = cli.timing.clock.monotonic()
        result = act()
        seconds[name] = round(cli.timing.clock.monotonic() - start, 3)
        return result

    story.line(cli.screen.style(cli.screen.tr("Baray: from a folder to a counter"), "bold"))
    story.act(1, "Process", "files become Documents that can be counted on")
    processed = timed("process", lambda: process(stage))
    story.act(2, "Train", "letters find their unit")
    routing = timed("train", lambda: train(stage))
    story.act(3, "Host", "an Index and a desk that answers")
    hosted = timed("host", lambda: host(stage, processed["dataset"], routing))
    story.act(4, "Ask", "answered with its source, or not at all")
    questions = timed("ask", lambda: ask(stage, processed["dataset"], hosted["revision"]))
    seconds["teach"] = 0.0
    story.act(5, "Prove", "what an outsider can check")
    answered = next((row for row in questions if row["outcome"] == "answered"), questions[0])
    proof = timed("prove", lambda: prove(stage, answered["id"]))
    learnt = None
    if language is not None:
        story.act(6, "Language", "a model from scratch: killed, resumed, measured, opened, asked")
        routing_seconds = seconds["train"]
        learnt = timed("train", lambda: learn(stage, processed["dataset"], size=language))
        seconds["train"] = round(seconds["train"] + routing_seconds, 3)
    seconds["total"] = round(cli.timing.clock.monotonic() - began + seconds["install"], 3)
    story.times(seconds)
    _ending(stage)
    return {
        **processed,
        "index": hosted["index"],
        "routing": routing,
        "desk": hosted["desk"],
        "questions": questions,
        "lab": None,
        "certificate": None,
        **proof,
        "train": learnt,
        "seconds": seconds,
    }


def _ending(stage: Stage) -> None:
    link = stage.cli.client.post("login-links", repeatable=True)
    if stage.material.own:
        own = ("Ask it yourself", stage.cli.command(f'desk ask {stage.material.name} "..."'))
    else:
        own = ("Your own folder", stage.cli.command("desk create NAME --documents FOLDER"))
    stage.story.end(
        [
            ("Console (the link works once, for 15 minutes)", str(link["url"])),
            own,
        ]
    )


DEMO = Leaf(
    run=_demo,
    params=(
        option("--size", type=click.Choice(["tiny", "normal"]), default="normal", help="How much of the sample."),
        option("--source", metavar="DIR", help="A folder of your own instead of the sample."),
        option("--train", "train_act", is_flag=True, help="Also a language model from scratch."),
    ),
    example="baray demo --size tiny",
    json_file=True,
)
