"""The named filters on a batch of Documents: measured in the compiled pass, decided as expressions.

C4 also takes lines out: of a Document that stays, only the lines that pass are left, in the order in which they stood.
"""

from __future__ import annotations

import re

import polars as pl

from baray.data.documents import compared_digest
from baray.data.kernel import rules
from baray.data.kernel.measures import Measures, measure
from baray.data.recipes import LANGUAGES, TextRecipe, filter_set

_CITATION = re.compile(r"\[\d*]|\[edit]|\[citation needed]")


def apply_filters(batch: pl.DataFrame, recipe: TextRecipe) -> pl.DataFrame:
    """`batch` with `step`, `reason` and `detail` where a filter drops a row that nothing dropped before.

    Needs `text`, `language` and `key`; a text from which lines are taken gets a new key.
    """
    names = filter_set(recipe)
    if not names or batch.height == 0:
        return batch
    groups = sum(rules.GROUPS[name] for name in names)
    languages = [LANGUAGES.index(language) for language in batch["language"].to_list()]
    found = measure(batch["text"], languages, rules.line_rules(recipe), groups=groups)
    frame = found.frame()
    rows = pl.concat([batch, frame], how="horizontal")
    decided = _decided(rows, rules.rules(names, rules.limits_of(recipe))).select(batch.columns)
    return _without_lines(decided, found, frame["c4_changed"]) if "c4" in names else decided


def _decided(rows: pl.DataFrame, asked: list[rules.Rule]) -> pl.DataFrame:
    """The first rule that a row breaks, where nothing dropped it before."""
    free = pl.col("step").is_null()
    return rows.with_columns(
        **{
            name: pl.coalesce(
                pl.col(name),
                *(pl.when(free & rule.broken).then(value(rule)) for rule in asked),
                pl.lit(None, pl.String),
            )
            for name, value in (
                ("step", lambda rule: pl.lit(rule.step)),
                ("reason", lambda rule: pl.lit(rule.reason)),
                ("detail", lambda rule: rule.detail),
            )
        }
    )


def _without_lines(batch: pl.DataFrame, found: Measures, changed: pl.Series) -> pl.DataFrame:
    """Rows that stay, without the lines that C4 takes out."""
    touched = (changed.cast(pl.Boolean) & batch["step"].is_null()).to_list()
    if not any(touched):
        return batch
    texts, keys = batch["text"].to_list(), batch["key"].to_list()
    for row, is_touched in enumerate(touched):
        if is_touched:
            kept = found.kept_lines[found.line_places[row] : found.line_places[row + 1]].tolist()
            texts[row] = left_of(texts[row], kept)
            keys[row] = compared_digest(texts[row])
    return batch.with_columns(text=pl.Series(texts, dtype=pl.String), key=pl.Series(keys, dtype=pl.String))


def left_of(text: str, kept: list[int]) -> str:
    """A text's lines that stay, without citations; lines behind those that were judged stay as they are."""
    lines = text.splitlines()
    judged = (_CITATION.sub("", line.strip()) for line, keep in zip(lines, kept, strict=False) if keep)
    return "\n".join([*judged, *lines[len(kept) :]]).strip()
