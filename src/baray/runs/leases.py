"""Leases: hand out work, keep it alive, take results, and give up what is lost. Load, process, apply.

Order at the end of an Attempt: the worker makes the outputs' blobs durable; one transaction then closes the Attempt
`WHERE lease_token`, publishes every output, ends the Run and appends the entries, or does nothing. A result whose token
no longer holds touches no row and is dropped: so two workers can never both finish a Run.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from baray import fleet
from baray.access import Site, hash_secret, join, new_secret, parse_label, project_by_id
from baray.catalog import (
    FileEntry,
    Making,
    Output,
    Publication,
    VersionRow,
    attest,
    by_id,
    inherit_floor,
    licences,
    publish,
    read_manifest,
    version_files,
)
from baray.core import BarayError, Fault
from baray.runs import records
from baray.runs.protocol import LEASE_SECONDS, AttemptResult, LeaseAnswer, LeaseGrant, Renewal, RenewAnswer, WorkerOffer
from baray.runs.queue import end_run, fits, held_by_node, no_way_out, own_cores, tell_egress
from baray.runs.records import Run
from baray.store import Tx

MAX_LOST = 5  # lost Attempts of one Run that are tried again: a machine that dies of it must not try for ever
ADVANCED = "advanced"
"""Reason of an Attempt that was lost or killed after it kept a newer Checkpoint than it began from: it counts for nothing."""
RETRY_FIRST_SECONDS = 1.0
RETRY_MAX_SECONDS = 60.0
PATIENCE_SECONDS = 60.0  # a Run that waited so long is no longer overtaken by smaller ones
_LOOK_AHEAD = 50
_MOST_AHEAD = 3200  # Runs looked at where many of them may not be here
_SWEPT = "runs.swept"  # word of `meta`: when leases were last swept
_SWEPT_EVERY_SECONDS = LEASE_SECONDS / 4


def lease(site: Site, offer: WorkerOffer, is_current: Callable[[], bool] = lambda: True) -> LeaseAnswer:
    """Give a worker the next Run that it has room for, and what it should stop.

    `is_current` says whether the worker still waits for this answer; it is asked inside the transaction, so that an
    offer of a worker that was killed can neither take work nor give up what the next one took.
    """
    granted = site.store.write(lambda tx: _lease(tx, site, offer) if is_current() else LeaseAnswer())
    if isinstance(granted, LeaseAnswer):
        return granted
    row, attempt_id, token, run_token, cancel = granted
    spec = json.loads(row.spec)
    try:
        inputs = site.store.read(
            lambda tx: tuple(_input_json(tx, site, name, one) for name, one in spec["inputs"].items())
        )
    except (BarayError, OSError) as error:
        # An input that cannot be read (a damaged manifest) would fail again and again: the Run says so and ends.
        told = {"code": getattr(error, "code", "damaged"), "message": str(error), "fix": "Run: baray ledger verify"}
        result = AttemptResult(attempt_id=attempt_id, run_id=row.id, lease_token=token, outcome="refused", error=told)
        apply(site, result)
        return LeaseAnswer(cancel=cancel)
    grant = LeaseGrant(
        attempt_id=attempt_id,
        lease_token=token,
        run_id=row.id,
        number=row.attempts,
        spec=spec,
        inputs=inputs,
        run_token=run_token,
    )
    return LeaseAnswer(grant=grant, cancel=cancel)


def renew(site: Site, renewal: Renewal) -> RenewAnswer:
    """Prolong a worker's leases and take over progress."""

    def write(tx: Tx) -> RenewAnswer:
        leases = [(one.attempt_id, one.lease_token) for one in renewal.leases]
        kept = records.renew(tx, renewal.worker, leases, site.clock.now() + LEASE_SECONDS)
        asked = {row.id for row in records.held(tx, renewal.worker) if row.cancel_asked is not None}
        for one in renewal.leases:
            if one.attempt_id in kept and one.progress is not None:
                row = records.leased(tx, one.attempt_id, one.lease_token)
                records.set_progress(tx, row.id, records.to_json(one.progress))
        stale = tuple(found for found, _ in leases if found not in kept)
        return RenewAnswer(stale=stale, cancel=tuple(sorted(asked)))

    return site.store.write(write)


def apply(site: Site, result: AttemptResult) -> bool:
    """Take an Attempt's result; False if its lease no longer holds, and then nothing has changed."""
    try:
        if result.outcome == "succeeded":
            outputs = [_output(site, found) for found in result.outputs]
            return site.store.write(lambda tx: _apply_success(tx, site, result, outputs))
    except BarayError as error:
        # What was made cannot be published: the Run fails and says why, instead of being tried for ever.
        told = {"code": error.code, "message": error.message, "fix": error.fix}
        result = _failed(result, "refused", told)
    return site.store.write(lambda tx: _apply_failure(tx, site, result))


def sweep(site: Site) -> int:
    """Give up Attempts whose lease ran out, and see that waiting retries are heard; how much changed.

    After control itself was down every lease looks old: then all are prolonged once, so that workers that kept
    working are not robbed of their results.
    """
    now = site.clock.now()

    def look(tx: Tx) -> tuple[float, bool, bool]:
        swept = float(records.get_meta(tx, _SWEPT) or 0.0)
        due = records.next_retry(tx)
        return swept, bool(records.expired(tx, now)), due is not None and due <= now

    swept, any_expired, any_due = site.store.read(look)
    if not any_expired and abs(now - swept) < _SWEPT_EVERY_SECONDS:
        return int(any_due)

    def write(tx: Tx) -> int:
        records.set_meta(tx, _SWEPT, repr(now))
        if abs(now - swept) > LEASE_SECONDS / 2:
            records.prolong_all(tx, now + LEASE_SECONDS)
            return 0
        lost = records.expired(tx, now)
        for row in lost:
            _give_up(tx, site, row, "Its worker fell silent.")
        return len(lost)

    return site.store.write(write) + int(any_due)


_Granted = tuple[Any, str, str, str, tuple[str, ...]]


def _lease(tx: Tx, site: Site, offer: WorkerOffer) -> LeaseAnswer | _Granted:
    now = site.clock.now()
    held = records.held(tx, offer.worker)
    for row in held:
        if row.id not in offer.held:
            _give_up(tx, site, row, "It was granted to a worker that did not get the answer.")
    held = [row for row in held if row.id in offer.held]
    cancel = tuple(row.id for row in held if row.cancel_asked is not None and row.id not in offer.known)
    taken = [json.loads(row.spec) for row in held]
    whole = asdict(offer)
    # What the worker says of its machine can lower what control assigned, and no more.
    whole["clearance"] = str(fleet.in_force(fleet.node_named(tx, offer.worker), offer.clearance) or "")
    if offer.tier == "B" and records.count_projects(tx) > 1:
        whole["tier"] = "none"  # a second project came after commands had been taken in
    room = dict(whole)
    room["cpus"] -= sum(own_cores(spec) for spec in taken)
    room["memory_bytes"] -= sum(spec["resources"]["memory_bytes"] for spec in taken)
    chosen = _choose(tx, whole, room, now)
    if chosen is None:
        return LeaseAnswer(cancel=cancel)
    row = records.start(tx, chosen, now)
    attempt_id, token = site.ids.new("t"), site.ids.new("l")
    values = {
        "id": attempt_id,
        "run_id": chosen,
        "number": row.attempts,
        "worker": offer.worker,
        "state": records.RUNNING,
    }
    values |= {"lease_token": token, "lease_expires": now + LEASE_SECONDS, "started": now}
    sandboxed = json.loads(row.spec)["command"] is not None
    values["sandbox"] = f"tier {offer.tier}, {offer.limits}" if sandboxed else f"trusted, {offer.limits}"
    # Its token stands with the lease and in no list of tokens: whatever ends the one has ended the other. Only where there
    # is a hatch to use it: a trusted handler writes its metrics itself, and reduced isolation has no sockets.
    run_token = new_secret("run") if sandboxed and offer.tier == "A" else ""
    values["token_hash"] = hash_secret(run_token) if run_token else None
    records.add_attempt(tx, values)
    # The intent is committed before the effect: a started process always has an entry.
    facts = {"attempt": attempt_id, "number": row.attempts, "sandbox": f"tier-{offer.tier}" if sandboxed else "trusted"}
    kinds = ["run.started"] + ["sandbox.reduced"] * (sandboxed and offer.tier == "B")
    for kind in kinds:
        site.ledger.append(
            tx, kind, actor=row.actor_id, subject=chosen, project=row.project_id, label=row.label, facts=facts
        )
    return row, attempt_id, token, run_token, cancel


def _give_up(tx: Tx, site: Site, row: Any, message: str) -> None:  # noqa: ANN401 - a row
    told = {"code": "attempt_lost", "message": message, "fix": "It is tried again by itself."}
    held = {"attempt_id": row.id, "run_id": row.run_id, "lease_token": row.lease_token}
    _apply_failure(tx, site, AttemptResult(**held, outcome="lost", reason="lost", error=told))


def _choose(tx: Tx, whole: dict[str, Any], room: dict[str, Any], now: float) -> str | None:
    """The first Run in turn that fits the room left; one that waited long enough for room is not overtaken.

    What may not be here at all is passed over, however much of it waits: else a few such Runs would stop all that come
    after them.
    """
    ahead, seen = _LOOK_AHEAD, 0
    while True:
        rows = records.ready(tx, now, ahead)
        barred = 0
        for row in rows[seen:]:
            spec = json.loads(row.spec)
            if not held_by_node(row.label, whole) or no_way_out(tx, row.project_id, spec, row.label)[0]:
                barred += 1
            elif fits(spec, room, row.label):
                return str(row.id)
            # What another Replica holds is not given back soon: nobody waits for that.
            elif own_cores(spec) and fits(spec, whole, row.label) and now - row.created > PATIENCE_SECONDS:
                return None
        if not barred or len(rows) < ahead or ahead >= _MOST_AHEAD:
            return None
        ahead, seen = ahead * 4, len(rows)


def _input_json(tx: Tx, site: Site, name: str, found: Mapping[str, Any]) -> dict[str, Any]:
    version = by_id(tx, found["version"])
    if version is None:
        raise Fault("no_version", f"Version {found['ref']} of input '{name}' is gone.")
    files = [asdict(file) for file in version_files(tx, site, version)]
    facts: dict[str, Any] = {"name": name, "ref": version.ref, "kind": version.kind, "digest": version.digest}
    facts |= {"label": version.label, "title": version.title, "licences": list(licences(tx, [version.id]))}
    return facts | {"owner": project_by_id(tx, version.project_id).title, "files": files}


def _output(site: Site, found: Mapping[str, Any]) -> Output:
    files = tuple(FileEntry(**file) for file in found["files"])
    for file in files:
        if not site.blobs.has(file.digest):
            raise Fault("missing_blob", f"Output '{found['name']}' names {file.digest}, which was not kept.")
    return Output(**{**found, "files": files, "labels": tuple(found["labels"])})


def _apply_success(tx: Tx, site: Site, result: AttemptResult, outputs: list[Output]) -> bool:
    run = _close_attempt(tx, site, result, records.SUCCEEDED)
    if run is None:
        return False
    inputs = _mounted(tx, run)
    mounted = join([parse_label(run.label), *(parse_label(version.label) for version in inputs)])
    # Rows carry the labels they had when they were read; what was raised since is above each of them.
    since = join([parse_label(run.spec.get("raised", "public")), *(parse_label(version.floor) for version in inputs)])
    publications = []
    for output in outputs:
        rows = run.spec["label_rule"] == "rows" and output.labels
        publication = Publication(
            project_id=run.project_id,
            actor_id=run.actor_id,
            run_id=run.id,
            output=output,
            label=join([since, *(parse_label(label) for label in output.labels)]) if rows else mounted,
            recipe=run.spec["recipe"],
            inputs=tuple(one["digest"] for one in run.spec["inputs"].values()),
        )
        publications.append(publication)
    stated: list[str] = []

    def state(versions: Sequence[VersionRow]) -> str:
        making = _making(tx, site, run, result, str(mounted))
        stated.append(attest(tx, site, making, [(version, read_manifest(site, version)) for version in versions]))
        return stated[-1]

    told = ("id", "ref", "kind", "digest", "label", "summary")
    versions = publish(tx, site, publications, state)
    for version in versions:
        inherit_floor(tx, site, version, inputs, actor_id=run.actor_id)
    published = [{name: getattr(version, name) for name in told} for version in versions]
    values = {"outputs": records.to_json(published), "error": None, "progress": _progress(result)}
    facts = {"provenance": stated[-1]}
    end_run(tx, site, run, records.SUCCEEDED, values, actor_id=run.actor_id, facts=facts)
    return True


def _making(tx: Tx, site: Site, run: Run, result: AttemptResult, label: str) -> Making:
    (attempt,) = (row for row in records.attempts_of(tx, run.id) if row.id == result.attempt_id)
    return Making(
        run_id=run.id,
        project=project_by_id(tx, run.project_id).name,
        actor_id=run.actor_id,
        label=label,
        spec=run.spec,
        spec_digest=run.memo_key,
        started=attempt.started,
        ended=site.clock.now(),
        attempt_id=attempt.id,
        sandbox=attempt.sandbox or "",
    )


def _apply_failure(tx: Tx, site: Site, result: AttemptResult) -> bool:
    states = {"cancelled": records.CANCELLED, "lost": records.LOST}
    advanced = _has_advanced(tx, result)
    if advanced:
        result = replace(result, reason=ADVANCED)
    run = _close_attempt(tx, site, result, states.get(result.outcome, records.FAILED))
    if run is None:
        return False
    values = {"error": records.to_json(result.error) if result.error else None, "progress": _progress(result)}
    if result.outcome == "cancelled" or run.cancel_asked is not None:
        end_run(tx, site, run, records.CANCELLED, values, actor_id=run.actor_id)
        return True
    ended = [row.state for row in records.attempts_of(tx, run.id) if row.reason != ADVANCED]
    failures, losses = ended.count(records.FAILED), ended.count(records.LOST)
    # A recipe of ours needs as much memory the next time: trying again would only take as long again.
    hopeless = result.outcome == "refused" or (result.reason == "memory" and run.kind != "command")
    if hopeless or (not advanced and (failures >= run.max_attempts or losses > MAX_LOST)):
        end_run(tx, site, run, records.FAILED, values, actor_id=run.actor_id)
        return True
    # What was lost through no fault of its own is tried at once; what failed waits longer each time.
    wait = (
        0.0
        if advanced or result.outcome == "lost"
        else min(RETRY_MAX_SECONDS, RETRY_FIRST_SECONDS * 2 ** (failures - 1))
    )
    values["progress"] = _without_checkpoints(values["progress"])
    records.set_run(
        tx, run.id, values | {"state": records.QUEUED, "retry_at": site.clock.now() + wait if wait else None}
    )
    facts = {"attempt": result.attempt_id, "reason": result.reason or result.outcome}
    site.ledger.append(
        tx,
        "run.retried",
        actor=run.actor_id,
        subject=run.id,
        project=run.project_id,
        label=run.label,
        decision=result.outcome,
        facts=facts,
    )
    return True


def _has_advanced(tx: Tx, result: AttemptResult) -> bool:
    """Whether an Attempt that was lost or killed had kept a newer Checkpoint than the one it began from."""
    if result.outcome != "lost" and result.reason != "signalled":
        return False
    run = records.get_run(tx, result.run_id)
    told = result.progress or (run.progress if run is not None else None) or {}
    return bool(told.get("kept", 0) > told.get("since", 0))


def _without_checkpoints(progress: str | None) -> str | None:
    """What the next Attempt begins with: the Checkpoints of this one prove nothing about that one."""
    if progress is None:
        return None
    return records.to_json(
        {name: value for name, value in json.loads(progress).items() if name not in {"since", "kept"}}
    )


def _close_attempt(tx: Tx, site: Site, result: AttemptResult, state: str) -> Run | None:
    """End the Attempt if the token still holds; its Run, or None if the result is stale."""
    row = records.leased(tx, result.attempt_id, result.lease_token)
    if row is None:
        return None
    values = {"state": state, "ended": site.clock.now(), "exit_code": result.exit_code, "reason": result.reason}
    if not records.end_attempt(tx, result.attempt_id, result.lease_token, values):
        return None
    run = records.get_run(tx, row.id)
    if run is not None:
        tell_egress(tx, site, run, result.attempt_id, result.egress)
    return run


def _mounted(tx: Tx, run: Run) -> list[VersionRow]:
    """Everything mounted, with its labels as they stand now."""
    found = [by_id(tx, one["version"]) for one in run.spec["inputs"].values()]
    return [version for version in found if version is not None]


def _progress(result: AttemptResult) -> str | None:
    return records.to_json(result.progress) if result.progress else None


def _failed(result: AttemptResult, outcome: str, error: Mapping[str, Any]) -> AttemptResult:
    return AttemptResult(
        attempt_id=result.attempt_id,
        run_id=result.run_id,
        lease_token=result.lease_token,
        outcome=outcome,
        exit_code=result.exit_code,
        reason=result.reason,
        error=error,
        egress=result.egress,
    )
