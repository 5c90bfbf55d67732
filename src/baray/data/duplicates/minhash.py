"""Which texts are alike: shingles of five tokens, MinHash signatures, bands, and the true Jaccard similarity.

A token is a run of letters and digits, or one Khmer syllable cluster (Khmer is written without spaces). All texts of a
batch are hashed at once over their code points. Signatures only propose pairs; a pair counts by its true similarity.
Broder, "On the resemblance and containment of documents", 1997; Leskovec et al., "Mining of Massive Datasets", ch. 3.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from baray.data.kernel.characters import ALNUM, BASE, CHINESE_END, MARK, TABLE, flag_table, folded_table
from baray.data.kernel.measures import is_loaded, sign

Words = npt.NDArray[np.uint64]

SHINGLE = 5
"""Tokens of a shingle."""
BANDS = 20
"""A pair of similarity 0.8 shares at least one band with probability 0.998; one of 0.4 with 0.08."""
ROWS = 6
"""Minima in a band."""
COMPILED_FROM = 1_000_000
"""Code points of a batch from which the compiled pass is worth its loading."""
_COENG, _DA, _TA = 0x17D2, 0x178A, 0x178F
_GOLDEN = 0x9E3779B97F4A7C15
_SEED = 0x62617261795F6D68


def band_keys(texts: Sequence[str]) -> tuple[Words, npt.NDArray[np.bool_]]:
    """Band keys (text x BANDS), and which texts have any token: those without cannot be compared.

    Many texts go through the compiled pass; few are done here where it is not loaded, since to load it takes longer. Both
    give the same keys.
    """
    if is_loaded() or sum(map(len, texts)) >= COMPILED_FROM:
        signed = sign(pl.Series(texts, dtype=pl.String), *permutations())
        minima, some = signed.minima, signed.tokens > 0
    else:
        minima, some = array_minima(texts)
    keys = keys_of_minima(minima)
    keys[~some] = 0
    return keys, some


def array_minima(texts: Sequence[str]) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.bool_]]:
    """Signatures without the compiled pass, and which texts have any token."""
    shingles, owner = _shingles(texts)
    minima = np.full((len(texts), BANDS * ROWS), 0xFFFFFFFF, dtype=np.uint32)
    some = np.zeros(len(texts), dtype=np.bool_)
    if len(shingles) == 0:
        return minima, some
    starts = np.flatnonzero(np.r_[True, owner[1:] != owner[:-1]])
    some[owner[starts]] = True
    multipliers, addends = permutations()
    for row in range(BANDS * ROWS):
        # Multiply-shift hashing: the upper half of a product is as good as a permutation.
        minima[owner[starts], row] = np.minimum.reduceat(
            (shingles * multipliers[row] + addends[row]) >> np.uint64(32), starts
        )
    return minima, some


def keys_of_minima(minima: npt.NDArray[np.uint32]) -> Words:
    """One key for each band of each signature."""
    keys = np.empty((len(minima), BANDS), dtype=np.uint64)
    for band in range(BANDS):
        key = np.full(len(minima), band, dtype=np.uint64)
        for row in range(band * ROWS, (band + 1) * ROWS):
            key = _mix(key * np.uint64(_GOLDEN) + minima[:, row])
        keys[:, band] = key
    return keys


def shingle_set(text: str) -> Words:
    """Different shingles of one text, sorted."""
    return np.unique(_shingles([text])[0])


def jaccard(first: Words, second: Words) -> float:
    """Similarity of two sets: shared over all."""
    shared = len(np.intersect1d(first, second, assume_unique=True))
    total = len(first) + len(second) - shared
    return shared / total if total else 0.0


def _shingles(texts: Sequence[str]) -> tuple[Words, npt.NDArray[np.int64]]:
    """Hashes of all shingles and the number of the text each is from. A text of fewer tokens is one shingle."""
    tokens, owner = _tokens(texts)
    counts = np.bincount(owner, minlength=len(texts))
    long = counts[owner] >= SHINGLE
    hashes = np.zeros(len(tokens), dtype=np.uint64)
    whole = np.zeros(len(tokens), dtype=np.bool_)
    if len(tokens) >= SHINGLE:
        span = len(tokens) - SHINGLE + 1
        for at in range(SHINGLE):
            hashes[:span] = _mix(hashes[:span] + tokens[at : at + span])
        whole[:span] = long[:span] & (owner[:span] == owner[SHINGLE - 1 :])
    starts = np.flatnonzero(np.r_[True, owner[1:] != owner[:-1]]) if len(owner) else np.zeros(0, dtype=np.int64)
    for start in starts[~long[starts]]:
        value = np.zeros(1, dtype=np.uint64)
        for token in tokens[start : start + counts[owner[start]]]:
            value = _mix(value + token)
        hashes[start], whole[start] = value[0], True
    return hashes[whole], owner[whole]


def _tokens(texts: Sequence[str]) -> tuple[Words, npt.NDArray[np.int64]]:
    """Hash of each token, and the number of the text it is from."""
    codes = np.frombuffer("\n".join(texts).encode("utf-32-le", "replace"), dtype=np.uint32)
    ends = np.cumsum([len(text) + 1 for text in texts])
    known = codes < TABLE
    flags = flag_table()[np.where(known, codes, TABLE + (codes >= CHINESE_END))]
    codes = np.where(known, folded_table()[np.where(known, codes, 0)], codes)
    base, mark, word = (flags & BASE) != 0, (flags & MARK) != 0, (flags & (ALNUM | BASE | MARK)) == ALNUM
    before_word, before_khmer, before_coeng = _shifted(word), _shifted(base | mark), _shifted(codes == _COENG)
    codes = np.where(before_coeng & (codes == _DA), np.uint32(_TA), codes)
    begins = (word & ~before_word) | (base & ~before_coeng) | (mark & ~before_khmer)
    inside = word | base | mark
    places = np.flatnonzero(begins)
    if len(places) == 0:
        return np.zeros(0, dtype=np.uint64), np.zeros(0, dtype=np.int64)
    owner = np.searchsorted(ends, places, side="right")
    offset = np.arange(len(codes)) - places[np.maximum(np.cumsum(begins) - 1, 0)]
    letters = _mix(codes[inside].astype(np.uint64) + offset[inside].astype(np.uint64) * np.uint64(_GOLDEN))
    starts = np.cumsum(inside)[places] - 1
    return _mix(np.add.reduceat(letters, starts)), owner


def _shifted(flags: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    before = np.zeros_like(flags)
    before[1:] = flags[:-1]
    return before


def _mix(values: Words) -> Words:
    """The finaliser of SplitMix64: every bit of the input moves every bit of the output."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


@functools.cache
def permutations() -> tuple[Words, Words]:
    """Multipliers, which are odd, and addends of all rows of all bands."""
    steps = np.arange(1, 2 * BANDS * ROWS + 1, dtype=np.uint64)
    numbers = _mix(np.uint64(_SEED) + steps * np.uint64(_GOLDEN))
    return numbers[::2] | np.uint64(1), numbers[1::2]
