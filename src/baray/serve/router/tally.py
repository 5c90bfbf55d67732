"""Counting what a Replica says while it passes: tokens from its own `usage`, and a digest of what went to the caller.

The router asks every Replica for usage at the end of a stream; a caller who did not ask for it does not see that event.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import Any

DONE = b"data: [DONE]"
MAX_EVENT_BYTES = 4 << 20
MAX_FINISH = 40  # characters of why an answer ended
MOST_TOKENS = 10**12  # of one answer: what says more counts nothing
_TELLS = re.compile(rb'"(?:usage|finish_reason)"\s*:\s*[^n\s]')


@dataclass(slots=True, kw_only=True)
class Tally:
    """What was counted of one response so far."""

    salt: bytes
    """The Answer's id and a line feed: without it the digest tells nothing about short texts."""
    shows_usage: bool
    """Whether the caller asked for the event with the usage."""
    prompt_tokens: int = 0
    """As the Replica says."""
    completion_tokens: int = 0
    """As the Replica says; of a stream that was cut the events that went to the caller."""
    finish: str = ""
    """Why it ended: `stop`, `length`; empty while it goes on."""
    ended: bool = False
    """The stream's last event has come."""
    _rest: bytes = b""
    _digest: Any = field(default=None)

    def __post_init__(self) -> None:
        """Start the digest with the salt."""
        self._digest = hashlib.sha256(self.salt)

    @property
    def digest(self) -> str:
        """`sha256:...` over the salt, a line feed and the body as it went to the caller."""
        return f"sha256:{self._digest.hexdigest()}"

    def whole(self, body: bytes) -> None:
        """Count a response that is not streamed."""
        self._digest.update(body)
        try:
            value = json.loads(body)
        except (ValueError, RecursionError):
            return
        if isinstance(value, dict):
            self._take_usage(value.get("usage"))
            self._take_finish(value)
            self.ended = True

    def told_prompt(self, text: str) -> None:
        """Take the tokens of the prompt from the head of a stream, so that they count even if its end never comes."""
        if text.isascii() and text.isdecimal():
            self.prompt_tokens = _count(int(text[:20]), self.prompt_tokens)

    def feed(self, chunk: bytes) -> bytes:
        """Count a piece of a stream; returns what of it goes to the caller now. The last event is held back: see `last`.

        Raises ValueError on an event without end.
        """
        data = self._rest + chunk
        if b"\r" in data:  # also an end of line; in JSON it can only stand escaped
            data = data.replace(b"\r\n", b"\n")
        events = data.split(b"\n\n")
        self._rest = events.pop()
        if len(self._rest) > MAX_EVENT_BYTES:
            raise ValueError("an event without end")
        kept = [event for event in events if self._passes(event)]
        out = b"\n\n".join(kept) + b"\n\n" if kept else b""
        self._digest.update(out)
        return out

    def last(self) -> bytes:
        """The event that ends a stream: sent after the receipt is kept. Raises ValueError if it has not come."""
        if not self.ended:
            raise ValueError("a stream that was cut")
        out = DONE + b"\n\n"
        self._digest.update(out)
        return out

    def _passes(self, event: bytes) -> bool:
        if self.ended:
            return False  # nothing comes after the end
        if event == DONE:
            self.ended = True
            return False
        # Most events are one token of text: only those that hold a usage or an end are parsed.
        if _TELLS.search(event):
            return self._read(event)
        self.completion_tokens += 1
        return True

    def _read(self, event: bytes) -> bool:
        try:
            value = json.loads(event.removeprefix(b"data:"))
        except (ValueError, RecursionError):
            return True
        if not isinstance(value, dict):
            return True
        usage = value.get("usage")
        self._take_usage(usage)
        self._take_finish(value)
        if isinstance(usage, dict):
            return self.shows_usage or bool(value.get("choices"))
        self.completion_tokens += 1
        return True

    def _take_usage(self, usage: object) -> None:
        if isinstance(usage, dict):
            self.prompt_tokens = _count(usage.get("prompt_tokens"), self.prompt_tokens)
            self.completion_tokens = _count(usage.get("completion_tokens"), self.completion_tokens)

    def _take_finish(self, value: dict[str, Any]) -> None:
        choices = value.get("choices")
        if isinstance(choices, list) and choices and isinstance(choices[0], dict):
            reason = choices[0].get("finish_reason")
            if isinstance(reason, str) and reason.isascii() and 0 < len(reason) <= MAX_FINISH:
                self.finish = reason


def _count(value: object, before: int) -> int:
    """A count as a Replica says it, where it is one: a receipt that holds anything else could not be taken in."""
    return value if type(value) is int and 0 <= value < MOST_TOKENS else before
