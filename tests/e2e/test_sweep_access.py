"""Who may do what, by every route there is; and that naming another project's things tells nothing about them.

`expected/routes.csv` is the table that a person reads. A route without a row fails; so does one without an example.

    yes       policy allows: the request is done, or refused for what is asked, not for who asks
    role      403: known here, but the role in the project is too weak
    site-role 403: needs a role on the home
    session   403: a person does this in a browser, never a token
    hidden    404: nothing of the kind exists for this caller
    sign-in   401
    beyond    403: a Run's own token is good for that Run alone, whatever stands here

`viewer` to `owner` are asked in their own project; `auditor` and `operator` have a role on the home and in no project;
`elsewhere` is each project role of another project, asking in this one; `run` is a Run of this project by its own token.
"""

from __future__ import annotations

import csv
import statistics
import time

import pytest
from sweep_examples import EXAMPLES, LEAVE, Asked
from sweeps import EXPECTED, Named, OwnToken, Reply, World, furnish, named, request_of, routes, serving

from baray import access

TABLE = EXPECTED / "routes.csv"
GAP_SECONDS = 0.005


@pytest.fixture(scope="module")
def world(tmp_path_factory, need):
    need("bwrap")
    with serving(tmp_path_factory.mktemp("sweep")) as world:
        for project in ("alpha", "beta"):
            furnish(world, project)
            for role in access.ROLES:
                world.tokens[project, role] = world.person(f"{role}-{project}", "internal", {project: role})
        for role in access.SITE_ROLES:
            world.tokens["", role] = on_the_home(world, f"site-{role}", role)
        world.own["alpha"] = OwnToken(world, "alpha")
        yield world


def on_the_home(world: World, name: str, role: str) -> str:
    """The token of a new person who has a role on the home and in no project."""
    token = world.person(name, "internal", {})
    world.api("POST", f"users/{name}/role", {"role": role})
    return token


def table() -> tuple[list[str], dict[str, dict[str, str]]]:
    with TABLE.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return list(rows[0])[1:], {row.pop("route"): row for row in rows}


_VERDICTS = {
    "role_too_weak": "role",
    "site_role_needed": "site-role",
    "session_needed": "session",
    "run_token": "beyond",
}


def verdict(route: str, reply: Reply) -> str:
    """What policy said, as the table says it."""
    is_problem = reply.headers.get("content-type") == "application/problem+json"
    code = reply.json()["code"] if is_problem else ""
    if reply.status in (401, 404) and code not in EXAMPLES.get(route, Asked()).mends:
        return "sign-in" if reply.status == 401 else "hidden"
    if code in _VERDICTS:
        return _VERDICTS[code]
    if code and code not in EXAMPLES.get(route, Asked()).mends:
        return f"{reply.status}: {reply.text}"
    return "yes"


def spare(world: World, route: str, token: str | None) -> str | None:
    """A token that the request may end."""
    if token is not None and EXAMPLES.get(route, Asked()).own_token:
        asked = {"name": "spare", "expires": "1h"}
        return str(world.api("POST", "tokens", asked, token=token)["token"])
    return token


def things(world: World, route: str, project: str, token: str | None) -> dict[str, str]:
    """What the example is about; where it uses something up, a new one."""
    found = dict(world.made[project])
    if route == "POST /sign-in":
        made = world.api("POST", "login-links")["url"].partition("link=")[2]
        found["link"] = made
    if "{token_id}" in route and token is not None:
        asked = {"name": "to be ended", "expires": "1h"}
        found["token"] = world.api("POST", "tokens", asked, token=token)["id"]
    if route == "POST /api/v1/services/{name}/stop":
        found["desk"] = world.fresh()
        made = {"name": found["desk"], "kind": "desk", "index": found["index"], "audience": ["project"]}
        world.api("POST", f"services?project={project}", made)
    if route.endswith("/egress/revoke"):
        world.api("POST", f"projects/{project}/egress", LEAVE)
    if route in ("POST /api/v1/users/{name}/disable", "POST /people/{name}/disable"):
        found["actor"] = world.fresh()
        world.api("POST", "users", {"name": found["actor"]})
    return found


def askers(world: World, route: str, column: str) -> dict[str, str | None]:
    """Who stands in a column."""
    if column == "elsewhere":
        return {f"{role} of beta": world.tokens[OWN, role] for role in access.ROLES}
    if column == "none":
        return {column: None}
    if column == "run":
        return {column: world.own["alpha"].live()}
    if column in access.SITE_ROLES and route == "POST /api/v1/projects":
        return {column: on_the_home(world, world.fresh(), column)}  # who makes a project is its owner
    return {column: world.tokens["" if column in access.SITE_ROLES else "alpha", column]}


def observe(world: World, route: str, column: str) -> dict[str, str]:
    found = {}
    for who, token in askers(world, route, column).items():
        request = request_of(
            world,
            route,
            things(world, route, "alpha", None if column == "run" else token),
            "" if column in access.SITE_ROLES else "alpha",
        )
        found[who] = verdict(route, request.send(world, token if column == "run" else spare(world, route, token)))
    return found


def test_every_route_has_a_row_and_every_row_a_route():
    columns, rows = table()
    assert columns == ["none", *access.ROLES, *access.SITE_ROLES, "elsewhere", "run"], "roles of access, weakest first"
    there = set(routes())
    new, gone = sorted(there - set(rows)), sorted(set(rows) - there)
    assert not new, (
        f"Decide who may use these, and write a row each in {TABLE.name} (`route,{','.join(columns)}`): {new}"
    )
    assert not gone, f"{TABLE.name} has rows of routes that are no more: {gone}"
    assert set(EXAMPLES) <= there, f"sweeps.EXAMPLES names routes that are no more: {sorted(set(EXAMPLES) - there)}"


def test_every_route_by_every_role_here_and_elsewhere(world):
    columns, rows = table()
    wrong = []
    for route, row in rows.items():
        for column in columns:
            for who, seen in observe(world, route, column).items():
                if seen != row[column]:
                    wrong.append(f"{route} by {who}: {seen}, the table says {row[column]}")
    assert not wrong, "\n".join(wrong)


# What one project names of another ----------------------------------------------------------------------------------

OF_THE_HOME = {
    ("POST /api/v1/projects/{name}/members", "actor"): "people belong to the home: an owner adds them by their names",
    ("POST /people/{name}/role", "actor"): "the same from the page",
}
"""(route, what is named) that is no project's own, and why."""


OWN = "beta"


def gap(one: Named, world: World, token: str, rounds: int) -> float:
    """Seconds by which the medians differ; asked in turns, so that a busy machine slows both."""
    taken: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for times, request in zip(taken, one.pair(world), strict=True):
            began = time.perf_counter()
            request.send(world, token)
            times.append(time.perf_counter() - began)
    return statistics.median(taken[0]) - statistics.median(taken[1])


def foreign(world: World) -> list[Named]:
    """Every place of every route where a thing of a project is named."""
    found = named(world, OWN, world.made["alpha"])
    return [one for one in found if (one.route, one.word) not in OF_THE_HOME]


def test_anothers_thing_reads_as_one_that_does_not_exist(world):
    wrong, count = [], 0
    for one in foreign(world):
        for role in ("viewer", "owner"):
            theirs, nothing = (request.send(world, world.tokens[OWN, role]) for request in one.pair(world))
            count += 1
            same = one.same(theirs, nothing)
            open_to_all = one.word == "digest" and theirs.status == 200  # "you still have to send it", in both cases
            if not same or (theirs.status not in (403, 404, 409) and not open_to_all):
                wrong.append(f"{one.route} naming {one.word} as {role}: {theirs.status} {theirs.text} / {nothing.text}")
    assert not wrong, "\n".join(wrong)
    assert count >= 60, count


def test_no_time_tells_anothers_thing_from_one_that_does_not_exist(world):
    token, wrong = world.tokens["beta", "owner"], []
    for one in foreign(world):
        gaps = [gap(one, world, token, 5)]
        for rounds in (15, 45):  # only where few rounds saw a gap, which a busy machine makes by itself
            if abs(gaps[-1]) > GAP_SECONDS:
                gaps.append(gap(one, world, token, rounds))
        if abs(gaps[-1]) > GAP_SECONDS:
            wrong.append(f"{one.route} naming {one.word}: " + ", ".join(f"{gap * 1000:+.1f} ms" for gap in gaps))
    assert not wrong, "\n".join(wrong)
