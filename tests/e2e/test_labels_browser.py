"""Two people lower a label, one of them with a passkey in a browser; the entry holds what the device signed."""

from __future__ import annotations

import json
import os
from urllib.parse import urlsplit

import pytest
from browser import browser, missing
from homes import Home
from test_signin_browser import Site, wait_path


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    home = Home(tmp_path_factory.mktemp("labels") / "home")
    papers = home.path.parent / "papers"
    papers.mkdir()
    (papers / "fee.txt").write_text("The fee is 4000 riel.")
    home.run("source", "add", "letters", str(papers), "--label", "restricted")
    yield Site(home)
    home.stop()


@pytest.fixture
def chromium(tmp_path):
    if missing():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(missing())
    with browser(tmp_path / "profile") as found:
        yield found


def invite(site, name):
    body = {"name": name, "clearance": "secret", "role": "steward"}
    status, made = site.api("POST", "invitations", body)
    assert status == 201, made
    return str(made["url"]).partition("link=")[2]


def test_a_request_is_approved_with_a_passkey_and_with_a_key(site, chromium):
    lower = ("label", "lower", "source:letters", "--to", "public", "--reason", "names were taken out")
    asked = site.home.json(*lower)
    chromium.add_authenticator()
    chromium.open(f"{site.local}/sign-in?link={invite(site, 'dara')}")
    chromium.click("form button")
    wait_path(chromium, "/account")
    chromium.fill("#passkey-name", "my phone")
    chromium.click("[data-passkey=make]")
    chromium.wait_for(lambda: "my phone" in chromium.text)
    chromium.open(f"{site.local}/labels")
    assert "names were taken out" in chromium.text
    chromium.click("[data-verdict=approve]")
    chromium.wait_for(lambda: "dara: approve" in chromium.text)
    assert urlsplit(chromium.address).path == "/labels"
    entries = site.home.json("ledger", "show", "--limit", "500")["items"]
    (entry,) = [one for one in entries if one["kind"] == "label.approved"]
    assert entry["facts"]["signature"].startswith("webauthn.")
    token = site.home.json("token", "create", "lin", "--for", _steward(site, "lin"))["token"]
    environ = {"BARAY_SERVER": site.url, "BARAY_TOKEN": token}
    site.home.run("label", "key", **environ)
    done = json.loads(site.home.run("label", "approve", asked["id"], "--json", **environ)[0])
    assert (done["state"], done["made"]) == ("used", "source:letters@v2")
    assert site.home.json("label", "show", "source:letters")["label"] == "public"
    assert "Verified" in site.home.run("ledger", "verify")[0]


def _steward(site, name):
    site.home.run("user", "create", name, "--clearance", "secret", "--role", "steward")
    return name
