"""The acts of the demo: process, train, host, ask. Every call may be repeated, so that a lost process costs only time."""

from __future__ import annotations

from dataclasses import dataclass

from baray.client.cli import Cli
from baray.client.commands.desk import make_desk
from baray.client.commands.source import add_source
from baray.client.commands.source import told as source_told
from baray.client.commands.watching import told, watch
from baray.client.demo.sample import OUT_OF_SCOPE, Asked, Material
from baray.client.demo.story import Story
from baray.client.sdk.transport import Json
from baray.core import Refused

OFFICER = "officer"
_LETTERS, _ROUTER = "letters", "letters-router"
_QUESTION_CHARACTERS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What every act needs."""

    cli: Cli
    """Connected, patient."""
    story: Story
    """Told on the way."""
    material: Material
    """What it runs on."""


def process(stage: Stage) -> Json:
    """Files -> Source -> Dataset: `documents`, `dataset`."""
    cli, story, given = stage.cli, stage.story, stage.material
    version, gathered = add_source(
        cli, given.name, [str(given.documents)], label="public" if given.public else "", title="One-window office"
    )
    story.line("  " + source_told(cli, version, gathered))
    run = cli.client.build_dataset("text", name=given.name, source=version["ref"])
    run = watch(cli, run, label=cli.screen.tr("Reading documents"))
    story.line("  " + told(cli, run))
    dataset = run["outputs"][0]["ref"]
    report = cli.client.dataset(dataset)["report"]
    counts = {key: report[key] for key in ("in", "kept", "dropped", "refused", "redacted")}
    story.documents(counts)
    return {"documents": counts, "dataset": dataset}


def train(stage: Stage) -> Json | None:
    """Letters -> Model that routes them: `routing`; None where there are no letters."""
    cli, story, letters = stage.cli, stage.story, stage.material.letters
    if letters is None:
        story.fact("No letters in this folder: nothing to train.")
        return None
    version, _ = add_source(cli, _LETTERS, [str(letters)], label="public")
    run = cli.client.train("text-classifier", name=_ROUTER, inputs={"source": version["ref"]})
    run = watch(cli, run, label=cli.screen.tr("Training"))
    story.line("  " + told(cli, run))
    output = run["outputs"][0]
    facts = output["summary"]
    routing = {key: facts[key] for key in ("score", "interval", "baseline", "beats_baseline")}
    routing = {"model": output["ref"], **routing}
    story.routing(routing)
    return routing


def host(stage: Stage, dataset: str, routing: Json | None) -> Json:
    """Dataset -> Index -> desk, and the Model at a name: `index`, `desk`."""
    cli, story, name = stage.cli, stage.story, stage.material.name
    # An own folder stays inside the project: only somebody who knows the papers opens a desk to the public.
    audience = ("public",) if stage.material.public else ("project",)
    made = make_desk(cli, name, dataset, audience, say=lambda text: story.line("  " + text))
    if routing is not None:
        cli.client.put_service(_ROUTER, kind="model", of=routing["model"], audience=("project",))
        story.fact("Hosting {refs}.", refs=f"service:{_ROUTER}")
    url = made["service"]["url"]
    story.line("  " + url)
    return {"index": made["index"], "desk": {"service": f"service:{name}", "url": url}}


def ask(stage: Stage, dataset: str) -> list[Json]:
    """Ask what can be answered, what has expired, what no document says, and what is internal: `questions`."""
    questions = stage.material.questions
    if questions is None:
        rows = [_ask(stage, asked, "") for asked in _own_questions(stage.cli, dataset)]
    else:
        _make_officer(stage.cli)
        rows = []
        for asked in questions:
            rows += _ask_both(stage, asked) if asked.expect == "hidden" else [_ask(stage, asked, "public")]
    for row in rows:
        stage.story.question(row)
    return rows


def _ask_both(stage: Stage, asked: Asked) -> list[Json]:
    """The same internal question for the public and for an officer: `hidden` when only the officer is answered."""
    public, officer = _ask(stage, asked, "public"), _ask(stage, asked, OFFICER)
    if public["outcome"] == "out-of-scope" and officer["outcome"] == "answered":
        public["outcome"] = "hidden"
    return [public, officer]


def _ask(stage: Stage, asked: Asked, ask_as: str) -> Json:
    answer = stage.cli.client.ask_desk(stage.material.name, asked.question, ask_as=ask_as)
    return {
        "asked": asked.question,
        "as": ask_as or OFFICER,  # without a name the caller itself asks, who is cleared for its own folder
        "id": f"answer:{str(answer['id']).removeprefix('answer:')}",
        "outcome": answer["outcome"],
        "answer": answer["answer"],
        "citations": [{"document": one["document"], "span": one["span"]} for one in answer["citations"]],
        "found": [{"document": one["document"], "score": one["score"]} for one in answer["found"]],
    }


def _own_questions(cli: Cli, dataset: str) -> list[Asked]:
    """The beginning of a Document in a folder that we know nothing of, and something that it will not hold."""
    rows = cli.client.get(f"datasets/{dataset.removeprefix('dataset:')}/rows", n=20)["items"]
    held = [row for row in rows if not row.get("valid_until")] or rows
    asked = [Asked(question=OUT_OF_SCOPE, expect="out-of-scope")]
    for row in held[:1]:
        words = " ".join(str(row.get("title") or row["text"]).split())[:_QUESTION_CHARACTERS]
        asked.insert(0, Asked(question=words, expect="answered"))
    return asked


def _make_officer(cli: Cli) -> None:
    """An actor cleared for internal papers; there already after the first demo, or after a repeated request."""
    body = {"name": OFFICER, "kind": "person", "clearance": "internal", "role": "viewer"}
    try:
        cli.client.post("users", body, repeatable=True)
    except Refused as error:
        if error.status != 409:
            raise
