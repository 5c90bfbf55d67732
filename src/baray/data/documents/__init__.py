"""From files to prepared Documents: in a fixed order, several files at a time, dangerous ones in processes of their own."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from types import TracebackType

from baray.data.documents.ahead import Ahead
from baray.data.documents.apart import Apart
from baray.data.documents.nouns import Document, Paper, Preparation, Refused
from baray.data.documents.order import papers_of
from baray.data.documents.prepare import compared_digest, document_id, documents, tidy
from baray.data.readers import is_packed, is_scan

__all__ = [
    "Document",
    "Paper",
    "Preparation",
    "Refused",
    "compared_digest",
    "document_id",
    "papers_of",
    "prepared",
    "tidy",
]

_PROCESS_BYTES = 64_000_000
_HARMLESS_BYTES = 1_000_000
"""Text up to this length is read in the Attempt's own process: no reader makes more than some megabytes of it."""


def prepared(
    papers: Sequence[Paper], preparation: Preparation, *, cpus: int
) -> Iterator[tuple[Paper, Iterator[Document | Refused]]]:
    """Each of `papers` in order with its Documents, which are to be taken before the next paper is.

    Scans are read ahead in threads, because OCR is a process of its own. Packed files, PDF and long texts are read in
    processes with a limit of memory and time, so that one file can only cost itself; a large folder as a whole is read
    there, on all processors. Whatever the number of processors, the Documents are the same, in the same order.
    """
    large = cpus > 1 and sum(paper.file.bytes for paper in papers) >= _PROCESS_BYTES
    cpus = max(1, cpus)
    with Apart(preparation, most=cpus) as apart, _Threads(cpus) as threads:
        waiting: deque[tuple[Paper, Executor, Ahead]] = deque()
        for paper in papers:
            if is_scan(paper.file):
                waiting.append((paper, threads.scans, Ahead(partial(documents, paper, preparation))))
            elif large or paper.file.bytes > _HARMLESS_BYTES or is_packed(paper.file):
                waiting.append((paper, threads.apart, Ahead(partial(apart.read, paper))))
        yield from _in_order(papers, waiting, preparation, cpus * 4)


class _Threads:
    """As many threads as there are processes to read in: a file that is begun always has one, and none waits for it."""

    def __init__(self, cpus: int) -> None:
        self.scans = ThreadPoolExecutor(max_workers=cpus)
        self.apart = ThreadPoolExecutor(max_workers=cpus)

    def __enter__(self) -> _Threads:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        for executor in (self.scans, self.apart):
            executor.shutdown(cancel_futures=True)


def _in_order(
    papers: Sequence[Paper], waiting: deque[tuple[Paper, Executor, Ahead]], preparation: Preparation, most: int
) -> Iterator[tuple[Paper, Iterator[Document | Refused]]]:
    begun: dict[str, Ahead] = {}
    try:
        for paper in papers:
            while waiting and len(begun) < most:
                following, executor, ahead = waiting.popleft()
                executor.submit(ahead.fill)
                begun[following.path] = ahead
            found = begun.pop(paper.path, None)
            if found is None:
                yield paper, documents(paper, preparation)
            else:
                try:
                    yield paper, found.take()
                finally:
                    found.close()
    finally:
        for ahead in begun.values():
            ahead.close()
