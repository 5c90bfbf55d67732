"""`baray doctor`: what works here, what does not, and the line that mends it."""

from __future__ import annotations

import importlib.util
import os
import platform
import pwd
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

from baray import runs
from baray.app.settings import SYSTEM_USER, Settings
from baray.core import format_bytes

_LOW_DISK = 5 * 10**9  # bytes


def examine(settings: Settings) -> dict[str, Any]:
    """`{ok, checks: [{name, state: ok|limited|missing, found, fix}]}`; `ok` is false where something needed is missing."""
    checks = [
        _python(),
        _disk(settings),
        _user(),
        _clearance(settings),
        *_sandbox(settings),
        _ocr(),
        _fonts(),
        _models(),
        _compiler(settings),
        _gpu(),
        _parts(),
    ]
    needed = {"python", "disk", "data libraries"}
    return {"ok": all(row["state"] != "missing" or row["name"] not in needed for row in checks), "checks": checks}


def _row(name: str, state: str, found: str, fix: str = "") -> dict[str, str]:
    return {"name": name, "state": state, "found": found, "fix": "" if state == "ok" else fix}


def _python() -> dict[str, str]:
    return _row(
        "python", "ok", f"{platform.python_version()} at {sys.executable}, {platform.machine()}, {os.cpu_count()} cores"
    )


def _disk(settings: Settings) -> dict[str, str]:
    place = settings.home
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    state = "ok" if free > _LOW_DISK else "limited"
    return _row(
        "disk",
        state,
        f"{format_bytes(free)} free for {settings.home}",
        "Free some space: Baray refuses writes on a full disk.",
    )


def _user() -> dict[str, str]:
    if os.geteuid() != 0:
        return _row(
            "system user",
            "limited",
            "not started as root: one tenant, soft limits",
            "Start as root for several tenants.",
        )
    try:
        pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        fix = f"useradd --system --no-create-home --shell /usr/sbin/nologin {SYSTEM_USER}"
        return _row("system user", "limited", f"there is no user '{SYSTEM_USER}': control would run as root", fix)
    return _row("system user", "ok", f"control and router run as '{SYSTEM_USER}' where it can reach the home")


def _clearance(settings: Settings) -> dict[str, str]:
    """What this machine's own setting allows; what was assigned to it stands in the home, which only control opens."""
    own = f"'{settings.clearance}' at most" if settings.clearance else "everything"
    return _row("clearance", "ok", f"by its own setting {own}; what counts, with what was assigned: baray node list")


def _sandbox(settings: Settings) -> list[dict[str, str]]:
    report = runs.isolation(allow_reduced=settings.allow_reduced)
    contained = sum(1 for probe in report.probes if probe.contained)
    found = f"tier {report.tier}, {contained} of {len(report.probes)} probes contained in {report.milliseconds:.0f} ms"
    state = {"A": "ok", "B": "limited"}.get(report.tier, "missing")
    told = {"A": found, "B": f"reduced isolation, {found}; the whole sandbox: {report.missing}"}
    sandbox = _row("sandbox", state, told.get(report.tier, report.missing), report.fix)
    hard = report.limits not in ("", "none", "soft")
    limits = _row(
        "limits",
        "ok" if hard else "limited",
        report.limits or "soft",
        "Start as root, or delegate a cgroup, for hard limits.",
    )
    with tempfile.TemporaryDirectory() as folder:
        why = runs.why_no_images(Path(folder))
    disk = _row(
        "commands' disk",
        "limited" if why else "ok",
        f"watched, five times a second: {why}" if why else "a file system of its own for each Attempt",
        "Start as root, with loop devices and mkfs.ext4 (apt-get install e2fsprogs), for a hard limit.",
    )
    return [sandbox, limits, disk]


def _ocr() -> dict[str, str]:
    program = shutil.which("tesseract")
    fix = "apt-get install -y tesseract-ocr tesseract-ocr-khm"
    if program is None:
        return _row("scans", "limited", "no tesseract: scans are refused", fix)
    listed = subprocess.run([program, "--list-langs"], capture_output=True, text=True, check=False).stdout.split()
    missing = [name for name in ("khm", "eng") if name not in listed]
    return _row("scans", "limited" if missing else "ok", f"tesseract, languages {' '.join(listed[-8:])}", fix)


def _fonts() -> dict[str, str]:
    program = shutil.which("fc-list")
    found = (
        subprocess.run([program, ":lang=km", "family"], capture_output=True, text=True, check=False).stdout
        if program
        else ""
    )
    names = sorted({line.split(",")[0] for line in found.splitlines()})
    state = "ok" if names else "limited"
    return _row(
        "khmer fonts",
        state,
        ", ".join(names[:3]) or "none found; readers' own fonts are used",
        "apt-get install -y fonts-khmeros",
    )


def _models() -> dict[str, str]:
    missing = [name for name in ("torch", "tokenizers", "safetensors") if importlib.util.find_spec(name) is None]
    found = f"missing {', '.join(missing)}" if missing else f"torch {metadata.version('torch')}"
    return _row("language models", "limited" if missing else "ok", found, "Run scripts/setup lm.")


def _compiler(settings: Settings) -> dict[str, str]:
    program, header = shutil.which("g++"), Path(sysconfig.get_path("include"), "Python.h")
    able = program and header.exists()
    return _row(
        "compiler",
        "ok" if able else "limited",
        f"{program}; what it made is kept in {settings.home}/cache/compiled"
        if able
        else f"none, or no {header}: long trainings of language models are not compiled",
        "apt-get install -y g++ python3-dev",
    )


def _gpu() -> dict[str, str]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return _row("gpu", "ok", "none: everything here runs on processors")
    asked = [program, "--query-gpu=name,memory.total", "--format=csv,noheader"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    return _row(
        "gpu",
        "ok" if done.returncode == 0 else "limited",
        (done.stdout or done.stderr).strip(),
        "Check the driver: nvidia-smi",
    )


def _parts() -> dict[str, str]:
    missing = [name for name in ("polars", "pyarrow", "pypdfium2", "sklearn") if importlib.util.find_spec(name) is None]
    found = "all here" if not missing else f"missing {', '.join(missing)}"
    return _row(
        "data libraries", "missing" if missing else "ok", found, "Run scripts/demo or pip install 'baray[data,train]'."
    )
