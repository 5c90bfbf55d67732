"""Clients that ask for completions all the time, whole ones and streams in turn, and note what they were told."""

from __future__ import annotations

import http.client
import json
import select
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any

PROMPT_TOKENS = 7  # what `speaking_replica` counts for any prompt
PAUSE_SECONDS = 0.01
COUNTED = {"ignore_eos": True, "temperature": 0, "stream_options": {"include_usage": True}}
"""For engines that are real: as many tokens as are asked for, and their number told at the end of a stream."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One request that reached the router; times are monotonic seconds."""

    began: float
    ended: float
    id: str
    prompt: str
    prompt_tokens: int
    tokens: int
    trouble: str
    streams: bool
    events: int
    """Of a stream: those with text that came."""
    port: int
    """The client's end of the connection."""


@dataclass(kw_only=True)
class Load:
    """Threads that ask the Service `talk` at `port` until `stop`. A port where nobody listens is tried again."""

    port: int
    clients: int = 4
    requests_a_connection: int = 1000
    prompts: tuple[str, ...] = ("x",)
    most_tokens: int = 12
    key: str = ""
    more: dict[str, Any] = field(default_factory=dict)
    """Members of each body beside the usual ones."""
    told: list[Told] = field(default_factory=list)
    unreached: int = 0
    under_way: dict[int, float] = field(default_factory=dict)
    """Client -> when what it waits for began."""

    def __post_init__(self) -> None:
        self._over, self._goes = threading.Event(), threading.Event()
        self._goes.set()
        self._threads = [threading.Thread(target=self._ask, args=(at,), daemon=True) for at in range(self.clients)]

    def __enter__(self) -> Load:
        for one in self._threads:
            one.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Let each client finish its request."""
        self._over.set()
        for one in self._threads:
            one.join(60)
            assert not one.is_alive()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nothing new is asked meanwhile."""
        self._goes.clear()
        try:
            yield
        finally:
            self._goes.set()

    def failed(self) -> list[Told]:
        return [one for one in self.told if one.trouble]

    def completed(self) -> list[Told]:
        return [one for one in self.told if not one.trouble]

    def _ask(self, client: int) -> None:
        number = client
        while not self._over.wait(PAUSE_SECONDS):
            number += 1
            with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
                last = number + self.requests_a_connection - 1
                while self._once(connection, client, number) and number < last:
                    number += 1
                    if self._over.wait(PAUSE_SECONDS):
                        return

    def _once(self, connection: http.client.HTTPConnection, client: int, number: int) -> bool:
        """One request; whether the connection can take another."""
        tokens, prompt = 1 + number % self.most_tokens, self.prompts[number % len(self.prompts)]
        streams = number % 2 == 0
        body = {"model": "talk", "prompt": prompt, "max_tokens": tokens, "stream": streams} | self.more
        if not streams:
            body.pop("stream_options", None)
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        self._goes.wait()
        began, answer, seen = time.monotonic(), "", _Seen()
        try:
            if connection.sock is None or _hung_up(connection):
                connection.close()
                connection.connect()
        except ConnectionRefusedError:
            self.unreached += 1
            return False
        port = connection.sock.getsockname()[1]
        self.under_way[client] = began
        try:
            connection.request("POST", "/v1/completions", json.dumps(body), headers)
            response = connection.getresponse()
            answer = (response.getheader("x-baray-answer") or "").removeprefix("answer:")
            seen = _read(response, streams=streams)
            trouble = _trouble(response.status, seen, tokens, streams=streams)
        except (OSError, http.client.HTTPException) as error:
            trouble = f"{type(error).__name__}: {error}"
        ended = time.monotonic()
        told = {"began": began, "ended": ended, "id": answer, "prompt": prompt, "prompt_tokens": seen.prompt_tokens}
        told |= {"tokens": tokens, "trouble": trouble, "streams": streams, "events": seen.events, "port": port}
        self.told.append(Told(**told))
        del self.under_way[client]
        return not trouble


@dataclass(slots=True)
class _Seen:
    """What came of an answer."""

    said: bytes = b""
    events: int = 0
    tokens: int = 0
    prompt_tokens: int = PROMPT_TOKENS
    torn: str = ""


def _hung_up(connection: http.client.HTTPConnection) -> bool:
    """Whether the other side has closed a connection that nothing was asked on since; clients look before they use one."""
    return bool(select.select([connection.sock], [], [], 0)[0])


def _read(response: http.client.HTTPResponse, *, streams: bool) -> _Seen:
    """The body, up to where it was cut."""
    seen = _Seen()
    try:
        seen.said = response.read()
    except http.client.IncompleteRead as error:
        seen.said, seen.torn = error.partial, f"IncompleteRead: {len(error.partial)} bytes"
    if response.status != 200 or (seen.torn and not streams):
        return seen
    for event in seen.said.split(b"\n\n") if streams else [seen.said]:
        _count(seen, event.removeprefix(b"data: "))
    return seen


def _count(seen: _Seen, event: bytes) -> None:
    try:
        value = json.loads(event)
    except ValueError:  # the end of a stream, or a torn event
        return
    usage = value.get("usage")
    if usage:
        seen.tokens, seen.prompt_tokens = usage["completion_tokens"], usage["prompt_tokens"]
    seen.events += bool(value.get("choices"))


def _trouble(status: int, seen: _Seen, tokens: int, *, streams: bool) -> str:
    """What is wrong with an answer; empty if it is whole."""
    if seen.torn:
        return seen.torn
    if status != 200 or (streams and not seen.said.endswith(b"data: [DONE]\n\n")):
        return f"{status}: {seen.said[-400:]!r}"
    counted = seen.tokens or seen.events  # a stream that tells no usage has an event for each token
    return "" if counted == tokens else f"{counted} tokens instead of {tokens}"
