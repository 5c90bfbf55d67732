"""Runs the benchmarks: `python benchmarks/run.py [NAME...] [--json FILE] [--quick]`, called by `scripts/bench`.

A benchmark is a file beside this one, `NAME.py`, with `measure(context) -> Iterable[Figure]`. It brings its own
input, measures on this machine, and names the peer it compares with where there is one.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import tempfile
from pathlib import Path
from types import ModuleType

from figures import Context, Figure

HERE = Path(__file__).parent


def main() -> int:
    """Measure what was asked for, one line a figure; the exit code is 1 when a benchmark is not there."""
    names = sorted(path.stem for path in HERE.glob("*.py") if path.stem not in ("run", "figures", "train_gpu"))
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Prints one line a figure.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which: {', '.join(names)}; all of them by default")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write a list of figures")
    parser.add_argument("--quick", action="store_true", help="smaller work, coarser figures")
    asked = parser.parse_args()
    unknown = sorted(set(asked.names) - set(names))
    if unknown:
        print(f"bench: there is no benchmark '{unknown[0]}'; there are: {', '.join(names)}", file=sys.stderr)
        return 1
    figures: list[Figure] = []
    for name in asked.names or names:
        with tempfile.TemporaryDirectory(prefix=f"baray-bench-{name}-") as folder:
            for figure in load(name).measure(Context(folder=Path(folder), quick=asked.quick)):
                print(f"{name}: {figure}", flush=True)
                figures.append(figure)
    if asked.json:
        asked.json.write_text(json.dumps([figure.as_json() for figure in figures], indent=1) + "\n")
    return 0


def load(name: str) -> ModuleType:
    """Load the benchmark's file under a name of its own, so that `ledger` or `data` hide nothing."""
    spec = importlib.util.spec_from_file_location(f"bench_{name}", HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look for the module that they stand in
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    sys.exit(main())
