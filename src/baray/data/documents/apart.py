"""Files that may be made to do harm are read in processes of their own, with a limit of memory and of processor time.

A file of one megabyte can unpack to gigabytes, and a damaged one can crash the library that reads it. The limits are set
by the process itself before it reads; when it dies, its last file is refused with the reason, and another takes its
place. What it says comes back as JSON: whoever took it over could write wrong Documents, and no more.

Each is two: one that reads, and one that waits for it and says what it died of. The kernel tells a process that begins by
exec the peak of memory of whoever started it; only of one that was forked by a small process is the peak its own.
"""

from __future__ import annotations

import ctypes
import json
import os
import queue
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterator, Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

from baray.data.documents.nouns import Document, Paper, Preparation, Refused
from baray.data.documents.prepare import document_id, documents
from baray.data.readers import REASONS, START, ReadOptions, Refusal, SourceFile, Start

_NEAR = 0.5
"""A process that died after it had held this much of its limit died of memory."""
_ASKED = frozenset(["digest", "path", "twin"])
_MOST_DEATHS = 20
"""So often an archive is read on behind a member that cost a process its life."""
_REST = f"{_MOST_DEATHS} of its members ended the process that read them; the rest was not read."
_REST_FIX = "Unpack it and add what is inside."
_ROWS_A_LIMIT = 1000
_BLOATED = 0.6


class Apart:
    """Up to `most` reading processes, started when they are needed; any thread may ask."""

    def __init__(self, preparation: Preparation, *, most: int) -> None:
        """Read as `preparation` says."""
        self._preparation = preparation
        self._free: queue.LifoQueue[_Reader | None] = queue.LifoQueue()
        for _ in range(most):
            self._free.put(None)

    def __enter__(self) -> Apart:
        """Start nothing yet."""
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        """End the processes."""
        while not self._free.empty():
            reader = self._free.get()
            if reader is not None:
                reader.end()

    def read(self, paper: Paper) -> Generator[Document | Refused, None, None]:
        """Documents of one file as they are read. A process that dies costs the file, or the member of an archive."""
        reader = self._free.get()
        whole = False
        try:
            start, deaths = START, 0
            while deaths < _MOST_DEATHS:
                reader = reader or _Reader(self._preparation)
                yield from reader.read(paper, start)
                if reader.finished:
                    whole = True
                    return
                dead, reader = reader, None
                again = dead.again(start)
                if again is None:
                    deaths += 1
                    refused, again = dead.buried(paper)
                    yield refused
                if again is None:
                    return
                start = again
            rest = Refusal(index=start.index, reason="broken_file", detail=_REST, fix=_REST_FIX)
            yield Refused(paper=paper, id=document_id(paper, start.index), refusal=rest)
        finally:
            # Not whole: nobody wants the rest, and it is in the middle of its work.
            if reader is not None and (not whole or reader.is_bloated()):
                reader.end()
                reader = None
            self._free.put(reader)


class _Reader:
    """One process."""

    def __init__(self, preparation: Preparation) -> None:
        read = preparation.read
        self._limit = read.most_memory
        self._seconds = read.most_seconds
        self._scratch = tempfile.mkdtemp(dir=read.scratch or None, prefix="reader-")
        self.finished = True
        """Whether the last file was read to its end."""
        self._index = 0
        self._member: tuple[int, str] | None = None
        self._clean = True
        """Whether what is read now is the first that the process reads."""
        self._silent = True
        """Whether nothing has come of it yet."""
        # No other end of a pipe is inherited: the process must see its own input end.
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self._say(asdict(replace(preparation, read=replace(read, scratch=self._scratch))))

    def read(self, paper: Paper, start: Start) -> Iterator[Document | Refused]:
        """Documents of one file; fewer if the process died, which `finished` tells then."""
        self.finished, self._index, self._member, self._silent = False, start.index, None, True
        file = {"blob": str(paper.file.blob), "bytes": paper.file.bytes, "member": start.member, "index": start.index}
        if not self._say({name: getattr(paper, name) for name in _ASKED} | file):
            return
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line == b"\n":
                self.finished, self._clean = True, False
                return
            if not line.endswith(b"\n"):
                return
            value = json.loads(line)
            if "member" in value:
                self._clean = self._clean and self._member is None
                self._member = (int(value["member"]), str(value["name"]))
                self._silent = True
                continue
            self._index += 1
            self._silent = False
            yield _heard(value, paper)

    def is_bloated(self) -> bool:
        """Whether so much memory is left from what it has read that the next file might lack it."""
        try:
            pages = int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[0])
        except (OSError, IndexError):
            return True  # it is gone
        return pages * os.sysconf("SC_PAGE_SIZE") > _BLOATED * self._limit

    def again(self, start: Start) -> Start | None:
        """Where a new process should try once more; None if this one died of nothing but what it was reading.

        What becomes of a file must not depend on the files that were read before it.
        """
        if self._clean or not self._silent:
            return None
        self.end()
        return Start(member=self._member[0] if self._member else start.member, index=self._index)

    def buried(self, paper: Paper) -> tuple[Refused, Start | None]:
        """What is said of the Document that the process died of, and where to read on; None where nothing is left."""
        refusal = replace(self._reason(), index=self._index)
        start = None
        if self._member is not None:
            number, name = self._member
            paper = replace(paper, path=f"{paper.path}/{name}")
            start = Start(member=number + 1, index=self._index + 1)
        return Refused(paper=paper, id=document_id(paper, self._index), refusal=refusal), start

    def _reason(self) -> Refusal:
        """Why the process died."""
        code = self._process.wait()
        self._close()
        if code == -signal.SIGXCPU:
            detail = f"It was not read after {self._seconds} s of work."
            return Refusal(index=0, reason="timeout", detail=detail, fix="Print it anew to PDF, or split it.")
        if code == _EXIT_MEMORY:
            detail = f"Reading it takes more than {self._limit // 1_000_000} MB of memory."
            return Refusal(index=0, reason="too_large", detail=detail, fix="Split it into smaller files.")
        detail = f"The process that read it ended with {code}."
        return Refusal(index=0, reason="broken_file", detail=detail, fix="Open it and save it anew.")

    def end(self) -> None:
        """Let the process go."""
        self._process.kill()
        self._process.wait()
        self._close()

    def _close(self) -> None:
        shutil.rmtree(self._scratch, ignore_errors=True)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdout.close()
        try:
            self._process.stdin.close()
        except BrokenPipeError:
            return  # it died before it took what was asked

    def _say(self, value: Mapping[str, Any]) -> bool:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(value).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return False
        return True


def _heard(value: dict[str, Any], paper: Paper) -> Document | Refused:
    path = str(value.pop("path"))
    if path.startswith(f"{paper.path}/"):  # whatever the process says, it speaks of this file
        paper = replace(paper, path=path)
    if "refusal" in value:
        refusal = Refusal(**value["refusal"])
        known = refusal.reason if refusal.reason in REASONS else "broken_file"
        refusal = replace(refusal, reason=known)
        return Refused(paper=paper, id=value["id"], refusal=refusal)
    kinds = tuple((str(name), int(count)) for name, count in value.pop("redaction_kinds"))
    return Document(paper=paper, redaction_kinds=kinds, notes=tuple(value.pop("notes")), **value)


# --- the process ----------------------------------------------------------------------------------------------------

_EXIT_MEMORY = 77
_PR_SET_PDEATHSIG = 1
_DOCUMENT = tuple(one.name for one in fields(Document) if one.name != "paper")


def main() -> int:
    """Read what is asked for on stdin, until it ends, in a process below this one; end as that one did."""
    asked = json.loads(sys.stdin.buffer.readline())
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    above = os.getpid()
    below = os.fork()
    if below:
        _end_as(below, _NEAR * asked["read"]["most_memory"])
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    return 0 if os.getppid() != above else _read_all(asked)


def _end_as(below: int, near_bytes: float) -> NoReturn:
    """Wait for the process that reads, and end as it ended; one that was killed with much memory in hand died of that."""
    _pid, status, used = os.wait4(below, 0)
    code = os.waitstatus_to_exitcode(status)
    if code and code != -signal.SIGXCPU and used.ru_maxrss * 1024 > near_bytes:
        code = _EXIT_MEMORY
    if code < 0:
        if -code in {signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ}:  # those that Python takes for itself
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def _read_all(asked: dict[str, Any]) -> int:
    options = ReadOptions(**asked["read"] | {"ocr": tuple(asked["read"]["ocr"]) if asked["read"]["ocr"] else None})
    preparation = Preparation(read=options, redact=asked["redact"])
    # The hard limit stays: the program for OCR, which is started from here, has a limit of its own.
    _soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = options.most_memory if hard == resource.RLIM_INFINITY else min(hard, options.most_memory)
    resource.setrlimit(resource.RLIMIT_AS, (most, hard))
    for line in sys.stdin.buffer:
        try:
            _answer(json.loads(line), preparation)
        except MemoryError:
            # Half a list may have been written: the process ends, and with it what it said of this file.
            os._exit(_EXIT_MEMORY)
    return 0


def _answer(asked: dict[str, Any], preparation: Preparation) -> None:
    file = SourceFile(path=asked["path"], blob=Path(asked["blob"]), bytes=asked["bytes"])
    paper = Paper(
        path=asked["path"],
        digest=asked["digest"],
        twin=asked["twin"],
        file=file,
        label="",
        valid_from=None,
        valid_until=None,
        office=None,
    )

    def at_member(number: int, name: str) -> None:
        _tell({"member": number, "name": name})
        _more_time(preparation)

    _more_time(preparation)
    start = Start(member=asked["member"], index=asked["index"])
    for number, found in enumerate(documents(paper, preparation, start=start, at_member=at_member), 1):
        if isinstance(found, Refused):
            value: dict[str, Any] = {"id": found.id, "refusal": asdict(found.refusal)}
        else:
            value = {name: getattr(found, name) for name in _DOCUMENT}
        _tell(value | {"path": found.paper.path})
        if number % _ROWS_A_LIMIT == 0:
            _more_time(preparation)
    sys.stdout.buffer.write(b"\n")
    sys.stdout.buffer.flush()


def _tell(value: Mapping[str, Any]) -> None:
    """One line, sent at once: what the process has read is not lost with it."""
    sys.stdout.buffer.write(json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n")
    sys.stdout.buffer.flush()


def _more_time(preparation: Preparation) -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    end = int(used.ru_utime + used.ru_stime) + 1 + preparation.read.most_seconds
    resource.setrlimit(resource.RLIMIT_CPU, (end, resource.RLIM_INFINITY))


if __name__ == "__main__":
    sys.exit(main())
