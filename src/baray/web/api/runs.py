"""Routes of Runs: submit, watch, stop."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Protocol, TypeAlias, TypeVar

import anyio
import anyio.to_thread
from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response, StreamingResponse

from baray import runs
from baray.access import Label, join, may_read, parse_label
from baray.catalog import VersionRow, provenance
from baray.core import BarayError, NotFound, Refused, check_name, iso_time, parse_bytes, parse_seconds
from baray.store import Tx
from baray.web.api.curves import Numbers, read_numbers, read_since, size_of
from baray.web.api.shapes import MAX_NUMBER, BuildBody, IndexBody, RunBody, TrainBody
from baray.web.api.sources import find_version
from baray.web.boundary import Caller, allow, caller, house_of, look_again, site_of

router = APIRouter(tags=["runs"])
Who = Annotated[Caller, Depends(caller)]
_END_STATES = frozenset({"succeeded", "failed", "cancelled"})
_POLL_SECONDS = 0.25
Mounts: TypeAlias = dict[str, tuple[str, str]]
"""Name inside a Run -> kind and ref of a version."""


class _Labelled(Protocol):
    """A row of a list."""

    @property
    def id(self) -> str:
        """Its id, by which pages go on."""

    @property
    def label(self) -> str:
        """Its label, in force."""


T = TypeVar("T", bound=_Labelled)


@router.post("/datasets", status_code=202)
def build_dataset(request: Request, who: Who, body: BuildBody) -> dict[str, Any]:
    """Build a Dataset from a Source or a Dataset; an identical build that succeeded is reused."""
    return submit_recipe(request, who, "dataset", body, made_of(body.source, body.dataset))


@router.post("/indexes", status_code=202)
def build_index(request: Request, who: Who, body: IndexBody) -> dict[str, Any]:
    """Build the Index of a Dataset, which a Desk searches."""
    full = BuildBody(name=body.name, recipe="desk", options=body.options)
    return submit_recipe(request, who, "index", full, {"dataset": ("dataset", body.dataset)})


@router.post("/models", status_code=202)
def train_model(request: Request, who: Who, body: TrainBody) -> dict[str, Any]:
    """Train a Model on a Dataset or a Source."""
    if body.nodes > 1:
        # What places one Run on several machines tells their processes where to meet; nothing here does.
        raise Refused(
            "one_machine",
            f"A training runs on one machine here, not on {body.nodes}.",
            fix="Leave --nodes out; on one machine several processes share the work: --set processes=2",
        )
    full = BuildBody(
        name=body.name,
        recipe=body.recipe,
        options=body.options,
        expect_label=body.expect_label,
        cpus=body.cpus,
        memory=body.memory,
        time=body.time,
    )
    return submit_recipe(request, who, "model", full, made_of(body.source, body.dataset))


@router.post("/runs", status_code=202)
def start_run(request: Request, who: Who, body: RunBody) -> dict[str, Any]:
    """Run a command in the sandbox, on inputs that are mounted read-only."""
    site = site_of(request)
    name = check_name(body.name or "run")
    for output in body.outputs:
        check_name(output)
    resources = {
        "cpus": body.cpus,
        "memory_bytes": parse_bytes(body.memory),
        "time_seconds": parse_seconds(body.time),
        "disk_bytes": parse_bytes(body.disk),
        "gpus": 0,
    }

    def submit(tx: Tx) -> runs.Run:
        for earlier in body.after:
            find_run(tx, request, who, earlier)  # what the caller may not see is no different from what is not there
        inputs = {text: find_version(tx, request, who, None, text) for text in body.inputs}
        label = _label_of(who, inputs, "")
        allow(tx, site, who, "run.submit", f"project:{who.project}", str(label))
        named = {version.name: version for version in inputs.values()}
        if len(named) != len(inputs):
            raise Refused("same_name", "Two inputs have the same name.", fix="Give each input a name of its own.")
        return runs.submit(
            tx,
            site,
            runs.RunRequest(
                project_id=who.project_id,
                actor_id=who.actor.id,
                kind="command",
                name=name,
                recipe="command",
                command=tuple(body.command),
                inputs=named,
                outputs=tuple(body.outputs),
                egress=tuple(body.allow_egress),
                resources=resources,
                label=label,
                expect_label=parse_label(body.expect_label) if body.expect_label else None,
                output_label_rule="join",
                priority=body.priority,
                max_attempts=body.max_attempts,
                after=tuple(earlier.removeprefix("run:") for earlier in body.after),
            ),
        )

    return _ring(request, who, site.store.write(submit))


@router.get("/runs")
def list_runs(
    request: Request,
    who: Who,
    state: str = "",
    after: str = "",
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> dict[str, Any]:
    """Runs, newest first, a page at a time."""

    def page(tx: Tx, last: str | None) -> list[runs.Run]:
        return runs.list_runs(tx, who.project_id, after=last, limit=limit, state=state or None)

    found = site_of(request).store.read(lambda tx: visible(who, partial(page, tx), after, limit))
    shown = [run_json(run, who) for run in found[:limit]]
    return {"items": shown, "next": found[limit - 1].id if len(found) > limit else None}


@router.get("/runs/{run_id}")
def get_run(request: Request, who: Who, run_id: str) -> dict[str, Any]:
    """One Run."""
    return run_json(_find(request, who, run_id), who)


@router.get("/runs/{run_id}/why")
def why_run(request: Request, who: Who, run_id: str) -> dict[str, Any]:
    """Why a Run waits, failed, or was reused."""
    run = _find(request, who, run_id)
    return site_of(request).store.read(lambda tx: runs.why(tx, run.id))


@router.post("/runs/{run_id}/cancel")
def cancel_run(request: Request, who: Who, run_id: str) -> dict[str, Any]:
    """Stop a Run; one that has ended stays as it is."""
    return _change(request, who, run_id, "cancel")


@router.post("/runs/{run_id}/retry")
def retry_run(request: Request, who: Who, run_id: str) -> dict[str, Any]:
    """Queue a failed or cancelled Run again."""
    return _change(request, who, run_id, "retry")


@router.get("/runs/{run_id}/log")
def get_log(
    request: Request, who: Who, run_id: str, offset: Annotated[int, Query(ge=0, le=MAX_NUMBER)] = 0
) -> dict[str, Any]:
    """A Run's log from a byte offset; ask again with `next` until `done`."""
    run = _find(request, who, run_id)
    text, following = _read_log(_folder(request, run) / "log.txt", offset)
    return {"text": text, "next": following, "done": run.state in _END_STATES and not text}


@router.get("/runs/{run_id}/log/stream")
async def stream_log(request: Request, who: Who, run_id: str) -> StreamingResponse:
    """A Run's log as server-sent events, until it ends."""
    run = await anyio.to_thread.run_sync(_find, request, who, run_id)
    return StreamingResponse(_events(request, who, run), media_type="text/event-stream")


@router.get("/runs/{run_id}/provenance")
def get_provenance(request: Request, who: Who, run_id: str) -> Response:
    """What was signed about a Run that succeeded: SLSA provenance in an in-toto statement in a DSSE envelope."""

    def read(tx: Tx) -> bytes:
        run = find_run(tx, request, who, run_id)
        envelope = provenance(tx, run.id)
        if envelope is None:
            raise NotFound("provenance", f"run:{run.id}", fix="It is signed when a Run succeeds.")
        return envelope

    return Response(site_of(request).store.read(read), media_type="application/json")


@router.get("/runs/{run_id}/metrics")
def get_metrics(
    request: Request, who: Who, run_id: str, offset: Annotated[int, Query(ge=0, le=MAX_NUMBER)] = 0
) -> dict[str, Any]:
    """The numbers that a Run wrote down: `step,time,name,value`; ask again with `offset` for what came since.

    A resumed Run does steps again, and drops their numbers: then all are sent, and `offset` begins anew.
    """
    items, following = read_since(_folder(request, _find(request, who, run_id)), offset)
    return {"items": items, "next": None, "offset": following}


def numbers_of(request: Request, who: Caller, run_id: str) -> Numbers:
    """All numbers of a Run that the caller may see."""
    return read_numbers(_folder(request, _find(request, who, run_id)))


def visible(who: Caller, page: Callable[[str | None], list[T]], after: str, limit: int) -> list[T]:
    """Up to `limit` + 1 rows that the caller may read: pages are filled, so that a short one does not tell of hidden rows."""
    found: list[T] = []
    rows = page(after or None)
    while rows:
        found += [row for row in rows if may_read(who.actor, row.label)]
        if len(found) > limit or len(rows) < limit:
            break
        rows = page(rows[-1].id)
    return found[: limit + 1]


def find_run(tx: Tx, request: Request, who: Caller, run_id: str) -> runs.Run:
    """A Run that the caller may see. Raises NotFound."""
    run = runs.get_run(tx, run_id.removeprefix("run:"))
    if run is None or run.project_id != who.project_id:
        raise NotFound("run", run_id.removeprefix("run:"))
    allow(tx, site_of(request), who, "read", f"run:{run.id}", run.label)
    return run


def run_json(run: runs.Run, who: Caller) -> dict[str, Any]:
    """A Run as the API shows it."""
    ended = run.ended or None
    return {
        "id": run.id,
        "ref": f"run:{run.id}",
        "kind": run.kind,
        "name": run.name,
        "state": run.state,
        "label": run.label,
        "created": iso_time(run.created),
        "started": iso_time(run.started) if run.started else None,
        "ended": iso_time(ended) if ended else None,
        "seconds": round(ended - run.started, 3) if ended and run.started else None,
        "attempts": run.attempts,
        "error": run.error,
        "outputs": run.outputs,
        "progress": run.progress,
        "reused": run.reused,
        "project": who.project,
        "actor": run.actor_id,
        "spec": run.spec,
    }


def submit_recipe(
    request: Request,
    who: Caller,
    kind: str,
    body: BuildBody,
    named: Mounts,
    beside: Mounts | None = None,
) -> dict[str, Any]:
    """Queue a Run of a built-in recipe on what `named` tells, with `beside` mounted too; all as the caller may."""
    site = site_of(request)
    recipe = house_of(request).recipes.get(body.recipe)
    if recipe is None or recipe["kind"] != kind:
        names = ", ".join(name for name, one in house_of(request).recipes.items() if one["kind"] == kind)
        raise Refused("no_recipe", f"There is no {kind} recipe '{body.recipe}'.", fix=f"Choose one of: {names}.")
    _check_takes(recipe, body.recipe, named)
    mounts = named | _mounted(recipe, body) | (beside or {})
    refs = {*recipe["mounts"], *recipe["mounts_if_given"]}
    options = {key: value for key, value in recipe["check"](body.options).items() if key not in refs}

    def submit(tx: Tx) -> runs.Run:
        inputs = {name: find_version(tx, request, who, wanted, text) for name, (wanted, text) in mounts.items()}
        label = _label_of(who, inputs, body.label)
        allow(tx, site, who, "run.submit", f"{kind}:{body.name}", str(label))
        cpus = body.cpus or (runs.free_cpus(tx) if recipe.get("all_cpus") else 1)
        return runs.submit(
            tx,
            site,
            runs.RunRequest(
                project_id=who.project_id,
                actor_id=who.actor.id,
                kind=kind,
                name=check_name(body.name),
                recipe=body.recipe,
                handler=recipe["handler"],
                options=options,
                inputs=inputs,
                resources={
                    "cpus": cpus,
                    "memory_bytes": parse_bytes(body.memory),
                    "time_seconds": parse_seconds(body.time),
                    "gpus": 0,
                },
                label=label,
                raised=parse_label(body.label or "public"),
                expect_label=parse_label(body.expect_label) if body.expect_label else None,
                output_label_rule=recipe["output_label_rule"],
                max_attempts=3,
            ),
        )

    return _ring(request, who, site.store.write(submit))


def made_of(source: str, dataset: str) -> Mounts:
    """What a recipe reads, by the name it has inside. Raises Refused `bad_request` unless it is one thing."""
    if bool(source) == bool(dataset):
        raise Refused("bad_request", "Name a dataset or a source to train on, and only one.")
    return {"dataset": ("dataset", dataset)} if dataset else {"source": ("source", source)}


def _check_takes(recipe: dict[str, Any], name: str, named: Mounts) -> None:
    for kind, text in named.values():
        if kind not in recipe["takes"]:
            takes = " or ".join(recipe["takes"])
            raise Refused(
                "wrong_input", f"Recipe {name} takes a {takes}, and '{text}' is a {kind}.", fix=f"Give a {takes}."
            )


def _mounted(recipe: dict[str, Any], body: BuildBody) -> Mounts:
    """Versions that options name. Raises Refused `bad_option` where a recipe needs one that is not given."""
    found = {option: (kind, str(body.options.get(option) or "")) for option, kind in recipe["mounts"].items()}
    for option, (kind, text) in found.items():
        if not text:
            fix = f"Give one: --set {option}={kind}:NAME"
            raise Refused("bad_option", f"Recipe {body.recipe} needs a {kind} as option '{option}'.", fix=fix)
    for option, kind in recipe["mounts_if_given"].items():
        refs = [text.strip() for text in str(body.options.get(option) or "").split(",") if text.strip()]
        found |= {f"{option}-{at}": (kind, text) for at, text in enumerate(refs, 1)}
    return found


def _label_of(who: Caller, inputs: dict[str, VersionRow], asked: str) -> Label:
    """The least label of a Run, which `runs` joins with its inputs'.

    Without inputs it is the project's default: what a person types in is not public by itself.
    """
    return join(([parse_label(asked)] if asked else []) + ([] if inputs else [parse_label(who.label)]))


def _ring(request: Request, who: Caller, run: runs.Run) -> dict[str, Any]:
    house_of(request).bell.ring()
    return run_json(run, who)


def _change(request: Request, who: Caller, run_id: str, verb: str) -> dict[str, Any]:
    site = site_of(request)
    run = _find(request, who, run_id)
    change = {"cancel": runs.cancel, "retry": runs.retry}[verb]

    def act(tx: Tx) -> runs.Run:
        allow(tx, site, who, "run.cancel", f"run:{run.id}", run.label)
        return change(tx, site, run.id, actor_id=who.actor.id)

    return _ring(request, who, site.store.write(act))


def _find(request: Request, who: Caller, run_id: str) -> runs.Run:
    return site_of(request).store.read(lambda tx: find_run(tx, request, who, run_id))


def _folder(request: Request, run: runs.Run) -> Path:
    return house_of(request).home / "runs" / run.id


def _read_log(path: Path, offset: int) -> tuple[str, int]:
    """Text from `offset`, cut at a whole character, and where it ends; at most 256 kB."""
    if not path.exists() or path.stat().st_size <= offset:
        return "", offset  # a file system refuses to seek to where no file of its could end
    with path.open("rb") as file:
        file.seek(offset)
        data = file.read(1 << 18)
    cut = len(data)
    while cut > 0 and cut > len(data) - 4 and (data[cut - 1] & 0xC0) == 0x80:
        cut -= 1
    whole = data
    if cut > 0 and data[cut - 1] >= 0xC0:
        try:
            data[cut - 1 :].decode()
        except UnicodeDecodeError:
            whole = data[: cut - 1]
    return whole.decode("utf-8", errors="replace"), offset + len(whole)


async def _events(request: Request, who: Caller, run: runs.Run) -> AsyncIterator[str]:
    """One poll of the file serves one reader; the file is in the page cache, so that this costs a `pread`."""
    folder, offset, measured = _folder(request, run), 0, -1
    while True:
        try:
            # Who was signed out, or lost the clearance, or whose Run was raised: the stream ends like one that was never there.
            who = await look_again(request, who)
            found = await anyio.to_thread.run_sync(_find, request, who, run.id)
        except BarayError:
            return
        text, offset = await anyio.to_thread.run_sync(_read_log, folder / "log.txt", offset)
        size = await anyio.to_thread.run_sync(size_of, folder)
        if text:
            yield "event: log\ndata: " + json.dumps({"text": text}, ensure_ascii=False) + "\n\n"
        if size != measured:  # the page asks for the picture at its own pace
            measured = size
            yield "event: metrics\ndata: " + json.dumps({"offset": size}) + "\n\n"
        if found.progress:
            yield "event: progress\ndata: " + json.dumps(found.progress) + "\n\n"
        if found.state in _END_STATES and not text:
            yield "event: end\ndata: " + json.dumps({"state": found.state}) + "\n\n"
            return
        if await request.is_disconnected():
            return
        await anyio.sleep(_POLL_SECONDS)
