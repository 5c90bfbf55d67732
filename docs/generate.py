"""Writes docs/reference/ from the code: `python docs/generate.py [--check]`, called by `scripts/docs`.

What a page says comes from where the code says it: help texts, docstrings, the literal first arguments of errors. So a
page cannot promise what is not there; `--check` fails where a page is stale, and a test calls it.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "baray"
REFERENCE = ROOT / "docs" / "reference"
ERRORS = {"Refused": 400, "Fault": 500, "StateUnknown": 503, "BarayError": 500}


def main(arguments: list[str]) -> int:
    """Write every page, or with `--check` say which are stale."""
    stale = []
    for name, page in PAGES.items():
        path, text = REFERENCE / f"{name}.md", page().rstrip() + "\n"
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(path.relative_to(ROOT).as_posix())
        if "--check" not in arguments:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    if stale and "--check" in arguments:
        print(f"stale, write them with scripts/docs: {', '.join(stale)}")
        return 1
    print("\n".join(f"wrote {path}" for path in stale) or "nothing to write")
    return 0


def commands() -> str:
    """Every command: its help, options and example."""
    catalogue = importlib.import_module("baray.client.catalogue")
    out = ["# Commands", "", GENERATED, "", COMMON]
    for path, entry in catalogue.COMMANDS.items():
        module, _, name = entry.target.partition(":")
        leaf = getattr(importlib.import_module(f"baray.client.{module}"), name)
        out += ["", f"## baray {path}", "", entry.help]
        rows = [row for param in leaf.params for row in parameter_row(param)]
        out += ["", "| | |", "|---|---|", *rows] if rows else []
        out += ["", "```text", leaf.example, "```"] if leaf.example else []
    return "\n".join(out)


def parameter_row(param) -> Iterator[str]:
    """One row of a command's table."""
    if param.param_type_name == "argument":
        needed = "" if param.required else "optional"
        yield f"| `{param.metavar or param.name.upper()}` | {needed} |"
        return
    flag = ", ".join(f"`{name}`" for name in [*param.opts, *param.secondary_opts])
    value = "" if param.is_flag else f" `{param.metavar or param.name.upper()}`"
    yield f"| {flag}{value} | {cell(param.help or '')} |"


def settings() -> str:
    """Every environment variable that Baray reads."""
    out = ["# Settings", "", GENERATED, "", "Settings are read once, from the environment, when a process starts.", ""]
    out += ["| setting | meaning |", "|---|---|"]
    known = {one.name: one.help for one in importlib.import_module("baray.app.settings").SETTINGS}
    for doc in documented_fields(PACKAGE / "client" / "settings.py"):
        named = re.match(r"(BARAY_[A-Z_]+): (.*)", doc, re.DOTALL)
        if named:
            known.setdefault(named[1], named[2][0].upper() + named[2][1:])
    out += [f"| `{name}` | {cell(text)} |" for name, text in sorted(known.items())]
    out += ["", "## What a command of yours finds", "", "| variable | meaning |", "|---|---|"]
    out += [f"| `{name}` | {text} |" for name, text in INSIDE.items()]
    return "\n".join(out)


def documented_fields(path: Path) -> Iterator[str]:
    """Yield the docstrings that follow the fields of a file's dataclasses."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ClassDef):
            for field, after in zip(node.body, node.body[1:], strict=False):
                if isinstance(field, ast.AnnAssign) and isinstance(after, ast.Expr):
                    if isinstance(after.value, ast.Constant):
                        yield str(after.value.value)


def errors() -> str:
    """Every error code, with the messages that carry it."""
    out = ["# Errors", "", GENERATED, "", ERRORS_TEXT]
    found: dict[str, set[tuple[str, str]]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for code, message, fix in error_of(node):
                found.setdefault(code, set()).add((message, fix))
    for code in sorted(found):
        out += ["", f"## {code}", ""]
        out += [f"- {message}" + (f" *{fix}*" if fix else "") for message, fix in sorted(found[code])]
    return "\n".join(out)


def error_of(node: ast.AST) -> Iterator[tuple[str, str, str]]:
    """Yield (code, message, fix) of a call that makes an error."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
        return
    fix = next((template(word.value) for word in node.keywords if word.arg == "fix"), "")
    if node.func.id == "NotFound" and len(node.args) == 2:
        yield "not_found", f"There is no {template(node.args[0])} '{template(node.args[1])}'.", fix
    if node.func.id in ERRORS and len(node.args) > 1 and isinstance(node.args[0], ast.Constant):
        yield str(node.args[0].value), template(node.args[1]), fix
    if node.func.id == "blocked" and isinstance(node.args[0], ast.Constant):
        said = {word.arg: template(word.value) for word in node.keywords}
        yield str(node.args[0].value), f"{said['what']} {said['why']}", f"{said['change']} Ask: {said['ask']}."


def template(node: ast.expr) -> str:
    """Write a message with names where values go."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(template(part) for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return template(node.left) + template(node.right)
    inner = node.value if isinstance(node, ast.FormattedValue) else node
    names = [
        n.attr if isinstance(n, ast.Attribute) else n.id
        for n in ast.walk(inner)
        if isinstance(n, ast.Attribute | ast.Name)
    ]
    return f"<{names[0] if names else 'value'}>"


def routes() -> str:
    """Every HTTP route of both servers."""
    out = ["# HTTP", "", GENERATED, "", ROUTES_TEXT]
    for title, rows in (("control", control_routes()), ("router", router_routes())):
        out += ["", f"## {title}", "", "| route | |", "|---|---|"]
        out += [f"| `{method} {path}` | {cell(text)} |" for path, method, text in sorted(set(rows))]
    return "\n".join(out)


def control_routes() -> Iterator[tuple[str, str, str]]:
    """Yield (path, method, first line) of the API and of the console's pages; the application needs no home for it."""
    for path, methods in importlib.import_module("baray.web").make_app(None).openapi()["paths"].items():
        for method, told in methods.items():
            yield path, method.upper(), told.get("description", "").split("\n")[0]
    console = PACKAGE / "web" / "console"
    for page in sorted(file.stem for file in console.glob("*.py") if "\nrouter = " in file.read_text(encoding="utf-8")):
        for route in importlib.import_module(f"baray.web.console.{page}").router.routes:
            for method in sorted(route.methods - {"HEAD"}):
                yield route.path, method, (route.endpoint.__doc__ or "").split("\n")[0]


def router_routes() -> Iterator[tuple[str, str, str]]:
    """Yield the same of the router, whose places are a table of paths in its source."""
    tree = ast.parse((PACKAGE / "serve" / "router" / "application.py").read_text(encoding="utf-8"))
    functions = {n.name: n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)}
    for table in ast.walk(tree):
        for key, place in zip(table.keys, table.values, strict=True) if isinstance(table, ast.Dict) else ():
            if isinstance(key, ast.Constant) and str(key.value).startswith("/") and isinstance(place, ast.Call):
                words = {word.arg: word.value for word in place.keywords}
                handler = functions[ast.unparse(words["handler"]).removeprefix("self.")]
                name = "NAME" if str(key.value).endswith("/") else ""
                yield (
                    f"{key.value}{name}",
                    template(words["method"]),
                    (ast.get_docstring(handler) or ROUTER.get(str(key.value), "")).split("\n")[0],
                )


def ledger() -> str:
    """Every kind of entry."""
    kinds = importlib.import_module("baray.ledger.kinds").KINDS
    rows = [f"| `{kind}` | {cell(meaning)} |" for kind, meaning in sorted(kinds.items())]
    return "\n".join(
        ["# Ledger entries", "", GENERATED, "", LEDGER_TEXT, "", "| kind | written when |", "|---|---|", *rows]
    )


def recipes() -> str:
    """Every built-in recipe with its options."""
    out = ["# Recipes", "", GENERATED]
    data, train = importlib.import_module("baray.data"), importlib.import_module("baray.train")
    for name, options in [*data.RECIPES.items(), *((name, one.options) for name, one in train.RECIPES.items())]:
        out += [
            "",
            f"## {name}",
            "",
            str(options.__doc__).split("\n")[0],
            "",
            "| option | meaning | unit | default |",
            "|---|---|---|---|",
        ]
        for field in dataclasses.fields(options):
            words = [
                f"`{field.name}`",
                cell(field.metadata["help"]),
                field.metadata.get("unit", ""),
                f"`{field.default!r}`",
            ]
            out.append(f"| {' | '.join(words)} |")
    return "\n".join(out)


def cell(text: str) -> str:
    """Make a text fit a table's cell."""
    return " ".join(text.split()).replace("|", "\\|")


GENERATED = "*Written by `scripts/docs` from the code.*"
COMMON = """\
Every command takes `--json` (one JSON document on the standard output) and `--home DIR`; those that speak to a server
also take `--project NAME` and `--server URL`. Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 130 interrupted.
"""
INSIDE = {
    "BARAY_IN": "Folder of the inputs, read-only.",
    "BARAY_OUT": "Folder for the outputs, one folder each, by the names that `--output` gives.",
    "BARAY_RUN": "Id of the Run.",
    "BARAY_API_SOCKET": "Socket by which a command reaches its own Run: see docs/notes/runs.md.",
    "BARAY_METRICS": "File for the command's metrics where isolation is reduced, which has no sockets.",
    "BARAY_ATTEMPT": "Id of this Attempt.",
}
ROUTER = {
    "/healthz": "The process answers.",
    "/robots.txt": "Asks search engines to stay away.",
    "/v1/models": "Models that the caller may use, in OpenAI's form.",
    "/v1/models/": "One of them.",
    "/v1/classify": "Classes of a text or of several: `{model, input}`.",
    "/v1/answers": "A Desk's answer with citations: `{model, question}`, where `model` is the Desk's name.",
}
ERRORS_TEXT = """\
An error has a stable code, a message that names the values, and what to do (in italics). Over HTTP it is RFC 9457
`application/problem+json` with `code`, `title`, `detail`, `fix`. Words in angle brackets stand for values.
"""
ROUTES_TEXT = (
    "`control` answers at port 8642 (OpenAPI at `/api/v1/openapi.json`), the `router` at port 8643. Requests carry\n"
    "`Authorization: Bearer bry_...`; without one the router answers as for the public."
)
LEDGER_TEXT = (
    "An entry holds ids, digests, labels and decisions, never names or text; see the [auditor's page](../auditor.md)."
)
PAGES: dict[str, Callable[[], str]] = {
    "commands": commands,
    "settings": settings,
    "errors": errors,
    "http": routes,
    "ledger": ledger,
    "recipes": recipes,
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
