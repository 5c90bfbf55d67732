"""What the probes share: system calls by number, and a child for each probe."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import signal
from collections.abc import Callable
from pathlib import Path

Facts = dict[str, str]
Probe = Callable[[Facts], str]

ARCHITECTURE = 0 if platform.machine() == "x86_64" else 1
LIMIT_SECONDS = 5
SELF = "/proc/self"
libc = ctypes.CDLL(None, use_errno=True)


def call(number: int, *arguments: int | bytes) -> tuple[int, int]:
    """(result, errno) of a system call."""
    ctypes.set_errno(0)
    words = [ctypes.c_long(word) if isinstance(word, int) else ctypes.c_char_p(word) for word in arguments]
    result = libc.syscall(ctypes.c_long(number), *words)
    return int(result), ctypes.get_errno()


def opened(path: str, flags: int = os.O_RDONLY) -> str:
    """The path if it can be opened, else an empty text."""
    try:
        os.close(os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return ""
    return path


def first_opened(paths: tuple[str, ...], flags: int = os.O_RDONLY) -> str:
    """The first of the paths that can be opened."""
    return next((path for path in paths if opened(path, flags)), "")


def holds(path: str, secret: str) -> str:
    """The path if it can be read and holds the secret."""
    try:
        return path if secret.encode() in Path(path).read_bytes() else ""
    except OSError:
        return ""


def in_child(probe: Probe, facts: Facts) -> str:
    """Run a probe in a process of its own. One that ends without an answer counts as out: a broken probe never passes."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        signal.alarm(LIMIT_SECONDS)
        try:
            told = "done:" + probe(facts)
        except OSError as error:
            told = f"it broke: {error}"
        os.write(writer, told.encode(errors="replace")[:4000])
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        told = file.read().decode(errors="replace")
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if told.startswith("done:"):
        return told.removeprefix("done:")
    if code == -signal.SIGSYS:
        return ""  # the filter killed it
    return told or f"it ended with {code} and said nothing"


def refused(result: int, number: int, *expected: int) -> str:
    """An empty text if the call failed with an expected errno; else what came of it."""
    if result == -1 and number in (expected or (errno.EPERM, errno.EACCES)):
        return ""
    return f"it answered {result}, {errno.errorcode.get(number, str(number))}"
