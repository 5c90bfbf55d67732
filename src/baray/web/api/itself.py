"""What a Run may ask by its own token: itself, and to add to its own metrics. `boundary` lets that token nowhere else."""

from __future__ import annotations

from typing import Annotated, Any, cast

import anyio.to_thread
from fastapi import APIRouter, Depends, Request

from baray import runs
from baray.core import NotFound, Refused, iso_time
from baray.web.boundary import house_of, site_of

router = APIRouter(tags=["runs"])


def delegate(request: Request) -> tuple[runs.Delegate, str]:
    """The Run that asks, and its token. Raises NotFound for everybody else: they have no Run of this name."""
    found = getattr(request.state, "delegate", None)
    if found is None:
        raise NotFound("run", "self")
    return cast("tuple[runs.Delegate, str]", found)


Itself = Annotated[tuple[runs.Delegate, str], Depends(delegate)]


@router.get("/runs/self")
def get_itself(request: Request, who: Itself) -> dict[str, Any]:
    """The Run whose own token this is. No entry tells of it: it learns nothing that it was not started with."""
    found, _ = who
    house_of(request).pace.take(found.attempt_id, site_of(request).clock.monotonic())
    run = found.run
    return {
        "id": run.id,
        "ref": f"run:{run.id}",
        "name": run.name,
        "state": run.state,
        "label": run.label,
        "attempt": found.number,
        "created": iso_time(run.created),
        "started": iso_time(run.started) if run.started else None,
        "progress": run.progress,
        "resources": run.spec["resources"],
        "inputs": {name: one["ref"] for name, one in run.spec["inputs"].items()},
        "reported": found.points,
    }


@router.post("/runs/self/metrics")
async def post_metrics(request: Request, who: Itself) -> dict[str, Any]:
    """Add numbers to the metrics of the Run whose own token this is, and say how far it is."""
    found, secret = who
    house, site = house_of(request), site_of(request)
    house.pace.take(found.attempt_id, site.clock.monotonic())
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > runs.MAX_REPORT_BYTES:
            raise Refused(
                "too_large",
                f"A report may have {runs.MAX_REPORT_BYTES} bytes at most.",
                fix="Send several.",
                status=413,
            )
    run_dir = house.home / "runs" / found.run.id
    return {"added": await anyio.to_thread.run_sync(runs.report, site, run_dir, secret, body)}
