"""The queue as a caller sees it: submit, cancel, retry, and why a Run is where it is. All inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from baray import fleet
from baray.access import (
    PUBLIC,
    Label,
    Site,
    blocked,
    check_holding,
    check_way_out,
    flows,
    join,
    owners,
    parse_label,
    why_no_way_out,
)
from baray.catalog import VersionRow, add_edges
from baray.core import Fault, NotFound, Refused, digest_json, iso_date, iso_time
from baray.runs import records
from baray.runs.records import Run
from baray.runs.sandbox.tries import check_targets
from baray.store import Tx

MAX_PRIORITY = 100
MOST_REDUCED_LEVEL = 1
"""Level above which no command runs with reduced isolation."""
_DEFAULTS = {"cpus": 1, "memory_bytes": 2 * 2**30, "time_seconds": 86_400.0, "gpus": 0}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """A Run that somebody asks for. The caller has decided that they may; here the spec is frozen."""

    project_id: str
    """Owner."""
    actor_id: str
    """Who asks."""
    kind: str
    """dataset, index, model, command for a tenant's own, or replica for a process of a Service, which has no time limit."""
    name: str
    """Name of the output; for a command, of the Run."""
    recipe: str
    """Name of the recipe, for people."""
    handler: str = ""
    """`module:function` of a trusted handler; empty for a command."""
    options: dict[str, Any] = field(default_factory=dict)
    """The recipe's options, checked."""
    inputs: dict[str, VersionRow] = field(default_factory=dict)
    """Versions to mount, by name inside."""
    command: tuple[str, ...] = ()
    """Program and arguments of a command."""
    outputs: tuple[str, ...] = ()
    """Names below /out that become Dataset versions."""
    resources: dict[str, Any] = field(default_factory=dict)
    """cpus, memory_bytes, time_seconds, gpus, where they differ from the defaults."""
    label: Label = PUBLIC
    """At least this label; joined with everything mounted."""
    raised: Label = PUBLIC
    """What is made carries at least this, whatever its rows carry: somebody asked for it by name."""
    expect_label: Label | None = None
    """Refuse unless the Run's label is this."""
    egress: tuple[str, ...] = ()
    """Targets (`host:port`) that a command may reach; above public only by the project's leave."""
    output_label_rule: str = "join"
    """"rows": outputs carry the join of their rows' labels, told by a trusted handler; "join": of everything mounted."""
    max_attempts: int = 1
    """Attempts that may fail."""
    priority: int = 0
    """-100 to 100, higher goes first."""
    after: tuple[str, ...] = ()
    """Runs that have to succeed first."""


def submit(tx: Tx, site: Site, request: RunRequest) -> Run:
    """Queue a Run. An identical one (same spec, no command, no replica) that succeeded, waits or runs is given back as reused.

    Raises Refused `unexpected_label`, `egress_label`, `bad_request`, `no_sandbox`, and NotFound for a Run in `after`.
    """
    _check(tx, request)
    label = join([request.label, request.raised, *(parse_label(version.label) for version in request.inputs.values())])
    _check_label(tx, request, label)
    if request.command:
        _check_command(tx, request, label)
    now = site.clock.now()
    spec = _freeze(request, str(label), iso_date(now))
    memo_key = digest_json(spec)
    if request.kind not in {"command", "replica"}:
        known = records.find_memo(tx, request.project_id, memo_key)
        if known is not None:
            return known
    run_id = site.ids.new("r")
    values: dict[str, Any] = {
        "id": run_id,
        "project_id": request.project_id,
        "actor_id": request.actor_id,
        "kind": request.kind,
    }
    values |= {"name": request.name, "state": records.QUEUED, "label": str(label), "spec": records.to_json(spec)}
    values |= {"memo_key": memo_key, "created": now, "max_attempts": request.max_attempts, "priority": request.priority}
    records.add_run(tx, values | {"attempts": 0})
    add_edges(tx, run_id, [version.id for version in request.inputs.values()], "input")
    if request.after:
        records.add_after(tx, run_id, tuple(dict.fromkeys(request.after)))
    entry = {"digest": memo_key, "kind": request.kind}
    site.ledger.append(
        tx,
        "run.submitted",
        actor=request.actor_id,
        subject=run_id,
        project=request.project_id,
        label=str(label),
        facts=entry,
    )
    return _known(tx, run_id)


def cancel(tx: Tx, site: Site, run_id: str, *, actor_id: str) -> Run:
    """Stop a Run: a queued one at once, a running one as soon as its worker hears; an ended one stays as it is."""
    run = _known(tx, run_id)
    now = site.clock.now()
    if run.state == records.RUNNING:
        records.set_run(tx, run_id, {"cancel_asked": now})
    elif run.state == records.QUEUED:
        end_run(tx, site, run, records.CANCELLED, {"cancel_asked": now}, actor_id=actor_id)
    return _known(tx, run_id)


def retry(tx: Tx, site: Site, run_id: str, *, actor_id: str) -> Run:
    """Queue a failed or cancelled Run again, with its attempts counted from zero.

    Raises Refused `not_ended`; `bad_request` for a process of a Service.
    """
    run = _known(tx, run_id)
    if run.state not in {records.FAILED, records.CANCELLED}:
        raise Refused(
            "not_ended", f"Run {run_id} is {run.state}: only one that failed or was cancelled is tried again."
        )
    if run.kind == "replica":
        # Nobody would look after it: it would hold its memory, and answer nobody, until somebody thought of it.
        raise Refused(
            "bad_request",
            f"Run {run_id} is a process of a Service, which starts a fresh one where it needs one.",
            fix=f"See how it stands: baray service show {run.name}",
        )
    # Attempts of the earlier round keep their rows; the allowance grows by them.
    allowance = run.max_attempts + sum(state == records.FAILED for state in records.attempt_states(tx, run_id))
    values = {
        "state": records.QUEUED,
        "ended": None,
        "error": None,
        "cancel_asked": None,
        "retry_at": None,
        "progress": None,
    }
    records.set_run(tx, run_id, values | {"max_attempts": allowance})
    site.ledger.append(
        tx, "run.retried", actor=actor_id, subject=run_id, project=run.project_id, label=run.label, decision="by-hand"
    )
    return _known(tx, run_id)


def why(tx: Tx, run_id: str) -> dict[str, Any]:
    """Why a Run is where it is: `{state, reason, fix, attempts}`. Raises NotFound."""
    run = _known(tx, run_id)
    reason, fix = _reason(tx, run)
    attempts = [
        {
            "number": row.number,
            "state": row.state,
            "reason": row.reason,
            "exit_code": row.exit_code,
            "sandbox": row.sandbox,
        }
        for row in records.attempts_of(tx, run_id)
    ]
    return {"state": run.state, "reason": reason, "fix": fix, "attempts": attempts}


def end_run(
    tx: Tx,
    site: Site,
    run: Run,
    state: str,
    values: dict[str, Any],
    *,
    actor_id: str,
    facts: dict[str, Any] | None = None,
) -> None:
    """Bring a Run to an end, with its entry; Runs that come after one that did not succeed are cancelled with it."""
    records.set_run(tx, run.id, values | {"state": state, "ended": site.clock.now(), "retry_at": None})
    error = values.get("error")
    decision = "" if error is None else str(_code_of(error))
    site.ledger.append(
        tx,
        f"run.{state}",
        actor=actor_id,
        subject=run.id,
        project=run.project_id,
        label=run.label,
        decision=decision,
        facts=facts,
    )
    if state == records.SUCCEEDED:
        return
    for later in records.later_runs(tx, run.id):
        told = {"code": "after_failed", "message": f"It comes after run:{run.id}, which ended {state}."}
        told["fix"] = f"Mend that one, then: baray run retry {run.id}; baray run retry {later.id}"
        end_run(tx, site, later, records.CANCELLED, {"error": records.to_json(told)}, actor_id=actor_id)


def _check(tx: Tx, request: RunRequest) -> None:
    if bool(request.command) == bool(request.handler):
        raise Fault("bad_request", f"Run '{request.name}' needs a handler or a command, and only one.")
    if not -MAX_PRIORITY <= request.priority <= MAX_PRIORITY:
        raise Refused("bad_request", f"Priority {request.priority} is not between -{MAX_PRIORITY} and {MAX_PRIORITY}.")
    if request.max_attempts < 1:
        raise Refused("bad_request", f"{request.max_attempts} attempts: at least one is needed.")
    for name in ("cpus", "memory_bytes", "time_seconds", "disk_bytes"):
        if request.resources.get(name, 1) <= 0:
            raise Refused("bad_request", f"{name} is {request.resources[name]}: it must be above zero.")
    _check_after(tx, request)


def _check_label(tx: Tx, request: RunRequest, label: Label) -> None:
    """Refuse before it runs what would have another label than expected, or one that the project may not hold."""
    if request.expect_label is not None and request.expect_label != label:
        raised_by = [
            one.ref for one in request.inputs.values() if not flows(parse_label(one.label), request.expect_label)
        ]
        raise blocked(
            "unexpected_label",
            what=f"'{request.name}' would be '{label}', not '{request.expect_label}'.",
            why=f"It takes the join of its inputs; above what was expected: {', '.join(raised_by) or 'none of them'}.",
            ask=owners(tx, request.project_id),
            change=f"Expect '{label}', take other inputs, or see how one came by its label: baray label show REF.",
        )
    check_holding(tx, request.project_id, label, f"'{request.name}'")


def _check_after(tx: Tx, request: RunRequest) -> None:
    if request.after:
        states = records.states_of(tx, request.after, request.project_id)
        for earlier in request.after:
            if earlier not in states:
                raise NotFound("run", earlier, fix="See yours: baray run list")
            if states[earlier] in {records.FAILED, records.CANCELLED}:
                raise Refused("after_failed", f"Run {earlier} is {states[earlier]}: nothing can come after it.")


def _check_command(tx: Tx, request: RunRequest, label: Label) -> None:
    """Refuse a command at once where no worker can hold it, or where what it asks for does not go with its label."""
    check_targets(request.egress)
    if request.egress:
        check_way_out(tx, request.project_id, label, request.egress, f"'{request.name}'")
    known = list(records.workers(tx).values())
    if not known or any(worker["tier"] == "A" for worker in known):
        return
    first = known[0]
    if all(worker["tier"] == "none" for worker in known):
        raise Refused("no_sandbox", f"Commands cannot be run here: {first['missing']}.", fix=first["fix"], status=503)
    why = reduced_refuses(tx, label, egress=bool(request.egress))
    if why:
        raise Refused(
            "reduced_sandbox",
            f"Here commands run with reduced isolation, and {why}.",
            fix=f"Give this machine the whole sandbox: {first['fix']}",
            status=503,
        )


def reduced_refuses(tx: Tx, label: Label, *, egress: bool) -> str:
    """Why a command may not run with reduced isolation; empty if it may."""
    if label.level > MOST_REDUCED_LEVEL:
        return f"the label '{label}' is above what that may hold"
    if records.count_projects(tx) > 1:
        return "there is more than one project, which it does not keep apart"
    return "it has no way to give out egress" if egress else ""


def tell_egress(tx: Tx, site: Site, run: Run, attempt_id: str, tries: tuple[Mapping[str, Any], ...]) -> None:
    """Append what an Attempt tried to reach: one entry for what was allowed, one for what was not."""
    for kind, decisions in (("egress.allowed", {"allowed", "failed"}), ("egress.denied", {"denied"})):
        batch = [one for one in tries if one["decision"] in decisions]
        if batch:
            facts: dict[str, Any] = {"attempt": attempt_id, "count": sum(int(one["count"]) for one in batch)}
            # Names and reasons are text, some of it the command's own: the ledger commits to it, egress.jsonl shows it.
            facts["targets"] = [
                {name: int(one[name]) for name in ("count", "sent", "received")}
                | {name: site.ledger.commitment(tx, str(one[name])) for name in ("target", "reason") if one[name]}
                for one in batch
            ]
            site.ledger.append(
                tx, kind, actor=run.actor_id, subject=run.id, project=run.project_id, label=run.label, facts=facts
            )


def _freeze(request: RunRequest, label: str, today: str) -> dict[str, Any]:
    inputs = {
        name: {"ref": version.ref, "digest": version.digest, "version": version.id}
        for name, version in sorted(request.inputs.items())
    }
    return {
        "kind": request.kind,
        "recipe": request.recipe,
        "handler": request.handler,
        "options": request.options,
        "name": request.name,
        "inputs": inputs,
        "command": list(request.command) or None,
        "resources": _DEFAULTS | request.resources | ({"time_seconds": 0.0} if request.kind == "replica" else {}),
        "sandbox": _frozen_sandbox(request),
        "label": label,
        "label_rule": request.output_label_rule,
        "today": today,
        # Only where it says something, so that a spec without it keeps its digest.
        **({"raised": str(request.raised)} if request.raised != PUBLIC else {}),
    }


def _frozen_sandbox(request: RunRequest) -> dict[str, Any] | None:
    return {"outputs": list(request.outputs), "egress": list(request.egress)} if request.command else None


def _reason(tx: Tx, run: Run) -> tuple[str, str]:
    if run.state == records.RUNNING:
        return ("It is asked to stop." if run.cancel_asked else "It runs."), f"See its log: baray run logs {run.id}"
    if run.state == records.SUCCEEDED:
        return "It ended well.", ""
    if run.state != records.QUEUED:
        error = run.error or {"message": "It was cancelled.", "fix": f"To run it again: baray run retry {run.id}"}
        return str(error["message"]), str(error.get("fix", ""))
    return _waits_for(tx, run)


def _waits_for(tx: Tx, run: Run) -> tuple[str, str]:
    waiting = [
        f"run:{other} ({state})" for other, state in records.earlier_runs(tx, run.id) if state != records.SUCCEEDED
    ]
    if waiting:
        return f"It comes after {', '.join(waiting)}.", ""
    if run.retry_at is not None:
        message = (run.error or {}).get("message", "its last attempt was lost")
        return f"Its next attempt starts at {iso_time(run.retry_at)}: {message}", ""
    why, change = no_way_out(tx, run.project_id, run.spec, run.label)
    if why:
        return f"It may not reach what it asks for. {why}", f"{change} Ask: {owners(tx, run.project_id)}."
    workers = machines(tx)
    if not workers:
        return "No worker has asked for work yet.", "See: baray status"
    if not any(held_by_node(run.label, worker) for worker in workers.values()):
        return _no_machine(run.label, workers)
    if not any(fits(run.spec, worker, run.label) for worker in workers.values()):
        wanted = run.spec["resources"]
        return (
            f"No worker has {wanted['cpus']} cpus, {wanted['memory_bytes']} bytes and {wanted['gpus']} gpus for it.",
            "Ask for less, or add a machine.",
        )
    return "Workers are busy with Runs whose turn came first.", "See: baray run list"


def _no_machine(label: str, workers: dict[str, dict[str, Any]]) -> tuple[str, str]:
    bare = replace(parse_label(label), releasable_to=None)
    told = ", ".join(f"{name} ({_as_far_as(worker['clearance'], bare)})" for name, worker in sorted(workers.items()))
    fix = f"Let an operator clear a machine for it: baray node clear {min(workers)} --to {bare}"
    own = sorted(name for name, worker in workers.items() if worker["said"] and not held_by_node(label, worker, "said"))
    if own:
        fix += f" (of {', '.join(own)} the machine's own setting BARAY_CLEARANCE has to say so too)"
    return (
        f"Its label is '{label}', and no machine is cleared for that: {told}.",
        f"{fix}, or take inputs of a lower label.",
    )


def _as_far_as(clearance: str, label: Label) -> Label:
    """A machine's clearance without the categories that `label` has not: who reads of that label may not know of them."""
    known = parse_label(clearance)
    return replace(known, categories=known.categories & label.categories)


def machines(tx: Tx) -> dict[str, dict[str, Any]]:
    """What each worker said of its machine; `clearance` is what counts there, `assigned` and `said` what it comes from."""
    known = fleet.nodes(tx)
    found = {}
    for name, worker in records.workers(tx).items():
        node, said = known.get(name), worker.get("clearance") or ""
        assigned = "public" if node is None else str(node.clearance or "")
        found[name] = worker | {"clearance": str(fleet.in_force(node, said) or ""), "assigned": assigned, "said": said}
    return found


def running_above(tx: Tx, worker: str, clearance: Label | None) -> list[Run]:
    """Runs that a worker holds, of labels that a machine with `clearance` would not be leased any more."""
    there = {"clearance": str(clearance or "")}
    found = [records.get_run(tx, row.run_id) for row in records.held(tx, worker)]
    return [run for run in found if run is not None and not held_by_node(run.label, there)]


def no_way_out(tx: Tx, project_id: str, spec: dict[str, Any], label: str) -> tuple[str, str]:
    """(why, what would change it) if a command may not reach its targets at its label in force; empty if it may."""
    targets = (spec["sandbox"] or {}).get("egress")
    return why_no_way_out(tx, project_id, parse_label(label), targets) if targets else ("", "")


def held_by_node(label: str, worker: dict[str, Any], word: str = "clearance") -> bool:
    """Whether a machine may hold what carries `label`: its bytes are fetched to where the Run is."""
    clearance = worker.get(word) or ""
    bare = replace(parse_label(label), releasable_to=None)
    return not clearance or flows(bare, replace(parse_label(clearance), releasable_to=None))


def fits(spec: dict[str, Any], worker: dict[str, Any], label: str) -> bool:
    """Whether a whole machine is enough, and cleared, for a Run whose label in force is `label`."""
    if not held_by_node(label, worker):
        return False
    wanted = spec["resources"]
    enough = (
        own_cores(spec) <= worker["cpus"] and wanted["memory_bytes"] <= worker["memory_bytes"] and not wanted["gpus"]
    )
    return bool(enough and (spec["command"] is None or _holds(spec, worker["tier"])))


def own_cores(spec: dict[str, Any]) -> int:
    """Cores that a Run has to itself. A Replica has none: between requests it idles, and two Revisions have to fit at once."""
    return 0 if spec.get("kind") == "replica" else int(spec["resources"]["cpus"])


def _holds(spec: dict[str, Any], tier: str) -> bool:
    """Whether a sandbox of this tier may hold the command."""
    if tier == "B":
        return parse_label(spec["label"]).level <= MOST_REDUCED_LEVEL and not spec["sandbox"].get("egress")
    return tier == "A"


def _known(tx: Tx, run_id: str) -> Run:
    run = records.get_run(tx, run_id)
    if run is None:
        raise NotFound("run", run_id, fix="See yours: baray run list")
    return run


def _code_of(error: str) -> str:
    return error.partition('"code":"')[2].partition('"')[0]
