"""An environment of its own for each outside tool, made once below `.venv/conformance` from its pins."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent
ENVIRONMENTS = HERE.parents[1] / ".venv" / "conformance"


def environment(tool: str, missing: Callable[[str], None]) -> Path:
    """The Python of a tool's environment, made if it is not there."""
    pins = HERE / "pins" / f"{tool}.txt"
    digest = hashlib.sha256(pins.read_bytes() + sys.version.encode()).hexdigest()[:12]
    folder = ENVIRONMENTS / f"{tool}-{digest}"
    python = folder / "bin" / "python"
    if not (folder / "whole").exists():
        shutil.rmtree(folder, ignore_errors=True)
        venv.create(folder, with_pip=True)
        argv = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(pins)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=900, check=False)
        if done.returncode:
            missing(f"{tool} ({done.stderr.strip().splitlines()[-1:]})")
        (folder / "whole").touch()
    return python
