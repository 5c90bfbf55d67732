"""The home's processes: `python -m baray.app control|router|worker|migrate`. `baray up` starts them; people do not."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from pathlib import Path

from baray.core import BarayError

_PROCESSES = ("control", "migrate", "router", "worker")


def main() -> int:
    """Run one process; each loads only what it needs."""
    parser = argparse.ArgumentParser(prog="python -m baray.app")
    parser.add_argument("process", choices=_PROCESSES)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--clearance", default="")
    parser.add_argument("--slots", type=int, default=1)
    parser.add_argument("--allow-reduced", action="store_true")
    parser.add_argument("--idle-exit", type=float, default=0.0)
    parser.add_argument("--utc-offset", type=int, default=420)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--behind-proxy", action="store_true")
    parser.add_argument("--public-url", default="")
    parser.add_argument("--proxy", default="127.0.0.1")
    arguments = parser.parse_args()
    os.umask(0o077)  # what a home's processes write is theirs alone, unless a line says otherwise
    try:
        importlib.import_module(f"baray.app.start.{arguments.process}").start(arguments)
    except BarayError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
