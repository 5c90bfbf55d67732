"""Every act that changes something leaves its entry: when it is done, when it is denied, and when it fails.

`expected/ledger.csv` is the table that a person reads: route, kind of entry when done, when denied, when failed, and why a
cell is empty (`-`). A changing route without a row fails. That the check would see a missing entry is shown by taking each
kind of entry away from what was observed: every time the comparison has to fail.
"""

from __future__ import annotations

import ast
import csv
import json
from pathlib import Path
from typing import Any

import pytest
from homes import wait_for
from sweep_examples import EXAMPLES, LEAVE, Asked
from sweeps import EXPECTED, Request, World, furnish, missing, request_of, routes, serving

from baray import access
from baray.ledger import KINDS

TABLE = EXPECTED / "ledger.csv"
SOURCE = Path(__file__).parents[2] / "src" / "baray"
CASES = ("done", "denied", "failed")
PROJECT = "alpha"
Seen = dict[tuple[str, str], set[str]]


@pytest.fixture(scope="module")
def world(tmp_path_factory, need):
    need("bwrap")
    with serving(tmp_path_factory.mktemp("acts")) as world:
        furnish(world, PROJECT)
        for role in ("viewer", "owner"):
            world.tokens[PROJECT, role] = world.person(role, "internal", {PROJECT: role})
        yield world


def rows() -> dict[str, dict[str, str]]:
    with TABLE.open(encoding="utf-8", newline="") as file:
        return {row.pop("route"): row for row in csv.DictReader(file)}


def changing() -> list[str]:
    return [route for route in routes() if route.split()[0] in ("POST", "PUT", "DELETE")]


def allowed(route: str) -> dict[str, str]:
    with (EXPECTED / "routes.csv").open(encoding="utf-8", newline="") as file:
        return next(row for row in csv.DictReader(file) if row["route"] == route)


class Watcher:
    """Sends requests and says which kinds of entries their senders left."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.last = -1
        self.entries()

    def entries(self) -> list[dict[str, Any]]:
        """What was entered since the last look."""
        found: list[dict[str, Any]] = []
        while page := self.world.api("GET", f"ledger/entries?after={self.last}&limit=500")["items"]:
            found += page
            self.last = page[-1]["index"]
        return found

    def send(self, request: Request, token: str, expected: str) -> tuple[int, set[str]]:
        actor = self.world.api("GET", "whoami", token=token)["id"]
        self.entries()
        status = request.send(self.world, token).status
        mine: set[str] = set()

        def told() -> bool:
            mine.update(one["kind"] for one in self.entries() if one["actor"] == actor)
            return expected in mine or expected == "-"

        try:
            wait_for(told, 10)  # a denial's entry is not waited for by its sender
        except AssertionError:
            pass  # told by the comparison with the table, all at once
        return status, mine


def observe(world: World, route: str, watcher: Watcher) -> Seen:
    """The kinds of entries that the sender of each case left."""
    roles, seen = allowed(route), {}
    by_operator = roles["owner"] == "site-role" or (route.startswith("POST /people/{name}") and roles["owner"] != "yes")
    token = world.operator if by_operator else world.tokens[PROJECT, "owner"]
    for case in CASES:
        sender = world.tokens[PROJECT, "viewer"] if case == "denied" else token
        if EXAMPLES.get(route, Asked()).own_token:
            made = {"name": "spare", "expires": "1h", "scopes": list(access.SCOPES)}
            sender = world.api("POST", "tokens", made, token=sender)["token"]
        things = prepared(world, route, sender)
        if case == "failed":
            things = missing(things) | {"link": "nothing"}
        request = request_of(world, route, things, PROJECT)
        if case == "failed" and request.body not in (None, b""):
            broken = b"{" if request.kind == "application/json" else b"link=nothing" if "sign-in" in route else b"%ff"
            request = Request(request.method, request.path, broken, to_router=False, kind=request.kind)
        if case == "done" and route == "POST /api/v1/sources":
            listed = [{"path": "a.txt"} | world.send(PROJECT, b"one more file", token=sender)]
            body = json.dumps({"name": world.fresh(), "files": listed}).encode()
            request = Request(request.method, request.path, body, to_router=False, kind=request.kind)
        status, kinds = watcher.send(request, sender, rows()[route][case])
        refused = status in (401, 403, 404)
        fits = {"done": status < 400, "denied": refused, "failed": status >= 400}[case]
        seen[route, case] = kinds if fits else set()
    return seen


def prepared(world: World, route: str, sender: str) -> dict[str, str]:
    """What the request is about; a new one where it uses something up."""
    things = dict(world.made[PROJECT])
    if "{token_id}" in route:
        things["token"] = world.api("POST", "tokens", {"name": "spare", "expires": "1h"}, token=sender)["id"]
    if route == "POST /sign-in":
        things["link"] = world.api("POST", "login-links", token=sender)["url"].partition("link=")[2]
    if "/disable" in route:
        things["actor"] = world.fresh()
        world.api("POST", "users", {"name": things["actor"]})
    if route == "POST /api/v1/runs/{run_id}/retry":
        things["run"] = things["failing"]
    if route.endswith("/{run_id}/cancel"):
        asked = {"command": ["/bin/true"], "cpus": 1000, "name": "waits"}
        things["run"] = world.api("POST", f"runs?project={PROJECT}", asked)["id"]
    if route.endswith("/egress/revoke"):
        world.api("POST", f"projects/{PROJECT}/egress", LEAVE)
    if route == "POST /api/v1/services/{name}/stop":
        things["desk"] = world.fresh()
        made = {"name": things["desk"], "kind": "desk", "index": things["index"], "audience": ["project"]}
        world.api("POST", f"services?project={PROJECT}", made)
    return things


@pytest.fixture(scope="module")
def seen(world):
    watcher, found = Watcher(world), {}
    for route in changing():
        found |= observe(world, route, watcher)
    return found


def lacking(seen: Seen) -> list[str]:
    """Where the table asks for an entry that was not left."""
    wrong = []
    for route, row in rows().items():
        for case in CASES:
            if row[case] != "-" and row[case] not in seen[route, case]:
                wrong.append(f"{route} {case}: {sorted(seen[route, case])}, the table says {row[case]}")
    return wrong


def test_every_changing_route_has_a_row_of_real_kinds():
    table = rows()
    new = sorted(set(changing()) - set(table))
    assert not new, f"Write in {TABLE.name} which entries these leave (route,done,denied,failed,why): {new}"
    assert set(table) == set(changing())
    for route, row in table.items():
        for case in CASES:
            assert row[case] in KINDS or (row[case] == "-" and row["why"]), (route, case)


def test_every_change_is_entered_when_done_denied_and_failed(seen):
    assert not lacking(seen), "\n".join(lacking(seen))


def test_the_check_sees_each_kind_that_is_taken_away(seen):
    for kind in {row[case] for row in rows().values() for case in CASES} - {"-"}:
        without = {place: kinds - {kind} for place, kinds in seen.items()}
        assert lacking(without), kind


def test_every_kind_is_appended_somewhere_and_every_append_is_of_a_kind():
    appended = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                appended |= {node.value} & set(KINDS) if path.name != "kinds.py" else set()
    expected = {row[case] for row in rows().values() for case in CASES} - {"-"}
    assert expected <= appended
