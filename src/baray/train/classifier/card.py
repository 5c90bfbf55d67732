"""The card of a Model version: what it is for, how good it is, what it was made of, in plain sentences."""

from __future__ import annotations

from typing import Any


def render_card(name: str, *, facts: dict[str, Any], evaluation: dict[str, Any]) -> str:
    """`README.md` with the front matter that model hubs read."""
    front = [
        "---",
        "language:",
        *(f"- {language}" for language in facts["languages"]),
        "pipeline_tag: text-classification",
        "library_name: baray",
        "tags:",
        "- text-classification",
        "- linear",
        "---",
    ]
    return "\n".join(
        [*front, "", f"# {name}", "", *_purpose(facts), *_score(evaluation), *_making(facts, evaluation), ""]
    )


def _titled(facts: dict[str, Any]) -> str:
    title = facts.get("input_title", "")
    return f"“{title}”, " if title and title not in facts["input"] else ""


def _purpose(facts: dict[str, Any]) -> list[str]:
    return [
        f"Proposes which of {len(facts['classes'])} classes a short text belongs to: {', '.join(facts['classes'])}.",
        "",
        "Meant for proposing where a letter goes, with a person who decides. Not meant for deciding about people.",
        "",
        f"Label of the letters it learnt from: `{facts['label']}`. The weights hold hashed n-grams, no text;",
        "they carry that label all the same.",
        "",
    ]


def _score(evaluation: dict[str, Any]) -> list[str]:
    low, high = evaluation["interval"]
    letters = evaluation["letters"]
    lines = [
        "## Score",
        "",
        f"Macro-F1 **{evaluation['score']:.3f}** on {letters['test']} held-out letters "
        f"(95 % bootstrap interval {low:.3f} to {high:.3f}).",
        f"Keyword baseline: {evaluation['baseline']:.3f}. **{evaluation['verdict']}**",
        "",
        "| class | precision | recall | F1 | letters |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {target} | {row['precision']:.2f} | {row['recall']:.2f} | {row['f1']:.2f} | {row['letters']} |"
        for target, row in evaluation["per_class"].items()
    ]
    lines += ["", f"Below a probability of {evaluation['review_below']:.2f} a person should look first."]
    if evaluation["near_duplicates"]:
        lines += [
            "",
            f"{evaluation['near_duplicates']} held-out letters are nearly the same as a training letter:",
            "on letters that are not, expect less.",
        ]
    return [*lines, ""]


def _making(facts: dict[str, Any], evaluation: dict[str, Any]) -> list[str]:
    letters, chosen = evaluation["letters"], evaluation["chosen"]
    return [
        "## How it was made",
        "",
        f"From {_titled(facts)}`{facts['input']}` (`{facts['input_digest']}`): {letters['train']} letters to train, "
        f"{letters['validation']} to choose, {letters['test']} held out; the split goes by the digest of the text.",
        f"Character n-grams of {chosen['shortest']} to {chosen['longest']} code points, hashed, scaled by how much each tells; "
        f"multinomial logistic regression, C = {chosen['c']:g}.",
        "",
        f"Licences of these letters: {', '.join(facts.get('licences', ())) or 'none stated'}.",
        "",
        "`model.json` states the format, `evaluation.json` holds all numbers, `bom.json` the parts and their licences.",
        "",
        "## How to check it",
        "",
        "`model.sig` signs every file beside it, the label and the licences (OpenSSF Model Signing, ECDSA P-256):",
        "`baray model verify .`, or any tool that reads that format, with the office's `artifacts.pub`.",
    ]
