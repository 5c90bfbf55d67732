"""Limits by cgroup: where this process may make groups, and one group (v2) or three (v1) for each Attempt.

Order of preference: a v2 tree (prepared by root, or a systemd unit with Delegate=yes), v1 folders prepared by root
(`/sys/fs/cgroup/{memory,pids,cpu}/baray`), none: then rlimits and the supervisor's own watch, shown as "soft".
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from baray.runs.sandbox.plan import Limits

_CONTROLLERS = ("memory", "pids", "cpu")
_PERIOD_MICROSECONDS = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Cgroups:
    """Where groups are made."""

    version: int
    """2, 1, or 0 for none."""
    folders: tuple[Path, ...]
    """One folder (v2), one for each controller (v1), or none."""

    @property
    def name(self) -> str:
        """How reports call it."""
        return f"cgroup v{self.version}" if self.version else "soft"


NO_CGROUPS = Cgroups(version=0, folders=())


def find_cgroups(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> Cgroups:
    """The best place that this process may use; as root it is prepared where missing."""
    unified = root / "cgroup.controllers"
    if unified.exists() and set(_CONTROLLERS) <= set(unified.read_text().split()):
        folder = _prepare_unified(root, own)
        return Cgroups(version=2, folders=(folder,)) if folder else NO_CGROUPS
    folders = [_prepare_v1(root / name) for name in _CONTROLLERS]
    usable = tuple(folder for folder in folders if folder)
    return Cgroups(version=1, folders=usable) if len(usable) == len(_CONTROLLERS) else NO_CGROUPS


def make_group(cgroups: Cgroups, name: str, limits: Limits) -> list[str]:
    """Make the Attempt's group with its limits; the folders a process has to join."""
    made: list[str] = []
    for parent in cgroups.folders:
        folder = parent / name
        folder.mkdir(exist_ok=True)
        made.append(str(folder))
        for file, value in _settings(cgroups.version, limits).items():
            if (folder / file).exists():
                (folder / file).write_text(value)
    return made


def group_members(folders: list[str]) -> list[int]:
    """Pids that are still in the Attempt's group."""
    found: list[int] = []
    for folder in folders:
        try:
            found += [int(pid) for pid in Path(folder, "cgroup.procs").read_text().split()]
        except FileNotFoundError:
            continue
    return found


def _settings(version: int, limits: Limits) -> dict[str, str]:
    quota = limits.cpus * _PERIOD_MICROSECONDS
    if version == 2:
        return {
            "memory.max": str(limits.memory_bytes),
            "memory.swap.max": "0",
            "memory.oom.group": "1",
            "pids.max": str(limits.processes),
            "cpu.max": f"{quota} {_PERIOD_MICROSECONDS}",
        }
    return {
        "memory.limit_in_bytes": str(limits.memory_bytes),
        "memory.memsw.limit_in_bytes": str(limits.memory_bytes),
        "pids.max": str(limits.processes),
        "cpu.cfs_quota_us": str(quota),
    }


def _prepare_unified(root: Path, own: Path) -> Path | None:
    folder = root / "baray"
    if os.geteuid() == 0 and os.access(root, os.W_OK):
        folder.mkdir(exist_ok=True)
        _enable(root)
        _enable(folder)
        return folder
    if os.access(folder / "cgroup.procs", os.W_OK):
        return folder
    return _prepare_delegated(root, own)


def _prepare_delegated(root: Path, own: Path) -> Path | None:
    """A unit's own group, if systemd handed it over: our processes move to a leaf, for v2 allows none beside subgroups."""
    path = next((line[4:] for line in own.read_text().splitlines() if line.startswith("0::/")), "")
    unit = root / path
    if unit.name == "platform":  # moved there by an earlier start of this same unit
        unit = unit.parent
    try:
        delegated = os.getxattr(unit, "user.delegate") == b"1"
    except OSError:
        return None
    if not delegated or not os.access(unit / "cgroup.subtree_control", os.W_OK):
        return None
    leaf = unit / "platform"
    leaf.mkdir(exist_ok=True)
    for pid in (unit / "cgroup.procs").read_text().split():
        (leaf / "cgroup.procs").write_text(pid)
    _enable(unit)
    folder = unit / "runs"
    folder.mkdir(exist_ok=True)
    _enable(folder)
    return folder


def _prepare_v1(controller: Path) -> Path | None:
    folder = controller / "baray"
    if os.geteuid() == 0 and (controller / "cgroup.procs").exists() and os.access(controller, os.W_OK):
        folder.mkdir(exist_ok=True)
    return folder if os.access(folder, os.W_OK) and (folder / "cgroup.procs").exists() else None


def _enable(folder: Path) -> None:
    (folder / "cgroup.subtree_control").write_text(" ".join("+" + name for name in _CONTROLLERS))
