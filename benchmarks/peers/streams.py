"""Streams through a gateway: events a second, processor time of one that comes alone, time to the first byte, and how
soon the model hears that a caller left.
"""

from __future__ import annotations

import json
import multiprocessing
import socket
import statistics
import threading
import time
from contextlib import closing
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path

EVENT = (
    b'data: {"id":"cmpl-1","object":"text_completion","choices":[{"index":0,"text":" word","finish_reason":null}]}\n\n'
)
END = b'data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":9,"total_tokens":18}}\n\ndata: [DONE]\n\n'
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"


class Speaker:
    """A model in a process of its own: `max_tokens` events, each with a write of its own, 0 until cut; `pause_ms` between."""

    def __init__(self, path: Path) -> None:
        """Listen on a unix socket at `path`."""
        spawn = multiprocessing.get_context("fork")
        self.left: Synchronized[float] = spawn.Value("d", 0.0)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen(256)
        self._process = spawn.Process(target=_speak, args=(listener, self.left), daemon=True)
        self._process.start()
        listener.close()

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.join()


def _speak(listener: socket.socket, left: Synchronized[float]) -> None:
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=_answer, args=(connection, left), daemon=True).start()


def _answer(connection: socket.socket, left: Synchronized[float]) -> None:
    with closing(connection):
        data = b""
        while b"\r\n\r\n" not in data or b"}" not in data:
            data += connection.recv(65536)
        asked = json.loads(data.partition(b"\r\n\r\n")[2])
        number = int(asked["max_tokens"])
        connection.sendall(HEAD + EVENT)
        try:
            for _ in range(number - 1):
                if asked.get("pause_ms"):
                    time.sleep(asked["pause_ms"] / 1000)
                connection.sendall(EVENT)
            if number:
                connection.sendall(END)
            else:
                connection.recv(1)  # until it is let go
                left.value = time.monotonic()
        except OSError:
            left.value = time.monotonic()


def ask(address: str | tuple[str, int], key: str, tokens: int, pause_ms: float = 0.0) -> socket.socket:
    """A connection on which a stream was asked for."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    connection = socket.socket(family)
    connection.settimeout(60)
    connection.connect(address)
    body = json.dumps({"model": "talk", "prompt": "x", "stream": True, "max_tokens": tokens, "pause_ms": pause_ms})
    head = (
        f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n"
    )
    connection.sendall(head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body.encode())
    return connection


def events_per_second(
    address: str | tuple[str, int], key: str, *, streams: int, tokens: int, pause_ms: float = 0.0
) -> float:
    """Events that arrive in a second, over several streams at once."""
    counts: list[int] = []

    def read() -> None:
        with closing(ask(address, key, tokens, pause_ms)) as connection:
            number, tail = 0, b""
            while b"[DONE]" not in tail:
                data = connection.recv(262_144)
                if not data:
                    break
                number += data.count(b"data: ")
                tail = (tail + data)[-32:]
            counts.append(number)

    threads = [threading.Thread(target=read) for _ in range(streams)]
    started = time.perf_counter()
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    if min(counts) < tokens:
        raise RuntimeError(f"of {tokens} events {min(counts)} came")
    return sum(counts) / (time.perf_counter() - started)


def first_byte_ms(address: str | tuple[str, int], key: str, number: int) -> float:
    """Median milliseconds from a new connection to the first event."""
    times = []
    for _ in range(number):
        started = time.perf_counter()
        with closing(ask(address, key, 1)) as connection:
            data = b""
            while b"data: " not in data:
                data += connection.recv(65536)
            times.append(time.perf_counter() - started)
    return 1000 * statistics.median(times)


def cancel_ms(speaker: Speaker, address: str | tuple[str, int], key: str, number: int) -> float:
    """Median milliseconds from a caller's leaving to the model's hearing of it."""
    times = []
    for _ in range(number):
        speaker.left.value = 0.0
        with closing(ask(address, key, 0)) as connection:
            data = b""
            while b"data: " not in data:
                data += connection.recv(65536)
        left = time.monotonic()
        while not speaker.left.value:
            if time.monotonic() - left > 20:
                raise TimeoutError("the model never heard that the caller left")
            time.sleep(0.0001)
        times.append(speaker.left.value - left)
    return 1000 * statistics.median(times)
