"""The page of a Service with Replicas: it stands, answers in a box, goes back to an earlier Revision, in both languages."""

from __future__ import annotations

import re

import pytest
from homes import Home, wait_for
from test_signin_browser import Site

from engine_models import make_model


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    home = Home(tmp_path_factory.mktemp("hosted") / "home")
    for number in (1, 2):
        folder = home.path.parent / f"tiny-{number}"
        make_model(folder, seed=number)
        home.run("model", "import", str(folder), "--name", "tiny", "--licence", "Apache-2.0")
        home.run("service", "deploy", "chat", "--model", f"model:tiny@v{number}", "--replicas", "1:1")
    yield Site(home)
    home.run("service", "stop", "chat")
    wait_for(lambda: not home.json("run", "list", "--state", "running")["items"])
    home.stop()


def visit(site, cookie, path):
    status, headers, page = site.ask("GET", path, Cookie=cookie, Accept="text/html")
    assert "default-src 'none'" in headers["content-security-policy"]
    return status, page.decode()


def test_a_service_with_replicas_has_a_page_that_answers_and_goes_back(site):
    cookie = site.come_in(site.api("POST", "login-links")[1]["url"].partition("link=")[2])
    for language, word in (("en", "Replicas"), ("km", "ដំណើរការឆ្លើយ")):
        status, page = visit(site, cookie, f"/desks/chat?lang={language}")
        assert (status, word in page, f'<html lang="{language}">' in page) == (200, True, True)
    run = next(one["run"] for one in site.home.json("service", "show", "chat")["processes"] if one["state"] == "ready")
    status, page = visit(site, cookie, "/desks/chat?q=The+one-window+office")
    assert (status, f"/runs/{run}" in page) == (200, True)
    assert re.search(r"\d+ \+ \d+ tokens", page)
    status, _, _ = site.form("/desks/chat/rollback", {"revision": "1"}, Cookie=cookie)
    assert status == 303
    wait_for(lambda: site.home.json("service", "show", "chat")["revision"] == 1)
    for wrong, expected in (("one", 400), ("9", 404)):
        assert site.form("/desks/chat/rollback", {"revision": wrong}, Cookie=cookie)[0] == expected
    assert site.home.json("usage")["items"][0]["requests"] >= 1
