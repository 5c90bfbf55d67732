"""Sizes and names: a budget that hurts is the sign of a missing noun."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess

import pytest
from trees import PACKAGE, ROOMS, ROOT, files, lines, nodes, short

FILE_LINES, FUNCTION_LINES, ROOM_MODULES = 400, 50, 10
SOUP = ("Manager", "Helper", "Helpers", "Util", "Utils", "Processor", "Factory")
# Places and hosts of machines that the project was made on or fetched from: no file speaks of them.
# Written in two parts so that this file does not hold them.
FORBIDDEN = [
    a + b
    for a, b in (("/wo", "rk/"), ("/tmp/", "brief"), ("/opt/", "pypi"), ("py", "pi.org"), ("pythonho", "sted.org"))
]
TEXT = {
    ".py",
    ".md",
    ".toml",
    ".txt",
    ".html",
    ".css",
    ".js",
    ".json",
    ".jsonl",
    ".csv",
    ".svg",
    ".mako",
    ".ini",
    ".cfg",
    "",
}


def test_files_are_short():
    sizes = {short(path): lines(path.read_text(encoding="utf-8")) for path in files(".py")}
    assert {path: size for path, size in sizes.items() if size > FILE_LINES} == {}


def test_functions_are_short():
    found = {}
    for path in files(".py", below=PACKAGE):
        if "migrations" in path.parts:  # a table's past, written once
            continue
        text = path.read_text(encoding="utf-8").splitlines()
        for node in nodes(path, ast.FunctionDef, ast.AsyncFunctionDef):
            size = lines("\n".join(text[node.lineno - 1 : node.end_lineno]))
            if size > FUNCTION_LINES:
                found[f"{short(path)}:{node.lineno} {node.name}"] = size
    assert found == {}


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_hold_few_modules(room):
    inside = [p for p in (PACKAGE / room).iterdir() if p.name not in ("__init__.py", "__pycache__")]
    modules = [p.name for p in inside if p.suffix == ".py" or (p / "__init__.py").exists()]
    assert len(modules) <= ROOM_MODULES, sorted(modules)


def test_classes_are_named_by_nouns_of_the_glossary():
    found = [
        f"{short(path)}:{node.lineno} {node.name}"
        for path in files(".py")
        for node in nodes(path, ast.ClassDef)
        if isinstance(node, ast.ClassDef) and node.name.endswith(SOUP)
    ]
    assert found == []


def test_files_speak_of_the_project_alone():
    found = [
        f"{short(path)}: {word}"
        for path in files()
        if path.suffix in TEXT
        for word in FORBIDDEN
        if word in path.read_text(encoding="utf-8", errors="replace")
    ]
    assert found == []


def test_locks_hold_hashes_and_nothing_of_the_machine_that_made_them():
    line = re.compile(r"([a-z0-9._-]+==[^ ]+( ; [^\\]+)?|    --hash=sha256:[0-9a-f]{64})( \\)?")
    locks = sorted((ROOT / "requirements").glob("*.txt"))
    assert locks
    for lock in locks:
        wrong = [text for text in lock.read_text().splitlines() if not line.fullmatch(text)]
        assert wrong == [], lock.name
        pins = re.split(r"\n(?=\S)", lock.read_text())
        assert [pin for pin in pins if "--hash" not in pin] == [], lock.name


def test_torch_is_locked_for_every_python_and_machine_as_the_locks_program_writes_it():
    spec = importlib.util.spec_from_file_location("lock", ROOT / "requirements" / "lock.py")
    lock = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(lock)
    machines = {f"{python} {machine}" for python in lock.PYTHONS for machine in ("x86_64", "aarch64")}
    assert set(lock.TORCH_WHEELS) == machines
    assert len(set(lock.TORCH_WHEELS.values())) == len(machines)
    for name in lock.EXTRAS:
        text = (ROOT / "requirements" / f"{name}.txt").read_text()
        assert text.count("torch==") == (name in lock.WITH_TORCH), name
        assert (lock.render_torch() in text) == (name in lock.WITH_TORCH), name


@pytest.mark.parametrize("script", sorted(p.name for p in (ROOT / "scripts").iterdir() if p.suffix == ""))
def test_scripts_are_plain_sh(script):
    path = ROOT / "scripts" / script
    assert path.read_text().startswith("#!/bin/sh\n")
    assert path.stat().st_mode & 0o111
    done = subprocess.run(["sh", "-n", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
