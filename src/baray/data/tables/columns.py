"""What the columns of a table are: types by what all values say, and their quality."""

from __future__ import annotations

import datetime
import decimal
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import pyarrow as pa

from baray.access import Label, flows, parse_label
from baray.text import fold_digits

Value: TypeAlias = bool | int | float | str | datetime.date | datetime.datetime | None

_NULLS = frozenset(["", "na", "n/a", "null", "nil", "-", "–", "—"])
_MOST_DISTINCT = 100_000
_MOST_TOP = 50
_ENOUGH = 200
"""Values after which a type that less than half of them have is given up."""
_INTEGER = re.compile(r"[+-]?(?:0|[1-9]\d{0,2}(?:,\d{3})+|[1-9]\d{0,17})")
_NUMBER = re.compile(r"[+-]?(?:0|[1-9]\d{0,2}(?:,\d{3})+|[1-9]\d{0,307})(?:\.\d+)?(?:[eE][+-]?\d{1,3})?")
_SURELY_HELD = 15
"""Digits that any float gives back."""
_DAY_FIRST = re.compile(r"(\d{1,2})[/.-](\d{1,2})[/.-](\d{4})")
_TRUTH = {"true": True, "yes": True, "false": False, "no": False}


def boolean(text: str) -> bool:
    """true, yes, false, no. Raises ValueError."""
    if text.lower() not in _TRUTH:
        raise ValueError(text)
    return _TRUTH[text.lower()]


def integer(text: str) -> int:
    """A whole number, in Khmer digits or others, with commas between thousands or none. `007` is none: it is a name."""
    text = fold_digits(text)
    if not _INTEGER.fullmatch(text):
        raise ValueError(text)
    return int(text.replace(",", ""))


def number(text: str) -> float:
    """A number. Raises ValueError; also for one with more digits than a float holds: it would become another."""
    text = fold_digits(text)
    if not _NUMBER.fullmatch(text):
        raise ValueError(text)
    written = text.replace(",", "")
    found = float(written)
    if (len(written) > _SURELY_HELD or "e" in written.lower()) and not _holds(found, decimal.Decimal(written)):
        raise ValueError(text)
    return found


def _holds(found: float, written: decimal.Decimal) -> bool:
    """Whether as many digits as are written, without zeros at the end, come back out of a float."""
    if not written or not math.isfinite(found):
        return not written
    digits = len("".join(map(str, written.as_tuple().digits)).strip("0"))
    return decimal.Decimal(f"{found:.{digits - 1}e}") == written


def date(text: str) -> datetime.date:
    """`2026-11-21`, or with the day first as in Cambodia: `21/11/2026`."""
    text = fold_digits(text)
    day_first = _DAY_FIRST.fullmatch(text)
    if day_first:
        return datetime.date(int(day_first[3]), int(day_first[2]), int(day_first[1]))
    if len(text) != len("2026-11-21"):
        raise ValueError(text)
    return datetime.date.fromisoformat(text)


def time(text: str) -> datetime.datetime:
    """A date and a time of day as ISO 8601 writes them, without a zone."""
    found = datetime.datetime.fromisoformat(fold_digits(text))
    if found.tzinfo is not None or len(text) <= len("2026-11-21"):
        raise ValueError(text)
    return found


PARSERS: dict[str, Callable[[str], Value]] = {
    "boolean": boolean,
    "integer": integer,
    "number": number,
    "date": date,
    "time": time,
    "text": str,
}
"""Type -> what makes a value of a text, or raises ValueError; the narrower ones first."""
ARROW: dict[str, pa.DataType] = {
    "boolean": pa.bool_(),
    "integer": pa.int64(),
    "number": pa.float64(),
    "date": pa.date32(),
    "time": pa.timestamp("us"),
    "text": pa.string(),
}


def cleaned(value: str | None) -> str | None:
    """A value without space around it; None for words that say that there is none."""
    text = (value or "").strip()
    return None if text.lower() in _NULLS else text


@dataclass(slots=True, kw_only=True)
class Column:
    """What is known of one column while rows come in."""

    name: str
    values: int = 0
    nulls: int = 0
    fits: Counter[str] = field(default_factory=Counter)
    """Type -> values that are of it."""
    misfit: dict[str, dict[str, str]] = field(default_factory=dict)
    """Type -> label of a row -> the first value that is not of the type."""
    hopeless: set[str] = field(default_factory=set)
    """Types that so many values are not of that no more are tried."""

    def take(self, text: str | None, label: str) -> None:
        """Count one value of a row with `label`."""
        if text is None:
            self.nulls += 1
            return
        self.values += 1
        for kind, parse in PARSERS.items():
            if kind in self.hopeless:
                continue
            try:
                parse(text)
                self.fits[kind] += 1
            except ValueError:
                self.misfit.setdefault(kind, {}).setdefault(label, text)
                if self.values > _ENOUGH and self.fits[kind] * 2 < self.values:
                    self.hopeless.add(kind)

    def type(self) -> str:
        """The narrowest type that all values have; text for a column without values."""
        return next((kind for kind in PARSERS if self.values and self.fits[kind] == self.values), "text")

    def almost(self, whole: Label) -> dict[str, object] | None:
        """The type that nearly all values have, where a few keep the column text: most often mistakes of typing.

        The example is of no row above `whole`, the Dataset's label.
        """
        if self.type() != "text" or not self.values:
            return None
        kind = max((one for one in PARSERS if one != "text"), key=lambda one: self.fits[one])
        misfits = self.values - self.fits[kind]
        if misfits * 10 > self.values:
            return None
        examples = (text for label, text in self.misfit[kind].items() if flows(parse_label(label), whole))
        return {"type": kind, "misfits": misfits, "example": next(examples, "")}


@dataclass(slots=True, kw_only=True)
class Quality:
    """What kept values of one column are like."""

    least: Any = None
    most: Any = None
    total: float = 0.0
    values: int = 0
    nulls: int = 0
    longest: int = 0
    counts: Counter[Value] = field(default_factory=Counter)
    more: bool = False
    """There are more than 100,000 distinct values; no more are counted."""

    def take(self, values: Iterable[Value]) -> None:
        """Count kept values."""
        for value in values:
            if value is None:
                self.nulls += 1
                continue
            self.values += 1
            if isinstance(value, str):
                self.longest = max(self.longest, len(value))
            elif not isinstance(value, bool):
                self.least = value if self.least is None else min(self.least, value)
                self.most = value if self.most is None else max(self.most, value)
                self.total += value if isinstance(value, int | float) else 0
            if len(self.counts) < _MOST_DISTINCT or value in self.counts:
                self.counts[value] += 1
            else:
                self.more = True

    def told(self, kind: str) -> dict[str, object]:
        """For `report.json`."""
        found: dict[str, object] = {"values": self.values, "nulls": self.nulls, "distinct": len(self.counts)}
        found |= {"distinct_exact": not self.more}
        if kind in ("integer", "number") and self.values:
            found |= {"least": self.least, "most": self.most, "mean": self.total / self.values}
        elif kind in ("date", "time") and self.values:
            found |= {"least": str(self.least), "most": str(self.most)}
        elif kind == "text":
            found |= {"longest": self.longest}
        if not self.more and len(self.counts) <= _MOST_TOP:
            ranked = sorted(self.counts.items(), key=lambda one: (-one[1], str(one[0])))
            found["top"] = [
                [value if isinstance(value, bool | int | str) else str(value), n] for value, n in ranked[:10]
            ]
        return found
