"""Routes about the server itself."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import PlainTextResponse

from baray import __version__, catalog, ledger, runs
from baray.access import may_read
from baray.core import Ref, Refused, parse_ref
from baray.store import Tx
from baray.web.api import services
from baray.web.boundary import Caller, caller, house_of, site_of

router = APIRouter(tags=["system"])
api = APIRouter(tags=["system"])
Who = Annotated[Caller, Depends(caller)]


@router.get("/healthz")
def healthz() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/readyz")
def readyz(request: Request) -> dict[str, str]:
    """The database answers and the router is up."""
    site_of(request).store.read(lambda tx: tx.hot("SELECT 1").scalar())
    if not house_of(request).router_url():
        raise Refused("not_ready", "The router is not up yet.", fix="Try again in a second.", status=503)
    return {"status": "ready"}


@router.get("/metrics")
def metrics(request: Request, who: Who) -> PlainTextResponse:
    """Prometheus text: Runs by state, ledger entries."""

    def read(tx: Tx) -> list[str]:
        lines = ["# HELP baray_runs Runs by state.", "# TYPE baray_runs gauge"]
        counts = runs.counts(tx, who.project_id, partial(may_read, who.actor))
        lines += [f'baray_runs{{state="{state}"}} {count}' for state, count in sorted(counts.items())]
        lines += ["# HELP baray_ledger_entries Entries in the ledger.", "# TYPE baray_ledger_entries counter"]
        return [*lines, f"baray_ledger_entries {site_of(request).ledger.size(tx)}", ""]

    return PlainTextResponse("\n".join(site_of(request).store.read(read)), media_type="text/plain; version=0.0.4")


@api.get("/status")
def status(request: Request, who: Who) -> dict[str, Any]:
    """What runs here, counts, and what needs attention."""
    house, site = house_of(request), site_of(request)

    def read(tx: Tx) -> dict[str, Any]:
        readable = partial(may_read, who.actor)
        kinds = ("source", "dataset", "index", "model")
        counts = {kind: len(catalog.newest(tx, who.project_id, kind, readable)) for kind in kinds}
        machines = [f"{name} may hold {told['clearance'] or 'anything'}" for name, told in runs.machines(tx).items()]
        return {
            "machines": machines,
            "counts": counts,
            "runs": runs.counts(tx, who.project_id, readable),
            "entries": site.ledger.size(tx),
        }

    found = site.store.read(read)
    return {"version": __version__, "project": who.project} | house.status() | found | {"warnings": warnings(request)}


def warnings(request: Request) -> list[str]:
    """What an operator should know, in words."""
    site = site_of(request)
    found = []
    if not site.store.read(ledger.witnesses):
        found.append(
            "No outside witness holds this ledger's head: a rollback could not be seen. See: baray ledger witness add"
        )
    if not house_of(request).router_url():
        found.append("The router is not up.")
    return found + [
        _isolation(name, told) for name, told in site.store.read(runs.workers).items() if told["tier"] != "A"
    ]


def _isolation(name: str, told: dict[str, Any]) -> str:
    """What a worker without the whole sandbox means."""
    if told["tier"] == "B":
        means = "Commands run with REDUCED isolation: one project, labels up to internal, no egress"
    else:
        means = "Commands are refused"
    return f"{means} (worker {name}: {told['missing']}). {told['fix']}"


@api.get("/recipes")
def recipes(request: Request, _who: Who) -> dict[str, Any]:
    """The built-in recipes with their options."""
    table = house_of(request).recipes
    shown = [{"name": name} | {key: one[key] for key in ("kind", "title", "options")} for name, one in table.items()]
    return {"items": shown, "next": None}


@api.get("/lineage")
def lineage(request: Request, who: Who, ref: str) -> dict[str, Any]:
    """Where something came from: nodes, edges, and the chain of kinds."""
    return lineage_of(request, who, parse_ref(ref))


def lineage_of(request: Request, who: Caller, ref: Ref) -> dict[str, Any]:
    """The lineage graph that the caller may see."""
    if ref.kind == "answer":
        services.await_answer(request, ref.name)

    def read(tx: Tx) -> catalog.Lineage:
        services.require_known(tx, who, ref)
        return catalog.lineage(tx, who.project_id, ref, partial(may_read, who.actor))

    found = site_of(request).store.read(read)
    return {"nodes": list(found.nodes), "edges": list(found.edges), "chain": list(found.chain)}
