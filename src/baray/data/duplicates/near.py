"""Near duplicates among any number of Documents: band keys propose, the true similarity decides.

Everything that grows with the number of pairs lies in memory-mapped files: which rows share a band (a group), and the kept
members of each group. Rows are taken in the order of preference, so the members of a group stand in that order too, and
whether a Document stays depends on those before it alone.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from baray.data.duplicates.minhash import BANDS, Words, jaccard, shingle_set
from baray.data.duplicates.rules import NEAR, STAYS, Decisions, Rows, StandIn, amounts

Groups: TypeAlias = npt.NDArray[np.int32]
T = TypeVar("T")

_MOST_COMPARED = 64
_CACHED_BYTES = 48_000_000
_ENTRY_BYTES = 200
_STRIDE = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class NearRule:
    """When two Documents are alike."""

    threshold: float
    """Least Jaccard similarity."""
    numbers_must_agree: bool
    """Whether a number other than a date tells two Documents apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """Where the Documents that are compared come from."""

    band: Callable[[int], Words]
    """Number of a band -> its key for every row; 0 for a text that cannot be compared."""
    of: Callable[[int], str]
    """Row -> its text."""
    fetch: Callable[[Rows], None]
    """Told, once, which rows may be asked for."""


def mapped(path: Path, kind: type[np.generic], shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """A new array in a file. Raises OSError where the disk has no room for it: a write into a map can only die of that."""
    with path.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, math.prod(shape) * np.dtype(kind).itemsize)
    return np.memmap(path, dtype=kind, mode="r+", shape=shape)


def near(
    ranks: Rows, texts: Texts, stand_in: StandIn, decided: Decisions, rule: NearRule, scratch: Path, *, settled: int = 0
) -> None:
    """Decide on rows that share a band and that nothing dropped before. The first `settled` rows are never dropped."""
    shared = _Shared(scratch, ranks, texts, decided, settled)
    rows = np.empty(len(ranks), dtype=np.int64)
    rows[ranks] = np.arange(len(ranks))
    texts.fetch(np.sort(rows[shared.places]))
    alike = _Likeness(texts.of, rule)
    for place, groups in shared.rows():
        row = int(rows[place])
        if row >= settled:
            for other in rows[shared.first_members(groups)].tolist():
                if stand_in(other, row) and (similarity := alike(other, row)) > 0:
                    decided.drop(row, kept=other, how=NEAR, similarity=similarity)
                    break
        if decided.how[row] == STAYS:
            shared.add(place, groups)


class _Shared:
    """Groups of rows with one band key, and which of their members are kept so far. A row's place is its rank."""

    def __init__(self, scratch: Path, ranks: Rows, texts: Texts, decided: Decisions, settled: int) -> None:
        number = max(1, len(ranks))
        self._groups: Groups = mapped(scratch / "groups", np.int32, (number, BANDS))
        sizes, groups = [np.zeros(1, dtype=np.int64)], 1  # group 0 is none
        for band in range(BANDS):
            keys = texts.band(band)
            found, counts = _grouped(np.where(decided.how == STAYS, keys, np.uint64(0)), settled)
            self._groups[ranks, band] = np.where(found > 0, found + (groups - 1), 0)
            sizes.append(counts)
            groups += len(counts)
        self._starts = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(np.concatenate(sizes))])
        self._filled: Groups = np.zeros(groups, dtype=np.int32)
        members = max(1, int(self._starts[-1]))
        self._members: Groups = mapped(scratch / "members", np.int32, (members,))
        self.places: Rows = np.flatnonzero(
            np.concatenate([self._groups[at : at + _STRIDE].any(axis=1) for at in range(0, number, _STRIDE)])
        )

    def rows(self) -> Iterator[tuple[int, Groups]]:
        """Places that share a band with another, first to stay first, with their groups."""
        for at in range(0, len(self.places), _STRIDE):
            places = self.places[at : at + _STRIDE]
            for place, groups in zip(places.tolist(), self._groups[places], strict=True):
                yield place, groups[groups > 0]

    def first_members(self, groups: Groups) -> Rows:
        """The first kept places of all `groups`, in their order; no more than are worth a comparison."""
        starts, filled = self._starts[groups], np.minimum(self._filled[groups], _MOST_COMPARED)
        found = [self._members[start : start + count] for start, count in zip(starts, filled, strict=True) if count]
        return np.unique(np.concatenate(found or [self._members[:0]]))[:_MOST_COMPARED].astype(np.int64)

    def add(self, place: int, groups: Groups) -> None:
        """A row stays."""
        self._members[self._starts[groups] + self._filled[groups]] = place
        self._filled[groups] += 1


def _grouped(keys: Words, settled: int) -> tuple[Groups, Rows]:
    """The group of each row, from 1, 0 for none, and how large each is. Groups of settled rows alone are none."""
    found = np.zeros(len(keys), dtype=np.int32)
    if len(keys) == 0:
        return found, np.zeros(0, dtype=np.int64)
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    sizes = np.diff(starts, append=len(keys))
    some_new = np.maximum.reduceat(order, starts) >= settled
    good = (sizes > 1) & some_new & (ordered[starts] != 0)
    found[order] = np.repeat(np.where(good, np.cumsum(good), 0), sizes)
    return found, sizes[good]


class _Likeness:
    """True similarity of two rows where it reaches the threshold, else 0. Numbers come first: they are cheap to keep."""

    def __init__(self, text_of: Callable[[int], str], rule: NearRule) -> None:
        self._rule = rule
        self._amounts: _Recent[str] = _Recent(lambda row: " ".join(sorted(amounts(text_of(row)))), len)
        self._sets: _Recent[Words] = _Recent(lambda row: shingle_set(text_of(row)), lambda found: found.nbytes)

    def __call__(self, first: int, second: int) -> float:
        if self._rule.numbers_must_agree and self._amounts(first) != self._amounts(second):
            return 0.0
        similarity = jaccard(self._sets(first), self._sets(second))
        return similarity if similarity >= self._rule.threshold else 0.0


class _Recent(Generic[T]):
    """What was made of rows, kept up to a size; what was made first goes first."""

    def __init__(self, make: Callable[[int], T], size: Callable[[T], int]) -> None:
        self._make = make
        self._size = size
        self._kept: dict[int, T] = {}
        self._bytes = 0

    def __call__(self, row: int) -> T:
        if row not in self._kept:
            found = self._make(row)
            self._bytes += self._size(found) + _ENTRY_BYTES
            while self._kept and self._bytes > _CACHED_BYTES:
                self._bytes -= self._size(self._kept.pop(next(iter(self._kept)))) + _ENTRY_BYTES
            self._kept[row] = found
        return self._kept[row]
