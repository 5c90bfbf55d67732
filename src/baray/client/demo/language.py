"""The second act: a language model from scratch, killed on the way, resumed to the same bits, measured, opened, asked."""

from __future__ import annotations

import re
from dataclasses import dataclass

from baray.client.commands.curves import Curve, steps_of
from baray.client.commands.watching import told, watch
from baray.client.demo.acts import Stage
from baray.client.demo.killing import kill_attempt
from baray.client.demo.outside import Opened, ask_router, deploy, open_with_transformers, verify_model
from baray.client.demo.prove import lineage_of, verify_ledger
from baray.client.sdk.client import run_id
from baray.client.sdk.transport import Json
from baray.core import Refused

_CORES = (
    1  # told, so that a second demo finds the same Runs: how many are free is another number while a Replica answers
)
_KILL_AFTER = 0.4  # of the steps: there is a Checkpoint by then, and work left to lose
_LOOK_SECONDS = 0.02
_WINDOW_TOKENS = 64
_PROMPT_CHARACTERS = 24
_ANSWER_TOKENS = 24
_CURVE_POINTS = 200
_PLANNED = ("network: ", "training: ", "needs: ")
_RESUMED = re.compile(r"^resumed at step ([\d,]+)", re.MULTILINE)
_TINY_LM: Json = {
    "params": "200k",
    "context": _WINDOW_TOKENS,
    "batch_tokens": 1024,
    "steps": 50,
    "checkpoint_every": "5",
}
_NORMAL_LM: Json = {"params": "2M", "context": 256, "batch_tokens": 4096, "checkpoint_every": "5s"}
_NORMAL_BUDGET = "90s"
_FEW_TOKENS, _ROUNDS, _FEWEST_STEPS = 100_000, 12, 60


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sizes:
    """How much is learnt."""

    tokenizer: Json
    """Options of recipe tokenizer."""
    tokens: Json
    """Options of recipe tokens."""
    tiny: bool
    """Whether it is to end within half a minute."""


def learn(stage: Stage, dataset: str, *, size: str) -> Json:
    """Documents -> tokens -> Model -> answer: the member `train` of the demo's document."""
    name = f"{stage.material.name}-lm"
    sizes = _sizes(stage, dataset, size)
    tokens = _cut(stage, dataset, name, sizes)
    options = _lm_options(tokens, sizes)
    run = _train_and_kill(stage, tokens["ref"], name, options)
    model = run["outputs"][0]
    resumed = _compare(stage, run, _undisturbed(stage, tokens["ref"], name, options, model), model)
    bits = _measure(stage, model["ref"], tokens["ref"])
    verify_model(stage, model["ref"])
    prompt = _prompt(stage, dataset)
    opened = open_with_transformers(stage, model["ref"], prompt, _ANSWER_TOKENS)
    service = deploy(stage, name, model["ref"])
    answer = _ask(stage, service, prompt, opened)
    _prove(stage, answer["id"])
    return {
        "dataset": tokens["ref"],
        "tokens": tokens["summary"]["tokens"],
        "model": model["ref"],
        "loss": _curve(stage, run),
        "bits_per_byte": bits,
        "resumed_identical": resumed,
        "service": f"service:{service}",
        "answer": answer["text"],
    }


def _sizes(stage: Stage, dataset: str, size: str) -> _Sizes:
    """A vocabulary that suits the text: a large one has no room to be learnt from little."""
    num_bytes = int(stage.cli.client.dataset(dataset)["bytes"])
    tiny = size == "tiny"
    vocab = 512 if tiny else 1024 if num_bytes < 1_000_000 else 4096
    held_out = 15 if num_bytes < 1_000_000 else 5
    return _Sizes(
        tokenizer={"vocab": vocab, "held_out": held_out, "max_megabytes": 4 if tiny else 200},
        tokens={"held_out": held_out},
        tiny=tiny,
    )


def _cut(stage: Stage, dataset: str, name: str, sizes: _Sizes) -> Json:
    """Dataset -> tokenizer -> tokens, told by how well the tokenizer suits each language."""
    cli, story = stage.cli, stage.story
    run = cli.client.train(
        "tokenizer", name=f"{name}-tokenizer", inputs={"dataset": dataset}, options=sizes.tokenizer, cpus=_CORES
    )
    run = watch(cli, run, label=cli.screen.tr("Learning a tokenizer"))
    story.line("  " + told(cli, run))
    tokenizer = run["outputs"][0]
    rates = tokenizer["summary"]["fertility"].items()
    story.fact(
        "{vocab} tokens; tokens for each character: {rates}",
        vocab=tokenizer["summary"]["vocab"],
        rates=", ".join(f"{language} {rate:.2f}" for language, rate in rates),
    )
    options = sizes.tokens | {"tokenizer": tokenizer["ref"]}
    run = cli.client.build_dataset("tokens", name=f"{name}-tokens", dataset=dataset, options=options, cpus=_CORES)
    run = watch(cli, run, label=cli.screen.tr("Cutting into tokens"))
    story.line("  " + told(cli, run))
    return cli.client.thing(run["outputs"][0]["ref"], kind="dataset")


def _lm_options(tokens: Json, sizes: _Sizes) -> Json:
    """Steps where they are few enough to be told beforehand, else a time, which the Run measures into steps."""
    if sizes.tiny:
        return dict(_TINY_LM)
    count = int(tokens["summary"]["tokens"])
    if count > _FEW_TOKENS:
        return {**_NORMAL_LM, "budget": _NORMAL_BUDGET}
    return {**_NORMAL_LM, "steps": max(_FEWEST_STEPS, _ROUNDS * count // int(_NORMAL_LM["batch_tokens"]))}


def _train_and_kill(stage: Stage, tokens: str, name: str, options: Json) -> Json:
    """Train, and kill the training process with SIGKILL on the way; the Run goes on from its Checkpoint."""
    cli, story = stage.cli, stage.story
    run = cli.client.train("lm", name=name, inputs={"dataset": tokens}, options=options, cpus=_CORES)
    label = cli.screen.tr("Training")
    killed = _kill_midway(stage, run, label)
    # What the Run said of itself before its first step.
    for line in dict.fromkeys("".join(cli.client.log(run["id"])).splitlines()):
        if line.startswith(_PLANNED):
            story.line(f"  {line}")
    if killed is not None:
        process, step = killed
        story.fact("kill -9 of process {process} after step {step}", process=process, step=f"{step:,.0f}")
    run = watch(cli, run, label=label)
    resumed = _RESUMED.findall("".join(cli.client.log(run["id"])))
    if resumed:
        story.fact("The Run went on from the Checkpoint of step {step}.", step=resumed[-1])
    else:
        story.fact("The training ended before it could be killed.")
    story.line("  " + told(cli, run))
    curve = Curve(cli, run_id(run["id"]))
    curve.look()
    story.line("  " + curve.line(None))
    return run | {"resumed": bool(resumed)}


def _kill_midway(stage: Stage, run: Json, label: str) -> tuple[int, float] | None:
    """(pid, step) of the process that was killed; None where the Run had ended, or was killed in an earlier demo."""
    cli, name = stage.cli, run_id(run["id"])
    folder = cli.settings.home / "runs" / name
    curve = Curve(cli, name)
    with cli.screen.progress(label) as progress:
        while True:
            document = cli.client.run(name)
            if document["state"] not in {"queued", "running"}:
                return None
            curve.look()
            progress.note(curve.line(document.get("progress")) or document["state"])
            total = steps_of(document.get("progress"))
            kept = max(
                (int(path.name.rpartition("-")[2]) for path in folder.glob("checkpoints/step-*[0-9]")), default=0
            )
            if total and kept and curve.step >= _KILL_AFTER * total:
                process = kill_attempt(folder)
                return None if process is None else (process, curve.step)
            cli.timing.sleep(_LOOK_SECONDS)


def _undisturbed(stage: Stage, tokens: str, name: str, options: Json, model: Json) -> Json:
    """The same training from the start, with as many steps, that nobody kills."""
    cli, story = stage.cli, stage.story
    same = {key: value for key, value in options.items() if key != "budget"} | {"steps": model["summary"]["steps"]}
    run = cli.client.train("lm", name=f"{name}-undisturbed", inputs={"dataset": tokens}, options=same, cpus=_CORES)
    run = watch(cli, run, label=cli.screen.tr("The same again, undisturbed"))
    story.line("  " + told(cli, run))
    return run


def _compare(stage: Stage, run: Json, undisturbed: Json, model: Json) -> bool:
    """Whether a Run that was killed and resumed made the very weights of one that was not. Says what was compared."""
    other = undisturbed["outputs"][0]
    identical = bool(run["resumed"]) and other["digest"] == model["digest"]
    if identical:
        said = "Killed and resumed, or undisturbed: the same weights after {steps} steps, bit for bit ({digest})."
    elif run["resumed"]:
        said = "NOT identical after {steps} steps: {digest} is not what the undisturbed training made."
    else:
        said = "Nothing was resumed, so that nothing is shown by {steps} steps that gave {digest}."
    stage.story.fact(said, steps=f"{model['summary']['steps']:,}", digest=f"{model['digest'][:19]}…")
    return identical


def _measure(stage: Stage, model: str, tokens: str) -> Json:
    """Bits for each byte of the held-out Documents, beside what costs nothing to train."""
    cli, story = stage.cli, stage.story
    run = cli.client.evaluate(model, data={"dataset": tokens}, cpus=_CORES)
    run = watch(cli, run, label=cli.screen.tr("Measuring"))
    found = cli.client.thing(run["outputs"][0]["ref"], kind="evaluation")["summary"]
    bits = {name: found["baselines"][name] for name in ("model", "unigram", "trigram", "lzma")}
    story.fact(
        "Bits for each byte of {documents} held-out Documents: {bits}",
        documents=found["documents"],
        bits=", ".join(f"{name} {value:.3f}" for name, value in bits.items()),
    )
    seen = found.get("seen_before") or {}
    if seen.get("some"):
        story.fact(
            "Of these {documents}, {some} share passages with what it learnt from: that flatters it.",
            documents=seen["documents"],
            some=seen["some"],
        )
    return bits


def _prompt(stage: Stage, dataset: str) -> str:
    """How the first Document begins, cut between words."""
    rows = stage.cli.client.get(f"datasets/{dataset.removeprefix('dataset:')}/rows", n=1)["items"]
    words = " ".join(str(rows[0]["text"]).split())[:_PROMPT_CHARACTERS]
    return words.rpartition(" ")[0] or words


def _ask(stage: Stage, service: str, prompt: str, opened: Opened) -> Json:
    """Ask through the router as any program would; what it says, and whether `transformers` says the same."""
    story = stage.story
    answer = ask_router(stage, service, prompt, _ANSWER_TOKENS)
    said = " ".join(answer["text"].split())
    story.fact(
        "{service} goes on from “{prompt}” ({way}): {said}",
        service=service,
        prompt=prompt,
        way=answer["way"],
        said=said,
    )
    if opened.text is not None:
        same = answer["text"] == opened.text
        story.fact(
            "The same {tokens} greedy tokens as in transformers."
            if same
            else "transformers went on in other words: {text}",
            tokens=_ANSWER_TOKENS,
            text=" ".join(opened.text.split()),
        )
    return answer


def _prove(stage: Stage, answer: str) -> None:
    """From the Answer back to the files, and the ledger with all that was done in this act."""
    story = stage.story
    graph = lineage_of(stage, answer)
    story.fact("Lineage: {chain}", chain=" <- ".join(graph["chain"]))
    report = verify_ledger(stage, stage.cli.settings.home)
    if not report["ok"]:
        raise Refused("not_proven", "The ledger did not verify.", fix="baray ledger verify")
    story.fact("The ledger verifies with all of this in it.")


def _curve(stage: Stage, run: Json) -> list[list[float]]:
    """Steps and losses, some hundred of them, the first and the last among these."""
    curve = Curve(stage.cli, run_id(run["id"]))
    curve.look()
    points = curve.points
    stride = -(-len(points) // _CURVE_POINTS) or 1
    chosen = points[::stride]
    return [[step, value] for step, value in (chosen if chosen[-1:] == points[-1:] else [*chosen, *points[-1:]])]
