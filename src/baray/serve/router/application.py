"""The router's application: routes, errors, and the bounded pool that engines run in."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from baray.core import BarayError, Fault, NotFound, Refused
from baray.serve.router.asker import Asker, find_route, identify, may_ask, sees_everything
from baray.serve.router.completions import Completions
from baray.serve.router.engines import House, admit, ask_desk, classify, question_object
from baray.serve.router.follower import Follower
from baray.serve.router.incoming import Incoming
from baray.serve.router.messages import (
    Request,
    Response,
    StreamedResponse,
    as_name,
    json_response,
    openai_error,
    problem,
    read_json,
    read_request,
    text_member,
)
from baray.serve.router.pages import PAGE_LANGUAGES, render_desk, render_trouble
from baray.serve.router.snapshot import Route, Snapshot

MAX_QUESTION = 2000  # characters
MAX_TEXT = 50_000  # characters of a letter
MAX_TEXTS = 64
MAX_TOTAL = 200_000  # characters of all letters of a request
ENGINE_THREADS = 4
MAX_WAITING = 256
_LOG = logging.getLogger("baray.router")
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """A route of the API: which method, which error shape, which function."""

    method: str
    """Empty: any."""
    handler: Callable[[Request, str], Awaitable[Response | StreamedResponse]]
    trouble: Callable[[BarayError], Response]


class Application:
    """The router: what it answers to a request."""

    def __init__(self, *, house: House, follower: Follower, home: Path) -> None:
        """Answer with `house` from what `follower` has loaded."""
        self._house = house
        self._follower = follower
        self._replicas = Completions(house=house, follower=follower, home=home)
        self._pool = ThreadPoolExecutor(max_workers=ENGINE_THREADS, thread_name_prefix="engine")
        self._waiting = 0
        self._places = {
            "/healthz": _Place(method="GET", handler=self._health, trouble=problem),
            "/robots.txt": _Place(method="GET", handler=_robots, trouble=problem),
            "/v1/models": _Place(method="GET", handler=self._models, trouble=openai_error),
            "/v1/classify": _Place(method="POST", handler=self._classify, trouble=problem),
            "/v1/answers": _Place(method="POST", handler=self._answers, trouble=problem),
            **{
                path: _Place(method="POST", handler=self._complete, trouble=openai_error)
                for path in ("/v1/completions", "/v1/chat/completions", "/v1/embeddings")
            },
        }
        self._folders = {
            "/v1/models/": _Place(method="GET", handler=self._model, trouble=openai_error),
            "/desk/": _Place(method="GET", handler=self._desk_page, trouble=problem),
        }

    def start(self) -> None:
        """Follow the snapshot, in the running loop."""
        self._follower.start()

    async def stop(self) -> None:
        """Hand over the spool."""
        await self._follower.stop()
        await self._replicas.close()
        self._pool.shutdown()
        self._house.spool.close()
        self._house.quotas.close()

    async def respond(self, incoming: Incoming) -> Response | StreamedResponse:
        """Answer one request. Raises nothing but its own cancellation."""
        trouble: Callable[[BarayError], Response] = problem
        try:
            request = read_request(incoming)
            place, rest = self._place(request.path)
            trouble = place.trouble
            _check_method(request, place)
            return await place.handler(request, rest)
        except BarayError as error:
            return trouble(error)
        except Exception:  # noqa: BLE001 - recorded with its traceback, and told to the caller as a Fault
            # The boundary of the web: one request's failure is recorded and must not end the others.
            _LOG.exception("A request to %s failed", _folder_of(incoming.target))
            return trouble(
                Fault("router_failed", "Something went wrong here.", fix="Ask again; then tell the operator.")
            )

    def _place(self, path: str) -> tuple[_Place, str]:
        place = self._places.get(path)
        if place is not None:
            return place, ""
        for folder, found in self._folders.items():
            if path.startswith(folder) and len(path) > len(folder):
                return found, path.removeprefix(folder).rstrip("/")
        if path.startswith("/v1/"):
            missing = NotFound(
                "route",
                path,
                fix="This router has /v1/models, chat/completions, completions, embeddings, classify and answers.",
            )
            return _Place(method="", handler=_raising(missing), trouble=openai_error), ""
        raise NotFound("page", path, fix="A desk's page is /desk/NAME.")

    async def _health(self, request: Request, _rest: str) -> Response:
        """The state in one word; for control also what is wrong: names of hidden Services are in it."""
        snapshot = await self._follower.newest()
        problems = dict(self._follower.problems())
        if self._house.spool.problem:
            problems["spool"] = self._house.spool.problem
        status = "starting" if snapshot is None else "degraded" if problems else "ok"
        value: dict[str, Any] = {"status": status}
        if snapshot is not None and sees_everything(identify(snapshot, request.headers, self._house.clock.now())):
            value |= {"made": snapshot.made, "services": len(snapshot.routes), "problems": problems}
        return json_response(value, status=503 if snapshot is None else 200)

    async def _models(self, request: Request, _rest: str) -> Response:
        snapshot, asker = await self._identify(request)
        data = [_model_object(snapshot, route) for route in snapshot.routes if may_ask(asker, route).allowed]
        return json_response({"object": "list", "data": data})

    async def _model(self, request: Request, rest: str) -> Response:
        snapshot, asker = await self._identify(request)
        for kind in ("desk", "model"):
            route = find_route(snapshot, rest, kind)
            if route is not None and may_ask(asker, route).allowed:
                return json_response(_model_object(snapshot, route))
        raise NotFound("model", rest, fix="See what you may ask: GET /v1/models")

    async def _classify(self, request: Request, _rest: str) -> Response:
        snapshot, asker = await self._identify(request)
        body = await read_json(request)
        name = text_member(body, "model", most=200)
        texts = _texts(body)
        route, asker = admit(snapshot, asker, name, "model", as_name=as_name(body), house=self._house)
        return json_response(await self._in_pool(lambda: classify(route, asker, texts, house=self._house)))

    async def _complete(self, request: Request, _rest: str) -> Response | StreamedResponse:
        snapshot, asker = await self._identify(request)
        return await self._replicas.answer(snapshot, asker, request)

    async def _answers(self, request: Request, _rest: str) -> Response:
        snapshot, asker = await self._identify(request)
        body = await read_json(request)
        name = text_member(body, "model", most=200)
        question = text_member(body, "question", most=MAX_QUESTION)
        route, asker = admit(snapshot, asker, name, "desk", as_name=as_name(body), house=self._house)
        asked_in = _language(body.get("language"))
        given = await self._in_pool(lambda: ask_desk(route, asker, question, asked_in, house=self._house))
        return json_response(question_object(given))

    async def _desk_page(self, request: Request, rest: str) -> Response:
        """The page of a desk. A browser sends no token, so mostly this is the public."""
        language = request.query.get("lang") if request.query.get("lang") in PAGE_LANGUAGES else "km"
        assert language is not None
        try:
            snapshot, asker = await self._identify(request)
            route, asker = admit(snapshot, asker, rest, "desk", as_name=None, house=self._house)
            question = request.query.get("q", "").replace("\x00", " ").strip()[:MAX_QUESTION]
            given = None
            if question:
                given = await self._in_pool(lambda: ask_desk(route, asker, question, None, house=self._house))
            return render_desk(route, language=language, given=given)
        except BarayError as error:
            return render_trouble(error, language=language)

    async def _identify(self, request: Request) -> tuple[Snapshot, Asker]:
        snapshot = self._follower.fresh() or await self._follower.newest()
        if snapshot is None:
            raise Fault("starting", "The router is starting.", fix="Ask again in a second.", status=503)
        return snapshot, identify(snapshot, request.headers, self._house.clock.now())

    async def _in_pool(self, work: Callable[[], T]) -> T:
        """Run an engine in the bounded pool. Raises Fault `busy` (503) when too many wait already."""
        if self._waiting >= MAX_WAITING:
            raise Fault("busy", "Too many questions at once.", fix="Ask again in a second.", status=503)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            self._waiting -= 1


def _check_method(request: Request, place: _Place) -> None:
    if place.method and request.method != place.method:
        message = f"{request.path} takes {place.method}, not {request.method}."
        raise Refused("wrong_method", message, fix=f"Send it as {place.method}.", status=405)


def _model_object(snapshot: Snapshot, route: Route) -> dict[str, Any]:
    prefix = "" if route.project == snapshot.default_project else f"{route.project}/"
    return {
        "id": prefix + route.name,
        "object": "model",
        "created": int(route.created),
        "owned_by": route.project,
        "kind": route.kind,
        "title": route.title,
    }


def _texts(body: dict[str, Any]) -> list[str]:
    given = body.get("input")
    texts = given if isinstance(given, list) else [given]
    if not 1 <= len(texts) <= MAX_TEXTS:
        raise Refused("bad_request", f"'input' has {len(texts)} texts.", fix=f"Send 1 to {MAX_TEXTS} at once.")
    checked = [text_member({"input": text}, "input", most=MAX_TEXT) for text in texts]
    if sum(map(len, checked)) > MAX_TOTAL:
        raise Refused("bad_request", f"'input' has more than {MAX_TOTAL} characters in all.", fix="Send fewer at once.")
    return checked


def _language(value: object) -> str | None:
    if value is None or value in PAGE_LANGUAGES:
        return None if value is None else str(value)
    raise Refused("bad_request", f"'language' is {value!r}.", fix="Send km or en, or leave it out.")


async def _robots(_request: Request, _rest: str) -> Response:
    return Response(body=b"User-agent: *\nDisallow: /\n", content_type="text/plain; charset=utf-8")


def _raising(error: BarayError) -> Callable[[Request, str], Awaitable[Response]]:
    async def handler(_request: Request, _rest: str) -> Response:
        raise error

    return handler


def _folder_of(target: bytes) -> str:
    """The first two parts of a path: never what somebody asked."""
    return "/".join(target.partition(b"?")[0].decode("ascii", "replace").split("/")[:3])
