"""The loop's body: look at the sockets, decide, and apply what was decided in one transaction.

Order of durability: a Replica's row and its Run are committed before a worker can start it; a Revision takes over in the
transaction that takes the old Replicas out of the routes; the caller writes the routes after the COMMIT, before anything
is cancelled (that needs another round, at least a second later). Killed anywhere, the next round goes on from the rows.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from tempfile import gettempdir
from typing import Any

from sqlalchemy import Row

from baray import runs
from baray.access import Site, parse_label
from baray.catalog import by_id
from baray.core import BarayError, canonical_json
from baray.serve.replicas import load as loads
from baray.serve.replicas import records
from baray.serve.replicas.decide import (
    DRAINING,
    ENDED,
    READY,
    STARTING,
    STOPPING,
    Change,
    Replica,
    Seen,
    Wish,
    decide,
)
from baray.serve.replicas.probe import Prober, Target
from baray.serve.replicas.sockets import own_folder
from baray.store import Tx

HANDLER = "baray.serve.engines.replica:serve"
SYSTEM = "system"
_SMALL_BYTES = 1200 << 20
_MOST_THREADS = 8
_PRIORITY = 50  # somebody waits for it
_LOG = logging.getLogger("baray.control")
_LONGEST_SOCKET = 100  # bytes; the kernel takes 107


@dataclass(frozen=True, slots=True, kw_only=True)
class _View:
    """One Service as it stands in the rows."""

    row: Row[Any]
    wish: Wish
    replicas: list[Replica]


class Reconciler:
    """Keeps the Replicas of a home as its Services ask. Used from one thread."""

    def __init__(self, site: Site, home: Path, *, handler: str = HANDLER) -> None:
        """Look after the Services of `home`; Replicas are Runs of `handler`."""
        self._site, self._handler = site, handler
        self._sockets = _socket_folder(home)
        self._wanted = home / "run" / "wanted"
        self._prober = Prober(site.clock)
        self._loads: dict[str, loads.Load] = {}

    def step(self) -> bool:
        """One round; whether anything changed: then the caller writes the routes anew and rings for the workers."""
        views = self._site.store.read(_views)
        woken = self._woken()
        if not views:
            self._loads.clear()
            return False
        seen = self._prober.look([target for view in views for target in _targets(view)])
        scales = self._scales(views, seen, woken)
        now = self._site.clock.now()
        busy = [view.row.id for view in views if decide(view.wish, view.replicas, seen, now)]
        if not busy and not scales:
            return False
        return self._site.store.write(lambda tx: self._apply(tx, {*busy, *scales}, scales, seen))

    def close(self) -> None:
        """End."""
        self._prober.close()

    def _woken(self) -> set[str]:
        """Services that routers ask to wake; each wish is taken once."""
        found = set()
        for path in self._wanted.glob("e_*") if self._wanted.is_dir() else ():
            found.add(path.name)
            path.unlink(missing_ok=True)
        return found

    def _scales(self, views: Sequence[_View], seen: Mapping[str, Seen], woken: set[str]) -> dict[str, int]:
        """Services whose number of Replicas should change, and to what."""
        now = self._site.clock.now()
        self._loads = {
            view.row.id: self._load(view, seen, now=now, woken=view.row.id in woken)
            for view in views
            if view.row.least_replicas is not None and not view.wish.stopped
        }
        found = {}
        for view in views:
            row = view.row
            if row.id not in self._loads or row.next_revision:
                continue  # the load of a Service is not judged while a Revision is at its gate
            limits = loads.Limits(least=row.least_replicas, most=row.most_replicas, idle_seconds=row.idle_seconds)
            ready = sum(one.state == READY for one in view.replicas)
            number = loads.number(
                self._loads[row.id],
                limits,
                now=now,
                wanted=row.wanted_replicas,
                ready=ready,
                woken=row.id in woken,
            )
            if number != row.wanted_replicas:
                found[row.id] = number
        return found

    def _load(self, view: _View, seen: Mapping[str, Seen], *, now: float, woken: bool) -> loads.Load:
        own = [seen[one.id] for one in view.replicas if one.state == READY and one.id in seen]
        return loads.look(
            self._loads.get(view.row.id, loads.Load(used=now)),
            now=now,
            active=sum(one.active for one in own),
            waiting=sum(one.waiting for one in own),
            asked=self._site.store.read(lambda tx: records.last_asked(tx, view.row.id)),
            # Something is on its way, or a Replica only just came: it is not idle before it had a chance.
            woken=woken or any(one.state == STARTING for one in view.replicas),
        )

    def _apply(self, tx: Tx, services: set[str], scales: Mapping[str, int], seen: Mapping[str, Seen]) -> bool:
        """Decide again on the rows as they are now, and do it."""
        now = self._site.clock.now()
        for service_id in sorted(services):
            row = records.service(tx, service_id)
            assert row is not None
            if service_id in scales and row.least_replicas is not None:
                self._scale(tx, row, scales[service_id])
            view = _view(tx, service_id)
            for change in decide(view.wish, view.replicas, seen, now):
                self._do(tx, view, change)
            records.prune(tx, service_id)
        return True

    def _scale(self, tx: Tx, row: Row[Any], number: int) -> None:
        number = min(row.most_replicas, max(row.least_replicas, number))
        records.set_service(tx, row.id, {"wanted_replicas": number})
        self._tell(tx, row, "service.scaled", row.current_revision, {"replicas": number})

    def _do(self, tx: Tx, view: _View, change: Change) -> None:
        now = self._site.clock.now()
        one = next((one for one in view.replicas if one.id == change.replica), None)
        if change.what == "start":
            self._start(tx, view.row, change.revision)
        elif change.what == "switch":
            self._switch(tx, view.row, change.revision)
        elif change.what == "reject":
            told = {"revision": change.revision, "reason": change.reason, "since": now}
            values = {"next_revision": None, "proposed": None, "trouble": canonical_json(told).decode()}
            records.set_service(tx, view.row.id, values)
            self._tell(tx, view.row, "service.kept", change.revision, {})
        elif one is not None:
            self._move(tx, view, one, change)

    def _move(self, tx: Tx, view: _View, one: Replica, change: Change) -> None:
        """Bring a Replica into its next state."""
        values: dict[str, Any] = {"since": self._site.clock.now()}
        if change.what == "ready":
            values |= {"state": READY, "served": 1, "reason": None}
        elif change.what == "again":
            values["state"] = STARTING
        elif change.what == "drain":
            values["state"] = DRAINING
        elif change.what == "end":
            values |= {"state": ENDED, "failed": int(change.failed), "reason": change.reason or None}
            Path(one.socket).unlink(missing_ok=True)
        else:
            values |= {"state": STOPPING, "reason": change.reason or one.reason or None}
            values["failed"] = int(change.what == "fail" or one.failed)
            runs.cancel(tx, self._site, one.run_id, actor_id=view.row.by or SYSTEM)
        records.set_state(tx, one.id, values)
        if change.what in {"fail", "end"} and (change.failed or change.what == "fail"):
            _LOG.warning("replica %s of service %s failed: %s", one.run_id, view.row.name, change.reason)

    def _switch(self, tx: Tx, row: Row[Any], revision_id: str) -> None:
        records.set_service(
            tx,
            row.id,
            {"current_revision": revision_id, "next_revision": None, "proposed": None, "trouble": None},
        )
        revision = records.revision(tx, revision_id)
        assert revision is not None
        facts = revision_facts(revision, json.loads(row.audience), row.kind)
        self._tell(tx, row, "service.revised", revision_id, facts)

    def _start(self, tx: Tx, row: Row[Any], revision_id: str) -> None:
        """A row and its Run; a Run that is refused is a failed start, with its reason."""
        now, new = self._site.clock.now(), self._site.ids.new("rp")
        socket = self._sockets / f"{new[-12:]}.sock"
        values = {"id": new, "service_id": row.id, "revision_id": revision_id, "socket": str(socket), "made": now}
        values |= {"since": now, "state": STARTING, "run_id": None}
        try:
            values["run_id"] = runs.submit(tx, self._site, self._request(tx, row, revision_id, socket)).id
        except BarayError as error:
            values |= {"state": ENDED, "failed": 1, "reason": f"{error.message} {error.fix}"}
        records.add(tx, values)

    def _request(self, tx: Tx, row: Row[Any], revision_id: str, socket: Path) -> runs.RunRequest:
        revision = records.revision(tx, revision_id)
        assert revision is not None
        spec = json.loads(revision.spec)
        engine, version = spec["engine"], by_id(tx, spec["artefact"]["version"])
        if version is None:
            raise BarayError("no_version", f"{spec['artefact']['ref']} is gone.", fix="Deploy another version.")
        options = {"engine": engine["name"], "service": row.id, "revision": revision_id, "socket": str(socket)}
        options |= {"slots": engine["slots"], "context": engine["context"]}
        return runs.RunRequest(
            project_id=row.project_id,
            actor_id=row.by,
            kind="replica",
            name=row.name,
            recipe="replica",
            handler=self._handler,
            options=options,
            inputs={"model": version},
            resources={"cpus": _threads(tx, engine), "memory_bytes": engine["memory_bytes"]},
            label=parse_label(revision.label),
            priority=_PRIORITY,
        )

    def _tell(self, tx: Tx, row: Row[Any], kind: str, revision_id: str, facts: dict[str, Any]) -> None:
        revision = records.revision(tx, revision_id)
        self._site.ledger.append(
            tx,
            kind,
            actor=SYSTEM,
            subject=row.id,
            project=row.project_id,
            label="" if revision is None else revision.label,
            facts=facts or {"revision": revision_id, "number": 0 if revision is None else revision.number},
        )


def _threads(tx: Tx, engine: Mapping[str, Any]) -> int:
    """A small Model is no quicker on many cores."""
    cores = [int(one["cpus"]) for one in runs.machines(tx).values()]
    return 1 if engine["memory_bytes"] < _SMALL_BYTES else max(1, min(_MOST_THREADS, *cores, _MOST_THREADS))


def revision_facts(revision: Row[Any], audience: list[str], kind: str) -> dict[str, Any]:
    """What the ledger tells of a Revision that answers from now on."""
    spec = json.loads(revision.spec)
    return {
        "revision": revision.id,
        "number": revision.number,
        "digest": f"sha256:{sha256(revision.spec.encode()).hexdigest()}",
        "artefact": spec["artefact"]["version"],
        "audience": audience,
        "kind": kind,
    }


def _views(tx: Tx) -> list[_View]:
    return [_make_view(tx, row) for row in records.wishes(tx)]


def _view(tx: Tx, service_id: str) -> _View:
    row = records.service(tx, service_id)
    assert row is not None
    return _make_view(tx, row)


def _make_view(tx: Tx, row: Row[Any]) -> _View:
    """A Service whose current Revision the router answers for has no current one here: its old Replicas are let go."""
    current = records.revision(tx, row.current_revision)
    by_replicas = current is not None and "engine" in json.loads(current.spec)
    wish = Wish(
        service_id=row.id,
        stopped=row.state == "stopped",
        current=row.current_revision if by_replicas else "",
        following=row.next_revision or "",
        proposed=row.proposed or 0.0,
        wanted=row.wanted_replicas or 0,
    )
    return _View(row=row, wish=wish, replicas=records.of_service(tx, row.id))


def _targets(view: _View) -> list[Target]:
    return [
        Target(id=one.id, socket=one.socket, attempt=one.run_started, gate=one.state == STARTING)
        for one in view.replicas
        if one.run == "running" and one.state in {STARTING, READY, DRAINING}
    ]


def _socket_folder(home: Path) -> Path:
    """Where Replicas listen: in the home, or where its path is too long for a socket in a folder of its owner's alone.

    Raises Refused `unsafe_folder`.
    """
    folder = home / "run" / "replicas"
    if len(bytes(folder)) + 18 > _LONGEST_SOCKET:
        folder = Path(gettempdir()) / f"baray-{sha256(bytes(home)).hexdigest()[:16]}"
    handle = own_folder(folder, home.stat().st_uid)
    os.fchmod(handle, 0o700)
    os.close(handle)
    return folder
