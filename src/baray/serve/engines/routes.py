"""The routes of a Replica: what comes in is checked, sent to the engine, and written out as it comes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from secrets import token_hex
from typing import Any

from aiohttp import web

from baray.core import BarayError, Fault, Refused
from baray.serve.engines import shapes
from baray.serve.engines.port import FAILED, GIVEN_UP, STOP, Choice, Engine, Generation, Piece
from baray.serve.engines.text import Wording

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
WAITING_PER_SLOT = 4
"""Requests that may wait for each slot; who comes then is asked to come again."""
_MOST_BODY_BYTES = 4 << 20
_ID_CHARACTERS = 100
_MOST_EMBEDDED_TOKENS = 1 << 16  # of all texts of one request


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """A stretch of an answer."""

    text: str
    choices: tuple[Choice, ...]
    finish: str
    num_tokens: int


class Routes:
    """What a Replica answers to. Lives in one event loop; the engine's threads call in through it."""

    def __init__(
        self,
        *,
        wording: Wording,
        ends: frozenset[int],
        slots: int,
        told: Mapping[str, str],
        now: Callable[[], float],
        new_seed: Callable[[], int],
    ) -> None:
        """Answer nothing but health until `ready`."""
        self.told, self.most_body_bytes = told, _MOST_BODY_BYTES
        self.draining, self.broken, self.open = False, asyncio.Event(), 0
        self._wording, self._ends, self._slots = wording, ends, slots
        self._now, self._new_seed = now, new_seed
        self._engine: Engine | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        self._chats = ThreadPoolExecutor(max_workers=1, thread_name_prefix="chat")

    def ready(self, engine: Engine) -> None:
        """Answer with `engine` from now on."""
        self._engine = engine

    def close(self) -> None:
        """End what belongs to it; the engine does not."""
        self._chats.shutdown(cancel_futures=True)
        self._wording.close()

    def add_to(self, application: web.Application) -> None:
        """Put the routes into an application."""
        application.router.add_get("/healthz", self._health)
        application.router.add_post("/v1/completions", self._guarded(self._complete))
        application.router.add_post("/v1/chat/completions", self._guarded(self._chat))
        application.router.add_post("/v1/embeddings", self._guarded(self._embed))

    async def idle(self, limit_seconds: float) -> None:
        """Wait until no request is under way, at most so long."""
        try:
            await asyncio.wait_for(self._idle.wait(), limit_seconds)
        except TimeoutError:
            return

    async def _health(self, _request: web.Request) -> web.Response:
        load = self._engine.load() if self._engine else None
        facts = {
            "ready": load is not None and not self.draining and not self.broken.is_set(),
            "active": load.active if load else 0,
            "waiting": load.waiting if load else 0,
            "steps": load.steps if load else 0,
            "slots": self._slots,
            "context": self._engine.context if self._engine else 0,
            "exact": bool(self._engine and self._engine.exact),
        }
        return web.json_response(facts | dict(self.told))

    def _guarded(self, handle: Callable[[web.Request, Engine], Awaitable[web.StreamResponse]]) -> _Handler:
        async def guarded(request: web.Request) -> web.StreamResponse:
            try:
                engine = self._admit()
            except BarayError as error:
                return _error(error)
            self.open += 1
            self._idle.clear()
            try:
                return await handle(request, engine)
            except BarayError as error:
                return _error(error)
            except web.HTTPRequestEntityTooLarge:
                told = Refused("too_large", f"The body has more than {_MOST_BODY_BYTES} bytes.", status=413)
                return _error(told)
            finally:
                self.open -= 1
                if not self.open:
                    self._idle.set()

        return guarded

    def _admit(self) -> Engine:
        """The engine, if one more may come in. Raises Fault, 503: another Replica may take it."""
        engine = self._engine
        if engine is None or self.draining or self.broken.is_set():
            raise Fault("replica_away", "This replica takes no requests now.", fix="Ask again in a second.", status=503)
        if self.open >= self._slots * (1 + WAITING_PER_SLOT):
            raise Fault(
                "replica_busy", f"{self.open} requests are before yours.", fix="Ask again in a second.", status=503
            )
        return engine

    async def _complete(self, request: web.Request, engine: Engine) -> web.StreamResponse:
        return await self._answer(request, engine, chat=False)

    async def _chat(self, request: web.Request, engine: Engine) -> web.StreamResponse:
        return await self._answer(request, engine, chat=True)

    async def _answer(self, request: web.Request, engine: Engine, *, chat: bool) -> web.StreamResponse:
        body = await _body(request)
        read = partial(
            shapes.read_asked,
            body,
            self._wording,
            chat=chat,
            context=engine.context,
            ends=self._ends,
            new_seed=self._new_seed,
        )
        # A chat goes through the Model's template, which may take its time: in a thread, one after the other.
        asked = await asyncio.get_running_loop().run_in_executor(self._chats, read) if chat else read()
        told = request.headers.get("X-Request-Id", "")[:_ID_CHARACTERS] or token_hex(12)
        head = shapes.Head(id=f"{'chatcmpl' if chat else 'cmpl'}-{told}", created=int(self._now()), asked=asked)
        async with aclosing(self._parts(engine, asked)) as parts:
            return await (self._stream(request, head, parts) if asked.streams else self._whole(head, parts))

    async def _whole(self, head: shapes.Head, parts: AsyncGenerator[_Part, None]) -> web.Response:
        text, part = "", _Part(text="", choices=(), finish=STOP, num_tokens=0)
        choices: list[Choice] = []
        async for part in parts:
            text += part.text
            choices += part.choices
        told = shapes.beside(head, choices, self._wording, 0)
        counts = shapes.usage(len(head.asked.generation.prompt), part.num_tokens)
        return web.json_response(shapes.whole(head, text, part.finish, told, counts), dumps=_dumps)

    async def _stream(
        self, request: web.Request, head: shapes.Head, parts: AsyncGenerator[_Part, None]
    ) -> web.StreamResponse:
        # Told first: it counts even where nobody reads to the end, where the usage stands.
        told_first = {"X-Prompt-Tokens": str(len(head.asked.generation.prompt))}
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"} | told_first
        )
        await response.prepare(request)
        length, number, first = 0, 0, True
        try:
            async for part in parts:
                told = shapes.beside(head, part.choices, self._wording, length)
                if part.text or part.finish or told or first:
                    value = shapes.chunk(head, part.text, part.finish or None, told, first=first)
                    await response.write(b"data: " + _dumps(value).encode() + b"\n\n")
                    first = False
                length, number = length + len(part.text), part.num_tokens
            if head.asked.shows_usage:
                value = shapes.last_chunk(head, shapes.usage(len(head.asked.generation.prompt), number))
                await response.write(b"data: " + _dumps(value).encode() + b"\n\n")
            await response.write(b"data: [DONE]\n\n")
        except BarayError as error:  # the head is out: only the stream itself can say it
            await response.write(b"data: " + _dumps(shapes.error_body(error)).encode() + b"\n\n")
        return response

    async def _parts(self, engine: Engine, asked: shapes.Asked) -> AsyncGenerator[_Part, None]:
        """The answer as it comes, the last part with its finish. Left early, the engine is told to stop."""
        pieces: asyncio.Queue[Piece] = asyncio.Queue()
        loop, text = asyncio.get_running_loop(), self._wording.stream(asked.stops)
        wanted: Generation = asked.generation
        ticket = engine.submit(wanted, lambda piece: _hand_over(loop, pieces, piece))
        finish = ""
        try:
            while not finish:
                came = [await pieces.get()]
                while not pieces.empty():  # who reads slowly gets larger parts
                    came.append(pieces.get_nowait())
                finish = came[-1].finish
                if finish == FAILED:
                    self.broken.set()
                    raise Fault("engine_broken", "The engine ended in the middle.", fix="Ask again in a second.")
                if finish == GIVEN_UP:
                    raise Fault(
                        "generation_failed", "The Model could not go on with this one.", fix="Ask for something else."
                    )
                choices = tuple(choice for piece in came for choice in piece.choices)
                told = "".join(piece.text or "" for piece in came)
                fresh = (
                    text.push(told) if came[-1].text is not None else text.push_tokens([one.token for one in choices])
                )
                if text.stopped:
                    finish = STOP
                elif finish:
                    fresh += text.end()
                yield _Part(text=fresh, choices=choices, finish=finish, num_tokens=came[-1].num_tokens)
        finally:
            engine.cancel(ticket)

    async def _embed(self, request: web.Request, engine: Engine) -> web.StreamResponse:
        """Mean over positions of the last hidden state, as it is: not normalised, and no model of sentences."""
        body = await _body(request)
        texts = shapes.read_inputs(body, self._wording, context=engine.context)
        total = sum(map(len, texts))
        if total > _MOST_EMBEDDED_TOKENS:
            raise Refused(
                "bad_request", f"The texts have {total} tokens.", fix=f"Send at most {_MOST_EMBEDDED_TOKENS}."
            )
        try:
            found = [await asyncio.to_thread(engine.embed, tokens) for tokens in texts]
        except Fault as error:
            if error.code == "engine_broken":  # nobody else may ask it for a while
                self.broken.set()
            raise
        encoding = body.get("encoding_format")
        data = [
            {"object": "embedding", "index": number, "embedding": shapes.embedded(one, encoding)}
            for number, one in enumerate(found)
        ]
        counts = {"prompt_tokens": total, "total_tokens": total}
        told = {"object": "list", "data": data, "model": str(body.get("model", "")), "usage": counts}
        return web.json_response(told, dumps=_dumps)


def _hand_over(loop: asyncio.AbstractEventLoop, pieces: asyncio.Queue[Piece], piece: Piece) -> None:
    """From an engine's thread into the event loop; one that is closed listens no more."""
    try:
        loop.call_soon_threadsafe(pieces.put_nowait, piece)
    except RuntimeError:  # closed, perhaps in this very moment
        return


async def _body(request: web.Request) -> dict[str, Any]:
    try:
        found = json.loads(await request.read())
    except (ValueError, RecursionError) as error:
        raise Refused("bad_request", "The body is not JSON.", fix="Send a JSON object.") from error
    if not isinstance(found, dict):
        raise Refused("bad_request", "The body is not a JSON object.", fix="Send a JSON object.")
    return found


def _error(error: BarayError) -> web.Response:
    headers = {"Retry-After": "1"} if error.status == 503 else {}
    return web.json_response(shapes.error_body(error), status=error.status, headers=headers)


def _dumps(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
