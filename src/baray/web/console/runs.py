"""Pages of Runs: what they did, their curves as they grow, and several laid over one another."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import RedirectResponse, Response

from baray import runs
from baray.core import Refused
from baray.web.api import runs as run_api
from baray.web.api.curves import Numbers
from baray.web.boundary import Caller, caller
from baray.web.console.plot import Plot, draw
from baray.web.console.rendering import render

router = APIRouter(tags=["console"])
Who = Annotated[Caller, Depends(caller)]
MOST_COMPARED = 6
"""Curves that can be told apart in one picture."""
_FIRST_SHOWN = "loss"
_PROPOSED = 8


@router.get("/runs")
def all_runs(request: Request, who: Who, state: str = "", after: str = "") -> Response:
    """Runs, newest first."""
    found = run_api.list_runs(request, who, state=state, after=after, limit=50)
    return render(
        request, "runs.html", who=who, runs=found["items"], following=found["next"], state=state, states=runs.STATES
    )


@router.get("/runs/compare")
def compare_runs(
    request: Request, who: Who, run: Annotated[list[str] | None, Query()] = None, metric: str = ""
) -> Response:
    """The curves of several Runs in one picture, and where the Runs differ."""
    wanted = list(dict.fromkeys(one.removeprefix("run:") for one in run or []))
    if not 1 <= len(wanted) <= MOST_COMPARED:
        raise Refused(
            "bad_request",
            f"{len(wanted)} Runs were named.",
            fix=f"Name one to {MOST_COMPARED}: /runs/compare?run=ID&run=ID",
        )
    found = [run_api.get_run(request, who, one) for one in wanted]
    numbers = [run_api.numbers_of(request, who, one) for one in wanted]
    names = _curved(numbers)
    shown = metric if metric in names else next(iter(names), "")
    keys = [f"{one['name']} {one['id'][-6:]}" for one in found]
    curves = {key: one.curve(shown) for key, one in zip(keys, numbers, strict=True)}
    hrefs = {key: f"/runs/{one['id']}" for key, one in zip(keys, found, strict=True)}
    return render(
        request,
        "runs-compare.html",
        who=who,
        runs=found,
        keys=keys,
        query="&".join(f"run={one}" for one in wanted),
        names=names,
        metric=shown,
        plot=draw(curves, hrefs),
        rows=_differences(found, numbers),
        others=_others(request, who, found),
    )


@router.get("/runs/{run_id}")
def one_run(request: Request, who: Who, run_id: str, metric: str = "") -> Response:
    """One Run with its live log and curve."""
    run = run_api.get_run(request, who, run_id)
    log = run_api.get_log(request, who, run_id)
    numbers = run_api.numbers_of(request, who, run_id)
    names = _curved([numbers])
    shown = metric if metric in names else next(iter(names), "")
    return render(
        request,
        "run.html",
        who=who,
        run=run,
        log=log,
        metrics=numbers.last(),
        names=names,
        metric=shown,
        plot=_own_plot(numbers, shown),
        others=_others(request, who, [run]) if names else [],
        spec=json.dumps(run["spec"], indent=2, ensure_ascii=False),
    )


@router.post("/runs/{run_id}/cancel")
def cancel_run(request: Request, who: Who, run_id: str) -> Response:
    """Stop a Run from its page."""
    run_api.cancel_run(request, who, run_id)
    return RedirectResponse(f"/runs/{run_id}", status_code=303)


def _curved(numbers: Sequence[Numbers]) -> list[str]:
    """Names of which some Run has a curve, the loss first."""
    names = dict.fromkeys(name for one in numbers for name, count in one.counts().items() if count > 1)
    return sorted(names, key=lambda name: name != _FIRST_SHOWN)


def _own_plot(numbers: Numbers, shown: str) -> Plot | None:
    """The curve of one name, and what was held out in the same picture."""
    curves = {name: numbers.curve(name) for name in dict.fromkeys((shown, f"held_out_{shown}"))}
    return draw(curves)


def _others(request: Request, who: Caller, chosen: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Other Runs of the same recipe, newest first: what one would compare with."""
    recipes, known = {one["spec"].get("recipe") for one in chosen}, {one["id"] for one in chosen}
    recent = run_api.list_runs(request, who, limit=100)["items"]
    found = [one for one in recent if one["spec"].get("recipe") in recipes and one["id"] not in known]
    return found[:_PROPOSED] if len(chosen) < MOST_COMPARED else []


def _differences(found: Sequence[dict[str, Any]], numbers: Sequence[Numbers]) -> list[tuple[str, list[str]]]:
    """What differs between Runs: name and a value for each."""
    columns = []
    for run, one in zip(found, numbers, strict=True):
        spec = run["spec"]
        facts: dict[str, Any] = {key: run[key] for key in ("state", "seconds", "attempts")}
        facts |= {f"{key}": value for key, value in (spec.get("options") or {}).items()}
        facts |= {f"{name} ←": value["ref"] for name, value in (spec.get("inputs") or {}).items()}
        facts |= {"made": ", ".join(output["ref"] for output in run["outputs"])}
        facts |= {"digest": ", ".join(output["digest"][:19] for output in run["outputs"])}
        columns.append(facts | {name: f"{value['value']:.6g}" for name, value in one.last().items()})
    keys = dict.fromkeys(key for facts in columns for key in facts)
    rows = [(key, [_words(facts.get(key)) for facts in columns]) for key in keys]
    return [row for row in rows if len(set(row[1])) > 1 or len(found) == 1]


def _words(value: object) -> str:
    return "" if value is None else str(value)
