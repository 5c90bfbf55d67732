"""Runs: a no-op command from submit to finished (sandbox, ledger, worker and supervisor on), and Runs accepted a second."""

from __future__ import annotations

import statistics
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from figures import Context, Figure

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from runs_home import Home, open_home

SUBMITTERS = 32  # callers at once, as a console, scripts and schedules make them


def measure(context: Context) -> Iterator[Figure]:
    """One home for both; the no-ops one after another, with nothing else in the queue."""
    number = 20 if context.quick else 200
    with open_home(context.folder / "noop") as home:
        home.serve()
        home.start_worker()
        for _ in range(5):
            no_op(home)
        times = sorted(no_op(home) for _ in range(number))
        yield Figure(name="noop.p50_ms", value=statistics.median(times) * 1000, unit="ms")
        yield Figure(name="noop.p95_ms", value=times[int(number * 0.95)] * 1000, unit="ms")
    with open_home(context.folder / "accepted") as home:
        yield Figure(name="accepted_per_s", value=accepted(home, 1_000 if context.quick else 10_000), unit="1/s")


def no_op(home: Home) -> float:
    """Seconds from the call of submit to the moment a caller can read that it succeeded."""
    began = time.perf_counter()
    run = home.submit(command=("/bin/true",))
    while (found := home.get(run.id)).state in {"queued", "running"}:
        time.sleep(0.001)
    assert found.state == "succeeded", found
    return time.perf_counter() - began


def accepted(home: Home, number: int) -> float:
    """Runs a second that are durably queued, each by its own call that returns after COMMIT."""

    def submit() -> None:
        for _ in range(number // SUBMITTERS):
            home.submit(command=("/bin/true",))

    threads = [threading.Thread(target=submit) for _ in range(SUBMITTERS)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return (number // SUBMITTERS * SUBMITTERS) / (time.perf_counter() - began)
