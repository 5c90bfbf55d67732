"""Where our filters and datatrove's decide alike: its own words and ours, ours in its place, near duplicates, personal data."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from baray.data.duplicates.minhash import permutations
from baray.data.kernel import measures, rules
from baray.data.recipes import TextRecipe
from baray.text import redact

HERE = Path(__file__).parent
CITATION = re.compile(r"\[\d*]|\[edit]|\[citation needed]")
PLAIN = {
    "min_words": "50",
    "max_words": "100000",
    "min_word_length": "3",
    "max_word_length": "10",
    "min_alphabetic": "0.8",
}
PAPERS = TextRecipe(
    **{f"gopher_{name}": value for name, value in PLAIN.items()},
    **{
        f"gopher_duplicate_{size}_gram": str(share / 100)
        for size, share in zip(range(5, 11), range(15, 9, -1), strict=True)
    },
    gopher_min_stop_words="2, km=1, other=0",
    c4_min_sentences="5",
    c4_min_line_words="3",
    fineweb_max_newlines="0.3",
)
"""Thresholds of the papers for every language."""
ANY_LINE = measures.LanguageRules(stop_words=(), line_ends="", least_words=0, short_line=30)
BANDS, ROWS = 14, 8


def ask(python: Path, task: str, language: str, rows: Sequence[dict[str, Any]]) -> list[Any]:
    """Answers of datatrove, one for each row."""
    text = "".join(json.dumps(row) + "\n" for row in rows)
    command = [str(python), str(HERE / "trove.py"), task, language]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def filters(python: Path, texts: list[str], language: str, task: str) -> Iterator[tuple[str, float, dict[str, int]]]:
    """For each filter the share of texts on which both decide alike, and how often which of us drops alone."""
    rows: list[dict[str, Any]] = [{"text": text} for text in texts]
    if task == "inject":
        rows = [row | {"words": measures.words(row["text"]), "sentences": sentences(row["text"])} for row in rows]
    theirs = ask(python, task, language, rows)
    for name, ours in decisions(texts, language).items():
        pairs = list(zip(ours, (answer[name] is not None for answer in theirs), strict=True))
        alone = {"ours": sum(a and not b for a, b in pairs), "theirs": sum(b and not a for a, b in pairs)}
        yield name, sum(a == b for a, b in pairs) / len(pairs), alone


def decisions(texts: list[str], language: str) -> dict[str, list[bool]]:
    """Whether each filter drops each text, by the thresholds of the papers."""
    places = [("en", "km", "other").index(language)] * len(texts)
    frame = measures.measure(
        pl.Series(texts), places, rules.line_rules(PAPERS), groups=sum(rules.GROUPS.values())
    ).frame()
    frame = frame.with_columns(language=pl.lit(language))
    limits = rules.limits_of(PAPERS)
    asked = {name: rules.rules(frozenset([name]), limits) for name in rules.GROUPS}
    broken = {name: pl.any_horizontal(rule.broken for rule in some) for name, some in asked.items()}
    return frame.select(**broken).to_dict(as_series=False)


def sentences(text: str) -> dict[str, int]:
    """Our count of sentences of each line as C4 sees it."""
    lines = list({CITATION.sub("", line.strip()) for line in text.splitlines()})
    found = measures.measure(
        pl.Series(lines, dtype=pl.String), [0] * len(lines), [ANY_LINE], groups=measures.C4
    ).frame()
    return dict(zip(lines, found["c4_sentences"].to_list(), strict=True))


def near(python: Path, texts: list[str], language: str, *, inject: bool) -> float:
    """Share of texts that both keep or both drop as near duplicates of an earlier one, by 14 bands of 8 rows."""
    rows: list[dict[str, Any]] = [{"text": text} for text in texts]
    if inject:
        rows = [row | {"words": re.findall(r"[^\W_]+", row["text"].lower())} for row in rows]
    theirs = ask(python, "near", language, rows)
    ours = clusters(texts)
    return sum((a == at) == (b == at) for at, (a, b) in enumerate(zip(ours, theirs, strict=True))) / len(texts)


def clusters(texts: list[str]) -> list[int]:
    """For each text the first text of its cluster by our signatures."""
    signed = measures.sign(pl.Series(texts), *permutations())
    parents = list(range(len(texts)))

    def root(one: int) -> int:
        while parents[one] != one:
            one = parents[one]
        return one

    for band in range(BANDS):
        first: dict[bytes, int] = {}
        for at, row in enumerate(np.ascontiguousarray(signed.minima[:, band * ROWS : (band + 1) * ROWS])):
            if signed.tokens[at]:
                low, high = sorted((root(first.setdefault(row.tobytes(), at)), root(at)))
                parents[high] = low
    return [root(at) for at in range(len(texts))]


def personal(python: Path, texts: list[str], language: str) -> float:
    """Share of texts in which both find, or both do not find, an address of mail or of the Internet."""
    theirs = ask(python, "pii", language, [{"text": text} for text in texts])
    ours = [bool(redact(text)[1].keys() & {"email", "ip"}) for text in texts]
    return sum(a == b for a, b in zip(ours, theirs, strict=True)) / len(texts)


def with_copies(texts: list[str]) -> list[str]:
    """Every tenth text once more, with one word of forty changed."""
    rng = importlib.import_module("random").Random(20261122)
    copies = []
    for text in texts[::10]:
        words = text.split(" ")
        for at in rng.sample(range(len(words)), len(words) // 40):
            words[at] = "another"
        copies.append(" ".join(words))
    return [*texts, *copies]
