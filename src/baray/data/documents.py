"""From files to prepared Documents: read, normalised, redacted, measured; in a fixed order, several files at a time."""

from __future__ import annotations

import hashlib
import multiprocessing
import re
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import PurePosixPath

from baray.data.readers import ReadOptions, Record, Refusal, SourceFile, is_scan, read_file
from baray.text import language, language_shares, normalise, redact

_PROCESS_BYTES = 64_000_000
_STREAMED = frozenset([".jsonl", ".ndjson", ".csv", ".tsv"])
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]+")
_BLANK_LINES = re.compile("\n{3,}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Paper:
    """One file of the Source, with what its Documents inherit."""

    path: str
    """Below the folder that was given."""
    digest: str
    """Of its bytes."""
    file: SourceFile
    label: str
    """Canonical text of its label."""
    valid_from: str | None
    valid_until: str | None
    office: str | None
    twin: bool = False
    """Whether a file with the same bytes and a path before this one is in the Source."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One record in the pipeline."""

    paper: Paper
    record: int
    """Number in its file, from 0."""
    id: str
    text: str
    title: str
    key: str
    """Digest of the text as duplicates are compared: spaces and look-alike letters do not count."""
    language: str
    language_km: float
    language_en: float
    redactions: int
    redaction_kinds: tuple[tuple[str, int], ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """One Document that could not be read."""

    paper: Paper
    id: str
    refusal: Refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparation:
    """What is done to every Document."""

    read: ReadOptions
    redact: bool


def prepared(
    papers: Sequence[Paper], preparation: Preparation, *, cpus: int
) -> Iterator[tuple[Paper, Iterator[Document | Refused]]]:
    """Each of `papers` in order with its Documents.

    Scans are read ahead in threads, because OCR is a process of its own; large folders are read in processes. Whatever
    the number of processors, the Documents are the same, in the same order.
    """
    total = sum(paper.file.bytes for paper in papers)
    if cpus > 1 and total >= _PROCESS_BYTES:
        # Files of rows may be of any length: they are streamed here, the rest comes back whole.
        context = multiprocessing.get_context("spawn")
        ahead = [paper for paper in papers if PurePosixPath(paper.path).suffix.lower() not in _STREAMED]
        with ProcessPoolExecutor(max_workers=cpus, mp_context=context) as processes:
            yield from _in_order(papers, ahead, preparation, (processes, cpus * 4))
        return
    ahead = [paper for paper in papers if is_scan(paper.file)]
    with ThreadPoolExecutor(max_workers=max(1, cpus)) as threads:
        yield from _in_order(papers, ahead, preparation, (threads, max(1, cpus) * 2))


def _in_order(
    papers: Sequence[Paper], ahead: Sequence[Paper], preparation: Preparation, window: tuple[Executor, int]
) -> Iterator[tuple[Paper, Iterator[Document | Refused]]]:
    executor, most = window
    waiting = deque(ahead)
    running: dict[str, Future[list[Document | Refused]]] = {}
    try:
        for paper in papers:
            while waiting and len(running) < most:
                following = waiting.popleft()
                running[following.path] = executor.submit(_whole, following, preparation)
            future = running.pop(paper.path, None)
            yield paper, iter(future.result()) if future else _documents(paper, preparation)
    finally:
        executor.shutdown(cancel_futures=True)


def _whole(paper: Paper, preparation: Preparation) -> list[Document | Refused]:
    return list(_documents(paper, preparation))


def _documents(paper: Paper, preparation: Preparation) -> Iterator[Document | Refused]:
    for found in read_file(paper.file, preparation.read):
        key = document_id(paper, found.index)
        if isinstance(found, Refusal):
            yield Refused(paper=paper, id=key, refusal=found)
        else:
            yield _prepare(paper, found, key, preparation)


def document_id(paper: Paper, record: int) -> str:
    """Stable id of a Document: of the bytes of its file and its number in it; of a copy, of its path too."""
    parts = [paper.digest, str(record), *([paper.path] if paper.twin else [])]
    return "doc_" + hashlib.sha256("\n".join(parts).encode()).hexdigest()[:24]


def _prepare(paper: Paper, record: Record, key: str, preparation: Preparation) -> Document:
    text = tidy(record.text)
    title = " ".join(tidy(record.title).split())
    counts: dict[str, int] = {}
    if preparation.redact:
        text, counts = redact(text)
        title, _ = redact(title)
    shares = language_shares(text)
    return Document(
        paper=paper,
        record=record.index,
        id=key,
        text=text,
        title=title,
        key=compared_digest(text),
        language=language(text),
        language_km=round(shares["km"], 4),
        language_en=round(shares["en"], 4),
        redactions=sum(counts.values()),
        redaction_kinds=tuple(sorted(counts.items())),
        notes=record.notes,
    )


def tidy(text: str) -> str:
    """Normalised text with plain line ends, without control characters, trailing spaces and runs of empty lines."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\f", "\n").replace("\v", "\n")
    # A lone surrogate (from a JSON escape) is no character and cannot be stored.
    text = normalise(_CONTROL.sub("", text).encode("utf-8", "replace").decode())
    return _BLANK_LINES.sub("\n\n", "\n".join(line.rstrip() for line in text.split("\n"))).strip()


def compared_digest(text: str) -> str:
    """Digest of a normalised text by which exact duplicates are found: coeng DA and coeng TA look the same."""
    folded = " ".join(text.replace("\u17d2\u178a", "\u17d2\u178f").split())
    return hashlib.sha256(folded.encode()).hexdigest()
