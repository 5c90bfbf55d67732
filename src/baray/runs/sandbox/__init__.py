"""The sandbox of tenants' commands: bubblewrap, a seccomp filter of our own, a dropped uid, cgroup limits.

Covered: what the probes try, see `probes` and `corpus`; links in a tenant's folders, when they are mounted and when
outputs are taken. Not covered: a hole in the kernel itself; side channels; see docs/notes/runs.md for each tier.
Where user namespaces are refused, tenants' commands are refused, or get reduced isolation if the settings say so.
"""

from baray.runs.sandbox.cgroups import NO_CGROUPS, Cgroups, find_cgroups, group_members, make_group
from baray.runs.sandbox.harvest import Harvested, harvest
from baray.runs.sandbox.plan import Bind, Command, Hatch, Limits, Owner, sandbox_plan, supervisor_plan, trusted_plan
from baray.runs.sandbox.probe import (
    Probe,
    TierReport,
    environment_bind,
    find_bwrap,
    find_hatch,
    no_sandbox,
    probe,
    proxy_uid,
    run_probes,
    slot_owner,
)

__all__ = [
    "NO_CGROUPS",
    "Bind",
    "Cgroups",
    "Command",
    "Harvested",
    "Hatch",
    "Limits",
    "Owner",
    "Probe",
    "TierReport",
    "environment_bind",
    "find_bwrap",
    "find_cgroups",
    "find_hatch",
    "group_members",
    "harvest",
    "make_group",
    "no_sandbox",
    "probe",
    "proxy_uid",
    "run_probes",
    "sandbox_plan",
    "slot_owner",
    "supervisor_plan",
    "trusted_plan",
]
