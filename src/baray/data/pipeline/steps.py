"""Filter steps as Polars expressions: each drop has a step and a reason."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from baray.data.recipes import FILTERS, TextRecipe, filter_set, language_set

_CONTENT = r"[\p{L}\p{M}\p{N}]"
_FEW_LINES = 8


def steps_of(recipe: TextRecipe, *, against: Sequence[str] = ()) -> tuple[str, ...]:
    """Steps in their order; normalising and redacting drop nothing. `against`: earlier Datasets."""
    wanted = filter_set(recipe)
    return (
        "read",
        "language",
        "quality",
        *(name for name in FILTERS if name in wanted),
        *(["duplicate_lines"] if recipe.duplicate_lines else []),
        *(["against"] if against else []),
        "exact_duplicates",
        "near_duplicates",
    )


def judge(batch: pl.DataFrame, recipe: TextRecipe) -> pl.DataFrame:
    """Add `quality`, and `step`, `reason`, `detail` (null where the Document stays)."""
    measured = batch.with_columns(
        content=pl.col("text").str.count_matches(_CONTENT).cast(pl.Int64),
        dense=pl.col("text").str.replace_all(r"\s+", "").str.len_chars().cast(pl.Int64),
        lines=pl.col("text").str.split("\n").list.eval(pl.element().str.strip_chars().replace("", None).drop_nulls()),
    ).with_columns(
        quality=(pl.col("content") / pl.max_horizontal(pl.col("dense"), 1)).clip(0.0, 1.0).round(4),
        repeated=(1 - pl.col("lines").list.n_unique() / pl.max_horizontal(pl.col("lines").list.len(), 1)),
        num_lines=pl.col("lines").list.len(),
    )
    wanted = language_set(recipe)
    rules = [
        (~pl.col("language").is_in(sorted(wanted)) if wanted else pl.lit(value=False), "language", "unwanted_language"),
        (pl.col("content") < recipe.min_letters, "quality", "too_short"),
        (1 - pl.col("quality") > recipe.max_symbols, "quality", "mostly_symbols"),
        (
            (pl.col("repeated") > recipe.max_repeated_lines) & (pl.col("num_lines") >= _FEW_LINES),
            "quality",
            "repeated_lines",
        ),
    ]
    return measured.with_columns(
        step=_first([(test, pl.lit(step)) for test, step, _ in rules]),
        reason=_first([(test, pl.lit(reason)) for test, _, reason in rules]),
        detail=_first([(test, _details()[reason]) for test, _, reason in rules]),
    ).drop("content", "dense", "lines", "repeated", "num_lines")


def _first(cases: list[tuple[pl.Expr, pl.Expr]]) -> pl.Expr:
    return pl.coalesce(*[pl.when(test).then(value) for test, value in cases], pl.lit(None, dtype=pl.String))


def _details() -> dict[str, pl.Expr]:
    return {
        "unwanted_language": pl.format("Its language is {}.", pl.col("language")),
        "too_short": pl.format("It has {} letters and digits.", pl.col("content")),
        "mostly_symbols": pl.format(
            "{} % of it is letters, marks or digits.", (pl.col("quality") * 100).round(0).cast(pl.Int64)
        ),
        "repeated_lines": pl.format("{} % of its lines repeat.", (pl.col("repeated") * 100).round(0).cast(pl.Int64)),
    }
