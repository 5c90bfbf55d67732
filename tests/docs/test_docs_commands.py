"""Every command in a fenced `sh` block of the README and the docs runs, page by page, as a new user would run it.

A page is one shell script: its blocks in order, `set -e`, in an empty home, with a folder `papers` of a few files to
work on. Blocks of other kinds (`text`, `json`, `python`) are not commands.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "src" / "baray" / "samples" / "one-window" / "documents"
PAGES = [p for p in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))] if "```sh\n" in p.read_text("utf-8")]
LIMIT_SECONDS = 240


def blocks_of(page: Path) -> list[str]:
    return re.findall(r"^```sh\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


@pytest.fixture
def place(tmp_path):
    """A checkout seen through links, a home of its own, and a folder of papers; nothing is left running."""
    for name in (".venv", "scripts", "src", "pyproject.toml", "requirements", "benchmarks", "docs"):
        (tmp_path / name).symlink_to(ROOT / name)
    papers = tmp_path / "papers"
    papers.mkdir()
    plain = [p for p in sorted(SAMPLE.rglob("*")) if p.suffix in (".txt", ".md", ".html") and p.stat().st_size > 0]
    for path in plain[:12]:
        shutil.copy(path, papers / path.name)
    yield tmp_path
    stop_servers(tmp_path)


def stop_servers(place: Path) -> None:
    """End what the page's commands left running: processes whose command line or environment names this place."""
    mark = str(place).encode()
    deadline = time.monotonic() + 20
    while found := [int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit() and mark in words_of(p)]:
        for pid in found:
            try:
                os.kill(pid, signal.SIGTERM if time.monotonic() < deadline - 10 else signal.SIGKILL)
            except ProcessLookupError:
                continue
        assert time.monotonic() < deadline, f"still running: {found}"
        time.sleep(0.2)


def words_of(process: Path) -> bytes:
    if process.name == str(os.getpid()):
        return b""
    try:
        return (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
    except OSError:
        return b""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands_of_the_page_run(page, place):
    command = ["sh", "-c", "set -eux\n" + "\n".join(blocks_of(page))]
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    environ = {**kept, "HOME": str(place), "BARAY_HOME": str(place / "home")}
    log = place / "output.txt"
    with log.open("wb") as out:
        child = subprocess.Popen(command, cwd=place, env=environ, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        try:
            code = child.wait(LIMIT_SECONDS)
        finally:
            child.kill()
    assert code == 0, log.read_text(errors="replace")[-4000:]


def test_some_page_was_found():
    assert ROOT / "README.md" in PAGES
