"""Clients that ask for completions all the time, whole ones and streams in turn, and note what they were told."""

from __future__ import annotations

import http.client
import json
import threading
import time
from contextlib import closing
from dataclasses import dataclass, field

PROMPT_TOKENS = 7  # what `speaking_replica` counts for any prompt
PAUSE_SECONDS = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One request that reached the router; times are monotonic seconds."""

    began: float
    ended: float
    id: str
    tokens: int
    trouble: str


@dataclass(kw_only=True)
class Load:
    """Threads that ask the Service `talk` at `port` until `stop`. A port where nobody listens is tried again."""

    port: int
    clients: int = 4
    requests_a_connection: int = 1000
    told: list[Told] = field(default_factory=list)
    unreached: int = 0

    def __post_init__(self) -> None:
        self._over = threading.Event()
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
                while self._once(connection, number, 1 + number % 12) and number < last:
                    number += 1
                    if self._over.wait(PAUSE_SECONDS):
                        return

    def _once(self, connection: http.client.HTTPConnection, number: int, tokens: int) -> bool:
        """One request; whether the connection can take another."""
        body = {"model": "talk", "prompt": "x", "max_tokens": tokens, "stream": number % 2 == 0}
        began, answer = time.monotonic(), ""
        try:
            if connection.sock is None:
                connection.connect()
        except ConnectionRefusedError:
            self.unreached += 1
            return False
        try:
            connection.request("POST", "/v1/completions", json.dumps(body))
            response = connection.getresponse()
            answer = (response.getheader("x-baray-answer") or "").removeprefix("answer:")
            said = response.read()
            trouble = _trouble(response.status, said, tokens, streams=bool(body["stream"]))
        except (OSError, http.client.HTTPException) as error:
            trouble = f"{type(error).__name__}: {error}"
        self.told.append(Told(began=began, ended=time.monotonic(), id=answer, tokens=tokens, trouble=trouble))
        return not trouble


def _trouble(status: int, said: bytes, tokens: int, *, streams: bool) -> str:
    """What is wrong with an answer; empty if it is whole."""
    events = [part for part in said.split(b"\n\n") if part]
    if status != 200 or (streams and events[-1:] != [b"data: [DONE]"]):
        return f"{status}: {said[-400:]!r}"
    words = len(events) - 1 if streams else json.loads(said)["usage"]["completion_tokens"]
    return "" if words == tokens else f"{words} tokens instead of {tokens}"
