"""Metrics of a command with reduced isolation: it has no sockets, so it writes lines to a file, which is taken at its end.

A line is what the hatch of the whole sandbox takes as one number: `{"step", "name", "value"}`. Lines that are none are
left out; the log says how many.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from baray.core import Refused
from baray.runs.context import append_metrics
from baray.runs.protocol import MAX_POINTS, Point, read_report
from baray.runs.sandbox.launch import open_beneath

METRICS_FILE = "metrics.jsonl"
"""In the command's own folder; BARAY_METRICS says where."""
_MOST_BYTES = 32 * 2**20


def take_metrics(attempt_dir: Path, now: float) -> None:
    """Add the lines of an Attempt's file to its Run's metrics, and remove it: after a restart they are not taken again."""
    data = _read(attempt_dir, f"work/{METRICS_FILE}")
    if data is None:
        return
    found, wrong = [], 0
    for line in data.splitlines():
        point = _point(line)
        wrong += point is None
        if point is not None:
            found.append({"step": point.step, "time": round(now, 3), "name": point.name, "value": point.value})
    append_metrics(attempt_dir.parent, found[:MAX_POINTS])
    wrong += max(0, len(found) - MAX_POINTS)
    if wrong:
        with (attempt_dir.parent / "log.txt").open("ab") as log:
            log.write(f"[baray] {wrong} lines of {METRICS_FILE} were left out: no numbers, or too many\n".encode())
    (attempt_dir / "work" / METRICS_FILE).unlink(missing_ok=True)


def _read(attempt_dir: Path, path: str) -> bytes | None:
    """A plain file in a tenant's hands: no link is followed, nothing is waited for."""
    folder = os.open(attempt_dir, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        handle = open_beneath(folder, path.encode(), os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return None
    finally:
        os.close(folder)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        return None
    with os.fdopen(handle, "rb") as file:
        return file.read(_MOST_BYTES)


def _point(line: bytes) -> Point | None:
    try:
        report = read_report(line)
    except Refused:
        return None
    return report.points[0] if len(report.points) == 1 and report.progress is None else None
