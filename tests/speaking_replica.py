"""A process that speaks as a Replica does, word by word, so that a router's part can be tested without an engine.

python tests/speaking_replica.py SOCKET [SECONDS_A_WORD]
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from aiohttp import web

WORDS = ("សួស្តី", " how", " are", " you", "?")


class Speaker:
    def __init__(self, pause_seconds: float) -> None:
        self.pause_seconds = pause_seconds
        self.active = 0
        self.stopped = 0
        self.asked = 0

    async def complete(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.asked += 1
        number = int(body.get("max_tokens", len(WORDS)))
        usage = {"prompt_tokens": 7, "completion_tokens": number, "total_tokens": 7 + number}
        head = {"id": f"cmpl-{request.headers['X-Request-Id']}", "object": "text_completion", "model": body["model"]}
        if number > 1000:
            told = {
                "error": {"message": "too long", "type": "invalid_request_error", "code": "context_length_exceeded"}
            }
            return web.json_response(told, status=400)
        self.active += 1
        try:
            if body.get("stream"):
                return await self._stream(request, body, head, usage)
            await asyncio.sleep(self.pause_seconds * number)
            choice = {"index": 0, "text": "".join(_words(number)), "finish_reason": "length"}
            return web.json_response(head | {"choices": [choice], "usage": usage})
        except (asyncio.CancelledError, ConnectionError):
            self.stopped += 1
            raise
        finally:
            self.active -= 1

    async def _stream(self, request: web.Request, body: Any, head: Any, usage: Any) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        words = _words(usage["completion_tokens"])
        for at, word in enumerate(words):
            last = at == len(words) - 1
            choice = {"index": 0, "text": word, "finish_reason": "length" if last else None}
            await _say(response, head | {"choices": [choice]})
            await asyncio.sleep(self.pause_seconds)
        if (body.get("stream_options") or {}).get("include_usage"):
            await _say(response, head | {"choices": [], "usage": usage})
        await response.write(b"data: [DONE]\n\n")
        return response

    async def health(self, _request: web.Request) -> web.Response:
        return web.json_response({"ready": True, "active": self.active, "stopped": self.stopped, "asked": self.asked})


def _words(number: int) -> list[str]:
    return [WORDS[at % len(WORDS)] for at in range(number)]


async def _say(response: web.StreamResponse, value: Any) -> None:
    await response.write(b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n")


def main() -> None:
    speaker = Speaker(float(sys.argv[2]) if len(sys.argv) > 2 else 0.0)
    app = web.Application()
    app.router.add_post("/v1/completions", speaker.complete)
    app.router.add_get("/healthz", speaker.health)
    web.run_app(app, path=sys.argv[1], print=None, handler_cancellation=True)


if __name__ == "__main__":
    main()
