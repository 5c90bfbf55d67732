"""Reduced isolation: Landlock, the filter and rlimits, where user namespaces are refused and the settings allow it.

Covered: files that are not shown, sockets of every kind, abstract sockets and signals (Landlock), tracing, the kernel's
interfaces, modes of files by path. Not covered, beside what the whole sandbox does not cover: names and sizes of files
(not their content), the machine's name; the disk is watched, not limited.
For one project, and labels up to internal; `queue` and `leases` refuse the rest.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import Any

from baray.core import Refused
from baray.runs.sandbox.cgroups import Cgroups, find_cgroups
from baray.runs.sandbox.launch import LEAST_LANDLOCK, landlock_abi
from baray.runs.sandbox.plan import Bind, Command, reduced_plan
from baray.runs.sandbox.probe import (
    PROBES,
    PROGRAM_FOLDERS,
    Probe,
    Shown,
    TierReport,
    no_sandbox,
    probe,
    probe_base,
    run_plan,
    traps,
)

ALLOW = "BARAY_SANDBOX_ALLOW_REDUCED=1"


def isolation(
    *, cgroups: Cgroups | None = None, slot: int = 99, allow_reduced: bool = False, folders: str = PROGRAM_FOLDERS
) -> TierReport:
    """What isolation commands get on this machine: the whole sandbox, reduced isolation, or none."""
    groups = find_cgroups() if cgroups is None else cgroups
    return or_reduced(probe(cgroups=groups, slot=slot, folders=folders), groups, slot=slot, allow=allow_reduced)


def or_reduced(report: TierReport, cgroups: Cgroups, *, slot: int, allow: bool) -> TierReport:
    """The report of the whole sandbox; or where that is missing and the settings allow it, that of reduced isolation."""
    if report.tier == "A":
        return report
    abi = landlock_abi()
    if not allow:
        more = f" Or, for one project and labels up to internal, allow reduced isolation: {ALLOW}" * (
            abi >= LEAST_LANDLOCK
        )
        return dataclasses.replace(report, fix=report.fix + more)
    if abi < LEAST_LANDLOCK:
        missing = f"{report.missing}; and reduced isolation needs Landlock {LEAST_LANDLOCK} (Linux 6.12), here is {abi}"
        return dataclasses.replace(report, missing=missing)
    try:
        probes, milliseconds = run_reduced_probes(cgroups, slot=slot)
    except Refused as refused:
        return dataclasses.replace(report, missing=f"{report.missing}; and {refused.message}")
    out = [found.name for found in probes if not found.contained]
    if out:
        missing = f"{report.missing}; and reduced isolation did not hold: {', '.join(out)}"
        return dataclasses.replace(report, missing=missing, probes=probes)
    return dataclasses.replace(report, tier="B", probes=probes, milliseconds=milliseconds)


def run_reduced_probes(cgroups: Cgroups, *, slot: int) -> tuple[tuple[Probe, ...], float]:
    """The twelve probes with reduced isolation. Raises Refused `no_sandbox` if they told nothing."""
    with traps() as (folder, facts):
        facts["job"] = str(folder / "work")
        shown = Shown(
            binds=(Bind(under=PROBES.parent, path=PROBES.name, to=""),), arguments=(str(PROBES), json.dumps(facts))
        )
        return run_plan(folder, reduced_probe_plan(folder, cgroups, slot, shown), facts["secret"])


def reduced_probe_plan(folder: Path, cgroups: Cgroups, slot: int, shown: Shown) -> dict[str, Any]:
    """The plan of a program of ours with reduced isolation."""
    base, limits = probe_base(folder, cgroups, slot)
    if base["uid"] is None and os.geteuid() == 0:
        raise no_sandbox("a command is never launched as root", "Start as an ordinary user.")
    binds = (*shown.binds, *interpreter_bind(), Bind(under=folder, path="work", to="", write=True))
    argv = (os.path.realpath(sys.executable), "-I", "-S", "-B", *shown.arguments)
    return reduced_plan(base, Command(argv=argv, binds=binds, environment={}, bwrap=""), limits, folder)


def interpreter_bind() -> tuple[Bind, ...]:
    """This interpreter's folder, where it lies outside /usr."""
    return (Bind(under=Path(sys.base_prefix), path=".", to=""),)
