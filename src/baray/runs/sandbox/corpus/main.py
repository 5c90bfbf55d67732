"""Runs every probe: `python -c 'from ... import main; main()' FACTS`. Prints one JSON object, probe -> what it reached."""

from __future__ import annotations

import json
import sys

from baray.runs.sandbox.corpus import calls, files, network, processes
from baray.runs.sandbox.corpus.tools import in_child

PROBES = (*files.PROBES, *processes.PROBES, *network.PROBES, *calls.PROBES)


def main() -> None:
    """Run all probes, each in a process of its own."""
    facts = json.loads(sys.argv[1])
    sys.stdout.write(json.dumps({probe.__name__: in_child(probe, facts) for probe in PROBES}) + "\n")
