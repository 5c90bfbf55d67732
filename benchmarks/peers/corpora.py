"""Texts to measure on: this machine's own English documentation, and Khmer that lies outside the project.

English: handbooks, references and manuals that Debian packages bring (`PACKAGES`; root installs them when they are not
there), help of LibreOffice, manual pages. Khmer: Debian's Khmer help of LibreOffice and, where the folder is there, the
sentences of `../shared/data/khmer`, which are never copied into the project.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from baray.data.readers import ReadOptions, Record, SourceFile, read_file

PACKAGES = (
    "debian-handbook",
    "debian-reference-en",
    "developers-reference",
    "libreoffice-help-en-us",
    "libreoffice-help-km",
)
FOLDERS = (
    ("/usr/share/doc/debian-handbook/html/en-US", 200),
    ("/usr/share/debian-reference", 40),
    ("/usr/share/developers-reference", 40),
    ("/usr/share/doc/python3.11/html", 500),
    ("/usr/share/libreoffice/help/en-US", 500),
)
MANUALS = 120
KHMER_HELP = Path("/usr/share/libreoffice/help/km")
KHMER_SENTENCES = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "khmer" / "segmentation"
KHMER_WIKI = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "khmer" / "text" / "wiki.txt"
OPTIONS = ReadOptions(rows="no", text_field="text", max_bytes=20_000_000, ocr=None, ocr_pages=0, cpus=1)
LEAST = 200
"""Characters that a text needs."""


def install() -> None:
    """Bring the documentation that is missing, where we may."""
    missing = [name for name in PACKAGES if not Path("/var/lib/dpkg/info", f"{name}.list").exists()]
    if missing and os.geteuid() == 0 and shutil.which("apt-get"):
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run(["apt-get", "-qq", "update"], check=False, **quiet)
        subprocess.run(["apt-get", "-qq", "-y", "install", "--no-install-recommends", *missing], check=False, **quiet)


def english(*, quick: bool = False) -> list[str]:
    """Different texts, the same ones in the same order each time."""
    found: dict[str, None] = {}
    for folder, most in FOLDERS:
        for path in spread(sorted(Path(folder).rglob("*.html")), most // 8 if quick else most):
            for text in texts_of(path):
                found.setdefault(text)
    for text in manuals(MANUALS // 8 if quick else MANUALS):
        found.setdefault(text)
    return shuffled(list(found))


def khmer(*, quick: bool = False) -> list[str]:
    """Pages of the help, and sentences of one domain put together as they come: 12 to a paragraph, five paragraphs."""
    found: dict[str, None] = {}
    for path in spread(sorted(KHMER_HELP.rglob("*.html")), 40 if quick else 200):
        for text in texts_of(path):
            found.setdefault(text)
    for path in sorted(KHMER_SENTENCES.glob("*.tsv")):
        sentences = [joined(line) for line in path.read_text(encoding="utf-8").splitlines()]
        for at in range(0, min(len(sentences), 600 if quick else 6000), 60):
            block = sentences[at : at + 60]
            found.setdefault("\n\n".join("".join(block[start : start + 12]) for start in range(0, len(block), 12)))
    if KHMER_WIKI.exists():
        lines = KHMER_WIKI.read_text(encoding="utf-8").splitlines()
        for at in range(0, min(len(lines), 300 if quick else 3000), 30):
            found.setdefault("\n".join(lines[at : at + 30]))
    return shuffled([text for text in found if len(text) >= LEAST])


def joined(line: str) -> str:
    """A sentence as people write it: what parts words and their pieces is taken out."""
    return line.partition("\t")[2].translate({ord(sign): None for sign in " _~^"})


def texts_of(path: Path) -> Iterator[str]:
    """Text of one file."""
    for one in read_file(SourceFile(path=path.name, blob=path, bytes=path.stat().st_size), OPTIONS):
        if isinstance(one, Record) and len(one.text) >= LEAST:
            yield one.text


def manuals(most: int) -> Iterator[str]:
    """Manual pages as a terminal shows them."""
    program = shutil.which("man")
    if program is None:
        return
    for path in spread(sorted(Path("/usr/share/man/man1").glob("*.gz")), most):
        surroundings = {"PATH": "/usr/bin:/bin", "MANWIDTH": "80", "MAN_KEEP_FORMATTING": "0", "LC_ALL": "C.UTF-8"}
        done = subprocess.run([program, "-l", str(path)], capture_output=True, check=False, env=surroundings)
        text = done.stdout.decode("utf-8", "replace")
        if done.returncode == 0 and len(text) >= LEAST:
            yield text


def spread(paths: list[Path], most: int) -> list[Path]:
    """At most `most` of the paths, from all over."""
    step = max(1, -(-len(paths) // max(1, most)))
    return paths[::step]


def shuffled(texts: list[str]) -> list[str]:
    """In an order of its own that is always the same."""
    random.Random(20261122).shuffle(texts)
    return texts
