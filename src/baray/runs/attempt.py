"""The process of a trusted handler: `python -m baray.runs.attempt ATTEMPT_DIR`.

Reads attempt.json, calls the handler, puts the outputs' bytes into Blobs, and writes result.json: durable, and last. So
a result that can be read is complete, and a process that dies earlier leaves none.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from baray.core import Fault, Refused, SystemClock
from baray.runs.context import AttemptContext, input_from_json, replace_json
from baray.store import Blobs, DiskBlobs

EXIT_FAILED, EXIT_REFUSED = 1, 3


def run_handler(directory: Path) -> int:
    """Run the handler that ATTEMPT_DIR/attempt.json names; 0, or EXIT_REFUSED, or EXIT_FAILED."""
    facts = json.loads((directory / "attempt.json").read_text(encoding="utf-8"))
    blobs = DiskBlobs(Path(facts["blobs"]))
    context = _context(directory, facts, blobs)
    try:
        outputs = [asdict(output) for output in _load(facts["spec"]["handler"])(context)]
        for output in outputs:
            _keep(blobs, context.out, output)
    except Refused as refused:
        sys.stderr.write(f"refused: {refused}\n")
        return _end(
            directory, error={"code": refused.code, "message": refused.message, "fix": refused.fix}, refused=True
        )
    except Exception as error:  # noqa: BLE001 - a process's own boundary
        # The process's own boundary: the log gets the trace, the Run the message, and the worker decides on a retry.
        traceback.print_exc()
        message = f"{type(error).__name__}: {error}"[:2000]
        fix = f"See its log: baray run logs {facts['run_id']}"
        code = getattr(error, "code", "handler_failed")
        return _end(directory, error={"code": code, "message": message, "fix": fix}, refused=False)
    replace_json(directory / "result.json", {"outputs": outputs, "error": None, "refused": False}, durable=True)
    return 0


def _context(directory: Path, facts: Mapping[str, Any], blobs: Blobs) -> AttemptContext:
    inputs = [input_from_json(found, blobs.path) for found in facts["inputs"]]
    resources = facts["spec"]["resources"]
    return AttemptContext(
        run_id=facts["run_id"],
        spec=facts["spec"],
        inputs={one.name: one for one in inputs},
        out=directory / "out",
        work=directory / "work",
        run_dir=directory.parent,
        cpus=resources["cpus"],
        memory_bytes=resources["memory_bytes"],
        print_line=_print_line,
        now=SystemClock().now,
    )


def _print_line(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _load(handler: str) -> Any:  # noqa: ANN401 - a function of another room, named by the spec
    module, _, name = handler.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("baray"):
            raise
        raise Refused(
            "not_installed",
            f"This needs {error.name}, which is not installed here.",
            fix="On the machine of the home: scripts/setup lm",
        ) from error


def _keep(blobs: Blobs, out: Path, output: Mapping[str, Any]) -> None:
    """Put an output's files into Blobs; the digests told must be those of the bytes that are there."""
    for file in output["files"]:
        path = out / output["name"] / file["path"]
        digest = blobs.put_file(path)
        if digest != file["digest"] or path.stat().st_size != file["bytes"]:
            raise Fault(
                "bad_output", f"Output '{output['name']}' tells {file['digest']} of {file['path']}, it is {digest}."
            )


def _end(directory: Path, *, error: Mapping[str, Any], refused: bool) -> int:
    replace_json(directory / "result.json", {"outputs": [], "error": dict(error), "refused": refused}, durable=True)
    return EXIT_REFUSED if refused else EXIT_FAILED


if __name__ == "__main__":
    os.umask(0o027)
    sys.exit(run_handler(Path(sys.argv[1])))
