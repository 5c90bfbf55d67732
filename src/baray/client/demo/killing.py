"""SIGKILL for one process of one Run on this machine, and no other."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

from baray.core import Fault


def kill_attempt(folder: Path) -> int | None:
    """Kill the process that the newest Attempt of a Run's folder works in; None if it has just ended.

    Its supervisor and the worker stay: they see what they would see of a process that crashed.
    """
    attempts = sorted(folder.glob("attempt-*/state.json"), key=lambda path: int(path.parent.name.rpartition("-")[2]))
    if not attempts:
        return None
    state = json.loads(attempts[-1].read_bytes())
    if state.get("phase") != "running":
        return None
    process = int(state["child"])
    try:
        handle = os.pidfd_open(process)
    except ProcessLookupError:
        return None
    try:
        # The handle stands for one process for ever: it is known to be ours first, and only then killed.
        if _start_of(process) != int(state["child_start"]):
            return None
        signal.pidfd_send_signal(handle, signal.SIGKILL)
    except ProcessLookupError:
        return None
    except PermissionError as error:
        raise Fault(
            "not_killed",
            f"Process {process} of the training belongs to another user.",
            fix="Run the demo as who started the server, or in a home of its own: baray demo --home DIR",
        ) from error
    finally:
        os.close(handle)
    return process


def _start_of(process: int) -> int:
    """Start time in clock ticks since boot; with the number it names one process. 0 where there is none."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(fields[19])
