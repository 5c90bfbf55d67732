"""What a trusted handler gets: its inputs, folders to write to, and ways to tell how far it is.

A handler is `module:function`, called as `handler(context: AttemptContext) -> list[Output]` in a process of its own.
Standard library and core only: every Attempt pays for what is imported here.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PROGRESS_SECONDS = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class InputFile:
    """One file of an input."""

    path: str
    """Relative path, as it was when it was added."""
    digest: str
    """Digest of its bytes."""
    bytes: int
    """Size."""
    blob: Path
    """Where to read it, in place; never written to."""
    label: str = ""
    """Label of the Document it holds; empty where only the version has one."""
    valid_from: str | None = None
    """First day it holds good, ISO date."""
    valid_until: str | None = None
    """Last day it holds good, ISO date."""
    office: str | None = None
    """The office it belongs to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """One version that is mounted."""

    name: str
    """Name of the input in the spec."""
    ref: str
    """For example source:letters@v1."""
    kind: str
    """source, dataset, index or model."""
    digest: str
    """Identity of the version."""
    label: str
    """Label of the version."""
    files: tuple[InputFile, ...]
    """Its files, by path."""
    title: str = ""
    """Of the thing, any script."""
    licences: tuple[str, ...] = ()
    """Of every Source that it was made of; NOASSERTION where one has none."""
    owner: str = ""
    """Title of the project that owns it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptContext:
    """One Attempt as its handler sees it."""

    run_id: str
    """Id of the Run."""
    spec: Mapping[str, Any]
    """The frozen spec: recipe, options, name, inputs."""
    inputs: Mapping[str, Input]
    """Inputs by name."""
    out: Path
    """Output files go below out/OUTPUT_NAME/."""
    work: Path
    """Scratch, removed with the Attempt."""
    run_dir: Path
    """Folder of the Run: metrics.jsonl and progress.json stand here."""
    cpus: int
    """Cores it may use."""
    memory_bytes: int
    """Memory it may use."""
    print_line: Callable[[str], None]
    """Where log lines go."""
    now: Callable[[], float]
    """Seconds since 1970."""
    _told: list[float] = field(default_factory=lambda: [0.0])

    @property
    def today(self) -> str:
        """The day of the spec, ISO date: what counts as expired does not change when a Run is retried."""
        return str(self.spec.get("today", ""))

    @property
    def checkpoints(self) -> Path:
        """Folder of the Run's Checkpoints, which the handler makes: it outlives Attempts, and goes when the Run succeeds."""
        return self.run_dir / "checkpoints"

    def log(self, text: str) -> None:
        """Write a line to the Run's log."""
        self.print_line(text)

    def metric(self, name: str, value: float, *, step: int) -> None:
        """Append a number to metrics.jsonl."""
        append_metrics(self.run_dir, [{"step": step, "time": round(self.now(), 3), "name": name, "value": value}])

    def forget_metrics(self, *, after: int) -> None:
        """Drop the lines of steps that a resumed Attempt does again, so that a curve has each step once."""
        path = self.run_dir / "metrics.jsonl"
        if path.exists():
            lines = [line for line in path.read_bytes().splitlines(keepends=True) if _step_of(line) <= after]
            new = path.with_name("metrics.jsonl.new")
            new.write_bytes(b"".join(lines))
            new.rename(path)

    def progress(self, done: float, total: float, unit: str, *, kept: tuple[int, int] | None = None) -> None:
        """Say how far the work is; called as often as you like, written four times a second and at the end.

        `kept`: the step that this Attempt began from and that of the newest Checkpoint. One that got further may be lost or
        killed as often as it likes: only Attempts that did not are counted.
        """
        now = self.now()
        if done < total and 0 <= now - self._told[0] < PROGRESS_SECONDS:
            return
        self._told[0] = now
        told: dict[str, Any] = {"done": done, "total": total, "unit": unit}
        told |= {"since": kept[0], "kept": kept[1]} if kept else {}
        replace_json(self.run_dir / "progress.json", told, durable=False)


def _step_of(line: bytes) -> float:
    """The step of a line of metrics; a line that a kill cut short belongs to no step that is kept."""
    try:
        return float(json.loads(line)["step"])
    except ValueError:
        return float("inf")


def append_metrics(run_dir: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    """Append `{step, time, name, value}` to a Run's metrics.jsonl, all in one write: lines of two writers never mix."""
    text = "".join(json.dumps(line) + "\n" for line in lines)
    with (run_dir / "metrics.jsonl").open("ab", buffering=0) as file:
        file.write(text.encode())


def replace_json(path: Path, value: object, *, durable: bool) -> None:
    """Replace a JSON file so that a reader sees the old or the new one, whole; durable also through a power cut."""
    new = path.with_name(path.name + ".new")
    with new.open("w", encoding="utf-8") as file:
        json.dump(value, file, sort_keys=True, ensure_ascii=False)
        if durable:
            file.flush()
            os.fsync(file.fileno())
    new.rename(path)
    if durable:
        handle = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        os.fsync(handle)
        os.close(handle)


def input_from_json(found: Mapping[str, Any], blob: Callable[[str], Path]) -> Input:
    """Read an Input from a lease grant; `blob` tells where a digest's bytes lie."""
    files = tuple(InputFile(**{**file, "blob": blob(file["digest"])}) for file in found["files"])
    return Input(**{**found, "files": files, "licences": tuple(found.get("licences", ()))})
