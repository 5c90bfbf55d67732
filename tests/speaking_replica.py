"""A process that speaks as a Replica does, word by word, so that a router's part can be tested without an engine.

python tests/speaking_replica.py SOCKET [SECONDS_A_WORD]
"""

from __future__ import annotations

import asyncio
import base64
import json
import struct
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
        chats = request.path.startswith("/v1/chat")
        if wrong := _wrong(body, "messages" if chats else "prompt"):
            return wrong
        self.asked += 1
        number = int(body.get("max_completion_tokens") or body.get("max_tokens", len(WORDS)))
        usage = {"prompt_tokens": 7, "completion_tokens": number, "total_tokens": 7 + number}
        kind = ("chatcmpl", "chat.completion") if chats else ("cmpl", "text_completion")
        head = {"id": f"{kind[0]}-{request.headers['X-Request-Id']}", "object": kind[1], "model": body["model"]}
        head["created"] = 1
        if number > 1000:
            told = {
                "error": {"message": "too long", "type": "invalid_request_error", "code": "context_length_exceeded"}
            }
            return web.json_response(told, status=400)
        self.active += 1
        try:
            if body.get("stream"):
                return await self._stream(
                    request, body, head | ({"object": f"{kind[1]}.chunk"} if chats else {}), usage
                )
            await asyncio.sleep(self.pause_seconds * number)
            choice = _choice("".join(_words(number)), "length", "message" if chats else "")
            return web.json_response(head | {"choices": [choice], "usage": usage})
        except (asyncio.CancelledError, ConnectionError):
            self.stopped += 1
            raise
        finally:
            self.active -= 1

    async def _stream(self, request: web.Request, body: Any, head: Any, usage: Any) -> web.StreamResponse:
        told = {"X-Prompt-Tokens": str(usage["prompt_tokens"])}
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"} | told)
        await response.prepare(request)
        words = _words(usage["completion_tokens"])
        for at, word in enumerate(words):
            last = at == len(words) - 1
            choice = _choice(word, "length" if last else None, "delta" if "messages" in body else "")
            await _say(response, head | {"choices": [choice]})
            await asyncio.sleep(self.pause_seconds)
        if (body.get("stream_options") or {}).get("include_usage"):
            await _say(response, head | {"choices": [], "usage": usage})
        await response.write(b"data: [DONE]\n\n")
        return response

    async def embed(self, request: web.Request) -> web.Response:
        body = await request.json()
        if wrong := _wrong(body, "input"):
            return wrong
        texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
        vectors = [[len(str(text)) / 100, 0.5, -0.25] for text in texts]
        if body.get("encoding_format") == "base64":
            said = [base64.b64encode(struct.pack("<3f", *vector)).decode() for vector in vectors]
        else:
            said = vectors
        data = [{"object": "embedding", "index": at, "embedding": one} for at, one in enumerate(said)]
        usage = {"prompt_tokens": 3 * len(texts), "total_tokens": 3 * len(texts)}
        return web.json_response({"object": "list", "data": data, "model": body["model"], "usage": usage})

    async def health(self, _request: web.Request) -> web.Response:
        return web.json_response({"ready": True, "active": self.active, "stopped": self.stopped, "asked": self.asked})


def _wrong(body: Any, name: str) -> web.Response | None:
    """What a Replica says of a body that lacks what it needs."""
    if name in body:
        return None
    told = {"error": {"message": f"'{name}' is missing.", "type": "invalid_request_error", "code": "bad_request"}}
    return web.json_response(told, status=400)


def _choice(text: str, finish: str | None, member: str) -> dict[str, Any]:
    said: dict[str, Any] = {member: {"role": "assistant", "content": text}} if member else {"text": text}
    return {"index": 0, "finish_reason": finish, "logprobs": None, **said}


def _words(number: int) -> list[str]:
    return [WORDS[at % len(WORDS)] for at in range(number)]


async def _say(response: web.StreamResponse, value: Any) -> None:
    await response.write(b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n")


def main() -> None:
    speaker = Speaker(float(sys.argv[2]) if len(sys.argv) > 2 else 0.0)
    app = web.Application()
    app.router.add_post("/v1/completions", speaker.complete)
    app.router.add_post("/v1/chat/completions", speaker.complete)
    app.router.add_post("/v1/embeddings", speaker.embed)
    app.router.add_get("/healthz", speaker.health)
    web.run_app(app, path=sys.argv[1], print=None, handler_cancellation=True)


if __name__ == "__main__":
    main()
