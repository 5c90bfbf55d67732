"""From files to prepared Documents: in a fixed order, several files at a time, dangerous ones in processes of their own."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import partial
from pathlib import PurePosixPath

from baray.data.documents.apart import Apart
from baray.data.documents.nouns import Document, Paper, Preparation, Refused
from baray.data.documents.prepare import compared_digest, document_id, documents, tidy
from baray.data.readers import is_packed, is_scan

__all__ = ["Document", "Paper", "Preparation", "Refused", "compared_digest", "document_id", "prepared", "tidy"]

_PROCESS_BYTES = 64_000_000
_HARMLESS_BYTES = 1_000_000
"""Text up to this length is read in the Attempt's own process: no reader makes more than some megabytes of it."""
_STREAMED = frozenset([".jsonl", ".ndjson", ".csv", ".tsv"])
_Work = Callable[[], list[Document | Refused]]


def prepared(
    papers: Sequence[Paper], preparation: Preparation, *, cpus: int
) -> Iterator[tuple[Paper, Iterator[Document | Refused]]]:
    """Each of `papers` in order with its Documents.

    Scans are read ahead in threads, because OCR is a process of its own. Packed files, PDF and long texts are read in
    processes with a limit of memory and time, so that one file can only cost itself; a large folder as a whole is read
    there, on all processors. Whatever the number of processors, the Documents are the same, in the same order.
    """
    large = cpus > 1 and sum(paper.file.bytes for paper in papers) >= _PROCESS_BYTES
    cpus = max(1, cpus)
    with Apart(preparation, most=cpus) as apart:
        ahead: deque[tuple[Paper, _Work]] = deque()
        for paper in papers:
            if is_scan(paper.file):
                ahead.append((paper, partial(_whole, paper, preparation)))
            elif _is_risky(paper, preparation, large=large):
                ahead.append((paper, partial(apart.read, paper)))
        with ThreadPoolExecutor(max_workers=cpus * 2) as threads:
            yield from _in_order(papers, ahead, preparation, (threads, cpus * 4))


def _in_order(
    papers: Sequence[Paper], ahead: deque[tuple[Paper, _Work]], preparation: Preparation, window: tuple[Executor, int]
) -> Iterator[tuple[Paper, Iterator[Document | Refused]]]:
    executor, most = window
    running: dict[str, Future[list[Document | Refused]]] = {}
    try:
        for paper in papers:
            while ahead and len(running) < most:
                following, work = ahead.popleft()
                running[following.path] = executor.submit(work)
            future = running.pop(paper.path, None)
            yield paper, iter(future.result()) if future else documents(paper, preparation)
    finally:
        executor.shutdown(cancel_futures=True)


def _is_risky(paper: Paper, preparation: Preparation, *, large: bool) -> bool:
    """Whether a file is read in a process of its own. Rows that are Documents may be of any number: they are streamed."""
    if PurePosixPath(paper.path).suffix.lower() in _STREAMED and preparation.read.rows != "no":
        return False
    return large or paper.file.bytes > _HARMLESS_BYTES or is_packed(paper.file)


def _whole(paper: Paper, preparation: Preparation) -> list[Document | Refused]:
    return list(documents(paper, preparation))
