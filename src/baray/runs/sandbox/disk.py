"""A file system of its own for what a tenant's command writes: an ext4 image, mounted by the launcher, as large as the limit.

Where that cannot be (no root, no loop devices, no mkfs.ext4) the supervisor looks five times a second at what was written.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import threading
from pathlib import Path

from baray.runs.sandbox.launch import DISK, mount_image, private_stage

_LOG = logging.getLogger("baray.worker")
_MIB = 2**20
_LEAST_BYTES = 16 * _MIB
_BYTES_FOR_A_FILE = 32 * 1024
_MOST_FILES = 4_000_000


def make_image(place: Path, templates: Path, size_bytes: int) -> None:
    """Make a sparse image of `size_bytes` (a whole number of MiB) at `place`; formatted once for each size."""
    size = max(_LEAST_BYTES, size_bytes // _MIB * _MIB)
    template = templates / f"disk-{size // _MIB}.img"
    if not template.exists():
        new = template.with_suffix(f".{os.getpid()}-{threading.get_ident()}")  # two Attempts may want it at once
        with new.open("wb") as file:
            file.truncate(size)
        files = min(_MOST_FILES, max(1024, size // _BYTES_FOR_A_FILE))
        options = [
            "-m",
            "0",
            "-N",
            str(files),
            "-O",
            "^has_journal,^resize_inode",
            "-E",
            "lazy_itable_init=1,nodiscard",
        ]
        subprocess.run([_mkfs(), "-q", "-F", *options, str(new)], check=True, capture_output=True)
        new.rename(template)
    _copy_sparse(template, place)


def why_no_images(folder: Path) -> str:
    """Why no image can be mounted on this machine; an empty text if one was. Called while this process has one thread."""
    if os.geteuid() != 0:
        return "not started as root"
    if not _mkfs():
        return "mkfs.ext4 is not installed"
    if not Path("/dev/loop-control").exists():
        return "there are no loop devices"
    place = folder / "disk-trial.img"
    try:
        make_image(place, folder, _LEAST_BYTES)
    except (OSError, subprocess.CalledProcessError) as error:
        return f"no image could be made: {error}"
    child = os.fork()
    if child == 0:
        code = 1
        try:
            private_stage()
            mount_image(str(place), DISK, write=True)
            code = 0
        except OSError as error:
            _LOG.info("no disk image can be mounted: %s", error)
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    place.unlink()
    return "loop devices cannot be mounted here" if code else ""


def _mkfs() -> str:
    return shutil.which("mkfs.ext4", path="/usr/sbin:/sbin:/usr/bin:/bin") or ""


def _copy_sparse(source: Path, target: Path) -> None:
    """Copy a file's data and leave its holes."""
    size = source.stat().st_size
    with source.open("rb") as reader, target.open("wb") as writer:
        writer.truncate(size)
        at = 0
        while at < size:
            try:
                at = os.lseek(reader.fileno(), at, os.SEEK_DATA)
            except OSError:
                break  # nothing but a hole is left
            end = os.lseek(reader.fileno(), at, os.SEEK_HOLE)
            os.lseek(reader.fileno(), at, os.SEEK_SET)
            os.lseek(writer.fileno(), at, os.SEEK_SET)
            while at < end:
                piece = os.read(reader.fileno(), min(_MIB, end - at))
                os.write(writer.fileno(), piece)
                at += len(piece)
