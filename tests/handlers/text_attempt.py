"""One Attempt of recipe `text` in a process of its own.

    text_attempt.py RUN_FOLDER SOURCE_FOLDER CPUS SHARD_BYTES MEMORY_BYTES [NAME=VALUE...]

Prints a JSON line in the end: digest, kept, and the peaks of its memory. Its log goes to RUN_FOLDER/log.txt.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
import time
from pathlib import Path

from baray.core import digest_file
from baray.data.pipeline import sieve
from baray.data.pipeline.handler import build
from baray.runs import AttemptContext, Input, InputFile


def main(run: Path, source: Path, cpus: int, shard_bytes: int, memory_bytes: int, options: dict[str, str]) -> None:
    files = tuple(
        InputFile(path=path.name, digest=digest_file(path), bytes=path.stat().st_size, blob=path, label="public")
        for path in sorted(source.iterdir())
    )
    for folder in (run / "attempt" / "out", run / "attempt" / "work"):
        shutil.rmtree(
            folder, ignore_errors=True
        )  # an Attempt has folders of its own; what outlives it is in `checkpoints`
        folder.mkdir(parents=True)
    sieve._SHARD_BYTES = shard_bytes
    with (run / "log.txt").open("a", encoding="utf-8", buffering=1) as log:
        context = AttemptContext(
            run_id="r_drill",
            spec={"name": "drill", "options": options, "today": "2026-01-01"},
            inputs={"source": Input(name="source", ref="", kind="source", digest="", label="public", files=files)},
            out=run / "attempt" / "out",
            work=run / "attempt" / "work",
            run_dir=run,
            cpus=cpus,
            memory_bytes=memory_bytes,
            print_line=lambda line: print(line, file=log),
            now=time.time,
        )
        peak = Peak()
        (output,) = build(context)
        print(json.dumps({"digest": output.digest, "kept": output.summary["kept"], **peak.told()}))


class Peak:
    """Looks ten times a second at how much memory is the process's own: pages of mapped files can be taken from it."""

    def __init__(self) -> None:
        self._anonymous = self._whole = 0
        threading.Thread(target=self._watch, daemon=True).start()

    def told(self) -> dict[str, int]:
        return {"anonymous_bytes": self._anonymous, "resident_bytes": self._whole}

    def _watch(self) -> None:
        page = os.sysconf("SC_PAGESIZE")
        while True:
            whole, shared = (int(text) * page for text in Path("/proc/self/statm").read_text().split()[1:3])
            self._whole, self._anonymous = max(self._whole, whole), max(self._anonymous, whole - shared)
            time.sleep(0.1)


if __name__ == "__main__":
    main(
        Path(sys.argv[1]),
        Path(sys.argv[2]),
        *map(int, sys.argv[3:6]),
        dict(one.split("=", 1) for one in sys.argv[6:]),
    )
