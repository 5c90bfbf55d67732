"""Work: a durable queue of Runs, workers that lease them, supervisors that watch each Attempt, the sandbox.

Owns: Runs, Attempts, Leases; the worker and its protocol; the supervisor; the sandbox of tenants' commands; what a
trusted handler is given. `apply` is the only caller of `catalog.publish`.
Does not own: what a recipe does (`data`, `train`), what a version is (`catalog`), who may ask (`access`).

The door is light: a name is loaded when it is first used, so that a worker and an Attempt's process, which need the
protocol and the context only, never load the database's library.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from baray.runs.context import AttemptContext, Input, InputFile
    from baray.runs.leases import apply, lease, renew, sweep
    from baray.runs.protocol import LOCAL_WORKER, MAX_REPORT_BYTES
    from baray.runs.queue import RunRequest, cancel, machines, retry, running_above, submit, why
    from baray.runs.records import STATES, Run, active, counts, free_cpus, get_run, holdings, list_runs, workers
    from baray.runs.sandbox import TierReport, probe
    from baray.runs.sandbox.disk import why_no_images
    from baray.runs.sandbox.reduced import isolation
    from baray.runs.sandbox.tries import check_targets
    from baray.runs.server import Bell, Delegate, Pace, by_token, handle_worker, report

__all__ = [
    "LOCAL_WORKER",
    "MAX_REPORT_BYTES",
    "STATES",
    "AttemptContext",
    "Bell",
    "Delegate",
    "Input",
    "InputFile",
    "Pace",
    "Run",
    "RunRequest",
    "TierReport",
    "active",
    "apply",
    "by_token",
    "cancel",
    "check_targets",
    "counts",
    "free_cpus",
    "get_run",
    "handle_worker",
    "holdings",
    "isolation",
    "lease",
    "list_runs",
    "machines",
    "probe",
    "renew",
    "report",
    "retry",
    "running_above",
    "submit",
    "sweep",
    "why",
    "why_no_images",
    "workers",
]
_PLACES = {
    "context": ("AttemptContext", "Input", "InputFile"),
    "leases": ("apply", "lease", "renew", "sweep"),
    "protocol": ("LOCAL_WORKER", "MAX_REPORT_BYTES"),
    "queue": ("RunRequest", "cancel", "machines", "retry", "running_above", "submit", "why"),
    "records": ("STATES", "Run", "active", "counts", "free_cpus", "get_run", "holdings", "list_runs", "workers"),
    "sandbox": ("TierReport", "probe"),
    "sandbox.disk": ("why_no_images",),
    "sandbox.reduced": ("isolation",),
    "sandbox.tries": ("check_targets",),
    "server": ("Bell", "Delegate", "Pace", "by_token", "handle_worker", "report"),
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - any name of the door
    for module, names in _PLACES.items():
        if name in names:
            return getattr(importlib.import_module(f"baray.runs.{module}"), name)
    raise AttributeError(f"module 'baray.runs' has no attribute '{name}'")
