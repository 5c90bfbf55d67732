"""A Desk for one person does not exist for others who do not manage Services: by no page, list, lineage, count, proof or error.

What it answers from is open to the project, so labels hide nothing here: the audience alone does.
"""

from __future__ import annotations

import json

import pytest
from homes import wait_for
from sweeps import furnish, named, serving
from test_sweep_canary import CHANGES, crawl

CANARY = "zqnarrow"
PROJECT = "alpha"
OTHER = "beta"
OUTSIDE = ((PROJECT, "viewer"), (OTHER, "member"))
"""Who must not know of it."""


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("audience")) as world:
        for project in (PROJECT, OTHER):
            furnish(world, project)
        for project, role in ((PROJECT, "viewer"), (PROJECT, "member"), (OTHER, "member")):
            world.tokens[project, role] = world.person(f"{project}-{role}", "internal", {project: role})
        world.tokens["", "named"] = world.person("the-named", "internal", {PROJECT: "viewer"})
        yield world


@pytest.fixture(scope="module")
def seen(world):
    """Who -> what they read before and after the Desk was made and asked."""
    before = {who: crawl(world, *who) for who in OUTSIDE}
    world.made["narrow"] = narrow(world)
    return {who: (before[who], crawl(world, *who)) for who in OUTSIDE}


def narrow(world):
    at = f"?project={PROJECT}"
    desk = {"name": f"{CANARY}-desk", "title": f"{CANARY} title", "kind": "desk", "audience": ["the-named"]}
    world.api("POST", f"services{at}", desk | {"index": world.made[PROJECT]["index"]})
    question = {"question": f"When is the office open, {CANARY}?"}
    path, token = f"/api/v1/services/{CANARY}-desk/ask{at}", world.tokens["", "named"]
    answer = wait_for(
        lambda: (reply := world.ask("POST", path, question, token=token)).status == 200 and reply.json(), 10
    )
    world.answer = answer["id"].removeprefix("answer:")
    return world.made[PROJECT] | {"desk": f"{CANARY}-desk", "answer": world.answer}


def test_it_is_there_for_whom_it_is_for_and_for_who_manages(world, seen):
    for who in (("", "named"), (PROJECT, "member")):
        found = world.ask("GET", f"/api/v1/services?project={PROJECT}", token=world.tokens[who])
        assert f"{CANARY}-desk" in found.text, who
        one = world.ask("GET", f"/api/v1/services/{CANARY}-desk/answers?project={PROJECT}", token=world.tokens[who])
        assert one.status == 200, who
    listed = world.ask("GET", "/v1/models", token=world.tokens["", "named"], to=world.router)
    assert f"{CANARY}-desk" in listed.text


def test_nothing_that_others_read_names_it_or_changes(world, seen):
    for who, (before, after) in seen.items():
        assert len(after) > 50
        assert set(after) == set(before), who
        for page, reply in after.items():
            for hidden in (CANARY, world.answer.lower()):
                assert hidden not in (reply.text + json.dumps(reply.headers)).lower(), (who, page)
            if "/ledger" in page:
                continue  # its size is public
            was, now = (CHANGES.sub("#", one.text) for one in (before[page], reply))
            assert (before[page].status, was) == (reply.status, now), (who, page)


@pytest.mark.parametrize("who", OUTSIDE, ids=" ".join)
def test_naming_it_reads_as_naming_nothing(world, seen, who):
    found, wrong = [one for one in named(world, who[0], world.made["narrow"]) if one.word in ("desk", "answer")], []
    for one in found:
        hidden, nothing = (request.send(world, world.tokens[who]) for request in one.pair(world))
        if not one.same(hidden, nothing):
            wrong.append(
                f"{one.route} naming {one.word}: {hidden.status} {hidden.text} / {nothing.status} {nothing.text}"
            )
    for kind, name, nothing in (
        ("service", f"{CANARY}-desk", "no-desk-here"),
        ("answer", world.answer, world.answer[:-2] + "00"),
    ):
        for path in ("/api/v1/lineage?ref=", "/lineage?ref=", "/api/v1/ledger/proof?ref=", "/api/v1/labels?ref="):
            replies = [
                world.ask("GET", f"{path}{kind}:{one}&project={who[0]}", token=world.tokens[who])
                for one in (name, nothing)
            ]
            if (replies[0].status, replies[0].text.replace(name, nothing)) != (replies[1].status, replies[1].text):
                wrong.append(f"{path}{kind}: {replies[0].status} {replies[0].text[:300]} / {replies[1].text[:300]}")
            assert replies[0].status == 404, (path, kind, replies[0].text)
    assert not wrong, "\n".join(wrong)
    assert len(found) > 8


def test_the_impact_of_a_raise_does_not_tell_of_it(world, seen):
    path = f"/api/v1/labels/impact?ref=index:{world.made[PROJECT]['index']}&to=restricted&project={PROJECT}"
    assert f"{CANARY}-desk" in world.ask("GET", path).text
    shown = world.ask("GET", path, token=world.tokens[PROJECT, "viewer"])
    assert world.made[PROJECT]["desk"] in shown.text
    assert CANARY not in shown.text


def test_the_public_and_the_router_do_not_know_it(world, seen):
    for token in (
        None,
        world.tokens[PROJECT, "viewer"],
        world.tokens[PROJECT, "member"],
        world.tokens[OTHER, "member"],
    ):
        assert CANARY not in world.ask("GET", "/v1/models", token=token, to=world.router).text
        told = []
        for name in (f"{CANARY}-desk", "no-desk-here"):
            body = {"model": f"{PROJECT}/{name}", "question": "When is the office open?"}
            reply = world.ask("POST", "/v1/answers", body, token=token, to=world.router)
            page = world.ask("GET", f"/desk/{PROJECT}/{name}", token=token, to=world.router)
            told.append((reply.status, reply.text.replace(name, "N"), page.status, page.text.replace(name, "N")))
        assert told[0] == told[1]
