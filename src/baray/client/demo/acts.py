"""The acts of the demo: process, train, host, ask. Every call may be repeated, so that a lost process costs only time."""

from __future__ import annotations

from dataclasses import dataclass

from baray.client.cli import Cli
from baray.client.commands.desk import hosted, make_desk, refusal
from baray.client.commands.source import add_source
from baray.client.commands.source import told as source_told
from baray.client.commands.watching import told, watch
from baray.client.demo.sample import OUT_OF_SCOPE, Asked, Material
from baray.client.demo.story import Story
from baray.client.sdk.transport import Json
from baray.core import NotFound, Refused

OFFICER = "officer"
_LETTERS, _ROUTER = "letters", "letters-router"
_QUESTION_CHARACTERS = 100
_NEW_REVISION_SECONDS = 5.0


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
        cli, given.name, [str(given.documents)], label="public" if given.public else "", title=given.title
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
    given = stage.material
    examples = [asked.question for asked in given.questions or () if asked.expect in {"answered", "expired"}]
    page = {"title": given.title, "examples": examples}
    made = make_desk(cli, name, dataset, audience, say=lambda text: story.line("  " + text), page=page)
    if routing is not None:
        served = cli.client.put_service(_ROUTER, kind="model", of=routing["model"], audience=("project",))
        story.line("  " + hosted(cli, served))
    url = made["service"]["url"]
    story.line("  " + url)
    desk = {"service": f"service:{name}", "url": url}
    return {"index": made["index"], "desk": desk, "revision": int(made["service"]["revision"])}


def ask(stage: Stage, dataset: str, revision: int) -> list[Json]:
    """Ask what can be answered, what has expired, what no document says, and what is internal: `questions`."""
    desk = _Desk(stage=stage, revision=revision)
    questions = stage.material.questions
    if questions is None:
        return [desk.ask(asked, "") for asked in _own_questions(stage.cli, dataset)]
    _make_officer(stage.cli)
    rows = []
    for asked in questions:
        rows += desk.ask_both(asked) if asked.expect == "hidden" else [desk.ask(asked, "public")]
    return rows


@dataclass(frozen=True, slots=True, kw_only=True)
class _Desk:
    """Asks the Revision that was hosted, and tells each Answer."""

    stage: Stage
    """Where it is told."""
    revision: int
    """The router reads its routes a moment late: an older Revision, a desk or actor it doesn't know yet, is asked again."""

    def ask(self, asked: Asked, ask_as: str) -> Json:
        answer = self._answer(asked.question, ask_as)
        row = self._row(asked, ask_as, answer)
        self.stage.story.question(row, answer["answer"] or refusal(self.stage.cli, answer))
        return row

    def ask_both(self, asked: Asked) -> list[Json]:
        """The same internal question for the public and for an officer: `hidden` when only the officer is answered."""
        answers = {who: self._answer(asked.question, who) for who in ("public", OFFICER)}
        rows = {who: self._row(asked, who, answer) for who, answer in answers.items()}
        if rows["public"]["outcome"] == "out-of-scope" and rows[OFFICER]["outcome"] == "answered":
            rows["public"]["outcome"] = "hidden"
        for who, answer in answers.items():
            self.stage.story.question(rows[who], answer["answer"] or refusal(self.stage.cli, answer))
        return list(rows.values())

    def _answer(self, question: str, ask_as: str) -> Json:
        cli = self.stage.cli
        end = cli.timing.clock.monotonic() + _NEW_REVISION_SECONDS
        while True:
            late = cli.timing.clock.monotonic() > end
            try:
                answer = cli.client.ask_desk(self.stage.material.name, question, ask_as=ask_as)
                if late or answer.get("revision", self.revision) >= self.revision:
                    return answer
            except NotFound:
                if late:
                    raise
            cli.timing.sleep(0.05)

    def _row(self, asked: Asked, ask_as: str, answer: Json) -> Json:
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
