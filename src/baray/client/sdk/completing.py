"""Completions from the router, whole or as they are made."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from baray.client.sdk.transport import Endpoint, Json, Unreachable
from baray.core import BarayError, Fault, Refused

TIMEOUT_SECONDS = 330.0
_DATA = b"data:"
_DONE = b"[DONE]"


@dataclass(slots=True, kw_only=True)
class Completion:
    """What came of one completion so far."""

    id: str = ""
    """`answer:a_...`, for its receipt and its proof."""
    text: str = ""
    """All text up to now."""
    finish: str = ""
    """`stop` or `length`; empty while it goes on."""
    usage: Json = field(default_factory=dict)
    """`prompt_tokens`, `completion_tokens`, as the router counts them."""


def complete(endpoint: Endpoint, path: str, body: Json) -> Iterator[Completion]:
    """Ask the router at `endpoint` and give the Completion each time it grew; the last one is whole.

    Raises Refused and Fault with the router's own words, Unreachable, and Fault `cut` when the stream ends too soon.
    """
    address = urlsplit(endpoint.url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=TIMEOUT_SECONDS)
    asked = body | {"stream": True, "stream_options": {"include_usage": True}}
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {endpoint.token}"}
    with closing(connection):
        try:
            connection.request("POST", path, json.dumps(asked).encode(), headers)
            response = connection.getresponse()
            if response.status != 200:
                raise _error(response.status, response.read())
            yield from _follow(response)
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(endpoint.url, str(error) or type(error).__name__) from error


def _follow(response: http.client.HTTPResponse) -> Iterator[Completion]:
    told = Completion(id=response.getheader("x-baray-answer", ""))
    for line in response:
        data = line.strip().removeprefix(_DATA).strip()
        if data == _DONE:
            yield told
            return
        if line.startswith(_DATA):
            value = json.loads(data)
            if "error" in value:
                raise _error(502, data)
            if _take(told, value):
                yield told
    raise Fault("cut", "The answer ended in the middle.", fix="Ask again; see baray service logs NAME.")


def _take(told: Completion, value: Json) -> bool:
    """Add one event; whether there is more text."""
    told.usage = value.get("usage") or told.usage
    for choice in value.get("choices") or ():
        piece = choice.get("text") or (choice.get("delta") or {}).get("content") or ""
        told.text += piece
        told.finish = choice.get("finish_reason") or told.finish
        if piece:
            return True
    return False


def _error(status: int, data: bytes) -> BarayError:
    try:
        found: Any = json.loads(data)["error"]
        code, message = str(found.get("code") or "refused"), str(found["message"])
    except (ValueError, KeyError, TypeError, AttributeError):
        code, message = "refused", f"The router answered with status {status}."
    kind = Fault if status >= 500 else Refused
    return kind(code, message, status=status)
