"""The hatch of one Attempt: a unix socket in its sandbox, served outside: `python -I -S hatch.py RULES`.

The supervisor makes the socket, which is shown to the command at `SHOWN` (its path stands in BARAY_API_SOCKET), and starts
this process when somebody first connects. The Run's own token comes through a pipe: it stands in no file, argument or
environment, and the command never sees it.

Two requests are known. Nothing that the command sent goes on but the bytes of a body whose length it told: request line
and headers are written anew, on a connection of its own for each request. So there is nothing to smuggle in.
Covered: other paths, methods and headers; two requests in one; bodies without end; requests that never end.
Not covered: numbers that are false; a command tells of itself what it likes. Standard library, one file.
"""

from __future__ import annotations

import ctypes
import http.client
import json
import os
import re
import signal
import socket
import sys
import threading
import time
from typing import Any

TOKEN, LISTENER = 3, 4
"""Descriptors: the pipe with the token, and the socket."""
KNOWN = {"GET /api/v1/runs/self": 0, "POST /api/v1/runs/self/metrics": 64 * 2**10}
"""Request -> bytes that its body may have."""
_HEAD_BYTES, _ANSWER_BYTES, _PIECE = 8192, 2**20, 65536
_PLACES = 8
_SECONDS = 10.0
_CONTROL_SECONDS = 30.0
_TEXT_FIELD = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([ \t\x21-\x7e\x80-\xff]*)")
_LENGTH = re.compile(r"[0-9]{1,9}")
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE = 1, 4


class TurnedAwayError(Exception):
    """A request that goes no further: status, code, what is wrong."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        """Take what the answer says."""
        super().__init__(detail)
        self.status, self.code, self.detail = status, code, detail


class Keeper:
    """Serves one socket until it is killed."""

    def __init__(self, rules: dict[str, Any], token: str) -> None:
        """Pass on to control at `rules`: `{host, port}`."""
        self._host, self._port = str(rules["host"]), int(rules["port"])
        self._token = token
        self._places = threading.BoundedSemaphore(_PLACES)

    def serve(self, listener: socket.socket) -> None:
        """Answer every connection in a thread of its own, one request each."""
        while True:
            self._places.acquire()
            end, _ = listener.accept()
            threading.Thread(target=self._answer, args=(end,), daemon=True).start()

    def _answer(self, end: socket.socket) -> None:
        try:
            with end:
                try:
                    asked, body = read_request(end)
                    status, answer = self._pass_on(asked, body)
                except TurnedAwayError as turned:
                    status, answer = turned.status, _problem(turned)
                end.sendall(_response(status, answer))
                # Hanging up with bytes unread would take the answer away from its reader.
                end.shutdown(socket.SHUT_WR)
                _drain(end)
        except OSError:
            return  # the command hung up, or said nothing in time
        finally:
            self._places.release()

    def _pass_on(self, asked: str, body: bytes) -> tuple[int, bytes]:
        method, _, path = asked.partition(" ")
        headers = {"Authorization": f"Bearer {self._token}", "Accept": "application/json", "Connection": "close"}
        if method == "POST":
            headers["Content-Type"] = "application/json"
        connection = http.client.HTTPConnection(self._host, self._port, timeout=_CONTROL_SECONDS)
        try:
            connection.request(method, path, body if method == "POST" else None, headers)
            reply = connection.getresponse()
            return reply.status, reply.read(_ANSWER_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise TurnedAwayError(503, "control_down", "Control does not answer. Try again in a moment.") from error
        finally:
            connection.close()


def read_request(end: socket.socket) -> tuple[str, bytes]:
    """One request: which of `KNOWN`, and its body, exactly as long as it told. Raises TurnedAwayError, OSError."""
    deadline = time.monotonic() + _SECONDS
    data = b""
    while b"\r\n\r\n" not in data:
        if len(data) > _HEAD_BYTES:
            raise TurnedAwayError(431, "too_large", f"The head of a request may have {_HEAD_BYTES} bytes.")
        data += _receive(end, deadline)
    head, _, body = data.partition(b"\r\n\r\n")
    asked, length = read_head(head)
    while len(body) < length:
        body += _receive(end, deadline)
    return asked, body[:length]


def read_head(head: bytes) -> tuple[str, int]:
    """Which of `KNOWN` a head asks for, and how long its body is. Raises TurnedAwayError for what is not plain."""
    first, *rest = head.decode("latin-1").split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or words[2] not in ("HTTP/1.1", "HTTP/1.0"):
        raise TurnedAwayError(400, "bad_request", "The first line is not METHOD PATH HTTP/1.1.")
    asked = f"{words[0]} {words[1]}"
    if asked not in KNOWN:
        known = ", ".join(KNOWN)
        raise TurnedAwayError(404, "not_found", f"Here is nothing but: {known}.")
    lengths: list[str] = []
    for line in rest:
        field = _TEXT_FIELD.fullmatch(line)
        if field is None:
            raise TurnedAwayError(400, "bad_request", "A header is not NAME: VALUE on a line of its own.")
        name = field[1].lower()
        if name == "transfer-encoding":
            raise TurnedAwayError(411, "length_needed", "Transfer-Encoding is not taken. Send Content-Length.")
        if name == "content-length":
            lengths.append(field[2].strip())
    return asked, _length(asked, lengths)


def _length(asked: str, lengths: list[str]) -> int:
    if len(lengths) > 1 or not all(_LENGTH.fullmatch(one) for one in lengths):
        raise TurnedAwayError(400, "bad_request", "Content-Length is not one plain number.")
    if asked.startswith("POST") and not lengths:
        raise TurnedAwayError(411, "length_needed", "Send Content-Length.")
    length = int(lengths[0]) if lengths else 0
    if length > KNOWN[asked]:
        raise TurnedAwayError(413, "too_large", f"The body may have {KNOWN[asked]} bytes at most.")
    return length


def _receive(end: socket.socket, deadline: float) -> bytes:
    end.settimeout(max(0.01, deadline - time.monotonic()))
    piece = end.recv(_PIECE)
    if not piece:
        raise TurnedAwayError(400, "bad_request", "The request ends too early.")
    return piece


def _drain(end: socket.socket) -> None:
    end.settimeout(1.0)
    deadline = time.monotonic() + 1.0
    while time.monotonic() < deadline and end.recv(_PIECE):
        continue


def _response(status: int, body: bytes) -> bytes:
    kind = "application/json" if status < 400 else "application/problem+json"
    head = f"HTTP/1.1 {status} {http.client.responses.get(status, 'Answer')}\r\nContent-Type: {kind}\r\n"
    return (head + f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n").encode() + body


def _problem(turned: TurnedAwayError) -> bytes:
    return json.dumps({"status": turned.status, "code": turned.code, "detail": turned.detail}).encode()


def main() -> None:
    """Drop to the uid of the rules, take the token and the socket, serve."""
    rules = json.loads(sys.argv[1])
    if rules["uid"] is not None:
        os.setgroups([])
        os.setresgid(rules["uid"], rules["uid"], rules["uid"])
        os.setresuid(rules["uid"], rules["uid"], rules["uid"])
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)  # another process of this uid cannot look at its memory
    if os.getppid() != rules["parent"]:
        return
    # What is told in the grace before the end still counts; the end itself comes by SIGKILL.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with os.fdopen(TOKEN, encoding="ascii") as pipe:
        token = pipe.read()
    Keeper(rules, token).serve(socket.socket(fileno=LISTENER))


if __name__ == "__main__":
    main()
