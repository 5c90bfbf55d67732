"""Which Documents the model may have seen: those that share 13 tokens in a row with what it learnt from.

13 in a row are what Brown et al. (2020, arXiv:2005.14165, appendix C) looked for; tokens instead of words, for Khmer writes
no spaces. Covered: copies, quotes, letterheads. Not covered: the same matter in other words.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

RUN_TOKENS = 13
_PRIME = np.uint64(0x9E3779B97F4A7C15)


class Runs:
    """All runs of 13 tokens of some Documents, and which of them were met elsewhere."""

    def __init__(self, documents: Sequence[NDArray[np.int64]]) -> None:
        """Hash every run of every Document."""
        hashes = [_hashes(ids) for ids in documents]
        self._owner = np.repeat(np.arange(len(documents)), [len(found) for found in hashes])
        flat = np.concatenate(hashes) if hashes else np.zeros(0, dtype=np.uint64)
        self._known, self._back = np.unique(flat, return_inverse=True)
        self._met = np.zeros(len(self._known), dtype=bool)
        self._documents = len(documents)

    def meet(self, streams: Iterable[NDArray[np.int64]], boundary: int) -> None:
        """Look through a training stream; neighbouring pieces overlap by 12 tokens."""
        for ids in streams:
            found = _hashes(ids, boundary)
            places = np.searchsorted(self._known, found)
            places[places == len(self._known)] = 0
            if len(self._known):
                self._met[places[self._known[places] == found]] = True

    def share(self) -> NDArray[np.float64]:
        """Of each Document: how much of its runs was met; 0 for one shorter than a run."""
        hits = np.bincount(self._owner, weights=self._met[self._back].astype(np.float64), minlength=self._documents)
        totals = np.bincount(self._owner, minlength=self._documents)
        return np.asarray(hits / np.maximum(totals, 1))


def _hashes(ids: NDArray[np.int64], boundary: int = -1) -> NDArray[np.uint64]:
    """A number for each run of 13 tokens, without runs that cross a boundary."""
    size = len(ids) - RUN_TOKENS + 1
    if size <= 0:
        return np.zeros(0, dtype=np.uint64)
    found = np.zeros(size, dtype=np.uint64)
    for at in range(RUN_TOKENS):
        # Polynomial hash modulo 2**64; +1 so that token 0 counts.
        found = found * _PRIME + ids[at : at + size].astype(np.uint64) + np.uint64(1)
        found ^= found >> np.uint64(29)
    before = np.concatenate([[0], np.cumsum(ids == boundary)])
    return np.asarray(found[before[RUN_TOKENS:] == before[:size]])
