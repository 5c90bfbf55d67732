"""Which of several equal or alike Documents stays.

A Document is only dropped in favour of one that can stand in for it: readable by all who could read it (labels), valid
at least as long, and not only from a later day. So a higher-labelled Document never removes a lower one, and an expired
one never a current one. Among those, the one that is valid longest, newest and first by path stays.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from baray.access import flows, parse_label
from baray.data.duplicates.minhash import BANDS, Words, jaccard, shingle_set

_FOREVER = "9999-99-99"
_MOST_COMPARED = 64
_CACHED_BYTES = 64_000_000
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """One Document that another stands in for."""

    row: int
    """Its number among the survivors of the filters."""
    kept: int
    """Number of the Document that stays."""
    similarity: float
    """1.0 for exact duplicates."""


def preference(facts: pl.DataFrame, today: str) -> npt.NDArray[np.int64]:
    """Rank of each row, 0 the first to stay. `facts`: label, valid_from, valid_until, path, record."""
    order = {label: place for place, label in enumerate(sorted(facts["label"].unique(), key=_openness))}
    ranked = (
        facts.with_row_index("row")
        .with_columns(
            end=pl.col("valid_until").fill_null(_FOREVER),
            start=pl.col("valid_from").fill_null(""),
            openness=pl.col("label").replace_strict(order, return_dtype=pl.Int64),
        )
        .with_columns(future=pl.when(pl.col("start") > today).then(pl.col("start")).otherwise(pl.lit("")))
        .sort(
            ["end", "future", "openness", "start", "path", "record"],
            descending=[True, False, False, True, False, False],
        )
    )
    ranks = np.empty(len(facts), dtype=np.int64)
    ranks[ranked["row"].to_numpy()] = np.arange(len(facts))
    return ranks


def exact(facts: pl.DataFrame, ranks: npt.NDArray[np.int64], today: str) -> list[Drop]:
    """Drops among rows with one `key`."""
    groups = (
        facts.select("key").with_row_index("row").with_columns(rank=pl.Series(ranks))
        .filter(pl.col("key").is_duplicated()).sort("rank").group_by("key", maintain_order=True).agg("row")
    )  # fmt: skip
    stand_in = _StandIn(facts, today)
    drops: list[Drop] = []
    for rows in groups["row"].to_list():
        kept: list[int] = []
        for row in rows:
            found = next((other for other in kept if stand_in(other, row)), None)
            if found is None:
                kept.append(row)
            else:
                drops.append(Drop(row=row, kept=found, similarity=1.0))
    return drops


@dataclass(frozen=True, slots=True, kw_only=True)
class NearRule:
    """When two Documents are alike."""

    threshold: float
    """Least Jaccard similarity."""
    numbers_must_agree: bool
    """Whether a number other than a date tells two Documents apart."""
    today: str
    """ISO date."""


def near(
    facts: pl.DataFrame, keys: Words, ranks: npt.NDArray[np.int64], text_of: Callable[[int], str], rule: NearRule
) -> Iterator[Drop]:
    """Drops among rows that share a band. `facts` and `ranks` are of all rows; rows of zero keys are not compared."""
    stand_in = _StandIn(facts, rule.today)
    alike = _Likeness(text_of, rule)
    buckets: dict[tuple[int, int], list[int]] = {}
    for row, bands in _candidates(keys, ranks):
        own = [(band, int(keys[row, band])) for band in bands]
        others = sorted({other for bucket in own for other in buckets.get(bucket, ())}, key=lambda other: ranks[other])
        for other in others[:_MOST_COMPARED]:
            if stand_in(other, row) and (similarity := alike(other, row)) > 0:
                yield Drop(row=row, kept=other, similarity=round(similarity, 4))
                break
        else:
            for bucket in own:
                buckets.setdefault(bucket, []).append(row)


def amounts(text: str) -> frozenset[str]:
    """Numbers of a text that are not parts of dates, in ASCII digits without separators."""
    undated = _DATE.sub(" ; ", text)
    return frozenset(number.translate(_ASCII_DIGITS) for number in _NUMBER.findall(undated))


def _candidates(keys: Words, ranks: npt.NDArray[np.int64]) -> Iterator[tuple[int, list[int]]]:
    """Rows that share a band key with another, first to stay first, each with its shared bands."""
    shared: dict[int, list[int]] = {}
    for band in range(BANDS):
        column = pl.Series("key", keys[:, band])
        rows = np.flatnonzero((column.is_duplicated() & (column != 0)).to_numpy())
        for row in rows.tolist():
            shared.setdefault(row, []).append(band)
    for row in sorted(shared, key=lambda one: ranks[one]):
        yield row, shared[row]


class _StandIn:
    """Tells whether one row may stand in for another."""

    def __init__(self, facts: pl.DataFrame, today: str) -> None:
        self._labels: Sequence[str] = facts["label"].to_list()
        self._start: Sequence[str] = facts["valid_from"].fill_null("").to_list()
        self._end: Sequence[str] = facts["valid_until"].fill_null(_FOREVER).to_list()
        self._today = today
        self._flows: dict[tuple[str, str], bool] = {}

    def __call__(self, kept: int, dropped: int) -> bool:
        pair = (self._labels[kept], self._labels[dropped])
        if pair not in self._flows:
            self._flows[pair] = flows(parse_label(pair[0]), parse_label(pair[1]))
        lasts = self._end[kept] >= self._end[dropped]
        begun = self._start[kept] <= max(self._start[dropped], self._today)
        return self._flows[pair] and lasts and begun


class _Likeness:
    """True similarity of two rows where it reaches the threshold, else 0.

    Numbers are compared first, because they are cheap to keep for all rows. Sets of shingles are kept for recent rows.
    """

    def __init__(self, text_of: Callable[[int], str], rule: NearRule) -> None:
        self._text_of = text_of
        self._rule = rule
        self._amounts: dict[int, str] = {}
        self._sets: dict[int, Words] = {}
        self._set_bytes = 0

    def __call__(self, first: int, second: int) -> float:
        if self._rule.numbers_must_agree and self._numbers(first) != self._numbers(second):
            return 0.0
        similarity = jaccard(self._shingles(first), self._shingles(second))
        return similarity if similarity >= self._rule.threshold else 0.0

    def _numbers(self, row: int) -> str:
        if row not in self._amounts:
            self._amounts[row] = " ".join(sorted(amounts(self._text_of(row))))
        return self._amounts[row]

    def _shingles(self, row: int) -> Words:
        if row not in self._sets:
            found = shingle_set(self._text_of(row))
            self._set_bytes += found.nbytes
            while self._sets and self._set_bytes > _CACHED_BYTES:
                self._set_bytes -= self._sets.pop(next(iter(self._sets))).nbytes
            self._sets[row] = found
        return self._sets[row]


def _openness(text: str) -> tuple[int, int, int, str]:
    """Sorts labels so that one that flows to another comes first."""
    label = parse_label(text)
    released = -1_000_000 if label.releasable_to is None else -len(label.releasable_to)
    return (label.level, len(label.categories), released, text)
