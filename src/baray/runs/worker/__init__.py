"""The worker process of one machine. Owns: leases it pulled, supervisors it started or adopted. Does not own: any truth."""

from __future__ import annotations

import fcntl
import logging
import os
from pathlib import Path

from baray.runs.protocol import LOCAL_WORKER
from baray.runs.sandbox import find_cgroups
from baray.runs.sandbox.reduced import isolation
from baray.runs.worker.attempts import open_machine
from baray.runs.worker.loop import Worker, install_signals, machine_memory_bytes

__all__ = ["main"]


def main(
    home: Path,
    socket: Path,
    slots: int,
    *,
    name: str = LOCAL_WORKER,
    modules: tuple[Path, ...] = (),
    allow_reduced: bool = False,
    clearance: str = "",
) -> None:
    """Work for the control at `socket` until SIGTERM.

    `name` sets two workers of one home apart; `modules` are folders with trusted handlers beside the installed ones.
    `clearance`: what the machine may hold at most; a Run above it is not leased here.
    `allow_reduced`: commands may run with reduced isolation where the whole sandbox is missing.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    os.umask(0o027)
    cgroups = find_cgroups()
    report = isolation(cgroups=cgroups, allow_reduced=allow_reduced)
    machine = open_machine(home, name, cgroups, modules, tier=report.tier)
    with (machine.journal / "lock").open("w") as lock:
        # A worker that is being replaced may still be leaving: two must never answer for the same Attempts.
        fcntl.flock(lock, fcntl.LOCK_EX)
        worker = Worker(
            name=name,
            machine=machine,
            socket=socket,
            slots=slots,
            memory_bytes=machine_memory_bytes(),
            report=report,
            clearance=clearance,
        )
        install_signals(worker)
        worker.run()
