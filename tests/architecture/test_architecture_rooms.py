"""Rooms have one door each, heavy packages stay in theirs, and a few calls have one place."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from trees import PACKAGE, ROOMS, ROOT, files, nodes, parse, room_of, short

HEAVY = {"torch", "ray", "polars", "pyarrow", "numba", "sklearn", "scipy", "numpy", "pandas", "duckdb", "transformers"}
ENGINES = PACKAGE / "serve" / "engines"
WIRING = {"app"}  # the only room that may reach behind other rooms' doors
# Names that only the named room may import: each is the one way to something.
ONE_PLACE = {("baray.catalog", "publish"): "runs", ("baray.store", "open_store"): "app"}


def imports(path: Path) -> Iterator[tuple[int, str, str]]:
    """Yield (line, module, name) of each import; the name is empty for `import module`."""
    for node in nodes(path, ast.Import, ast.ImportFrom):
        for alias in node.names:
            if isinstance(node, ast.Import):
                yield node.lineno, alias.name, ""
            else:
                yield node.lineno, str(node.module), alias.name


def door_names(room: str) -> set[str] | None:
    """Read a room's `__all__`; None where its door is not a package's."""
    door = PACKAGE / room / "__init__.py"
    if not door.exists():
        return None
    for node in parse(door).body:
        if isinstance(node, ast.Assign) and any(getattr(t, "id", "") == "__all__" for t in node.targets):
            return set(ast.literal_eval(node.value))
    return set()


def past_the_door(path: Path) -> Iterator[str]:
    for line, module, name in imports(path):
        parts = module.split(".")
        if parts[0] != "baray" or len(parts) == 1 or parts[1] == room_of(path):
            continue
        names = door_names(parts[1])
        if len(parts) > 2 or (name and names is not None and name not in names):
            yield f"{short(path)}:{line} {module}.{name}"


def test_rooms_are_entered_by_their_door():
    outside = [path for path in files(".py", below=PACKAGE) if room_of(path) not in WIRING]
    assert [found for path in outside for found in past_the_door(path)] == []


def test_one_way_calls_have_one_place():
    found = [
        f"{short(path)}:{line} {module}.{name}"
        for path in files(".py", below=PACKAGE)
        for line, module, name in imports(path)
        if (module, name) in ONE_PLACE and room_of(path) not in (ONE_PLACE[module, name], module.split(".")[1])
    ]
    assert found == []


def test_every_room_says_what_it_owns_and_has_a_note():
    lacking = []
    for room in ROOMS:
        text = (ast.get_docstring(parse(PACKAGE / room / "__init__.py")) or "").lower()
        lacking += (
            []
            if "owns" in text and "does not own" in text
            else [f"{room}: docstring says what it owns and does not own"]
        )
        lacking += [] if (ROOT / "docs" / "notes" / f"{room}.md").exists() else [f"docs/notes/{room}.md"]
    assert lacking == []


def test_every_module_has_a_docstring():
    assert [short(p) for p in files(".py", below=PACKAGE) if ast.get_docstring(parse(p)) is None] == []


def test_what_answers_http_loads_nothing_heavy():
    """Every module of the light rooms, and the doors of the heavy ones, in one process."""
    heavy = (PACKAGE / "data", PACKAGE / "train", ENGINES)
    light = [p for p in files(".py", below=PACKAGE) if p.name == "__init__.py" or not set(heavy) & set(p.parents)]
    modules = [".".join(p.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__") for p in light]
    modules = [m for m in modules if ".migrations." not in m and not m.endswith("__main__")]
    program = "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program, *modules], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {name.split(".")[0] for name in done.stdout.split()} & HEAVY == set()


def test_nothing_imports_the_engines_but_themselves():
    """They are reached by dotted name, in an Attempt's own process: what is allowed to them may weigh on nobody else."""
    outside = [path for path in files(".py", below=PACKAGE) if ENGINES not in path.parents]
    found = [
        f"{short(p)}:{line}"
        for p in outside
        for line, module, _ in imports(p)
        if module.startswith("baray.serve.engines")
    ]
    assert found == []


def test_only_the_standard_library_below_the_trust_line():
    """Files that run alone, with no environment of ours: the supervisor, what runs in the sandbox, the auditor's tools."""
    alone: dict[str, set[str]] = {"runs/supervisor.py": set(), "ledger/witness.py": {"cryptography"}}
    alone |= {f"runs/sandbox/{name}.py": set() for name in ("launch", "egress", "probes")}
    alone |= {
        f"runs/sandbox/corpus/{name}.py": {"baray"} for name in ("calls", "files", "main", "network", "processes")
    }
    alone |= {"runs/sandbox/corpus/tools.py": set()}
    allowed_everywhere = set(sys.stdlib_module_names)
    found = [
        f"{short(PACKAGE / name)}:{line} {module}"
        for name, more in alone.items()
        for line, module, _ in imports(PACKAGE / name)
        if module.split(".")[0] not in allowed_everywhere | more
    ]
    assert found == []
