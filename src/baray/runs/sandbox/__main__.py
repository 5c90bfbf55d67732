"""`python -m baray.runs.sandbox [--json]`: every attempt to get out, run in the sandbox here; exit code 1 if one got out."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

from baray.core import Refused
from baray.runs.sandbox.cgroups import find_cgroups
from baray.runs.sandbox.probe import find_bwrap
from baray.runs.sandbox.survey import survey

_SLOT = 97


def main() -> int:
    """Print a line for each attempt that got out, and the count."""
    try:
        probes, milliseconds = survey(find_bwrap(), find_cgroups(), slot=_SLOT)
    except Refused as refused:
        sys.stderr.write(f"{refused.message}\n{refused.fix}\n")
        return 1
    out = [probe for probe in probes if not probe.contained]
    if "--json" in sys.argv[1:]:
        told = {"contained": len(probes) - len(out), "total": len(probes), "milliseconds": round(milliseconds)}
        sys.stdout.write(json.dumps(told | {"probes": [asdict(probe) for probe in probes]}) + "\n")
    else:
        for probe in out:
            sys.stdout.write(f"not contained: {probe.name}: {probe.reached}\n")
        sys.stdout.write(f"{len(probes) - len(out)} of {len(probes)} contained in {milliseconds:.0f} ms\n")
    return 1 if out else 0


if __name__ == "__main__":
    sys.exit(main())
