"""The `baray` command: the client's commands joined with the host's, each loaded only when called."""

from __future__ import annotations

import io
import os
import sys

from baray.client import Timing, read_settings, run_command


def main() -> int:
    """Read the environment once, run one command, return its exit code."""
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # Khmer goes through whatever the locale says
            stream.reconfigure(encoding="utf-8", errors="backslashreplace" if stream is not sys.stdin else "replace")
    settings = read_settings(os.environ, is_root=os.geteuid() == 0, program=sys.argv[0])  # noqa: TID251 - the client's one look at it
    return run_command(sys.argv[1:], settings, out=sys.stdout, err=sys.stderr, timing=Timing())


if __name__ == "__main__":
    sys.exit(main())
