"""Routes of machines: which there are, what each may hold at most, and what lowering that would reach."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request

from baray import access, fleet, runs
from baray.access import Label, may_read, parse_label
from baray.core import NotFound, iso_time
from baray.store import Tx
from baray.web.api.shapes import NodeLabelBody
from baray.web.boundary import Caller, allow, house_of, signed_in, site_of

router = APIRouter(tags=["machines"])
Who = Annotated[Caller, Depends(signed_in)]


@router.get("/nodes")
def get_nodes(request: Request, who: Who) -> dict[str, Any]:
    """The machines that have asked for work or were assigned a clearance, for auditors and operators."""

    def read(tx: Tx) -> list[dict[str, Any]]:
        allow(tx, site_of(request), who, "audit", "node:all")
        known, told = fleet.nodes(tx), runs.machines(tx)
        return [_node_json(tx, name, known.get(name), told.get(name)) for name in sorted(known.keys() | told.keys())]

    return {"items": site_of(request).store.read(read), "next": None}


@router.get("/nodes/{name}")
def get_node(
    request: Request, who: Who, name: str, to: Annotated[str | None, Query(max_length=1000)] = None
) -> dict[str, Any]:
    """One machine; with `to`, what runs there now above that label. Changes nothing."""

    def read(tx: Tx) -> dict[str, Any]:
        allow(tx, site_of(request), who, "audit", f"node:{name}")
        shown = _find(tx, name)
        return (
            shown
            if to is None
            else shown | {"to": to or None} | _above_json(who, runs.running_above(tx, name, _label(to)))
        )

    return site_of(request).store.read(read)


@router.post("/nodes/{name}/clearance")
def set_node_clearance(request: Request, who: Who, name: str, body: NodeLabelBody) -> dict[str, Any]:
    """Say what a machine may hold at most, from its next lease on; an empty label takes the limit away.

    Runs above it that are there already go on, as what they read is there already, or are cancelled if asked.
    """
    site = site_of(request)

    def write(tx: Tx) -> dict[str, Any]:
        allow(tx, site, who, "node.clear", f"node:{name}")
        _find(tx, name)
        clearance = _label(body.label)
        above = runs.running_above(tx, name, clearance)
        if body.running == "cancel":
            above = [runs.cancel(tx, site, run.id, actor_id=who.actor.id) for run in above]
        facts = {"running": body.running, "above": len(above)} if above else {}
        fleet.assign(tx, site, name=name, clearance=clearance, by=who.actor.id, facts=facts)
        return _find(tx, name) | {"running": body.running} | _above_json(who, above)

    done = site.store.write(write)
    house_of(request).bell.ring()  # Runs that waited for a clearance may start, and cancelled ones have to stop
    return done


def _find(tx: Tx, name: str) -> dict[str, Any]:
    node, told = fleet.node_named(tx, name), runs.machines(tx).get(name)
    if node is None and told is None:
        raise NotFound("node", name, fix="See them: baray node list")
    return _node_json(tx, name, node, told)


def _node_json(tx: Tx, name: str, node: fleet.Node | None, told: dict[str, Any] | None) -> dict[str, Any]:
    """A machine: `clearance` is what counts, the lower of `assigned` and of what it says itself; null is everything."""
    said = str((told or {}).get("said", ""))
    assigned = fleet.in_force(node, "")
    shown = {"name": name, "clearance": _text(fleet.in_force(node, said)), "assigned": _text(assigned)}
    shown |= {"says": said or None, "by": None, "changed": None}
    if node is not None:
        by = access.actor_by_id(tx, node.by)
        shown |= {"by": "the setting" if by is None else by.name, "changed": iso_time(node.changed)}
    return shown | {key: (told or {}).get(key) for key in ("tier", "limits", "cpus", "memory_bytes", "missing")}


def _above_json(who: Caller, above: list[runs.Run]) -> dict[str, Any]:
    """Runs by name for who may read them; of the others their number, which an operator needs to decide."""
    seen = [run for run in above if run.project_id in who.actor.roles and may_read(who.actor, run.label)]
    shown = [{"run": run.id, "name": run.name, "label": run.label} for run in seen]
    return {"above": shown, "above_hidden": len(above) - len(seen)}


def _label(text: str) -> Label | None:
    return parse_label(text) if text else None


def _text(label: Label | None) -> str | None:
    return None if label is None else str(label)
