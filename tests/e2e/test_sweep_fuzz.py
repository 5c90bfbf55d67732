"""Nonsense at every route never breaks anything: no 5xx, whatever is sent, by a fuzzer of our own and by schemathesis.

How much: 600 requests of ours and 200 of schemathesis' cases here, 2,000 cases with `--slow`, 10,000 in `scripts/soak`.
A 503 that says what is missing (`router_down`, `no_sandbox`, `busy`) is an answer, not a failure.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from sweep_examples import FORM
from sweeps import Reply, World, furnish, request_of, routes, serving

HERE = Path(__file__).parents[1]
PINS = HERE / "conformance" / "pins" / "schemathesis.txt"
ENVIRONMENTS = HERE.parent / ".venv" / "conformance"
SAID_503 = ("router_down", "no_sandbox", "busy", "not_ready", "starting", "still_starting")
TEXTS = (
    "", " ", "a", "A" * 5000, "\x00", "a\x00b", "../../etc/passwd", "..%2f..", "' OR 1=1 --", "<script>", "{{7*7}}", "-1", "0",
    "1e400", "99999999999999999999999", "NaN", "ភាសាខ្មែរ", "a\u202eb", "\ud800", "\u0000\ufffd", "dataset:x@v0",
    "dataset:x@v999999999",
    "run:", ":", "@", "secret:@", "public@", "r_" + "0" * 26, "r_" + "z" * 26, "sha256:" + "0" * 64, "2026-13-45", "9" * 400 + "h",
    "%s%n%d", "\r\nSet-Cookie: a=b", "/", "//", "?#", "null",
)  # fmt: skip
NUMBERS = (0, -1, 1, 2**31, 2**63, -(2**63) - 1, 10**30, 1.5, 1e308, True, None)


@pytest.fixture(scope="module")
def world(tmp_path_factory, need):
    need("bwrap")
    with serving(tmp_path_factory.mktemp("fuzz")) as world:
        furnish(world, "alpha")
        world.tokens["alpha", "owner"] = world.person("low", "internal", {"alpha": "owner"})
        yield world


class Fuzzer:
    """Requests that are nearly right, from a seed."""

    def __init__(self, world: World, seed: int) -> None:
        self.world, self.chance = world, random.Random(seed)
        self.paths = world.api("GET", "openapi.json")["paths"]
        self.shapes = world.api("GET", "openapi.json").get("components", {}).get("schemas", {})
        self.words = list(world.made["alpha"].values())

    def value(self, depth: int = 0) -> Any:
        kind = self.chance.random()
        if kind < 0.45:
            return self.chance.choice(TEXTS)
        if kind < 0.7:
            return self.chance.choice(self.words)
        if kind < 0.85 or depth > 2:
            return self.chance.choice(NUMBERS)
        if kind < 0.93:
            return [self.value(depth + 1) for _ in range(self.chance.randrange(4))]
        return {str(self.chance.choice(TEXTS)): self.value(depth + 1) for _ in range(self.chance.randrange(3))}

    def text(self) -> str:
        return str(self.chance.choice(TEXTS) if self.chance.random() < 0.6 else self.chance.choice(self.words))

    def query(self, path: str, method: str) -> str:
        known = [one["name"] for one in self._operation(path, method).get("parameters", []) if one["in"] == "query"]
        names = [name for name in known if name != "project" and self.chance.random() < 0.7]
        pairs = [(name, self.text()) for name in names] + [
            ("project", "alpha" if self.chance.random() < 0.9 else self.text())
        ]
        return urlencode(pairs, errors="surrogatepass")

    def body(self, path: str, method: str) -> bytes:
        """By the schema's names with wrong values, with a member too many, or no JSON at all."""
        schema = self._operation(path, method).get("requestBody", {}).get("content", {}).get("application/json", {})
        shape = self.shapes.get(schema.get("schema", {}).get("$ref", "").rpartition("/")[2], {})
        if self.chance.random() < 0.08:
            return self.chance.choice([b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 5000, b'{"a":' * 900, b"1e999"])
        members = {name: self._likely(one) for name, one in shape.get("properties", {}).items()}
        for name in list(members):
            if self.chance.random() < 0.3:
                members[name] = self.value()
            elif self.chance.random() < 0.1:
                del members[name]
        return json.dumps(members).encode("utf-8", errors="surrogatepass")

    def _likely(self, shape: dict[str, Any]) -> Any:
        if "default" in shape:
            return shape["default"]
        kind = shape.get("type")
        if kind == "array":
            return [self._likely(shape.get("items", {}))]
        return {"integer": 1, "object": {}, "boolean": True}.get(str(kind), self.text())

    def _operation(self, path: str, method: str) -> dict[str, Any]:
        return self.paths.get(path, {}).get(method.lower(), {})

    def send(self, route: str, token: str | None) -> tuple[str, Reply]:
        own = {
            word: self.text() if self.chance.random() < 0.4 else name for word, name in self.world.made["alpha"].items()
        }
        own = {word: name.encode("utf-8", "replace").decode() for word, name in own.items()}
        request = request_of(self.world, route, own, "alpha")
        method, _, template = route.removeprefix("router ").partition(" ")
        path, body, kind = request.path.partition("?")[0], request.body, request.kind
        query = request.path.partition("?")[2] if self.chance.random() < 0.4 else self.query(template, method)
        if method in ("POST", "PUT") and self.chance.random() < 0.8:
            if kind == FORM:
                body = urlencode([(self.text(), self.text()) for _ in range(3)], errors="surrogatepass").encode()
            elif request.to_router:
                members = json.loads(request.body or b"{}")
                members[self.chance.choice(sorted(members) or ["model"])] = self.value()
                body = json.dumps(members).encode()
            else:
                body = self.body(template, method)
        path, query = quote(path, safe="/:%@") or "/", quote(query, safe="=&%/:+@")
        to = self.world.router if request.to_router else self.world.url
        target = f"{path}?{query}" if query else path
        return f"{method} {target[:300]} {(body or b'')[:600]!r}", self.world.ask(
            method, target, body, token=token, to=to, kind=kind
        )


def broken(reply: Reply) -> bool:
    if reply.status < 500:
        return False
    return reply.status != 503 or not any(f'"{code}"' in reply.text for code in SAID_503)


def fuzz(world: World, count: int, seed: int) -> list[str]:
    """What broke in `count` requests over all routes, by an owner, the operator and nobody."""
    fuzzer, wrong = Fuzzer(world, seed), []
    # What would end the fuzzer's own tokens, or wait on purpose, is left out.
    targets = [one for one in routes() if "sign-out" not in one and "stream" not in one and "/export" not in one]
    for number in range(count):
        route = targets[number % len(targets)]
        token = (world.tokens["alpha", "owner"], world.operator, world.tokens["alpha", "owner"], None)[
            number // len(targets) % 4
        ]
        said, reply = fuzzer.send(route, token)
        if broken(reply):
            wrong.append(f"{reply.status} {said}\n    {reply.text[:300]}")
    return wrong


def schemathesis(world: World, cases: int, python: Path, seed: int) -> list[str]:
    """What broke in at least `cases` cases of schemathesis over the API."""
    operations = sum(len(methods) for methods in world.api("GET", "openapi.json")["paths"].values())
    folder = world.home.path.parent
    (folder / "schemathesis.toml").write_text(true_words(world), encoding="utf-8")
    made, wrong, token = 0, [], world.tokens["alpha", "owner"]
    while made < cases and not wrong:  # an operation with few inputs gets fewer cases than asked for
        argv = [
            str(python.with_name("st")),
            "run",
            f"{world.url}/api/v1/openapi.json",
            "--checks",
            "not_a_server_error",
        ]
        argv += ["-H", f"Authorization: Bearer {token}", "--phases", "fuzzing", "--seed", str(seed), "--mode", "all"]
        argv += ["--max-examples", str(-((made - cases) // operations)), "--exclude-path-regex", "stream|readyz"]
        argv += ["--generation-database", "none", "--workers", "2", "--continue-on-failure", "--no-color"]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=3000, check=False, cwd=folder)
        counted = re.search(r"(\d+) generated", done.stdout)
        if done.returncode or counted is None:
            wrong.append(done.stdout[-8000:] + done.stderr[-2000:])
        else:
            made, seed = made + int(counted[1]), seed + 1
    if world.ask("GET", "/api/v1/whoami", token=token).status != 200:
        wrong.append("the token was lost on the way: what came after it went no further than the door")
    print(f"schemathesis: {made} cases, last seed {seed - 1}")
    return wrong


def true_words(world: World) -> str:
    """Settings of schemathesis by which most of its nonsense is about things that exist, and so goes deeper."""
    things = world.made["alpha"]
    names = sorted({things[word] for word in ("project", "source", "model", "desk", "routing", "actor")})
    refs = [
        f"source:{things['source']}",
        f"dataset:{things['dataset']}",
        f"model:{things['model']}",
        f"run:{things['run']}",
    ]
    lists = {"project": ["alpha"], "name": names, "ref": refs, "run": [things["run"], things["failing"]]}
    lists |= {word: [things[word]] for word in ("answer", "lowering", "digest", "source", "index", "model", "actor")}
    lists |= {
        "plural": ["sources", "datasets", "models", "indexes"],
        "path": ["hours.txt", "report.json", "manifest.json"],
    }
    places = {"query.project": "project", "path.name": "name", "path.run_id": "run", "path.answer_id": "answer"}
    places |= {"path.request_id": "lowering", "path.digest": "digest", "path.plural": "plural", "path.path": "path"}
    places |= {"query.ref": "ref", "body.ref": "ref", "body.source": "source", "body.dataset": "source"}
    places |= {"body.index": "index", "body.model": "model", "body.actor": "actor"}
    lines = [f"[dictionaries.{name}]\nvalues = {json.dumps(values)}" for name, values in lists.items()]
    lines += ["[parameters]"]
    lines += [f'"{place}" = {{ dictionary = "{name}", probability = 0.8 }}' for place, name in places.items()]
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def tool(missing) -> Path:
    """The Python of schemathesis' own environment, made if it is not there."""
    digest = hashlib.sha256(PINS.read_bytes() + sys.version.encode()).hexdigest()[:12]
    folder = ENVIRONMENTS / f"schemathesis-{digest}"
    if not (folder / "whole").exists():
        shutil.rmtree(folder, ignore_errors=True)
        venv.create(folder, with_pip=True)
        argv = [
            str(folder / "bin" / "python"),
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "-r",
            str(PINS),
        ]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=900, check=False)
        if done.returncode:
            missing(f"schemathesis ({done.stderr.strip().splitlines()[-1:]})")
        (folder / "whole").touch()
    return folder / "bin" / "python"


def test_six_hundred_nonsense_requests_break_nothing(world):
    wrong = fuzz(world, 600, seed=1)
    assert not wrong, "\n".join(wrong)
    assert world.ask("GET", "/healthz").status == 200


def test_schemathesis_breaks_nothing(world, tool):
    assert not (wrong := schemathesis(world, 200, tool, seed=7)), "\n".join(wrong)


@pytest.mark.slow
def test_schemathesis_breaks_nothing_with_more_cases(world, tool):
    assert not (wrong := schemathesis(world, 2_000, tool, seed=11)), "\n".join(wrong)
    assert not (wrong := fuzz(world, 2_000, seed=2)), "\n".join(wrong)


@pytest.mark.soak
def test_schemathesis_breaks_nothing_with_ten_thousand_cases(world, tool):
    assert not (wrong := schemathesis(world, 10_000, tool, seed=101)), "\n".join(wrong)
    assert not (wrong := fuzz(world, 10_000, seed=int(os.environ.get("BARAY_SOAK_COUNT", "3")))), "\n".join(wrong)
