"""Ledger: entries appended a second, actions with policy and an entry a second, and the offline check of a million."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from figures import Context, Figure

from baray.access import PUBLIC, Actor, Site, Subject, require
from baray.core import Ids, SystemClock
from baray.ledger import FileArtifactSigner, FileSigner, Ledger, verify_home
from baray.store import DiskBlobs, Tx, migrate, open_store
from baray.store.schema import project

ORIGIN = "bench.baray.invalid"
BATCH = 5_000  # entries an action, so that appending is measured and not the queue


def measure(context: Context) -> Iterator[Figure]:
    """Raw append, then `store.write` with policy; each action is acknowledged after its commit."""
    site = open_site(context.folder)
    number = 20_000 if context.quick else 100_000
    began = time.perf_counter()
    for first in range(0, number, BATCH):
        site.store.write(lambda tx, first=first: append_many(site, tx, first))
    yield Figure(name="append_per_s", value=number / (time.perf_counter() - began), unit="1/s")
    actor = Actor(id="u_bench", name="bench", kind="person", clearance=PUBLIC, roles={"p_bench": "owner"})
    actions = number // 5
    began = time.perf_counter()
    waiting: list[Future[Any]] = [site.store.submit(lambda tx, n=n: act(site, tx, actor, n)) for n in range(actions)]
    for future in waiting:
        future.result()
    yield Figure(name="write_per_s", value=actions / (time.perf_counter() - began), unit="1/s")
    verified = 200_000 if context.quick else 1_000_000
    there = site.store.read(site.ledger.size)
    for first in range(there, verified, BATCH):
        site.store.write(lambda tx, first=first: append_many(site, tx, first))
    site.store.close()
    began = time.perf_counter()
    report = verify_home(context.folder)
    seconds = time.perf_counter() - began
    assert report.ok, report.findings
    # The name says a million: a quick run checks fewer and scales, as the work is a line in the number of entries.
    yield Figure(name="verify_1m_s", value=seconds * 1_000_000 / report.entries, unit="s")


def open_site(folder: Path) -> Site:
    """Make an empty home's adapters."""
    clock = SystemClock()
    migrate(folder / "baray.db")
    ledger = Ledger(origin=ORIGIN, signer=FileSigner(folder / "ledger.key", name=ORIGIN), clock=clock)
    store = open_store(folder / "baray.db", sealer=ledger)
    blobs, artifacts = DiskBlobs(folder / "blobs"), FileArtifactSigner(folder / "artifacts.key")
    return Site(store=store, blobs=blobs, ledger=ledger, artifacts=artifacts, clock=clock, ids=Ids(clock))


def append_many(site: Site, tx: Tx, first: int) -> None:
    """Append a batch of entries of about 350 bytes, as a published version writes them."""
    facts = {"digest": "sha256:" + "0" * 64, "manifest": "sha256:" + "1" * 64}
    for number in range(first, first + BATCH):
        site.ledger.append(
            tx,
            "run.succeeded",
            actor="u_bench",
            subject=f"run:r_{number}",
            project="p_bench",
            label="public",
            facts=facts,
        )


def act(site: Site, tx: Tx, actor: Actor, number: int) -> None:
    """Decide, change a row, append its entry: what an ordinary action does."""
    require(tx, site, actor, "run.submit", Subject(ref=f"run:r_{number}", project="p_bench", label=PUBLIC))
    row = {"id": f"p_{number}", "name": f"n{number}", "title": "", "label": "public", "created": site.clock.now()}
    tx.hot(f"INSERT INTO {project.name} (id, name, title, label, created) VALUES (?, ?, ?, ?, ?)", tuple(row.values()))
    site.ledger.append(tx, "project.created", actor=actor.id, subject=row["id"], label="public")
