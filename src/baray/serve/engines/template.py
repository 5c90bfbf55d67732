"""A Model's chat template: somebody else's program. It runs in a process of its own, which is thrown away when it takes too much.

    python -I -m baray.serve.engines.template     is that process: a template first, then a chat a line

Covered: work, memory and length of what is written, for each chat; Jinja's sandbox, and behind it a process without an
environment that can open no file and start no other. Not covered: who comes in while a template works waits for it.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from jinja2 import Template as Compiled
from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from baray.core import Refused

_MOST_BYTES = 12  # that JSON needs for a character
_LAST_SECONDS = 1.0  # for a process to end by itself


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a template may take for one chat."""

    work_seconds: float = 2.0
    """Of a processor. A template of today takes a hundredth of a second for thousands of messages."""
    wall_seconds: float = 60.0
    """However busy the machine is."""
    memory_bytes: int = 512 << 20
    """Address space of the process, its libraries included."""
    frame_characters: int = 64 << 10
    """It may write so many of its own, and"""
    times: int = 8
    """so many for each that it was given, and"""
    most_characters: int = 4 << 20
    """no more than this, as a body may hold."""


class Template:
    """Renders chats. Any thread may ask; one chat is rendered at a time."""

    def __init__(self, source: str, special: Mapping[str, str], limits: Limits | None = None) -> None:
        """Take the template and the names of tokens that it may use. Starts no process yet, and reads nothing."""
        self._limits = limits or Limits()
        self._first: dict[str, Any] = {"source": source, "special": dict(special)}
        self._first |= {"memory": self._limits.memory_bytes, "work": self._limits.work_seconds}
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def render(self, messages: Sequence[Mapping[str, Any]]) -> str:
        """The text of a chat, up to where the assistant speaks. Raises Refused `bad_messages`."""
        given = sum(len(part) for message in messages for part in message.values())
        limits = self._limits
        most = min(limits.most_characters, limits.frame_characters + limits.times * given)
        with self._lock:
            told = self._ask({"messages": list(messages), "most": most})
        if "refused" in told:
            raise _refused(f"refuses these messages: {told['refused'].rstrip('.')}")
        text = str(told["text"])
        if any("\ud800" <= one <= "\udfff" for one in text):
            raise _refused("writes half a surrogate pair")
        return text

    def close(self) -> None:
        """End the process, and with it what it renders."""
        process = self._process
        if process is not None:
            process.kill()
        with self._lock:
            if self._process is not None:
                _end(self._process)
                self._process = None

    def _ask(self, chat: Mapping[str, Any], *, again: bool = True) -> dict[str, Any]:
        process = self._process or self._start()
        line = _answer_of(process, json.dumps(chat).encode() + b"\n", self._limits)
        if line is not None and line.endswith(b"\n"):
            found: dict[str, Any] = json.loads(line)
            return found
        if line is None:
            process.kill()
        self._process, code = None, _end(process)
        if code == -signal.SIGKILL and line is not None and again:  # by somebody else: it is no fault of the template
            return self._ask(chat, again=False)
        if line is None or code == -signal.SIGPROF:
            raise _refused(f"took more than {self._limits.work_seconds:g} s of work")
        if code == _EXIT_MEMORY:
            raise _refused(f"took more than {self._limits.memory_bytes >> 20} MB of memory")
        raise _refused(f"ended with {code}")

    def _start(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-I", "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={}, cwd="/"
        )
        weakref.finalize(self, _end, process)
        self._process = process
        _say(process, json.dumps(self._first).encode() + b"\n")
        return process


def _say(process: subprocess.Popen[bytes], data: bytes) -> None:
    assert process.stdin is not None
    try:
        process.stdin.write(data)
        process.stdin.flush()
    except BrokenPipeError:
        return  # it is dead: reading tells


def _answer_of(process: subprocess.Popen[bytes], asked: bytes, limits: Limits) -> bytes | None:
    """The line that answers, or what there is of it where the process died; None where it takes too long or too much."""
    _say(process, asked)
    assert process.stdout is not None
    handle, end = process.stdout.fileno(), time.monotonic() + limits.wall_seconds
    line = bytearray()
    while len(line) < _MOST_BYTES * limits.most_characters + 1000:
        ready, _, _ = select.select([handle], [], [], max(0.0, end - time.monotonic()))
        if not ready:
            return None
        data = os.read(handle, 1 << 20)
        line += data
        if not data or data.endswith(b"\n"):
            return bytes(line)
    return None


def _end(process: subprocess.Popen[bytes]) -> int:
    """Its exit code, once it has ended: by itself, which it does when nobody asks it any more, or by us."""
    for pipe in (process.stdin, process.stdout):
        assert pipe is not None
        try:
            pipe.close()
        except BrokenPipeError:
            continue
    try:
        return process.wait(_LAST_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _refused(what: str) -> Refused:
    return Refused(
        "bad_messages", f"The Model's chat template {what}.", fix="Send other messages, or ask another Model."
    )


# --- the process ----------------------------------------------------------------------------------------------------

_EXIT_MEMORY = 77


def main() -> int:
    """Render what comes on stdin, until it ends."""
    first = json.loads(sys.stdin.buffer.readline())
    for number in (signal.SIGTERM, signal.SIGINT):  # who is being answered is answered; then stdin ends
        signal.signal(number, signal.SIG_IGN)
    _load_what_is_loaded_late()
    for what, most in (
        (resource.RLIMIT_AS, first["memory"]),
        (resource.RLIMIT_NOFILE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        _soft, hard = resource.getrlimit(what)
        least = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (least, least))
    compiled: Compiled | None = None
    for line in sys.stdin.buffer:
        asked = json.loads(line)
        # Its own work is counted, and not that of others beside it; nothing catches this signal.
        signal.setitimer(signal.ITIMER_PROF, first["work"])
        try:
            compiled = compiled or _environment().from_string(first["source"])
            answer = {"text": _written(compiled, asked, first["special"])}
        except MemoryError:
            os._exit(_EXIT_MEMORY)
        except (OSError, ImportError):
            answer = {"refused": "it needs a file, and it may open none"}
        except _TEMPLATES as error:
            answer = {"refused": str(error)[:500]}
        data = json.dumps(answer).encode() + b"\n"
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    return 0


_TEMPLATES = (
    TemplateError,
    TypeError,
    ValueError,
    ArithmeticError,
    LookupError,
    AttributeError,
    RecursionError,
)
"""What a template, or what it does with the messages, can raise."""


def _load_what_is_loaded_late() -> None:
    """Jinja imports some of itself when it is first used, and no file can be opened later."""
    for source in (
        r"{{ '\N{BULLET}' }}",
        "{{ lipsum(n=1) }}",
        "{{ [] | pprint }}",
        "{{ raise_exception('') }}",
        "{% if",
    ):
        try:
            _environment().from_string(source).render()
        except TemplateError:
            continue


def _written(compiled: Compiled, asked: Mapping[str, Any], special: Mapping[str, str]) -> str:
    length, parts = 0, []
    for part in compiled.generate(messages=asked["messages"], add_generation_prompt=True, tools=None, **special):
        length += len(part)
        if length > asked["most"]:
            raise ValueError(f"it writes more than {asked['most']} characters")
        parts.append(part)
    return "".join(parts)


def _environment() -> ImmutableSandboxedEnvironment:
    """Jinja as chat templates expect it; what comes out is a prompt and no page, so nothing is escaped."""
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, autoescape=False)
    environment.add_extension("jinja2.ext.loopcontrols")
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise
    return environment


def _to_json(value: object, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _raise(message: str) -> NoReturn:
    raise TemplateError(message)


if __name__ == "__main__":
    sys.exit(main())
