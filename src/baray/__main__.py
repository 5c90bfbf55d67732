"""The `baray` command: the client's commands joined with the host's, each loaded only when called."""

from __future__ import annotations

import importlib
import io
import os
import sys

_INTERRUPTED = 130


def main() -> int:
    """Read the environment once, run one command, return its exit code."""
    try:
        return _main()
    except KeyboardInterrupt:  # before the command could take it: while it is being loaded
        print("Interrupted.", file=sys.stderr)
        return _INTERRUPTED


def _main() -> int:
    # Loaded here and not above, so that Ctrl-C in the first moments ends like any other.
    client = importlib.import_module("baray.client")
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # Khmer goes through whatever the locale says
            stream.reconfigure(encoding="utf-8", errors="backslashreplace" if stream is not sys.stdin else "replace")
    settings = client.read_settings(os.environ, is_root=os.geteuid() == 0, program=sys.argv[0])  # noqa: TID251 - the client's one look at it
    code: int = client.run_command(sys.argv[1:], settings, out=sys.stdout, err=sys.stderr, timing=client.Timing())
    return code


if __name__ == "__main__":
    sys.exit(main())
