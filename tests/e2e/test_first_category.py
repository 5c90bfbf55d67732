"""From nothing to an officer who is cleared for a category that nobody had, in a house of two people, by documented commands."""

from __future__ import annotations

import re

import pytest
from homes import Home
from test_signin_browser import PASSWORD, Site

LABEL = "restricted:health"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    home = Home(tmp_path_factory.mktemp("category") / "home")
    home.run("whoami")
    yield Site(home)
    home.stop()


def sign_in(site, name):
    status, headers, page = site.form("/sign-in", {"name": name, "password": PASSWORD})
    assert status == 303, page
    return str(headers["set-cookie"]).partition(";")[0]


def test_two_people_come_to_an_officer_for_a_new_category(site):
    home = site.home
    _, told = home.run("user", "invite", "dara", "--role", "member", "--clearance", LABEL, code=1)
    assert "baray user clear dara" in told, told
    link = home.json("user", "invite", "dara", "--role", "member", "--clearance", "internal")["url"]
    _, told = home.run("user", "clear", "dara", LABEL, code=1)
    assert "no way to sign in yet" in told, "the operator holds the link"
    first = site.come_in(link.partition("link=")[2])
    status, answer = site.api("PUT", "account/password", {"password": PASSWORD}, Cookie=first, Origin=site.url)
    assert status == 200, answer
    operators = home.json("token", "create", "kept", "--for", "dara")["token"]
    done = home.json("user", "clear", "dara", LABEL)
    assert (done["clearance"], done["ended"]) == (LABEL, 2)
    assert site.api("GET", "whoami", Cookie=first)[0] == 401
    assert site.api("GET", "whoami", Authorization=f"Bearer {operators}")[0] == 401
    mine = sign_in(site, "dara")
    assert site.api("GET", "whoami", Cookie=mine)[1]["clearance"] == LABEL
    made = site.api("POST", "tokens", {"name": "laptop", "scopes": ["read", "run"]}, Cookie=mine, Origin=site.url)[1]
    (home.path.parent / "papers").mkdir()
    (home.path.parent / "papers" / "a.txt").write_text("The ward keeps twelve beds.\n")
    hers = {"BARAY_SERVER": site.url, "BARAY_TOKEN": made["token"]}
    papers = str(home.path.parent / "papers")
    added = home.json("source", "add", "ward", papers, "--label", LABEL, **hers)
    assert added["label"] == LABEL
    _, told = home.run("label", "show", "source:ward", code=1)
    assert "There is no source" in told, "the operator is not cleared for what the operator gave"


def test_nobody_gives_it_to_themselves_or_makes_a_way_in_for_who_has_it(site):
    home = site.home
    for argv, code in (
        (("user", "clear", "operator", LABEL), "Nobody changes their own"),
        (("user", "invite", "dara", "--again"), "is cleared for"),
        (("token", "create", "x", "--for", "dara"), "is cleared for"),
        (("user", "clear", "nobody", LABEL), "There is no actor"),
        (("user", "clear", "dara", "purple"), "purple"),
    ):
        _, told = home.run(*argv, code=1)
        assert code in told, (argv, told)
    mine = sign_in(site, "dara")
    status, answer = site.api("POST", "users/operator/clearance", {"clearance": LABEL}, Cookie=mine, Origin=site.url)
    assert (status, answer["code"]) in ((403, "site_role_needed"), (403, "proof_needed"))
    assert home.json("user", "clear", "dara", "internal")["ended"] == 0, "taking away ends nothing, and counts at once"
    assert site.api("GET", "whoami", Cookie=mine)[1]["clearance"] == "internal"
    kinds = [one["kind"] for one in site.api("GET", "ledger/entries?limit=500")[1]["items"]]
    assert kinds.count("actor.changed") == 2
    home.run("down")
    out, _ = home.run("ledger", "verify")
    assert re.search(r"\bok\b|intact|verified", out.lower()), out
