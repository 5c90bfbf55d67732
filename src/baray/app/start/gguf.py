"""Write a Model's folder as one GGUF file: `python -m baray.app.start.gguf FOLDER OUT WEIGHTS NAME`.

A process of its own, so that what it loads stays out of the command; its last line on stdout is one JSON document.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

from baray.core import Refused


def main(arguments: list[str]) -> int:
    """Write the file; exit code 1 where it was refused."""
    folder, out, weights, name = arguments
    try:
        size = importlib.import_module("baray.serve.engines.gguf_file").write_gguf(
            Path(folder), Path(out), kind=weights, name=name
        )
    except ModuleNotFoundError as error:
        return _refuse("engines_missing", f"Here is no {error.name}, which writes GGUF.", "Set it up: scripts/setup lm")
    except Refused as refused:
        return _refuse(refused.code, refused.message, refused.fix)
    sys.stdout.write(json.dumps({"bytes": size}) + "\n")
    return 0


def _refuse(code: str, message: str, fix: str) -> int:
    sys.stdout.write(json.dumps({"code": code, "message": message, "fix": fix}, ensure_ascii=False) + "\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
