"""The reader child: a process that opens Parquet for control and leaves after a minute without questions.

Control never loads a columnar library: its memory stays small, and a damaged file kills only the child.
"""

from __future__ import annotations

import json
import subprocess
import threading
from typing import Any

from baray.core import Fault, Refused


class ReaderChild:
    """Asks one child process, started when needed; one question at a time."""

    def __init__(self, argv: list[str]) -> None:
        """`argv` starts a program that answers JSON lines."""
        self._argv = argv
        self._lock = threading.Lock()  # guards _process and the order of question and answer
        self._process: subprocess.Popen[str] | None = None

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        """Answer of the child. Raises what it refused, or Fault `reader_failed` after a second try."""
        with self._lock:
            for _ in range(2):
                line = self._exchange(json.dumps(question))
                if line:
                    return _checked(json.loads(line))
                self._process = None
        raise Fault("reader_failed", "The reader process died twice.", fix="Verify the files: baray ledger verify")

    def close(self) -> None:
        """Let the child go."""
        with self._lock:
            if self._process is not None and self._process.stdin is not None:
                self._process.stdin.close()
                self._process.wait(timeout=5)
                self._process = None

    def _exchange(self, question: str) -> str:
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(self._argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(question + "\n")
            process.stdin.flush()
        except BrokenPipeError:  # it left for idleness between the look and the write
            return ""
        return process.stdout.readline()


def _checked(answer: dict[str, Any]) -> dict[str, Any]:
    error = answer.get("error")
    if error:
        raise Refused(error.get("code", "unreadable"), error.get("message", "Unreadable."), fix=error.get("fix", ""))
    return answer
