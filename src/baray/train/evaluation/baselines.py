"""What a language model has to beat: byte models that learnt from the same text, and a compressor.

The trigram interpolates by Witten and Bell (1991, "The zero-frequency problem", method C): with n(ab) times a context was
seen and T(ab) different bytes after it,

    p(c | ab) = (n(abc) + T(ab) p(c | b)) / (n(ab) + T(ab)),    p(c | b) and p(c) alike, and below them 1/256.

A Document begins after two signs that no text holds; the end of a Document is not predicted.
"""

from __future__ import annotations

import lzma
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

_START = 256  # the sign before a Document
_CONTEXTS = 257
_BATCH_BYTES = 8_000_000


class ByteModel:
    """Counts of all triples of bytes: 135 MB, however long the text."""

    def __init__(self) -> None:
        """Nothing learnt: every byte is as likely as any other."""
        self._triples = np.zeros(_CONTEXTS * _CONTEXTS * 256, dtype=np.int64)

    def learn(self, documents: Iterable[bytes]) -> ByteModel:
        """Count Documents; returns itself."""
        batch: list[bytes] = []
        size = 0
        for document in documents:
            batch.append(document)
            size += len(document)
            if size >= _BATCH_BYTES:
                self._count(batch)
                batch, size = [], 0
        self._count(batch)
        return self

    def bits(self, documents: Sequence[bytes], *, order: int) -> NDArray[np.float64]:
        """Bits that each Document costs by contexts of `order` - 1 bytes: 1 unigram, 2 bigram, 3 trigram."""
        counts_abc = self._triples.reshape(_CONTEXTS, _CONTEXTS, 256)
        counts_bc = counts_abc.sum(axis=0)
        one_c = _mix(counts_bc.sum(axis=0), np.full(256, 1 / 256))
        two_bc = _mix(counts_bc, one_c)
        totals = np.zeros(len(documents))
        for number, document in enumerate(documents):
            first, second, third = _triples_of([document])
            if order == 1:
                chances = one_c[third]
            elif order == 2:
                chances = two_bc[second, third]
            else:
                seen = counts_abc[first, second, third]
                context = _context_counts(counts_abc, first, second)
                chances = (seen + context[1] * two_bc[second, third]) / np.maximum(context.sum(axis=0), 1)
                chances = np.where(context[0] > 0, chances, two_bc[second, third])
            totals[number] = -np.log2(chances).sum()
        return totals

    def _count(self, batch: Sequence[bytes]) -> None:
        if batch:
            first, second, third = _triples_of(batch)
            places = (first * _CONTEXTS + second) * 256 + third
            self._triples += np.bincount(places, minlength=len(self._triples))


def lzma_bits(documents: Sequence[bytes]) -> float:
    """Bits of the concatenated Documents under xz's strongest setting, which sees them all before it writes."""
    return len(lzma.compress(b"".join(documents), preset=9 | lzma.PRESET_EXTREME)) * 8.0


def _triples_of(batch: Sequence[bytes]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Each byte of each Document with the two signs before it."""
    start = np.full(2, _START, dtype=np.int64)
    parts: list[NDArray[np.int64]] = []
    for document in batch:
        parts += [start, np.frombuffer(document, dtype=np.uint8).astype(np.int64)]
    stream = np.concatenate(parts)
    first, second, third = stream[:-2], stream[1:-1], stream[2:]
    inside = third != _START
    return first[inside], second[inside], third[inside]


def _mix(counts: NDArray[np.int64], lower: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities of the last axis, interpolated with the shorter context's."""
    seen = counts.sum(axis=-1, keepdims=True)
    kinds = (counts > 0).sum(axis=-1, keepdims=True)
    mixed = (counts + kinds * lower) / np.maximum(seen + kinds, 1)
    return np.asarray(np.where(seen > 0, mixed, lower))


def _context_counts(
    counts_abc: NDArray[np.int64], first: NDArray[np.int64], second: NDArray[np.int64]
) -> NDArray[np.int64]:
    """How often each context was seen, and how many different bytes followed it: [2, positions]."""
    places, back = np.unique(first * _CONTEXTS + second, return_inverse=True)
    rows = counts_abc.reshape(-1, 256)[places]
    return np.stack([rows.sum(axis=1), (rows > 0).sum(axis=1)])[:, back]
