"""Children that open Parquet for control: one reader that stays a minute, and a process for each SQL question.

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


class QueryChildren:
    """Processes for SQL: one that stays and names tables, one more for each query, killed after `limit_seconds`."""

    def __init__(self, argv: list[str], *, most: int = 2, limit_seconds: float = 30.0) -> None:
        """`argv` starts a program that answers JSON lines."""
        self._argv = argv
        self._namer = ReaderChild(argv)
        self._slots = threading.BoundedSemaphore(most)
        self._limit_seconds = limit_seconds

    def tables(self, sql: str) -> list[str]:
        """Names of the tables that `sql` reads. Raises Refused `bad_query` for anything but one statement that reads."""
        return [str(name) for name in self._namer.ask({"op": "tables", "sql": sql})["tables"]]

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        """Answer to one query. Raises what the program refused; Refused `query_too_long`; `queries_busy` while all are taken."""
        if not self._slots.acquire(timeout=self._limit_seconds):
            fix = "Try again in a minute."
            raise Refused("queries_busy", "Other queries are being answered.", fix=fix, status=503)
        try:
            done = subprocess.run(
                self._argv,
                input=json.dumps(question) + "\n",
                stdout=subprocess.PIPE,
                text=True,
                timeout=self._limit_seconds,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise Refused(
                "query_too_long",
                f"The query was not answered within {self._limit_seconds:g} s.",
                fix="Ask for fewer rows (LIMIT), fewer columns, or join on fewer rows.",
            ) from error
        finally:
            self._slots.release()
        if not done.stdout:
            fix = "Ask for fewer rows or columns, or group before you sort."
            raise Refused(
                "query_too_large", f"The query ended the program that answers it ({done.returncode}).", fix=fix
            )
        return _checked(json.loads(done.stdout))

    def close(self) -> None:
        """Let the one that stays go."""
        self._namer.close()


def _checked(answer: dict[str, Any]) -> dict[str, Any]:
    error = answer.get("error")
    if error:
        raise Refused(error.get("code", "unreadable"), error.get("message", "Unreadable."), fix=error.get("fix", ""))
    return answer
