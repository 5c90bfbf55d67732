"""Files of a Source: which are taken, under which path, and sending those the server lacks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from baray.core import Refused, digest_file


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalFile:
    """A file on this machine that goes into a Source."""

    path: str
    """Its path in the Source: below the folder that was given, '/' between parts."""
    file: Path
    """Where it lies."""
    digest: str
    """`sha256:...` of its bytes."""
    bytes: int
    """Its size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """Something in a folder that is not taken."""

    path: str
    """Its path below the folder."""
    reason: str
    """Why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """What a walk over the given paths found."""

    files: tuple[LocalFile, ...]
    """In path order."""
    skipped: tuple[Skipped, ...]
    """In the order they were met."""


def gather(paths: Iterable[Path], *, progress: Callable[[int], None] = lambda _: None) -> Gathered:
    """Walk files and folders and digest every file. Raises Refused on a missing path or two files with one path.

    Below a single folder paths are relative to it; with several arguments each folder's own name comes first.
    Hidden files and links that leave the folder are not taken. `progress` gets the number of files digested so far.
    """
    given = [path.expanduser() for path in paths]
    files: dict[str, LocalFile] = {}
    skipped: list[Skipped] = []
    for path in given:
        prefix = f"{path.resolve().name}/" if len(given) > 1 and path.is_dir() else ""
        for name, file in _found(path, prefix, skipped):
            if name in files:
                raise Refused(
                    "same_path",
                    f"Two files would be '{name}': {files[name].file} and {file}.",
                    fix="Rename one, or put both in one folder and give the folder.",
                )
            size = file.stat().st_size
            files[name] = LocalFile(path=name, file=file, digest=digest_file(file), bytes=size)
            progress(len(files))
    if not files:
        raise Refused(
            "no_files",
            f"No files in {', '.join(str(path) for path in given)}.",
            fix="Give a folder with documents in it, or the files themselves.",
        )
    return Gathered(files=tuple(files[name] for name in sorted(files)), skipped=tuple(skipped))


def _found(path: Path, prefix: str, skipped: list[Skipped]) -> Iterator[tuple[str, Path]]:
    if path.is_file():
        yield prefix + path.name, path
        return
    if not path.is_dir():
        raise Refused(
            "no_such_file", f"There is no file or folder {path}.", fix="Check the path, and that you may read it."
        )
    root = path.resolve()
    for folder, folders, names in os.walk(path):
        here = Path(folder)
        folders[:] = [name for name in sorted(folders) if _taken(here / name, path, root, skipped)]
        for name in sorted(names):
            file = here / name
            if _taken(file, path, root, skipped):
                yield prefix + file.relative_to(path).as_posix(), file


def _taken(entry: Path, top: Path, root: Path, skipped: list[Skipped]) -> bool:
    reason = _why_not(entry, root)
    if reason:
        name = entry.relative_to(top).as_posix()
        skipped.append(Skipped(path=name.encode(errors="replace").decode(), reason=reason))
    return not reason


def _why_not(entry: Path, root: Path) -> str:
    if entry.name.startswith("."):
        return "hidden"
    try:
        entry.name.encode()
    except UnicodeEncodeError:
        return "its name is not UTF-8"
    if entry.is_symlink():
        if entry.is_dir():
            return "a link to a folder"
        if not entry.resolve().is_relative_to(root):
            return "a link that leaves the folder"
    if entry.is_dir():
        return ""
    if not entry.is_file():
        return "not a plain file"
    return "" if os.access(entry, os.R_OK) else "not readable"
