"""The reference is what the code says, and names everything that a user can meet."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"
PACKAGE = ROOT / "src" / "baray"


def text_of(page: str) -> str:
    return (REFERENCE / f"{page}.md").read_text(encoding="utf-8")


def test_reference_is_not_stale():
    command = [sys.executable, ROOT / "docs" / "generate.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_command_has_a_heading():
    catalogue = importlib.import_module("baray.client.catalogue")
    headings = set(re.findall(r"^## baray (.+)$", text_of("commands"), re.MULTILINE))
    assert headings == set(catalogue.COMMANDS)


def test_every_environment_variable_is_a_setting():
    used = {name for path in PACKAGE.rglob("*.py") for name in re.findall(r"\bBARAY_[A-Z_]+", path.read_text("utf-8"))}
    used = {name for name in used if not name.startswith("BARAY_PROBE")}  # bait that the sandbox's probes look for
    assert used - set(re.findall(r"`(BARAY_[A-Z_]+)`", text_of("settings"))) == set()


def test_every_ledger_kind_is_listed():
    kinds = importlib.import_module("baray.ledger.kinds").KINDS
    assert set(re.findall(r"^\| `([a-z._]+)` \| \S", text_of("ledger"), re.MULTILINE)) == set(kinds)


def test_every_error_code_has_a_heading_and_errors_say_what_to_do():
    page = text_of("errors")
    assert re.findall(r"^## (?![a-z0-9_-]+$).*$", page, re.MULTILINE) == []
    assert re.findall(r"^- $", page, re.MULTILINE) == []


def test_every_api_route_is_listed_with_what_it_does():
    rows = re.findall(r"^\| `([A-Z]+ /[^`]*)` \|(.*)\|$", text_of("http"), re.MULTILINE)
    assert len(rows) > 20
    assert [route for route, meaning in rows if not meaning.strip()] == []


@pytest.mark.parametrize("page", [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))], ids=lambda p: p.name)
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", text)
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert missing == []
