"""The report on one sheet of paper: a page of its own with nothing outside it, and the same as text for a terminal."""

from __future__ import annotations

import base64
import hashlib
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from baray.core import format_bytes
from baray.web.console.strings import translate

UNKNOWN = (
    "What a person who may read something copied by hand, photographed, or told others.",
    "What somebody with the machine's root account, its disk or a copy of it read: nothing of that passes here.",
    "Copies of the home, backups among them, once they were made outside Baray.",
    "Traffic of other programs on the machine: only what runs under Baray is counted.",
    "Lists of names: opening a thing at level restricted or above is counted, seeing its name in a list is not.",
    "Whether each file was given the right label when it came in.",
    "Whether updates exist that are not installed: Baray asks nobody outside.",
)
"""What the report says that it cannot know; the keys of its translations."""
_HERE = Path(__file__).parent
LINES = 8
"""Rows of each list on the paper."""
_SHEETS = Environment(
    loader=FileSystemLoader(_HERE / "templates"),
    autoescape=select_autoescape(["html"]),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
_SHEETS.filters["size"] = format_bytes


def as_page(document: dict[str, Any], language: str) -> str:
    """A whole HTML page: its style is in it, and it asks for nothing else."""
    return _render("sovereignty.html", document, language, style=_style())


def as_text(document: dict[str, Any], language: str) -> str:
    """The same as plain text."""
    return _render("sovereignty.txt", document, language)


def style_digest() -> str:
    """The source expression of a Content-Security-Policy that allows the page's own style and no other."""
    return "sha256-" + base64.b64encode(hashlib.sha256(_style().encode()).digest()).decode()


def _render(template: str, document: dict[str, Any], language: str, **values: str) -> str:
    words = partial(translate, language)
    return _SHEETS.get_template(template).render(d=document, t=words, language=language, lines=LINES, **values)


def _style() -> str:
    return (_HERE / "static" / "report.css").read_text(encoding="utf-8")
