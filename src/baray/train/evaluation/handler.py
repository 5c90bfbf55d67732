"""The handler of an Evaluation: Model versions and a Dataset in, Scores out. Loaded only in an attempt's own process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from baray.catalog import FileEntry, Output
from baray.core import Refused, digest_bytes, digest_file
from baray.runs import AttemptContext, Input
from baray.train.classifier.letters import Letter, read_letters
from baray.train.config import Evaluate, TextClassifier, read_options
from baray.train.evaluation import classifier
from baray.train.evaluation.documents import files_of
from baray.train.evaluation.kinds import byte_baselines, language_model, samples_for, tokenizer
from baray.train.evaluation.measured import Measured, difference, scores, seen_before
from baray.train.evaluation.paired import Interval, verdict

METRICS = {
    "lm": ("bits_per_byte", "perplexity"),
    "tokenizer": ("tokens_per_character", "bytes_per_token"),
    "text-classifier": ("macro_f1", "accuracy"),
}
"""Kind of Model -> what it can be measured by; the first is what versions are compared by."""


def evaluate(context: AttemptContext) -> list[Output]:
    """Measure a Model version, beside another where one is given, and write what was found."""
    config = read_options(Evaluate, context.spec["options"])
    model, against = context.inputs["model"], context.inputs.get("against")
    kind = _kind(model)
    if against is not None and _kind(against) != kind:
        raise Refused(
            "not_comparable",
            f"{model.ref} is a {kind} and {against.ref} a {_kind(against)}: they are measured by different things.",
            fix="Compare two versions of the same kind.",
        )
    _check_metrics(kind, config.metric_names)
    data = context.inputs.get("dataset") or context.inputs["source"]
    head: dict[str, Any] = {"model": model.ref, "model_digest": model.digest, "kind": kind, "dataset": data.ref}
    head |= {"dataset_digest": data.digest, "resamples": config.resamples, "seed": config.seed}
    if kind == "text-classifier":
        found, rows = _classifier(context, config, model, data, against)
    else:
        found, rows = _documents(context, config, kind, model, against)
    for line in told(head | found):
        context.log(line)
    for score in found["scores"]:
        context.metric(score["metric"], score["value"], step=0)
    return [_write(context, head | found, rows)]


def told(found: dict[str, Any]) -> list[str]:
    """The result in plain lines."""
    lines = [
        f"{found['model']} on {found['documents']} Documents of {found['dataset']}: {score['metric']} {score['value']:.4f}"
        f" (95 %: {score['low']:.4f} to {score['high']:.4f})"
        for score in found["scores"]
    ]
    if found.get("baselines"):
        lines.append(
            "bits for each byte: " + ", ".join(f"{name} {bits:.4f}" for name, bits in found["baselines"].items())
        )
    if found["kind"] != "tokenizer":
        lines.append(_seen_line(found["seen_before"]))
    return lines + ([found["comparison"]["verdict"]] if found.get("comparison") else [])


def _seen_line(seen: dict[str, Any] | None) -> str:
    if seen is None:
        return "Nobody looked whether the model learnt from these Documents: what it learnt from is not here to read."
    shared = f"{seen['some']} of {seen['documents']} Documents share something with what the model learnt from ({seen['by']})"
    without = seen["score_without"]
    end = "." if without is None else f"; without them it is {without:.4f}."
    return f"{shared}, {seen['half']} of them half or more{end}"


def _kind(model: Input) -> str:
    files = files_of(model)
    if "model.json" in files:
        return "text-classifier"
    if "config.json" in files and "tokenizer.json" in files:
        return "lm"
    if "tokenizer.json" in files:
        return "tokenizer"
    raise Refused("not_measurable", f"Nothing here can measure {model.ref}.", fix="Give a Model of a built-in recipe.")


def _check_metrics(kind: str, names: tuple[str, ...]) -> None:
    wrong = [name for name in names if name not in METRICS[kind]]
    if wrong:
        fix = f"Choose from: {', '.join(METRICS[kind])}."
        raise Refused("bad_option", f"A {kind} is not measured by '{wrong[0]}'.", fix=fix)


def _documents(
    context: AttemptContext, config: Evaluate, kind: str, model: Input, against: Input | None
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A language model or a tokenizer."""
    samples = samples_for(context, config.documents)

    def measured(version: Input) -> Measured:
        return language_model(context, version, samples) if kind == "lm" else tokenizer(version, samples)

    mine = measured(model)
    chance = {"resamples": config.resamples, "seed": config.seed}
    found: dict[str, Any] = {"documents": len(samples), "scores": scores(mine, config.metric_names, **chance)}
    found |= {"seen_before": seen_before(mine), **mine.beside}
    if kind == "lm":
        baselines = byte_baselines(context, samples)
        bits = mine.metrics["bits_per_byte"]
        ours = {"model": round(float(bits.sums.sum() / bits.weights.sum()), 5)}
        found["baselines"] = None if baselines is None else ours | baselines
    if against is not None:
        found["comparison"] = difference(mine, measured(against), model=model.ref, against=against.ref, **chance)
    first = mine.first
    rows = [
        {"id": one, "sum": round(float(first.sums[at]), 4), "weight": float(first.weights[at])}
        | ({} if mine.overlap is None else {"overlap": round(float(mine.overlap[at]), 4)})
        for at, one in enumerate(mine.ids)
    ]
    return found, rows


def _classifier(
    context: AttemptContext, config: Evaluate, model: Input, data: Input, against: Input | None
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    columns = TextClassifier(text=config.text, target=config.target, id=config.id)
    letters = classifier.read_labelled(data, model, columns)
    result = classifier.measure(letters, model, against, resamples=config.resamples, seed=config.seed)
    every = {
        "macro_f1": {"metric": "macro_f1", "unit": "fraction", **result["f1"]},
        "accuracy": {"metric": "accuracy", "unit": "fraction"}
        | dict.fromkeys(("value", "low", "high"), round(result["accuracy"], 5)),
    }
    wanted = config.metric_names or ("macro_f1",)
    seen = _letters_seen(context, letters, columns)
    found: dict[str, Any] = {"documents": len(letters), "scores": [every[name] for name in wanted], "seen_before": seen}
    if against is not None:
        gap = Interval(value=result["gap"].value, low=result["gap"].low, high=result["gap"].high)
        sentence = verdict(gap, model=model.ref, other=against.ref, unit="macro-F1", less_is_better=False)
        found["comparison"] = {"against": against.ref, "metric": "macro_f1", "score": result["other"]}
        found["comparison"] |= {"difference": gap.as_json(), "verdict": sentence}
    rows = [{"id": letter.id, "correct": hit} for letter, hit in zip(letters, result["correct"], strict=True)]
    return found, rows


def _letters_seen(context: AttemptContext, letters: list[Letter], columns: TextClassifier) -> dict[str, Any] | None:
    """Letters whose very text stands in what the model was made from, its held-out part included."""
    training = context.inputs.get("training")
    if training is None:
        return None
    known = {letter.digest for letter in read_letters(training, columns).letters}
    same = sum(letter.digest in known for letter in letters)
    return {"documents": len(letters), "by": "the same text", "some": same, "half": same, "score_without": None}


def _write(context: AttemptContext, found: dict[str, Any], rows: list[dict[str, Any]]) -> Output:
    name = context.spec["name"]
    folder = context.out / name
    folder.mkdir(parents=True, exist_ok=True)
    whole = json.dumps(found, ensure_ascii=False, indent=1, sort_keys=True) + "\n"
    (folder / "evaluation.json").write_text(whole, encoding="utf-8")
    lines = "".join(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n" for row in rows)
    (folder / "documents.jsonl").write_text(lines, encoding="utf-8")
    summary = {key: found[key] for key in ("model", "dataset", "kind", "documents", "scores", "seen_before")}
    summary |= {key: found[key] for key in ("baselines", "by_language", "comparison") if found.get(key)}
    return Output(
        kind="evaluation",
        name=name,
        digest=digest_bytes(b"baray evaluation 1\n" + whole.encode() + lines.encode()),
        labels=(context.spec.get("label", "public"),),
        files=tuple(_entry(folder / path) for path in ("documents.jsonl", "evaluation.json")),
        summary=summary,
    )


def _entry(path: Path) -> FileEntry:
    return FileEntry(path=path.name, digest=digest_file(path), bytes=path.stat().st_size)
