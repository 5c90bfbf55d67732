"""A Dataset's picture: how long its Documents are, where the others went, what was alike; in the report and as a page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import polars as pl

from baray.access import Label, flows, parse_label
from baray.data.duplicates.rules import STAYS
from baray.data.pipeline.alike import Alike

_CLUSTERS = 10
_MEMBERS = 5
_SAMPLES = 3
_SAMPLE_CHARACTERS = 400
_WIDTH = 600


class Profile:
    """Takes kept rows as they are written."""

    def __init__(self) -> None:
        """No row yet."""
        self._lengths: Counter[int] = Counter()
        self._kept: list[dict[str, str]] = []

    def take(self, stay: pl.DataFrame) -> None:
        """Count kept rows: by the greatest power of two that is no more than their characters."""
        powers = stay["text"].str.len_chars().cast(pl.Float64).clip(1, None).log(2).floor().cast(pl.Int32)
        for power, count in powers.value_counts().iter_rows():
            self._lengths[power] += count
        room = _SAMPLES * 2 - len(self._kept)
        if room > 0:
            self._kept += _samples(stay.head(room))

    def told(self, alike: Alike, whole: Label, folder: Path) -> dict[str, Any]:
        """For `report.json`; `whole`: the Dataset's label; `folder` holds `dropped`, hidden where it must be."""
        first, last = min(self._lengths, default=0), max(self._lengths, default=-1)
        dropped = pl.scan_parquet(sorted((folder / "dropped").glob("*.parquet"))).filter(pl.col("fate") == "dropped")
        shown = dropped.filter(pl.col("path") != "")
        return {
            "lengths": [[2**power, self._lengths[power]] for power in range(first, last + 1)],
            "clusters": _clusters(alike, whole),
            "samples": {"kept": self._kept, "dropped": _samples(_of_each_reason(shown), reasons=True)},
        }


def _clusters(alike: Alike, whole: Label) -> dict[str, Any]:
    """Documents that one stands in for. Names only what the Dataset shows: what is above its label is counted, not named."""
    decided = alike.decided
    rows = np.flatnonzero(decided.how != STAYS)
    stays = decided.kept[rows]
    while (decided.how[stays] != STAYS).any():  # equal to one that is itself like another
        stays = decided.kept[stays]
    kept, counts = np.unique(stays, return_counts=True)
    ordered = rows[np.argsort(stays, kind="stable")]
    ends = np.cumsum(counts)
    sizes = Counter((counts + 1).tolist())
    largest = sorted(range(len(kept)), key=lambda at: (-counts[at], kept[at]))[:_CLUSTERS]
    return {
        "sizes": sorted(sizes.items()),
        "largest": [
            _cluster(alike, whole, int(kept[at]), ordered[ends[at] - counts[at] : ends[at]].tolist()) for at in largest
        ],
    } | ({"in_earlier": int(counts[kept < alike.settled].sum())} if alike.earlier else {})


def _cluster(alike: Alike, whole: Label, kept: int, rows: list[int]) -> dict[str, Any]:
    labels, paths = alike.facts["label"], alike.facts["path"]
    shown = [row for row in rows if flows(parse_label(labels[row]), whole)]
    named = flows(parse_label(labels[kept]), whole)
    return ({"earlier": alike.source(kept)} if kept < alike.settled else {}) | {
        "kept": paths[kept] if named else "",
        "size": len(rows) + 1,
        "like_it": [
            {"path": paths[row], "similarity": round(float(alike.decided.similarity[row]), 3)}
            for row in shown[:_MEMBERS]
        ],
    }


def _of_each_reason(dropped: pl.LazyFrame) -> pl.DataFrame:
    """The first few Documents of each reason."""
    return dropped.group_by("reason", maintain_order=True).head(_SAMPLES).sort("reason", maintain_order=True).collect()


def _samples(frame: pl.DataFrame, *, reasons: bool = False) -> list[dict[str, str]]:
    wanted = ["path", "text", *(["step", "reason", "detail"] if reasons else ["language"])]
    cut = pl.col("text").fill_null("").str.slice(0, _SAMPLE_CHARACTERS)
    return [
        {name: value or "" for name, value in row.items()}
        for row in frame.select(wanted).with_columns(cut).iter_rows(named=True)
    ]


def write_page(path: Path, name: str, report: Mapping[str, Any]) -> None:
    """`report.html`: the report as a page of its own, which needs no server and asks nobody for anything."""
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    page = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True).get_template(
        "report.html"
    )
    path.write_text(page.render(name=name, report=report, bars=bars), encoding="utf-8")


def bars(pairs: Iterable[tuple[object, int]], most: int = 0) -> list[dict[str, Any]]:
    """Rows of a bar chart: name, count, and width; 600 units are `most`, or the greatest count where none is given."""
    found = list(pairs)
    most = most or max((count for _, count in found), default=0) or 1
    return [{"name": name, "count": count, "width": round(_WIDTH * count / most, 1)} for name, count in found]
