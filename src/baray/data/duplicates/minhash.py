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

Words = npt.NDArray[np.uint64]

SHINGLE = 5
"""Tokens of a shingle."""
BANDS = 20
"""A pair of similarity 0.8 shares at least one band with probability 0.998; one of 0.4 with 0.08."""
ROWS = 6
"""Minima in a band."""
_COENG = 0x17D2
_GOLDEN = 0x9E3779B97F4A7C15
_SEED = 0x62617261795F6D68


def band_keys(texts: Sequence[str]) -> tuple[Words, npt.NDArray[np.bool_]]:
    """Band keys (text x BANDS), and which texts have any token: those without cannot be compared."""
    shingles, owner = _shingles(texts)
    keys = np.zeros((len(texts), BANDS), dtype=np.uint64)
    some = np.zeros(len(texts), dtype=np.bool_)
    if len(shingles) == 0:
        return keys, some
    starts = np.flatnonzero(np.r_[True, owner[1:] != owner[:-1]])
    some[owner[starts]] = True
    multipliers, addends = _permutations()
    for band in range(BANDS):
        key = np.full(len(starts), band, dtype=np.uint64)
        for row in range(band * ROWS, (band + 1) * ROWS):
            # Multiply-shift hashing: the upper half of a product is as good as a permutation.
            minima = np.minimum.reduceat((shingles * multipliers[row] + addends[row]) >> np.uint64(32), starts)
            key = _mix(key * np.uint64(_GOLDEN) + minima)
        keys[owner[starts], band] = key
    return keys, some


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
    folded = [text.lower().replace("\u17d2\u178a", "\u17d2\u178f") for text in texts]
    codes = np.frombuffer("\n".join(folded).encode("utf-32-le", "replace"), dtype=np.uint32)
    ends = np.cumsum([len(text) + 1 for text in folded])
    khmer_digit = (codes >= 0x17E0) & (codes <= 0x17E9)
    codes = np.where(khmer_digit, codes - np.uint32(0x17E0 - 0x30), codes)
    base = (codes >= 0x1780) & (codes <= 0x17B3)
    mark = ((codes >= 0x17B4) & (codes <= 0x17D3)) | (codes == 0x17DD)
    word = _word_table()[np.minimum(codes, 0xFFFF)] & ~base & ~mark
    before_word, before_khmer, before_coeng = _shifted(word), _shifted(base | mark), _shifted(codes == _COENG)
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
def _word_table() -> npt.NDArray[np.bool_]:
    return np.fromiter((chr(code).isalnum() for code in range(0x10000)), dtype=np.bool_, count=0x10000)


@functools.cache
def _permutations() -> tuple[Words, Words]:
    steps = np.arange(1, 2 * BANDS * ROWS + 1, dtype=np.uint64)
    numbers = _mix(np.uint64(_SEED) + steps * np.uint64(_GOLDEN))
    return numbers[::2] | np.uint64(1), numbers[1::2]
