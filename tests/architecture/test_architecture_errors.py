"""Nothing is swallowed: broad handlers are few and named here, suppressions only become fewer."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

from trees import PACKAGE, ROOT, files, nodes, short

# Where a handler may take any Exception, how often, and why. Everything else names what it expects.
BROAD: dict[str, tuple[int, str]] = {
    "src/baray/store/records.py": (1, "an action's error is handed to its caller, and the next group goes on"),
    "src/baray/runs/worker/loop.py": (1, "the worker's loop: the attempt failed, the worker goes on"),
    "src/baray/runs/attempt.py": (1, "the same boundary inside the attempt's own process"),
    "src/baray/app/control.py": (1, "control's upkeep loop: logged, and the next round comes"),
    "src/baray/web/boundary.py": (1, "the web's error boundary: logged, and a 500"),
    "src/baray/serve/router/application.py": (1, "the router's error boundary: logged, and a 500"),
}
RATCHET = Path(__file__).with_name("suppressions.json")
SUPPRESSION = {"noqa": re.compile(r"#\s*noqa\b"), "type: ignore": re.compile(r"#\s*type:\s*ignore\b")}
BROAD_NAMES = {"Exception", "BaseException"}


def is_broad(kind: ast.expr | None) -> bool:
    if kind is None:
        return True
    names = kind.elts if isinstance(kind, ast.Tuple) else [kind]
    return any(isinstance(name, ast.Name) and name.id in BROAD_NAMES for name in names)


def raises_again(handler: ast.ExceptHandler) -> bool:
    return isinstance(handler.body[-1], ast.Raise)


def broad_handlers() -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for path in files(".py", below=PACKAGE):
        for handler in nodes(path, ast.ExceptHandler):
            assert isinstance(handler, ast.ExceptHandler)
            if is_broad(handler.type) and not raises_again(handler):
                found.setdefault(short(path), []).append(handler.lineno)
    return found


def test_broad_handlers_are_where_they_are_named_and_no_more():
    allowed = {path: number for path, (number, _) in BROAD.items()}
    found = broad_handlers()
    assert {path: lines for path, lines in found.items() if len(lines) > allowed.get(path, 0)} == {}
    assert {path: number for path, number in allowed.items() if len(found.get(path, [])) < number} == {}, "stale"


def test_no_suppress_of_everything():
    found = [
        f"{short(path)}:{call.lineno}"
        for path in files(".py")
        for call in nodes(path, ast.Call)
        if isinstance(call, ast.Call)
        and (getattr(call.func, "attr", None) == "suppress" or getattr(call.func, "id", None) == "suppress")
        and any(is_broad(argument) for argument in call.args)
    ]
    assert found == []


def count_suppressions() -> dict[str, int]:
    texts = [p.read_text(encoding="utf-8") for p in files(".py") if p != Path(__file__)]
    return {name: sum(len(pattern.findall(text)) for text in texts) for name, pattern in SUPPRESSION.items()}


def test_suppressions_only_become_fewer():
    allowed = json.loads(RATCHET.read_text())
    counted = count_suppressions()
    more = {name: (counted[name], allowed[name]) for name in counted if counted[name] > allowed[name]}
    assert more == {}, "more suppressions than before (counted, allowed): mend the cause instead"
    assert counted == allowed, f"fewer suppressions than before: write {counted} to {short(RATCHET)}"


def test_no_mocks():
    found = []
    for path in files(".py"):
        for node in nodes(path, ast.Import, ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [str(node.module)]
            if any(name.split(".")[:2] == ["unittest", "mock"] or name == "mock" for name in names):
                found.append(f"{short(path)}:{node.lineno}")
            if isinstance(node, ast.ImportFrom) and node.module == "unittest":
                found += [f"{short(path)}:{node.lineno}" for alias in node.names if alias.name == "mock"]
    assert found == []


def is_empty(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    def says_nothing(statement: ast.stmt) -> bool:
        constant = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
        always = isinstance(statement, ast.Assert) and isinstance(statement.test, ast.Constant)
        return constant or always or isinstance(statement, ast.Pass)

    return all(says_nothing(statement) for statement in function.body)


def test_no_test_is_empty():
    found = [
        f"{short(path)}:{function.lineno}"
        for path in files(".py", below=ROOT / "tests")
        for function in nodes(path, ast.FunctionDef, ast.AsyncFunctionDef)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        and function.name.startswith("test")
        and is_empty(function)
    ]
    assert found == []
