"""Files that may be made to do harm are read in processes of their own, with a limit of memory and of processor time.

A file of one megabyte can unpack to gigabytes, and a damaged one can crash the library that reads it. The limits are set
by the process itself before it reads; when it dies, its last file is refused with the reason, and another takes its
place. What it says comes back as JSON: whoever took it over could write wrong Documents, and no more.
"""

from __future__ import annotations

import json
import os
import queue
import resource
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from types import TracebackType
from typing import Any

from baray.data.documents.nouns import Document, Paper, Preparation, Refused
from baray.data.documents.prepare import document_id, documents
from baray.data.readers import REASONS, ReadOptions, Refusal, SourceFile

_NEAR = 0.5
"""A process that died after it had held this much of its limit died of memory."""
_ASKED = frozenset(["digest", "path", "twin"])


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

    def read(self, paper: Paper) -> list[Document | Refused]:
        """Documents of one file; one refusal in their place if the process died of it."""
        reader = self._free.get()
        try:
            reader = reader or _Reader(self._preparation)
            found = reader.read(paper)
            if found is not None:
                return found
            refusal, reader = reader.reason(), None
            return [Refused(paper=paper, id=document_id(paper, 0), refusal=refusal)]
        finally:
            self._free.put(reader)


class _Reader:
    """One process."""

    def __init__(self, preparation: Preparation) -> None:
        self._limit = preparation.read.most_memory
        self._seconds = preparation.read.most_seconds
        # No other end of a pipe is inherited: the process must see its own input end.
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self._say(asdict(preparation))

    def read(self, paper: Paper) -> list[Document | Refused] | None:
        """Documents of one file; None if the process died."""
        file = {"blob": str(paper.file.blob), "bytes": paper.file.bytes}
        if not self._say({name: getattr(paper, name) for name in _ASKED} | file):
            return None
        found: list[Document | Refused] = []
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line == b"\n":
                return found
            if not line.endswith(b"\n"):
                break
            found.append(_heard(json.loads(line), paper))
        return None

    def reason(self) -> Refusal:
        """Why the process died."""
        _pid, status, used = os.wait4(self._process.pid, 0)
        self._process.returncode = code = os.waitstatus_to_exitcode(status)
        self._close()
        if code == -signal.SIGXCPU:
            detail = f"It was not read after {self._seconds} s of work."
            return Refusal(index=0, reason="timeout", detail=detail, fix="Print it anew to PDF, or split it.")
        if code == _EXIT_MEMORY or used.ru_maxrss * 1024 > _NEAR * self._limit:
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
    if "refusal" in value:
        refusal = Refusal(**value["refusal"])
        known = refusal.reason if refusal.reason in REASONS else "broken_file"
        refusal = Refusal(index=refusal.index, reason=known, detail=refusal.detail, fix=refusal.fix)
        return Refused(paper=paper, id=value["id"], refusal=refusal)
    kinds = tuple((str(name), int(count)) for name, count in value.pop("redaction_kinds"))
    return Document(paper=paper, redaction_kinds=kinds, notes=tuple(value.pop("notes")), **value)


# --- the process ----------------------------------------------------------------------------------------------------

_EXIT_MEMORY = 77
_DOCUMENT = tuple(one.name for one in fields(Document) if one.name != "paper")


def main() -> int:
    """Read what is asked for on stdin, until it ends."""
    asked = json.loads(sys.stdin.buffer.readline())
    options = ReadOptions(**asked["read"] | {"ocr": tuple(asked["read"]["ocr"]) if asked["read"]["ocr"] else None})
    preparation = Preparation(read=options, redact=asked["redact"])
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (options.most_memory, options.most_memory))
    for line in sys.stdin.buffer:
        used = resource.getrusage(resource.RUSAGE_SELF)
        end = int(used.ru_utime + used.ru_stime) + 1 + options.most_seconds
        resource.setrlimit(resource.RLIMIT_CPU, (end, resource.RLIM_INFINITY))
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
    for found in documents(paper, preparation):
        if isinstance(found, Refused):
            value: dict[str, Any] = {"id": found.id, "refusal": asdict(found.refusal)}
        else:
            value = {name: getattr(found, name) for name in _DOCUMENT}
        sys.stdout.buffer.write(json.dumps(value).encode() + b"\n")
    sys.stdout.buffer.write(b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    sys.exit(main())
