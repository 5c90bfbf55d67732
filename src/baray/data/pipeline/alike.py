"""Which of a build's Documents another stands in for: one of its own, or one of an earlier Dataset."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from baray.data.duplicates.index import Earlier, KeyColumns
from baray.data.duplicates.near import NearRule, Texts, near
from baray.data.duplicates.rules import EXACT, FACTS, STAYS, Decisions, Rows, StandIn, all_stay, exact, preference
from baray.data.pipeline.shards import Spill, Spilled, Survivors
from baray.data.recipes import TextRecipe

if TYPE_CHECKING:
    from baray.runs import AttemptContext

REASONS = {"step": pl.String, "reason": pl.String, "detail": pl.String}


@dataclass(frozen=True, slots=True, kw_only=True)
class Alike:
    """What was decided. Rows are those of earlier Datasets first, then those of the build."""

    decided: Decisions
    facts: pl.DataFrame
    """FACTS of all rows."""
    keys: KeyColumns
    """Band keys of all rows."""
    settled: int
    """Rows of earlier Datasets."""
    earlier: tuple[tuple[str, int], ...]
    """Ref of each earlier Dataset, and the row behind its last."""

    def reasons(self, start: int, number: int) -> pl.DataFrame:
        """Step, reason and detail of `number` rows of the build, from `start`; null where one stays."""
        first = self.settled + start
        how = self.decided.how[first : first + number]
        found: list[tuple[str | None, str | None, str | None]] = [(None, None, None)] * number
        for at in np.flatnonzero(how != STAYS).tolist():
            found[at] = self._reason(first + at)
        return pl.DataFrame(found, schema=REASONS, orient="row")

    def source(self, row: int) -> str:
        """Ref of the earlier Dataset that a row is of; empty for a row of the build."""
        return next((ref for ref, end in self.earlier if row < end), "")

    def name(self, row: int) -> str:
        """Path of a row, with the Dataset that it is in where that is another."""
        path, source = str(self.facts["path"][row]), self.source(row)
        return f"{path} in {source}" if source else path

    def _reason(self, row: int) -> tuple[str, str, str]:
        kept, same = int(self.decided.kept[row]), self.decided.how[row] == EXACT
        step, reason = ("exact_duplicates", "exact_duplicate") if same else ("near_duplicates", "near_duplicate")
        like = "Same text as" if same else f"{self.decided.similarity[row]:.2f} like"
        if kept < self.settled:
            step, reason = "against", "in_earlier"
        return step, reason, f"{like} {self.name(kept)}."


def find_alike(context: AttemptContext, survivors: Survivors, recipe: TextRecipe) -> Alike:
    """Decide on what the filters left. Raises Refused `not_text` where an earlier Dataset is none."""
    earlier = [Earlier(found) for _, found in sorted(context.inputs.items()) if found.kind == "dataset"]
    settled = sum(one.rows for one in earlier)
    keys = KeyColumns(context.work / "keys", settled + survivors.rows)
    facts = pl.concat([*(one.read(keys).select(FACTS.keys()) for one in earlier), survivors.facts()])
    for rows in survivors.keys():
        keys.add(rows)
    decided, stand_in = all_stay(facts.height), StandIn(facts, context.today)
    ranks = preference(facts, context.today, preferred=settled)
    exact(facts, ranks, stand_in, decided, settled=settled)
    if recipe.near_duplicates > 0:
        rule = NearRule(threshold=recipe.near_duplicates, numbers_must_agree=recipe.numbers_must_agree)
        found = _Texts(earlier, survivors, context.work)
        texts = Texts(band=keys.band, of=found.of, fetch=found.fetch)
        near(ranks, texts, stand_in, decided, rule, context.work, settled=settled)
    ends = np.cumsum([one.rows for one in earlier]).tolist()
    refs = tuple(zip((one.ref for one in earlier), ends, strict=True))
    return Alike(decided=decided, facts=facts, keys=keys, settled=settled, earlier=refs)


class _Texts:
    """Texts of rows: of earlier Datasets those that are asked for, put aside in one pass, for Parquet has no single rows."""

    def __init__(self, earlier: list[Earlier], survivors: Survivors, work: Path) -> None:
        self._earlier = earlier
        self._survivors = survivors
        self._settled = sum(one.rows for one in earlier)
        self._path = work / "earlier.arrow"
        self._rows: Rows = np.zeros(0, dtype=np.int64)
        self._aside = Spilled([])

    def fetch(self, rows: Rows) -> None:
        """Put the texts of those of `rows` that are of earlier Datasets aside."""
        self._rows = rows[rows < self._settled]
        spill, start = Spill(self._path), 0
        for one in self._earlier:
            wanted = self._rows[np.searchsorted(self._rows, start) : np.searchsorted(self._rows, start + one.rows)]
            for frame in one.texts(wanted - start):
                spill.write(frame)
            start += one.rows
        spill.close()
        self._aside = Spilled([self._path])

    def of(self, row: int) -> str:
        """Text of one row."""
        if row >= self._settled:
            return self._survivors.text(row - self._settled)
        return self._aside.text(int(np.searchsorted(self._rows, row)))
