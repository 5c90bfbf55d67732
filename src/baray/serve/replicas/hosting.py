"""What people do with a Service's Replicas: change their number, go back to an earlier Revision, see how it stands."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Row

from baray import runs
from baray.access import Site
from baray.core import NotFound, Refused
from baray.serve.records import set_service
from baray.serve.replicas import records
from baray.serve.replicas.decide import DRAINING, ENDED, READY, STARTING, STOPPING, Replica, failures, state_of
from baray.serve.replicas.reconcile import revision_facts
from baray.serve.services import Service, check_replicas, get_service, runs_the_same
from baray.store import Tx


def scale(tx: Tx, site: Site, service: Service, numbers: tuple[int, int], *, actor_id: str) -> Service:
    """Change how many Replicas there may be. Raises Refused `bad_replicas`."""
    least, most = check_replicas(numbers)
    if service.least_replicas is None:
        message = f"The router itself answers for {service.name}: it has no Replicas."
        raise Refused("bad_replicas", message, fix="Nothing needs to be done: it is always there.")
    if (least, most) != (service.least_replicas, service.most_replicas):
        wanted = min(most, max(least, service.wanted_replicas or 0))
        set_service(tx, service.id, {"least_replicas": least, "most_replicas": most, "wanted_replicas": wanted})
        _tell(tx, site, service, "service.scaled", actor_id, {"least": least, "most": most})
    return get_service(tx, service.project_id, service.name)


def roll_back(tx: Tx, site: Site, service: Service, number: int, *, actor_id: str) -> Service:
    """Go back to an earlier Revision: at once where nothing has to start for it, else through the gate.

    Raises Refused `stopped`; NotFound for a Revision that there is not.
    """
    revision = records.revision_numbered(tx, service.id, number)
    if revision is None:
        raise NotFound("revision", str(number), fix=f"See them: baray service revisions {service.name}")
    if service.state == "stopped":
        raise Refused("stopped", f"{service.name} is stopped.", fix="Deploy it again: baray service deploy", status=409)
    _tell(tx, site, service, "service.rolled_back", actor_id, {"revision": revision.id, "number": revision.number})
    spec = json.loads(revision.spec)
    if "engine" in spec and service.least_replicas is None:
        # The newest Revision needs no Replicas, the earlier one does.
        numbers = {"least_replicas": 1, "most_replicas": 1, "wanted_replicas": 1, "idle_seconds": 300.0}
        set_service(tx, service.id, numbers | {"by": actor_id})
    at_once = "engine" not in spec or runs_the_same(service.spec, spec)
    if at_once:
        _take_over(tx, site, service, revision, actor_id=actor_id)
    else:
        values = {"next_revision": revision.id, "proposed": site.clock.now(), "trouble": None}
        set_service(tx, service.id, values)
    return get_service(tx, service.project_id, service.name)


def standing(tx: Tx, service: Service) -> dict[str, Any]:
    """How a Service stands: `{"state", "reason", "replicas", "next"}`; `reason` is for people, empty when all is well."""
    if service.least_replicas is None or service.state == "stopped":
        return {"state": service.state, "reason": "", "replicas": [], "next": None}
    found = records.of_service(tx, service.id)
    own = [one for one in found if one.revision_id == service.revision_id]
    failed = failures(own)
    state = state_of(own, least=service.least_replicas, wanted=service.wanted_replicas or 0)
    reason = ""
    if state in {"starting", "degraded"}:
        reason = failed[0].reason if failed else _waits_for(tx, own)
    following = [one for one in found if one.revision_id == service.next_revision]
    shown = [one for one in found if one.state != ENDED] + [one for one in found if one.state == ENDED][-5:]
    return {
        "state": state,
        "reason": reason or str((service.trouble or {}).get("reason", "")),
        "replicas": [_shown(one) for one in shown],
        "next": _next(tx, service, following),
    }


def _next(tx: Tx, service: Service, following: list[Replica]) -> dict[str, Any] | None:
    if service.next_revision is None:
        return None
    row = records.revision(tx, service.next_revision)
    failed = failures(following)
    reason = failed[0].reason if failed else _waits_for(tx, following)
    ready = sum(one.state == READY for one in following)
    return {
        "revision_id": service.next_revision,
        "number": 0 if row is None else row.number,
        "ready": ready,
        "needed": max(1, service.wanted_replicas or 0),
        "failed": len(failed),
        "reason": reason,
    }


def _waits_for(tx: Tx, own: list[Replica]) -> str:
    """Why a Replica has not begun, for people; empty while it loads."""
    waiting = [one for one in own if one.state == STARTING and one.run == "queued"]
    return str(runs.why(tx, waiting[0].run_id)["reason"]) if waiting else ""


def _shown(one: Replica) -> dict[str, Any]:
    state = "failed" if one.state == ENDED and one.failed else DRAINING if one.state == STOPPING else one.state
    return {
        "id": one.id,
        "run": one.run_id,
        "revision_id": one.revision_id,
        "state": state,
        "since": one.since,
        "reason": one.reason,
    }


def _take_over(tx: Tx, site: Site, service: Service, revision: Row[Any], *, actor_id: str) -> None:
    if "engine" in json.loads(revision.spec):
        records.hand_over(tx, service.id, service.revision_id, revision.id)
    values = {"current_revision": revision.id, "next_revision": None, "proposed": None, "trouble": None}
    set_service(tx, service.id, values)
    facts = revision_facts(revision, list(service.audience), service.kind)
    _tell(tx, site, service, "service.revised", actor_id, facts, label=revision.label)


def _tell(
    tx: Tx, site: Site, service: Service, kind: str, actor_id: str, facts: dict[str, Any], *, label: str = ""
) -> None:
    site.ledger.append(
        tx,
        kind,
        actor=actor_id,
        subject=service.id,
        project=service.project_id,
        label=label or service.label,
        facts=facts,
    )
