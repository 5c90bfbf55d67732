"""A name above somebody's clearance never reaches them: not by page, list, count, metric, log, stream, search, error or header.

The same questions are asked before and after secrets come to a project: whatever a person who is not cleared gets must not
change by a byte, but for the ledger's size, which is public, and what their own questions add to it.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from difflib import unified_diff
from urllib.parse import quote, urljoin, urlsplit

import pytest
from homes import wait_for
from sweeps import Reply, World, furnish, letters, named, request_of, routes, serving

CANARY = "zqcanary"
FACT = f"The {CANARY} vault of the governor opens with the seven silver keys. Nobody may speak of the vault.\n"
QUESTION = "Which keys open the vault of the governor?"
PROJECT = "alpha"
LABEL = "secret"
CHANGES = re.compile(
    r'"entries":\d+|baray_ledger_entries \d+|href="/ledger"><b>\d+|\b\d+ (?:entries|ms|seconds? ago)\b|'
    r'a_\w{26}|"pid":\d+|"(?:ms|requests)":[\d.]+'
)
"""What moves by itself: sizes of the ledger, times, and ids and counts of the questions that this test asks."""


@pytest.fixture(scope="module")
def world(tmp_path_factory, need):
    need("bwrap")
    with serving(tmp_path_factory.mktemp("canary")) as world:
        furnish(world, PROJECT, "public")
        for role in ("viewer", "member", "owner"):
            world.tokens[PROJECT, role] = world.person(f"low-{role}", "public", {PROJECT: role})
        world.tokens["", "auditor"] = world.person("low-auditor", "public", {})
        world.api("POST", "users/low-auditor/role", {"role": "auditor"})
        yield world


@dataclass
class Seen:
    """What one person read: page -> reply."""

    before: dict[str, Reply]
    """There were no secrets."""
    after: dict[str, Reply]
    """There were."""
    hosted: dict[str, Reply]
    """A desk that they know answers from them."""


@pytest.fixture(scope="module")
def seen(world):
    """Who -> what they read."""
    before = {who: crawl(world, *who) for who in world.tokens}
    world.made["secret"] = hide(world)
    after = {who: crawl(world, *who) for who in world.tokens}
    world.made["secret"]["answer"] = host(world)
    return {who: Seen(before[who], after[who], crawl(world, *who)) for who in world.tokens}


def hide(world: World) -> dict[str, str]:
    """Bring secrets into the project, in every place that has a name or a text."""
    at = f"?project={PROJECT}"
    open_text = b"The market is open on Monday. Stalls are let by the day at the market office.\n"
    files = {f"{CANARY}-file.txt": FACT.encode(), "market.txt": open_text}
    rows = (
        f"path,label,valid_from,valid_until,office\n{CANARY}-file.txt,{LABEL},,,{CANARY} office\nmarket.txt,public,,,\n"
    )
    files["documents.csv"] = rows.encode()
    secret = world.source(PROJECT, f"{CANARY}-source", files, "public", title=f"{CANARY} title")
    letter = world.source(
        PROJECT, f"{CANARY}-letters", {f"{CANARY}.csv": letters()}, LABEL, licence=f"{CANARY}-licence"
    )
    data = world.api("POST", f"datasets{at}", {"name": f"{CANARY}-data", "source": secret["ref"]})
    asked = {"name": f"{CANARY}-model", "recipe": "text-classifier", "source": letter["ref"]}
    model = world.api("POST", f"models{at}", asked)
    world.finish(PROJECT, data)
    index = world.api("POST", f"indexes{at}", {"name": f"{CANARY}-index", "dataset": f"{CANARY}-data"})
    inputs = [letter["ref"]]
    said = ["/bin/sh", "-c", f"echo {CANARY}-output; echo {CANARY}-error >&2; exit 1"]
    failing = world.api("POST", f"runs{at}", {"command": said, "name": f"{CANARY}-run", "inputs": inputs})
    waiting = {"command": ["/bin/true"], "name": f"{CANARY}-waits", "inputs": inputs, "cpus": 1000}
    world.api("POST", f"runs{at}", waiting)
    for run in (index, model):
        world.finish(PROJECT, run)
    world.finish(PROJECT, failing, "failed")
    routing = {"name": f"{CANARY}-routing", "kind": "model", "model": f"{CANARY}-model", "audience": ["project"]}
    world.api("POST", f"services{at}", routing | {"title": f"{CANARY} routing"})
    world.api("POST", "projects", {"name": f"{CANARY}-project", "title": f"{CANARY} project"})
    return world.made[PROJECT] | {
        "source": f"{CANARY}-source", "dataset": f"{CANARY}-data", "index": f"{CANARY}-index", "model": f"{CANARY}-model",
        "run": failing["id"], "failing": failing["id"], "routing": f"{CANARY}-routing", "desk": f"{CANARY}-routing",
        "project": f"{CANARY}-project", "digest": "sha256:" + hashlib.sha256(FACT.encode()).hexdigest(),
    }  # fmt: skip


def host(world: World) -> str:
    """Let the desk that was there answer from the secrets too; the id of an Answer that quotes them."""
    at = f"?project={PROJECT}"
    desk = {"name": world.made[PROJECT]["desk"], "kind": "desk", "index": f"{CANARY}-index", "audience": ["public"]}
    world.api("POST", f"services{at}", desk)
    answer = wait_for(lambda: told(world, {"question": QUESTION}))
    assert CANARY in json.dumps(answer), "the document is there for those who are cleared"
    return str(answer["id"]).removeprefix("answer:")


def told(world: World, body: dict[str, str], token: str = "") -> dict[str, object] | None:
    path = f"/api/v1/services/{world.made[PROJECT]['desk']}/ask?project={PROJECT}"
    reply = world.ask("POST", path, body, token=token)
    return reply.json() if reply.status == 200 and reply.json()["outcome"] == "answered" else None


def crawl(world: World, project: str, role: str) -> dict[str, Reply]:
    """Every GET there is about the project's own things, and every page that those link to."""
    token, found = world.tokens[project, role], {}
    for route in routes():
        if "GET " in route and "sign-in" not in route:
            request = request_of(world, route, world.made[PROJECT], project)
            found[route] = request.send(world, token)
    waiting = [link for page in found.values() for link in links(page)]
    while waiting:
        path = waiting.pop()
        if path not in found and len(found) < 300:
            found[path] = world.ask("GET", path, token=token)
            waiting += links(found[path])
    return found


def links(reply: Reply) -> list[str]:
    if not reply.headers.get("content-type", "").startswith("text/html"):
        return []
    targets = [urljoin("/", found.replace("&amp;", "&")) for found in re.findall(r'href="([^"#]+)"', reply.text)]
    return [one for one in targets if not urlsplit(one).netloc and not one.startswith(("/static", "/sign"))]


def test_the_secrets_are_there_for_those_who_are_cleared(world, seen):
    listed = world.ask("GET", f"/api/v1/datasets?project={PROJECT}").text
    log = world.ask("GET", f"/api/v1/runs/{world.made['secret']['run']}/log?project={PROJECT}").text
    assert f"{CANARY}-data" in listed
    assert f"{CANARY}-output" in log
    assert f"{CANARY}-error" in log


def test_nothing_that_is_read_holds_a_secret_name(seen):
    assert sum(len(one.hosted) for one in seen.values()) > 150
    for who, one in seen.items():
        for page, reply in [*one.after.items(), *one.hosted.items()]:
            assert CANARY not in reply.text.lower(), (who, page, reply.text[:3000])
            assert CANARY not in json.dumps(reply.headers).lower(), (who, page)


def test_no_list_count_or_page_changes_when_secrets_come(seen):
    for who, one in seen.items():
        if who[1] == "auditor":
            continue  # reads the ledger, which tells of every act by ids
        assert set(one.after) == set(one.before), who
        for page, reply in one.after.items():
            if page.endswith(("/ledger/{path}", "/ledger/head", "/ledger/proof", "/ledger/request")):
                continue
            was, now = (CHANGES.sub("#", text) for text in (one.before[page].text, reply.text))
            told = "\n".join(unified_diff(was.splitlines(), now.splitlines(), lineterm="", n=0))
            assert one.before[page].status == reply.status, (who, page)
            assert not told, (who, page, told)


@pytest.mark.parametrize("role", ["viewer", "owner"])
def test_naming_a_secret_thing_reads_as_naming_nothing(world, seen, role):
    found, wrong = named(world, PROJECT, world.made["secret"]), []
    for one in found:
        hidden, nothing = (request.send(world, world.tokens[PROJECT, role]) for request in one.pair(world))
        if not one.same(hidden, nothing):
            wrong.append(
                f"{one.route} naming {one.word}: {hidden.status} {hidden.text} / {nothing.status} {nothing.text}"
            )
        if CANARY in hidden.text.replace(one.hidden, ""):
            wrong.append(f"{one.route} naming {one.word} tells {hidden.text}")
    assert not wrong, "\n".join(wrong)
    assert len(found) > 30


def test_no_search_finds_the_secret_document(world, seen):
    hidden = {"outcome": "out-of-scope"}
    for question in (QUESTION, f"{CANARY}", f"{CANARY} vault", "seven silver keys", "vault governor"):
        for who in [*world.tokens, None]:
            token = None if who is None else world.tokens[who]
            body = {"model": f"{PROJECT}/{world.made[PROJECT]['desk']}", "question": question}
            reply = world.ask("POST", "/v1/answers", body, token=token, to=world.router)
            answer = reply.json() | {"asked": ""}
            assert answer["outcome"] == hidden["outcome"], (who, answer)
            assert CANARY not in json.dumps(answer), (who, question)
        page = world.ask(
            "GET", f"/desk/{PROJECT}/{world.made[PROJECT]['desk']}?q={quote(question)}", token=None, to=world.router
        )
        assert 'class="out-of-scope"' in page.text, page.text
        assert "Nobody may speak" not in page.text, page.text
