"""Routes of a Service's Replicas: how many there may be, back to an earlier Revision, what they log."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request

from baray import serve
from baray.store import Tx
from baray.web.api.services import find_service, replica_numbers, service_json
from baray.web.api.shapes import RollbackBody, ScaleBody
from baray.web.boundary import Caller, allow, caller, house_of, site_of

router = APIRouter(tags=["services"])
Who = Annotated[Caller, Depends(caller)]


@router.post("/services/{name}/scale")
def scale_service(request: Request, who: Who, name: str, body: ScaleBody) -> dict[str, Any]:
    """Change how many Replicas a Service may have."""
    numbers = replica_numbers(body.replicas)
    assert numbers is not None
    site = site_of(request)
    return _change(request, who, name, lambda tx, one: serve.scale(tx, site, one, numbers, actor_id=who.actor.id))


@router.post("/services/{name}/rollback")
def roll_back_service(request: Request, who: Who, name: str, body: RollbackBody) -> dict[str, Any]:
    """Go back to an earlier Revision; where it needs Replicas of its own it takes over when they are healthy."""
    site = site_of(request)
    number = body.revision
    return _change(request, who, name, lambda tx, one: serve.roll_back(tx, site, one, number, actor_id=who.actor.id))


def _change(
    request: Request, who: Caller, name: str, change: Callable[[Tx, serve.Service], serve.Service]
) -> dict[str, Any]:
    site = site_of(request)

    def write(tx: Tx) -> serve.Service:
        current = find_service(tx, who, name)
        public = "public" in current.audience
        allow(tx, site, who, "service.publish" if public else "service.change", f"service:{name}", current.label)
        return change(tx, current)

    changed = site.store.write(write)
    house_of(request).push()
    return service_json(request, changed, who)
