"""`baray evaluate`: measure a Model version, alone or beside another on the same Documents."""

from __future__ import annotations

from baray.client.cli import Cli, Leaf, argument, option
from baray.client.commands.dataset import settings_of
from baray.client.commands.watching import watch
from baray.client.output import table
from baray.client.sdk.transport import Json
from baray.core import parse_ref

_BASELINES = ("model", "unigram", "trigram", "lzma")


def _evaluate(
    cli: Cli,
    model: str,
    *,
    dataset: str,
    metrics: tuple[str, ...],
    settings: tuple[str, ...],
    against: str | None,
    follow: bool,
    **room: object,
) -> None:
    ref = parse_ref(dataset if ":" in dataset else f"dataset:{dataset}")
    key = "source" if ref.kind == "source" else "dataset"
    run = cli.client.evaluate(
        str(parse_ref(model, kind="model")),
        data={key: str(parse_ref(str(ref), kind=key))},
        against=str(parse_ref(against, kind="model")) if against else "",
        options=settings_of(settings) | ({"metric": ",".join(metrics)} if metrics else {}),
        **room,
    )
    ended = watch(cli, run, label=f"evaluate {model}", follow=follow)
    document = cli.client.thing(ended["outputs"][0]["ref"], kind="evaluation")
    shown = {key: document[key] for key in ("ref", "label", "digest", "created")} | document["summary"]
    cli.screen.show(shown | {"run": ended["id"], "reused": ended["reused"]}, lambda: evaluation_lines(document))


def evaluation_lines(document: Json) -> list[str]:
    """An Evaluation for people: Scores, baselines, the comparison, what the model may have seen."""
    found = document["summary"]
    rows = [
        (score["metric"], f"{score['value']:.4f}", f"{score['low']:.4f} to {score['high']:.4f}", score["unit"])
        for score in found["scores"]
    ]
    lines = [f"{found['model']} on {found['documents']} Documents of {found['dataset']}  ({document['ref']})", ""]
    lines += table(("score", "value", "95 %", "unit"), rows)
    if found.get("baselines"):
        known = found["baselines"]
        told = ", ".join(f"{name} {known[name]:.3f}" for name in _BASELINES if name in known)
        lines += ["", f"bits for each byte: {told}"]
    if found.get("comparison"):
        lines += ["", found["comparison"]["verdict"]]
    for language, rate in (found.get("by_language") or {}).items():
        lines.append(f"{language}: {rate:.4f} {found['scores'][0]['unit']}")
    return [*lines, "", seen_line(found.get("seen_before"))] if found["kind"] != "tokenizer" else lines


def seen_line(seen: Json | None) -> str:
    """Whether the model learnt from the Documents that it was measured on."""
    if seen is None:
        return "What the model learnt from is not here to look whether it saw these Documents before."
    return (
        f"{seen['some']} of {seen['documents']} Documents share something with what the model learnt from ({seen['by']}), "
        f"{seen['half']} of them half or more."
    )


EVALUATE = Leaf(
    run=_evaluate,
    params=(
        argument("model"),
        option(
            "--dataset", required=True, metavar="REF", help="What to measure on: a Dataset, or source:NAME for a CSV."
        ),
        option("--metric", "metrics", multiple=True, metavar="M", help="What to measure; all where none is named."),
        option("--against", metavar="MODEL", help="Another version, measured on the same Documents."),
        option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="An option; `baray recipes evaluate`."),
        option("--cpus", type=int, help="Cores; all that are free unless told otherwise."),
        option("--memory", metavar="SIZE", help="Memory, for example 8GB; 2GB unless told otherwise."),
        option("--follow", is_flag=True, help="Show the log."),
    ),
    example="baray evaluate khmer-lm@v2 --dataset circulars-tokens --against khmer-lm@v1",
)
