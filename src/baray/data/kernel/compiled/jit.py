"""How functions are compiled, and where what was compiled is kept.

Compiling takes some ten seconds, loading what was kept a fraction of one. It is kept below the environment (`scripts/setup`
makes it there) or, where that cannot be written, below the user's own cache; a folder's name holds the digest of all
sources of this package and of the processor, so that what lies there always fits and may be read-only. Where nothing can be
written, functions are compiled anew in each process.

What is covered: a kept file is code, so a folder counts only if it belongs to root or to us and nobody else may write it.
"""

from __future__ import annotations

import functools
import hashlib
import os
import stat
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import llvmlite.binding
import numba

Function = TypeVar("Function", bound=Callable[..., object])


def inner(function: Function) -> Function:
    """Compile a function that only compiled functions call."""
    return _compiled(function, keep=False)


def entry(function: Function) -> Function:
    """Compile a function that Python calls, and keep the result."""
    config: Any = numba.config
    before, config.CACHE_LOCATOR_CLASSES = config.CACHE_LOCATOR_CLASSES, f"{__name__}.Locator"
    try:
        return _compiled(function, keep=True)
    except RuntimeError:  # no folder to keep it in
        return _compiled(function, keep=False)
    finally:
        config.CACHE_LOCATOR_CLASSES = before


def _compiled(function: Function, *, keep: bool) -> Function:
    """Compile without numba's counting of references: no function here makes an array, and to count costs more than to work."""
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "boundscheck": False, "_nrt": False}
    made: Any = numba.njit(cache=keep, **options)(function)
    found: Function = made
    return found


class Locator:
    """Tells numba where the compiled form of a function is kept: what it asks of such a class, and nothing else."""

    def __init__(self, function: Callable[..., object], place: Path) -> None:
        """Keep `function` in `place`."""
        self._line = function.__code__.co_firstlineno
        self._place = place

    @classmethod
    def from_function(cls, function: Callable[..., object], file: str) -> Locator | None:
        """The first folder that holds the function or may be written; None where nothing can be kept."""
        del file  # the folder's name tells all sources
        found = next((place for place in places() if _usable(place, function.__name__)), None)
        return None if found is None else cls(function, found)

    def get_cache_path(self) -> str:
        """The folder."""
        return str(self._place)

    def ensure_cache_path(self) -> None:
        """Called before something is written."""
        self._place.mkdir(parents=True, exist_ok=True)

    def get_source_stamp(self) -> str:
        """Changes when any file of this package does: functions of one file are compiled into those of another."""
        return sources()

    def get_disambiguator(self) -> str:
        """Tells functions of one name apart."""
        return str(self._line)


def places() -> list[Path]:
    """Folders to look in, best first."""
    name = f"{sources()[:16]}-{_processor()[:16]}"
    roots = [Path(sys.prefix, "kernel-cache"), Path.home() / ".cache" / "baray" / "kernel"]
    return [root / name for root in roots]


@functools.cache
def sources() -> str:
    """Digest of the sources that the compiled form depends on, and of the versions of the compiler."""
    found = hashlib.sha256(f"{numba.__version__} {llvmlite.__version__} {sys.version}".encode())
    here = Path(__file__).parent
    for path in (*sorted(here.glob("*.py")), here.parent / "characters.py", here.parent / "specials.py"):
        found.update(path.read_bytes())
    return found.hexdigest()


@functools.cache
def _processor() -> str:
    features = llvmlite.binding.get_host_cpu_features().flatten()
    return hashlib.sha256(f"{llvmlite.binding.get_host_cpu_name()} {features}".encode()).hexdigest()


def _usable(place: Path, function: str) -> bool:
    if place.is_dir() and not _ours(place):
        return False
    if any(place.glob(f"*.{function}-*.nbi")):
        return True
    try:
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=place):
            return True
    except OSError:
        return False


def _ours(place: Path) -> bool:
    """Nobody but root and this user can have written what lies there."""
    found = place.stat()
    return found.st_uid in {0, os.getuid()} and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
