"""Folders of sockets: who can put a file into one can stand in for a Replica, and read what people ask it.

Covered: links, folders of others and folders that others write into, also where one was planted in the temporary folder
before us, or in place of one that was cleaned away. Not covered: a temporary folder that is not sticky.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from baray.core import Refused


def own_folder(folder: Path, owner: int) -> int:
    """A handle of `folder`, made where it is missing: a folder of the user `owner` alone. The caller closes it.

    Raises Refused `unsafe_folder`; what is there is left as it is.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:  # a link, a file, a folder of somebody else
        raise _unsafe(folder, f"{error.strerror}") from error
    found = os.fstat(handle)
    if found.st_uid == owner and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return handle
    os.close(handle)
    raise _unsafe(folder, f"it belongs to user {found.st_uid}, its mode is {stat.S_IMODE(found.st_mode):o}")


def _unsafe(folder: Path, why: str) -> Refused:
    return Refused(
        "unsafe_folder",
        f"{folder} is no folder for sockets: {why}.",
        fix="See who made it, take it away, and start again.",
        status=409,
    )
