"""Routes of Evaluations: ask for one, and those of a Model version."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import Field

from baray import runs
from baray.access import may_read
from baray.catalog import VersionRow, by_id, evaluations_of
from baray.store import Tx
from baray.web.api.runs import made_of, submit_recipe
from baray.web.api.shapes import Body, BuildBody, version_json
from baray.web.api.sources import find_version
from baray.web.boundary import Caller, caller, site_of

router = APIRouter(tags=["evaluations"])
Who = Annotated[Caller, Depends(caller)]


class EvaluationBody(Body):
    """A Model version to measure."""

    model: str
    against: str = ""
    dataset: str = ""
    source: str = ""
    options: dict[str, Any] = Field(default_factory=dict)
    cpus: int = Field(default=0, ge=0, le=1024)
    memory: str = "2GB"


@router.post("/evaluations", status_code=202)
def evaluate_model(request: Request, who: Who, body: EvaluationBody) -> dict[str, Any]:
    """Measure a Model version on a Dataset or a Source; an identical Evaluation that succeeded is reused."""
    version = site_of(request).store.read(lambda tx: find_version(tx, request, who, "model", body.model))
    beside = {"model": ("model", version.ref)}
    beside |= {"against": ("model", body.against)} if body.against else {}
    beside |= site_of(request).store.read(lambda tx: _learnt_from(tx, who, version))
    full = BuildBody(name=version.name, recipe="evaluate", options=body.options, cpus=body.cpus, memory=body.memory)
    named = made_of(body.source, body.dataset)
    return submit_recipe(request, who, "evaluation", full, named, beside)


@router.get("/models/{name}/evaluations")
def get_evaluations(request: Request, who: Who, name: str) -> dict[str, Any]:
    """Evaluations of a Model version that the caller may see, newest first."""

    def read(tx: Tx) -> list[VersionRow]:
        version = find_version(tx, request, who, "model", name)
        return evaluations_of(tx, version.id, partial(may_read, who.actor))

    return {"items": [version_json(row) for row in site_of(request).store.read(read)], "next": None}


def _learnt_from(tx: Tx, who: Caller, model: VersionRow) -> dict[str, tuple[str, str]]:
    """What a Model learnt from, to look whether it saw the Documents before; nothing where the caller may not read it."""
    run = runs.get_run(tx, model.run_id) if model.run_id else None
    given = run.spec["inputs"] if run is not None else {}
    for name in ("dataset", "source"):
        version = by_id(tx, given[name]["version"]) if name in given else None
        if version is not None and version.project_id == who.project_id and may_read(who.actor, version.label):
            return {"training": (version.kind, version.ref)}
    return {}
