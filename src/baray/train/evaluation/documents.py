"""The Documents that a language model or a tokenizer is measured on."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from baray.core import Refused, digest_bytes
from baray.runs import Input
from baray.train.tokenizer.corpus import Corpus

HELD_OUT_FILE = "data/held_out.parquet"
_BATCH_ROWS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One Document, or a part of a long one."""

    id: str
    text: str
    language: str


def files_of(source: Input) -> Mapping[str, Path]:
    """Path -> where its bytes lie."""
    return {file.path: file.blob for file in source.files}


def read_samples(source: Input, most: int, held_percent: float | None = None) -> list[Sample]:
    """The held-out Documents of a tokens Dataset, or the Documents of a text Dataset: at most `most`, chosen by digest.

    `held_percent` says that a model learnt from this text Dataset, all but so much of it. Raises Refused `not_text`.
    """
    # Never more than `most` in memory, however large the Dataset.
    found = heapq.nsmallest(most, _all(source, held_percent), key=lambda one: digest_bytes(one.id.encode()))
    if not found:
        raise Refused("no_documents", f"{source.ref} has no Documents to measure on.", fix="Give another Dataset.")
    return sorted(found, key=lambda one: one.id)


def _all(source: Input, held_percent: float | None) -> Iterator[Sample]:
    files = files_of(source)
    if HELD_OUT_FILE in files:
        with pq.ParquetFile(files[HELD_OUT_FILE]) as file:
            for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=["id", "text", "language"]):
                yield from (Sample(**row) for row in batch.to_pylist())
        return
    corpus = Corpus(source)
    held = None if held_percent is None else corpus.held_out(held_percent)
    for document in corpus.documents():
        if held is None or held.holds(document.part.key):
            yield Sample(id=document.part.id, text=document.part.text, language=document.language)
