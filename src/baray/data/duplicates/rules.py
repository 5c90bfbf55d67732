"""Which of several equal or alike Documents stays.

A Document is only dropped in favour of one that can stand in for it: readable by all who could read it (labels), valid
at least as long, and not only from a later day. So a higher-labelled Document never removes a lower one, and an expired
one never a current one. Among those, the one that is valid longest, newest and first by path stays.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from baray.access import flows, parse_label

Rows = npt.NDArray[np.int64]

FACTS = {
    "hash_0": pl.UInt64,
    "hash_1": pl.UInt64,
    "label": pl.String,
    "valid_from": pl.String,
    "valid_until": pl.String,
    "path": pl.String,
    "record": pl.Int32,
}
"""What is known of each Document while duplicates are looked for, about 0.1 kB: the rest stays on disk."""
_FOREVER = "9999-99-99"
_MONTHS = (
    "january|february|march|april|may|june|july|august|september|october|november|december"
    "|jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec"
    "|មករា|កុម្ភៈ|មីនា|មេសា|ឧសភា|មិថុនា|កក្កដា|សីហា|កញ្ញា|តុលា|វិច្ឆិកា|ធ្នូ"
)
_D = "[0-9\u17e0-\u17e9]"
_DATE = re.compile(
    f"(?i){_D}{{1,2}}(?:st|nd|rd|th)?\\s*(?:ខែ\\s*)?(?:{_MONTHS})\\.?,?\\s*(?:ឆ្នាំ\\s*)?(?:{_D}{{4}})?"
    f"|(?:{_MONTHS})\\.?\\s+{_D}{{1,2}}(?:st|nd|rd|th)?(?!{_D}),?\\s*(?:{_D}{{4}})?"
    f"|{_D}{{1,4}}[-/.]{_D}{{1,2}}[-/.]{_D}{{1,4}}"
    f"|ថ្ងៃទី\\s*{_D}{{1,2}}(?!{_D})|(?:ឆ្នាំ|year)\\s*{_D}{{4}}(?!{_D})"
    f"|(?<!{_D})(?:19|20|25|១៩|២០|២៥){_D}{{2}}(?![.,]?{_D})"
)
_NUMBER = re.compile(f"{_D}+(?:[.,\u00a0 ]{_D}+)*")
_ASCII_DIGITS = {0x17E0 + value: str(value) for value in range(10)} | dict.fromkeys(map(ord, ".,\u00a0 "))


STAYS, EXACT, NEAR = 0, 1, 2
"""How a Document was decided on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decisions:
    """What becomes of each Document: a row each, those of earlier Datasets first."""

    how: npt.NDArray[np.uint8]
    """STAYS, EXACT or NEAR."""
    kept: Rows
    """The Document that stands in for it; itself where it stays."""
    similarity: npt.NDArray[np.float32]
    """1.0 for exact duplicates."""

    def drop(self, row: int, *, kept: int, how: int, similarity: float) -> None:
        """Let `kept` stand in for `row`."""
        self.how[row], self.kept[row], self.similarity[row] = how, kept, similarity


def all_stay(number: int) -> Decisions:
    """Nothing is dropped yet."""
    return Decisions(
        how=np.zeros(number, dtype=np.uint8),
        kept=np.arange(number, dtype=np.int64),
        similarity=np.ones(number, dtype=np.float32),
    )


def preference(facts: pl.DataFrame, today: str, *, preferred: int = 0) -> Rows:
    """Rank of each row of FACTS, 0 the first to stay; the first `preferred` rows come before all others."""
    order = {label: place for place, label in enumerate(sorted(facts["label"].unique(), key=_openness))}
    ranked = (
        facts.lazy()
        .with_row_index("row")
        .select(
            "row",
            "path",
            "record",
            later=pl.col("row") >= preferred,
            end=pl.col("valid_until").fill_null(_FOREVER),
            start=pl.col("valid_from").fill_null(""),
            openness=pl.col("label").replace_strict(order, return_dtype=pl.Int32),
        )
        .with_columns(future=pl.when(pl.col("start") > today).then(pl.col("start")).otherwise(pl.lit("")))
        .sort(
            ["later", "end", "future", "openness", "start", "path", "record", "row"],
            descending=[False, True, False, False, True, False, False, False],
        )
        .select("row")
        .collect()
    )
    ranks = np.empty(len(facts), dtype=np.int64)
    ranks[ranked["row"].to_numpy()] = np.arange(len(facts))
    return ranks


def exact(facts: pl.DataFrame, ranks: Rows, stand_in: StandIn, decided: Decisions, *, settled: int = 0) -> None:
    """Decide on rows with one hash. The first `settled` rows are never dropped."""
    same = pl.struct("hash_0", "hash_1")
    groups = (
        facts.select("hash_0", "hash_1").with_row_index("row").with_columns(rank=pl.Series(ranks, dtype=pl.Int64))
        .filter(same.is_duplicated()).sort("rank").group_by("hash_0", "hash_1", maintain_order=True).agg("row")
    )  # fmt: skip
    for rows in groups["row"]:
        kept: list[int] = []
        for row in rows.to_list():
            found = None if row < settled else next((other for other in kept if stand_in(other, row)), None)
            if found is None:
                kept.append(row)
            else:
                decided.drop(row, kept=found, how=EXACT, similarity=1.0)


def amounts(text: str) -> frozenset[str]:
    """Numbers of a text that are not parts of dates, in ASCII digits without separators.

    Where a text breaks its lines does not matter: what is the same text for `exact` has the same numbers.
    """
    undated = _DATE.sub(" ; ", " ".join(text.split()))
    return frozenset(number.translate(_ASCII_DIGITS) for number in _NUMBER.findall(undated))


class StandIn:
    """Tells whether one row may stand in for another."""

    def __init__(self, facts: pl.DataFrame, today: str) -> None:
        """`facts`: label, valid_from, valid_until of each row."""
        start, end = facts["valid_from"].fill_null(""), facts["valid_until"].fill_null(_FOREVER)
        days = {day: at for at, day in enumerate(sorted({*start.unique(), *end.unique(), today}))}
        labels = {label: at for at, label in enumerate(sorted(facts["label"].unique()))}
        self._labels = facts["label"].replace_strict(labels, return_dtype=pl.Int32).to_numpy()
        self._start = start.replace_strict(days, return_dtype=pl.Int32).to_numpy()
        self._end = end.replace_strict(days, return_dtype=pl.Int32).to_numpy()
        self._today = days[today]
        parsed = [parse_label(label) for label in labels]
        self._flows = [[flows(first, second) for second in parsed] for first in parsed]

    def __call__(self, kept: int, dropped: int) -> bool:
        """Whether `kept` may stand in for `dropped`."""
        lasts = self._end[kept] >= self._end[dropped]
        begun = self._start[kept] <= max(self._start[dropped], self._today)
        return bool(lasts and begun) and self._flows[self._labels[kept]][self._labels[dropped]]


def _openness(text: str) -> tuple[int, int, int, str]:
    """Sorts labels so that one that flows to another comes first."""
    label = parse_label(text)
    released = -1_000_000 if label.releasable_to is None else -len(label.releasable_to)
    return (label.level, len(label.categories), released, text)
