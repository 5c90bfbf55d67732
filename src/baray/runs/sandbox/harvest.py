"""Take files out of a folder that a tenant's command wrote, without trusting anything in it.

Covered: links (openat2 follows none and never leaves the folder), FIFOs and devices (opened without waiting, refused
unless regular), sparse files (the size counts as well as the blocks), names with control characters, direction marks
or broken UTF-8, folders too deep, another owner's file linked in. Called after the Attempt's tree of processes ended:
nothing changes under the reader's eyes; and if it did, the digest is of the bytes that were kept.
"""

from __future__ import annotations

import os
import stat
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from baray.core import Refused
from baray.runs.sandbox.launch import open_beneath

MAX_DEPTH = 32
MAX_FILES = 1_000_000
_MAX_TOLD = 10
_DIRECTION_MARKS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Harvested:
    """One file that was kept."""

    path: str
    """Path below the folder, with `/`."""
    digest: str
    """What `keep` returned for it."""
    bytes: int
    """Size."""


def harvest(
    under: Path, path: str, *, limit_bytes: int, owner: int | None, keep: Callable[[int], str]
) -> list[Harvested]:
    """Hand every regular file below `under/path` to `keep(descriptor) -> digest`; sorted by path.

    `under` is ours; `path` and all below it may be a tenant's. Raises Refused `bad_output` that names what cannot be
    taken; then nothing counts, though `keep` may have been called. `owner` is the uid every file must have.
    """
    root = os.open(under, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        found = list(_walk(root, os.fsencode(path)))
        bad = [f"'{shown}' is {what}" for shown, _, what in found if what]
        if not bad:
            bad = _too_much([handle for _, handle, _ in found], root, limit_bytes, owner)
        if bad:
            more = f" and {len(bad) - _MAX_TOLD} more" if len(bad) > _MAX_TOLD else ""
            raise Refused(
                "bad_output",
                f"The output cannot be taken: {'; '.join(bad[:_MAX_TOLD])}{more}.",
                fix="Write plain files with plain names into the output's folder.",
            )
        prefix = len(os.fsencode(path)) + 1
        return sorted((_take(root, full, prefix, keep) for _, full, _ in found), key=lambda file: file.path)
    finally:
        os.close(root)


def _walk(root: int, folder: bytes) -> Iterator[tuple[str, bytes, str]]:
    """(name to show, path below root, what is wrong or "") of everything that is not a folder."""
    waiting: list[tuple[bytes, int]] = [(folder, 0)]
    count = 0
    while waiting:
        at, depth = waiting.pop()
        handle = open_beneath(root, at, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            for name in os.listdir(handle):  # noqa: PTH208 - of a descriptor, not of a path
                full = at + b"/" + os.fsencode(name)
                wrong = _wrong_name(name)
                mode = os.stat(name, dir_fd=handle, follow_symlinks=False).st_mode
                if stat.S_ISDIR(mode) and not wrong:
                    wrong = f"deeper than {MAX_DEPTH} folders" if depth >= MAX_DEPTH else ""
                    if not wrong:
                        waiting.append((full, depth + 1))
                        continue
                elif not stat.S_ISREG(mode):
                    wrong = wrong or _KINDS.get(stat.S_IFMT(mode), "not a plain file")
                count += 1
                yield ascii(os.fsdecode(full))[1:-1], full, wrong or _too_many(count)
        finally:
            os.close(handle)


def _wrong_name(name: str) -> str:
    try:
        name.encode()
    except UnicodeEncodeError:
        return "named in broken UTF-8"
    if any(unicodedata.category(sign) in {"Cc", "Zl", "Zp"} or sign in _DIRECTION_MARKS for sign in name):
        return "named with control characters"
    return ""


def _too_many(count: int) -> str:
    return f"one of more than {MAX_FILES} files" if count > MAX_FILES else ""


def _too_much(paths: list[bytes], root: int, limit_bytes: int, owner: int | None) -> list[str]:
    total = 0
    for path in paths:
        handle = _open_file(root, path)
        try:
            found = os.fstat(handle)
        finally:
            os.close(handle)
        total += max(found.st_size, found.st_blocks * 512)
        if total > limit_bytes:
            return [f"{os.fsdecode(path)!a} takes it past the limit of {limit_bytes} bytes"]
        if owner is not None and found.st_uid != owner:
            return [f"{os.fsdecode(path)!a} belongs to another"]
    return []


def _open_file(root: int, path: bytes) -> int:
    handle = open_beneath(root, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_NOFOLLOW)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise Refused("bad_output", f"The output cannot be taken: {os.fsdecode(path)!a} changed while it was read.")
    return handle


def _take(root: int, path: bytes, prefix: int, keep: Callable[[int], str]) -> Harvested:
    handle = _open_file(root, path)
    try:
        size = os.fstat(handle).st_size
        return Harvested(path=path[prefix:].decode(), digest=keep(handle), bytes=size)
    finally:
        os.close(handle)
