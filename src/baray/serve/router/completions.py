"""Completions, chats and embeddings of model Services: admitted, sent to a Replica, counted, and kept as a receipt.

The receipt is kept before the last byte goes out. What was asked and said is not kept: only counts and digests, salted
with the Answer's id, so that who holds the texts can prove them and nobody else can guess them.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from baray.core import BarayError, Fault, NotFound, Refused, canonical_json
from baray.serve.receipts import Line, Receipt
from baray.serve.router.asker import Asker, ask_as, find_route, identify, may_ask
from baray.serve.router.engines import House, admit
from baray.serve.router.follower import Follower
from baray.serve.router.links import Link, LinkLostError
from baray.serve.router.messages import (
    Request,
    Response,
    StreamedResponse,
    as_name,
    openai_error,
    read_json,
    text_member,
)
from baray.serve.router.presence import Presence
from baray.serve.router.snapshot import Route, Snapshot
from baray.serve.router.tally import Tally
from baray.serve.router.upstreams import Errand, NobodyThereError, Pool, Replicas

WAKE_SECONDS = 30.0
WAKE_POLL_SECONDS = 0.05
MAX_ASLEEP = 128  # requests of one process that may wait for a Replica to start, of all Services together
MAX_ANSWER_BYTES = 32 << 20


@dataclass(slots=True, kw_only=True)
class _Asked:
    """One request on its way, with what it takes to decide it again after a wait."""

    request: Request
    """As it came."""
    name: str
    """The Service's name as it was asked."""
    whom: str | None
    """As whom it is to be answered."""
    errand: Errand
    """What the Replica is asked; its id is the Answer's, `a_...`."""
    route: Route
    """Which Service."""
    asker: Asker
    """Who asks."""
    started: float
    """Monotonic seconds."""
    request_digest: str
    """Salted digest of the body as it came."""
    most_prompt_tokens: int
    """What the prompt can cost at most: one token a byte, no more than the context."""
    tally: Tally
    """What was counted."""
    sent: bool = field(default=False)
    """Whether a Replica may have begun to work on it."""
    kept: bool = field(default=False)
    """Whether the receipt is in the spool."""
    streams: bool = field(default=False)
    """Whether the answer has begun to stream: then the stream closes what was opened."""


class Completions:
    """Handles the routes whose answers come from Replicas."""

    def __init__(self, *, house: House, follower: Follower, home: Path) -> None:
        """Ask Replicas of what `follower` has loaded; wishes to wake one go to `home/run/wanted`."""
        self._house = house
        self._follower = follower
        self._wanted = home / "run" / "wanted"
        self._pool = Pool()
        self._asleep = 0
        self._kept: Snapshot | None = None

    async def close(self) -> None:
        """Close the connections to Replicas."""
        self._pool.close()

    async def answer(self, snapshot: Snapshot, asker: Asker, request: Request) -> Response | StreamedResponse:
        """One request to `/v1/completions`, `/v1/chat/completions` or `/v1/embeddings`."""
        body = await read_json(request)
        name = text_member(body, "model", most=200)
        route, asker = admit(snapshot, asker, name, "model", as_name=as_name(body), house=self._house)
        if not isinstance(route.engine, Replicas):
            raise Refused("wrong_kind", f"'{name}' is a classifier.", fix="Ask it at POST /v1/classify.")
        streams = body.get("stream") is True and request.path != "/v1/embeddings"
        asked = self._begin(route, asker, request, body, streams=streams)
        link = None
        try:
            with Presence(request.incoming):
                link = await self._send(asked)
                if not streams or link.status != 200:
                    return await self._whole(asked, link)
            asked.streams = True
            asked.tally.told_prompt(link.headers.get("x-prompt-tokens", ""))
            return self._stream(asked, link, request)
        except Refused:
            self._keep_once(asked, "cut")  # the caller left; what is wrong with a request was said before
            raise
        finally:
            if not asked.streams:
                # Also where this is cancelled, or something fails that nobody foresaw: each request has one receipt.
                try:
                    self._keep_once(asked, "failed")
                finally:
                    if link is not None:
                        self._pool.let_go(link)

    async def _send(self, asked: _Asked) -> Link:
        """A Replica's answer, of a stream its head. Where those of the routes are all dead it waits for fresh ones, once."""
        replicas = asked.route.engine
        if not isinstance(replicas, Replicas) or not replicas.ready:
            replicas = await self._wake(asked, besides=frozenset())
        self._forget_the_gone()
        asked.sent = True
        try:
            return await self._pool.ask(replicas, asked.errand)
        except NobodyThereError:
            asked.sent = False
            replicas = await self._wake(asked, besides=frozenset(one.id for one in replicas.ready))
        asked.sent = True
        return await self._pool.ask(replicas, asked.errand)

    def _begin(self, route: Route, asker: Asker, request: Request, body: dict[str, Any], *, streams: bool) -> _Asked:
        """The request as it is followed. Raises Refused `bad_json`."""
        answer_id = self._house.ids.new("a")
        options = body.get("stream_options")
        try:
            data = canonical_json(body)
        except (ValueError, RecursionError) as error:
            raise Refused(
                "bad_json",
                "The body holds a number or text that JSON has not.",
                fix="Send finite numbers and well-formed Unicode.",
            ) from error
        salt = answer_id.encode() + b"\n"
        context = route.engine.context_tokens if isinstance(route.engine, Replicas) else 0
        return _Asked(
            request=request,
            name=body["model"],
            whom=as_name(body),
            errand=Errand(
                path=request.path,
                body=_for_replica(body, streams=streams) if streams or "as" in body else data,
                request_id=answer_id,
                most_bytes=0 if streams else MAX_ANSWER_BYTES,
            ),
            route=route,
            asker=asker,
            started=self._house.clock.monotonic(),
            request_digest="sha256:" + hashlib.sha256(salt + data).hexdigest(),
            most_prompt_tokens=min(len(data), context),
            tally=Tally(salt=salt, shows_usage=isinstance(options, dict) and options.get("include_usage") is True),
        )

    def _forget_the_gone(self) -> None:
        """Close the connections to Replicas that the snapshot names no more; once for each snapshot."""
        if self._kept is not self._follower.current:
            self._kept = self._follower.current
            self._pool.keep(_sockets(self._kept))

    async def _wake(self, asked: _Asked, *, besides: frozenset[str]) -> Replicas:
        """Replicas that come up, other than `besides`. Raises Fault `asleep`, `busy` (503)."""
        if self._asleep >= MAX_ASLEEP:
            raise Fault("busy", "Too many wait for Services to start.", fix="Ask again in half a minute.", status=503)
        self._asleep += 1
        try:
            self._wanted.mkdir(parents=True, exist_ok=True)
            (self._wanted / asked.route.service_id).touch()
            return await self._woken(asked, besides)
        except Refused:
            self._keep_once(asked, "failed")
            raise
        finally:
            self._asleep -= 1

    async def _woken(self, asked: _Asked, besides: frozenset[str]) -> Replicas:
        """Replicas of the Service once it woke. What was decided before the wait is decided again for what woke."""
        end, seen = self._house.clock.monotonic() + WAKE_SECONDS, None
        while self._house.clock.monotonic() < end:
            await asyncio.sleep(WAKE_POLL_SECONDS)
            snapshot = await self._follower.newest()
            if snapshot is None or snapshot is seen:
                continue
            seen = snapshot
            asker = identify(snapshot, asked.request.headers, self._house.clock.now())
            asker = ask_as(snapshot, asker, asked.whom, asked.route.project_id)
            route = find_route(snapshot, asked.name, "model")
            if route is None or not may_ask(asker, route).allowed:
                raise NotFound("model", asked.name, fix="See what you may ask: GET /v1/models")
            if isinstance(route.engine, Replicas) and {one.id for one in route.engine.ready} - besides:
                asked.route, asked.asker = route, asker
                return route.engine
        raise Fault("asleep", f"{asked.route.name} is starting.", fix="Ask again in half a minute.", status=503)

    async def _whole(self, asked: _Asked, link: Link) -> Response:
        """An answer that is given in one piece; also what a Replica says instead of a stream."""
        pieces, size = [], 0
        while piece := await link.read():
            pieces.append(piece)
            size += len(piece)
            if size > MAX_ANSWER_BYTES:
                raise LinkLostError
        body = b"".join(pieces)
        asked.tally.whole(body)
        self._keep_once(asked, "completed" if link.status == 200 else "failed")
        headers = [("x-baray-answer", f"answer:{asked.errand.request_id}")]
        if "retry-after" in link.headers:
            headers.append(("retry-after", link.headers["retry-after"]))
        kind = link.headers.get("content-type", "application/json")
        return Response(body=body, status=link.status, content_type=kind, headers=tuple(headers))

    def _stream(self, asked: _Asked, link: Link, request: Request) -> StreamedResponse:
        def end() -> None:
            request.incoming.when_gone(None)
            try:
                self._keep_once(asked, "cut")
            finally:
                self._pool.let_go(link)

        return StreamedResponse(
            chunks=self._chunks(asked, link, request),
            end=end,
            content_type="text/event-stream; charset=utf-8",
            headers=(("x-baray-answer", f"answer:{asked.errand.request_id}"), ("x-accel-buffering", "no")),
        )

    async def _chunks(self, asked: _Asked, link: Link, request: Request) -> AsyncGenerator[bytes, None]:
        """The caller's part of the stream. Backpressure: nothing is read while the caller does not take."""
        # Closing the connection ends the read below: the Replica sees it and stops within a step.
        caller, tally = request.incoming, asked.tally
        caller.when_gone(link.close)
        if caller.gone:
            link.close()
        try:
            while chunk := await link.read():
                out = tally.feed(chunk)
                if out:
                    yield out
            last = b"" if caller.gone else tally.last()
            self._keep_once(asked, "completed" if last else "cut")
            if last:
                yield last
        except (LinkLostError, ValueError):
            # ValueError: an event without end; what came before it is with the caller already.
            self._keep_once(asked, "cut" if caller.gone else "failed")
            if not caller.gone:
                yield b"data: " + openai_error(LinkLostError()).body + b"\n\n"
        except BarayError as error:
            # The receipt could not be kept: the stream does not end as if all were well.
            yield b"data: " + openai_error(error).body + b"\n\n"

    def _keep_once(self, asked: _Asked, outcome: str) -> None:
        """Write the receipt, unless it is written. Raises Fault `receipt_not_kept`."""
        if asked.kept:
            return
        asked.kept = True
        tally, route = asked.tally, asked.route
        said = {
            "completion_tokens": tally.completion_tokens,
            "finish": tally.finish,
            "prompt_tokens": tally.prompt_tokens,
            "request": asked.request_digest,
            "response": tally.digest,
        }
        receipt = Receipt(
            id=asked.errand.request_id,
            service_id=route.service_id,
            revision_id=route.revision_id,
            project_id=route.project_id,
            actor_id=asked.asker.caller.id,
            created=self._house.clock.now(),
            outcome=outcome,
            question="",
            language="other",
            label=str(route.label),
            answer=canonical_json(said).decode(),
            citations=(),
            ms=round((self._house.clock.monotonic() - asked.started) * 1000, 3),
        )
        owed = tally.prompt_tokens + tally.completion_tokens
        if outcome == "cut" and asked.sent and not tally.prompt_tokens:
            owed += asked.most_prompt_tokens  # who hangs up before the Replica told its count has not asked for nothing
        self._house.quotas.spend(asked.asker.key_id, asked.asker.bounds, owed)
        self._house.spool.append(Line(key_id=asked.asker.key_id, receipt=receipt))


def _for_replica(body: dict[str, Any], *, streams: bool) -> bytes:
    body = {name: value for name, value in body.items() if name != "as"}
    if streams:
        given = body.get("stream_options")
        body = body | {"stream_options": (given if isinstance(given, dict) else {}) | {"include_usage": True}}
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def _sockets(snapshot: Snapshot | None) -> set[str]:
    engines = [route.engine for route in snapshot.routes] if snapshot else []
    return {replica.socket for engine in engines if isinstance(engine, Replicas) for replica in engine.ready}
