"""Reads the project's own files for the architecture tests: no git needed, build products left out."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "baray"
FOLDERS = ("src", "tests", "docs", "scripts", "benchmarks", "requirements", "tools", ".ci")
ROOMS = tuple(sorted(p.name for p in PACKAGE.iterdir() if (p / "__init__.py").exists()))


def files(*suffixes: str, below: Path | None = None) -> Iterator[Path]:
    """Yield the project's own files with one of `suffixes` (none: all), sorted."""
    tops = [below] if below else [ROOT / name for name in FOLDERS]
    found = [p for top in tops if top.exists() for p in top.rglob("*") if p.is_file()]
    found += [] if below else [p for p in ROOT.iterdir() if p.is_file() and not p.name.startswith(".venv")]
    for path in sorted(found):
        parts = path.relative_to(ROOT).parts
        if any(part in ("__pycache__", "build") or part.endswith(("_cache", ".egg-info")) for part in parts):
            continue
        if not suffixes or path.suffix in suffixes:
            yield path


@cache
def parse(path: Path) -> ast.Module:
    """Parse a Python file once."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def nodes(path: Path, *kinds: type[ast.AST]) -> Iterator[ast.AST]:
    """Yield all nodes of `kinds` in a file."""
    return (node for node in ast.walk(parse(path)) if isinstance(node, kinds))


def short(path: Path) -> str:
    """Write a path as seen from the checkout."""
    return path.relative_to(ROOT).as_posix()


def room_of(path: Path) -> str:
    """Name the room a file of the package lies in; the package's own files are their own room."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def lines(node_or_text: str) -> int:
    """Count non-blank lines."""
    return sum(1 for line in node_or_text.splitlines() if line.strip())
