"""Routes of a project's leaves: which targets outside its commands may reach, and up to which label."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request

from baray import access, runs
from baray.access import Label, Leave, may_read, parse_label
from baray.core import NotFound, Refused, iso_time
from baray.store import Tx
from baray.web.api.shapes import LeaveBody, TargetBody
from baray.web.boundary import Caller, allow, house_of, signed_in, site_of

router = APIRouter(tags=["labels"])
Anyone = Annotated[Caller, Depends(signed_in)]


@router.get("/projects/{name}/egress")
def get_leaves(request: Request, who: Anyone, name: str) -> dict[str, Any]:
    """The targets that a project's commands may reach above public."""

    def read(tx: Tx) -> list[dict[str, Any]]:
        there = _there(tx, who, name)
        allow(tx, site_of(request), there, "read", f"project:{name}")
        given = access.leaves(tx, there.project_id)
        return [leave_json(tx, one) for one in given if may_read(who.actor, one.up_to)]

    return {"items": site_of(request).store.read(read), "next": None}


@router.post("/projects/{name}/egress", status_code=201)
def give_leave(request: Request, who: Anyone, name: str, body: LeaveBody) -> dict[str, Any]:
    """Let a project's commands reach a target outside, up to a label of level internal at most."""
    site = site_of(request)

    def write(tx: Tx) -> dict[str, Any]:
        there = _there(tx, who, name)
        allow(tx, site, there, "egress.change", f"project:{name}")
        runs.check_targets([body.target])
        up_to, by = parse_label(body.up_to), who.actor.id
        _check_own_reach(who, up_to)
        made = access.give_leave(tx, site, project_id=there.project_id, target=body.target, up_to=up_to, by=by)
        return leave_json(tx, made)

    done = site.store.write(write)
    house_of(request).bell.ring()  # Runs that waited for it may start
    return done


@router.post("/projects/{name}/egress/revoke")
def revoke_leave(request: Request, who: Anyone, name: str, body: TargetBody) -> dict[str, Any]:
    """Take a leave back: Runs that wait are not leased with it any more; those that run go on to their end."""
    site = site_of(request)

    def write(tx: Tx) -> None:
        there = _there(tx, who, name)
        allow(tx, site, there, "egress.change", f"project:{name}")
        access.revoke_leave(tx, site, project_id=there.project_id, target=body.target, by=who.actor.id)

    site.store.write(write)
    return {"project": name, "target": body.target, "revoked": True}


def leave_json(tx: Tx, leave: Leave) -> dict[str, Any]:
    """A leave as people see it."""
    by = access.actor_by_id(tx, leave.by)
    shown = {"project": access.project_by_id(tx, leave.project_id).name, "target": leave.target}
    return shown | {"up_to": str(leave.up_to), "by": by.name, "created": iso_time(leave.created)}


def _check_own_reach(who: Caller, up_to: Label) -> None:
    """Refuse to let out what the giver may not read: the target may be one where they can."""
    if not may_read(who.actor, up_to):
        raise Refused(
            "clearance_too_low",
            f"You would let out what is '{up_to}', and are cleared for '{who.actor.clearance}'.",
            fix="Ask a steward who is cleared for as much.",
            status=403,
        )


def _there(tx: Tx, who: Caller, name: str) -> Caller:
    row = access.project_named(tx, name)
    if row is None or row.id not in who.actor.roles:
        raise NotFound("project", name)
    return replace(who, project_id=row.id, project=name, label=row.label)
