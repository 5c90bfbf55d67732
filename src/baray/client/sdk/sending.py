"""Sending many files: a few connections at once, since a small file costs its round trip and not its bytes."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from baray.client.sdk.transport import Http, Timing
from baray.client.sdk.upload import LocalFile

CONNECTIONS = 4
_TELL_SECONDS = 0.05


class _StoppedError(Exception):
    """Another file could not be sent, or somebody pressed Ctrl-C."""


@dataclass(slots=True, kw_only=True)
class _Work:
    """What the threads share; a deque and an Event need no lock of ours."""

    todo: deque[LocalFile]
    """Files that no thread has taken."""
    sent: deque[int] = field(default_factory=deque)
    """Sizes of files that the server has taken."""
    stop: threading.Event = field(default_factory=threading.Event)
    """Set when no more is to be sent."""

    def sleep(self, seconds: float) -> None:
        """Wait between two tries of a request, unless all is to stop."""
        if self.stop.wait(seconds):
            raise _StoppedError


def send_files(
    files: Sequence[LocalFile],
    *,
    connect: Callable[[Timing], Http],
    send: Callable[[Http, LocalFile], None],
    timing: Timing,
    progress: Callable[[int, int], None],
) -> None:
    """Send each file once; returns when the server has them all. Raises the first error of `send`.

    `connect` makes a connection whose waiting is ours to break off; `progress`, called in the caller's thread, gets bytes
    sent and bytes to send. When this raises (Ctrl-C too) nothing is being sent any more: connections are cut, threads ended.
    """
    total = sum(file.bytes for file in files)
    progress(0, total)
    work = _Work(todo=deque(files))
    lines = [connect(Timing(clock=timing.clock, sleep=work.sleep)) for _ in range(min(CONNECTIONS, len(files)))]
    with ThreadPoolExecutor(max_workers=CONNECTIONS, thread_name_prefix="sending") as pool:
        try:
            pending = {pool.submit(_send_on, line, work, send) for line in lines}
            done_bytes = 0
            while pending:
                done, pending = wait(pending, timeout=_TELL_SECONDS, return_when=FIRST_EXCEPTION)
                while work.sent:
                    done_bytes += work.sent.popleft()
                progress(done_bytes, total)
                for future in done:
                    future.result()
        finally:
            work.stop.set()
            for line in lines:
                line.abort()
            pool.shutdown()  # here, so that no thread is left that uses what is closed below
            for line in lines:
                line.close()


def _send_on(line: Http, work: _Work, send: Callable[[Http, LocalFile], None]) -> None:
    while not work.stop.is_set():
        try:
            file = work.todo.popleft()
        except IndexError:
            return
        send(line, file)
        work.sent.append(file.bytes)
