"""Take a command's outputs: `python -m baray.runs.worker.outputs ATTEMPT_DIR`, once its tree of processes has ended.

A process of its own, so that the worker stays small. Started as root it reads as root, for the files are the slot's,
and writes blobs as the home's owner. Repeating gives the same result.json.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

from baray.core import Refused, digest_json
from baray.runs.context import replace_json
from baray.runs.sandbox import Harvested, harvest
from baray.runs.sandbox.launch import DISK, mount_image, private_stage
from baray.runs.worker.attempts import IMAGE
from baray.store import Blobs, DiskBlobs

_PIECE = 1 << 20


def take_outputs(directory: Path) -> None:
    """Keep what lies in ATTEMPT_DIR/out/NAME for every output that the spec names; write result.json."""
    facts = json.loads((directory / "attempt.json").read_text(encoding="utf-8"))
    blobs = Path(facts["blobs"])
    owner = blobs.stat()
    place = directory
    if (directory / IMAGE).exists():
        private_stage()
        mount_image(str(directory / IMAGE), DISK, write=False)
        place = Path(DISK)
    keeper = _Keeper(_as_owner(owner, lambda: DiskBlobs(blobs)), owner)
    try:
        outputs = [_take(place, name, facts, keeper) for name in facts["spec"]["sandbox"]["outputs"]]
    except Refused as refused:
        error = {"code": refused.code, "message": refused.message, "fix": refused.fix}
        replace_json(directory / "result.json", {"outputs": [], "error": error, "refused": True}, durable=True)
        return
    replace_json(directory / "result.json", {"outputs": outputs, "error": None, "refused": False}, durable=True)


class _Keeper:
    """Puts the bytes of an open file into Blobs, as the owner of the home."""

    def __init__(self, blobs: Blobs, owner: os.stat_result) -> None:
        self._blobs, self._owner = blobs, owner

    def keep(self, handle: int) -> str:
        hasher = sha256()
        for piece in _pieces(handle):
            hasher.update(piece)
        digest = "sha256:" + hasher.hexdigest()
        if not self._blobs.has(digest):
            os.lseek(handle, 0, os.SEEK_SET)
            _as_owner(self._owner, lambda: self._blobs.put_stream(_pieces(handle), digest))
        return digest


def _take(place: Path, name: str, facts: dict[str, Any], keeper: _Keeper) -> dict[str, Any]:
    try:
        files = harvest(place, f"out/{name}", limit_bytes=facts["limit_bytes"], owner=facts["uid"], keep=keeper.keep)
    except FileNotFoundError:
        files = []
    except OSError as error:
        raise Refused("bad_output", f"Output '{name}' cannot be read: {error.strerror}.") from error
    if not files:
        raise Refused("no_output", f"The command wrote nothing to /out/{name}.", fix=f"Write files to /out/{name}.")
    return _output(name, files)


def _output(name: str, files: list[Harvested]) -> dict[str, Any]:
    # The identity of what a command wrote: its files and their bytes, by path.
    identity = digest_json([[file.path, file.digest] for file in files])
    summary = {"files": len(files), "bytes": sum(file.bytes for file in files)}
    told = [asdict(file) for file in files]
    return {"kind": "dataset", "name": name, "digest": identity, "labels": [], "files": told, "summary": summary}


def _pieces(handle: int) -> Iterator[bytes]:
    while piece := os.read(handle, _PIECE):
        yield piece


def _as_owner(owner: os.stat_result, act: Any) -> Any:  # noqa: ANN401 - a function and what it returns
    """Do something with the effective uid of the home's owner; this process has one thread."""
    if os.geteuid() != 0 or owner.st_uid == 0:
        return act()
    os.setegid(owner.st_gid)
    os.seteuid(owner.st_uid)
    try:
        return act()
    finally:
        os.seteuid(0)
        os.setegid(0)


if __name__ == "__main__":
    take_outputs(Path(sys.argv[1]))
