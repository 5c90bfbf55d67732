"""Signing in with a browser: a passkey, a password with a code, an outside account; and what a browser must not do."""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import subprocess
import sys
import time
from contextlib import closing
from typing import Any
from urllib.parse import urlencode, urlsplit
from urllib.request import urlopen

import pytest
from browser import browser, missing
from homes import Home

from baray.signin.codes import code_at

PASSWORD = "rain gutter violin zebra"
FORM = "application/x-www-form-urlencoded"


class Site:
    """A running home, asked over HTTP."""

    def __init__(self, home: Home) -> None:
        self.home = home
        endpoint = json.loads((home.path / "endpoint.json").read_text())
        self.url = endpoint["url"]
        self.local = self.url.replace("127.0.0.1", "localhost")
        self.token = (home.path / "operator.token").read_text().strip()

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, Any, bytes]:
        address = urlsplit(self.url)
        connection = http.client.HTTPConnection(address.hostname, address.port, timeout=20)
        with closing(connection):
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            response = connection.getresponse()
            data = response.read()
        return response.status, response.headers, data

    def api(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        data = None if body is None else json.dumps(body).encode()
        headers = headers or {"Authorization": f"Bearer {self.token}"}
        status, _, answer = self.ask(method, f"/api/v1/{path}", data, Content_Type="application/json", **headers)
        return status, json.loads(answer)

    def form(self, path: str, fields: dict[str, str], **headers: str) -> tuple[int, Any, bytes]:
        given = {"Origin": self.url, "Accept": "text/html", "Content_Type": FORM} | headers
        return self.ask("POST", path, urlencode(fields).encode(), **given)

    def invite(self, name: str) -> str:
        status, made = self.api("POST", "invitations", {"name": name, "clearance": "internal", "role": "member"})
        assert status == 201, made
        return str(made["url"]).partition("link=")[2]

    def come_in(self, link: str) -> str:
        status, headers, page = self.form("/sign-in", {"link": link})
        assert status == 303, page
        return str(headers["set-cookie"]).partition(";")[0]


@pytest.fixture(scope="module")
def provider():
    """A whole provider of outside accounts, in a process of its own."""
    program = (
        "import warnings; warnings.simplefilter('ignore')\n"
        "import time, oidc_provider_mock as mock\n"
        "with mock.run_server_in_thread() as server:\n"
        "    print(server.server_port, flush=True)\n"
        "    time.sleep(600)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    port = process.stdout.readline().strip()
    yield f"http://localhost:{port}"
    process.terminate()
    process.communicate()


@pytest.fixture(scope="module")
def site(tmp_path_factory, provider):
    home = Home(tmp_path_factory.mktemp("people") / "home")
    home.path.mkdir(parents=True)
    (home.path / "signin.toml").write_text(
        f'[outside]\nissuer = "{provider}"\nclient_id = "baray"\nclient_secret = "x"\ntitle = "Ministry account"\ncreate = true\n'
    )
    home.run("whoami")
    yield Site(home)
    home.stop()


@pytest.fixture
def chromium(tmp_path):
    if missing():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(missing())
    with browser(tmp_path / "profile") as found:
        yield found


def session_cookie(found):
    return next(one["value"] for one in found.cookies() if one["name"] == "baray_session")


def wait_path(found, path):
    found.wait_for(lambda: urlsplit(found.address).path == path)


def test_a_passkey_is_made_proves_and_signs_in(site, chromium):
    chromium.add_authenticator()
    chromium.open(f"{site.local}/sign-in?link={site.invite('dara')}")
    chromium.click("form button")
    wait_path(chromium, "/account")
    assert "dara" in chromium.text
    chromium.fill("#passkey-name", "my phone")
    chromium.click("[data-passkey=make]")
    chromium.wait_for(lambda: "my phone" in chromium.text)
    before = session_cookie(chromium)
    chromium.open(f"{site.local}/account/prove")
    chromium.click("[data-passkey=prove]")
    wait_path(chromium, "/account")
    assert session_cookie(chromium) != before
    assert site.ask("GET", "/account", Cookie=f"baray_session={before}", Accept="text/html")[0] == 303
    chromium.click('form[action="/sign-out"] button')
    wait_path(chromium, "/sign-in")
    chromium.click("[data-passkey=sign-in]")
    wait_path(chromium, "/")
    assert "dara" in chromium.text
    sessions = site.api("GET", "sessions?of=all")[1]["items"]
    assert "passkey" in {one["way"] for one in sessions if one["actor"] == "dara"}


def test_a_password_with_a_code_signs_in(site, chromium):
    chromium.open(f"{site.local}/sign-in?link={site.invite('sok')}")
    chromium.click("form button")
    wait_path(chromium, "/account")
    chromium.fill('form[action="/account/password"] input', PASSWORD)
    chromium.click('form[action="/account/password"] button')
    chromium.wait_for(lambda: "password" in chromium.run("return document.querySelector('table').innerText"))
    chromium.click('form[action="/account/code"] button')
    chromium.wait_for(lambda: bool(chromium.run("return document.getElementById('key')")))
    secret = base64.b32decode(chromium.run("return document.getElementById('key').innerText"))
    square = chromium.run(
        "const at = document.querySelector('svg.qr').getBoundingClientRect(); return [at.width, at.height]"
    )
    assert square[0] == square[1] > 150, "the picture of the key is shown, and nothing squeezes it"
    used = int(time.time() // 30)
    chromium.fill('input[name="code"]', code_at(secret, used))
    chromium.click('form[action="/account/code/confirm"] button')
    wait_path(chromium, "/account")
    chromium.click('form[action="/account/recovery-codes"] button')
    chromium.wait_for(lambda: len(re.findall(r"(?:[0-9A-Z]{4}-){3}[0-9A-Z]{4}", chromium.text)) == 10)
    recovery = re.findall(r"(?:[0-9A-Z]{4}-){3}[0-9A-Z]{4}", chromium.text)
    chromium.click('form[action="/sign-out"] button')
    wait_path(chromium, "/sign-in")
    for code, came in ((code_at(secret, used), False), (code_at(secret, used + 1), True)):
        chromium.open(f"{site.local}/sign-in")
        chromium.fill('input[name="name"]', "sok")
        chromium.fill('input[name="password"]', PASSWORD)
        chromium.fill('input[name="code"]', code)
        chromium.click('form[action="/sign-in"] button')
        chromium.wait_for(lambda: "bad_sign_in" in chromium.text or urlsplit(chromium.address).path == "/")
        assert ("bad_sign_in" not in chromium.text) is came
    status, headers, _ = site.form("/sign-in", {"name": "sok", "code": recovery[0]})
    assert (status, "baray_session" in headers["set-cookie"]) == (303, True)
    assert site.form("/sign-in", {"name": "sok", "code": recovery[0]})[0] == 401


def test_an_outside_account_signs_in(site, provider, chromium):
    chromium.open(f"{site.local}/sign-in")
    assert "Ministry account" in chromium.text
    chromium.click('a[href="/sign-in/outside"]')
    chromium.wait_for(lambda: chromium.address.startswith(provider))
    chromium.fill('input[name="sub"]', "vanna")
    chromium.click("button[type=submit], form button")
    chromium.wait_for(lambda: chromium.address.startswith(site.local))
    wait_path(chromium, "/account")
    assert [one["name"] for one in chromium.cookies() if "session" in one["name"]] == ["baray_session"]
    sessions = site.api("GET", "sessions?of=all")[1]["items"]
    assert "outside" in {one["way"] for one in sessions}


def test_an_answer_of_the_provider_in_another_browser_is_refused(site):
    """Login CSRF: who began is the only one who may end; the state alone is not enough."""
    status, headers, _ = site.ask("GET", "/sign-in/outside")
    state = re.search(r"state=([^&]+)", headers["location"])[1]
    status, _, page = site.ask("GET", f"/sign-in/outside/back?code=x&state={state}", Accept="text/html")
    assert status == 401
    assert b"not asked for by this browser" in page


def test_the_provider_is_reached_as_it_says(provider):
    with urlopen(f"{provider}/.well-known/openid-configuration") as response:
        assert json.load(response)["issuer"] == provider


def test_a_session_that_somebody_planted_is_not_taken_over(site):
    planted = site.come_in(site.invite("mallory"))
    status, headers, _ = site.form("/sign-in", {"link": site.invite("victim")}, Cookie=planted)
    mine = str(headers["set-cookie"]).partition(";")[0]
    assert status == 303
    assert mine != planted
    assert site.api("GET", "whoami", Cookie=mine)[1]["name"] == "victim"
    assert site.api("GET", "whoami", Cookie=planted)[0] == 401
    assert site.api("GET", "whoami", Cookie="baray_session=made-up")[0] == 401
    assert site.api("GET", "whoami", Cookie=f"baray_session={site.token}")[0] == 401  # a token is no session


def test_a_cookie_of_a_secure_page_carries_the_host_prefix_and_nothing_else(site):
    cookie = str(site.form("/sign-in", {"link": site.invite("kim")})[1]["set-cookie"])
    assert {part.strip().split("=")[0].lower() for part in cookie.split(";")[1:]} == {
        "httponly", "max-age", "path", "samesite",
    }  # fmt: skip


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:1"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {},
        {"Authorization": "Basic bm9ib2R5Og=="},
        {"Authorization": "Basic bm9ib2R5Og==", "Origin": "https://evil.example"},
    ],
)
def test_another_sites_form_changes_nothing(site, headers):
    cookie = site.come_in(site.invite(f"p{abs(hash(str(headers)))}"))
    changes = [
        ("POST", "/account/password"), ("POST", "/account/end-others"), ("POST", "/sign-out"), ("POST", "/account/code"),
        ("POST", "/account/recovery-codes"), ("POST", "/people/invite"), ("POST", "/api/v1/tokens"),
        ("PUT", "/api/v1/account/password"), ("DELETE", "/api/v1/sessions"), ("POST", "/account/outside/link"),
    ]  # fmt: skip
    for method, path in changes:
        status, _, answer = site.ask(method, path, b"x=1", Cookie=cookie, Content_Type=FORM, **headers)
        assert (status, json.loads(answer)["code"]) == (403, "cross_site"), path
    assert site.api("GET", "whoami", Cookie=cookie)[0] == 200


def test_guessing_is_told_to_wait(site):
    codes = []
    for _ in range(6):
        status, headers, _ = site.form("/sign-in", {"name": "operator", "password": "wrong wrong wrong"}, Accept="*/*")
        codes.append((status, headers["Retry-After"]))
    assert codes == [(401, None)] * 5 + [(429, "1")]
    link = site.api("POST", "login-links")[1]["url"].partition("link=")[2]
    assert site.form("/sign-in", {"link": link})[0] == 303  # the operator is not locked out
    kinds = {one["kind"] for one in site.api("GET", "ledger/entries?limit=500")[1]["items"]}
    assert "signin.throttled" in kinds


def test_a_dangerous_act_asks_for_a_proof(site):
    cookie = site.come_in(site.api("POST", "login-links")[1]["url"].partition("link=")[2])
    same = {"Cookie": cookie, "Origin": site.url}
    assert site.api("POST", "login-links", {}, **same)[0] == 201
    name = f"weak{os.getpid()}"
    weak = site.come_in(site.invite(name))
    status, answer = site.api("PUT", "account/password", {"password": PASSWORD}, Cookie=weak, Origin=site.url)
    assert status == 200, answer
    headers = site.form("/sign-in", {"name": name, "password": PASSWORD})[1]
    weak = str(headers["set-cookie"]).partition(";")[0]
    status, answer = site.api("POST", "login-links", {}, Cookie=weak, Origin=site.url)
    assert (status, answer["code"]) == (403, "proof_needed")
    status, answer = site.api("POST", "tokens", {"name": "n", "scopes": ["admin"]}, Cookie=weak, Origin=site.url)
    assert (status, answer["code"]) == (403, "proof_needed")
    status, _, _ = site.ask("POST", "/account/code", b"", Cookie=weak, Origin=site.url, Accept="text/html")
    assert status == 200  # who has nothing stronger may add it
    status, answer = site.api("POST", "tokens", {"name": "n", "scopes": ["read"]}, Cookie=weak, Origin=site.url)
    assert status == 201


def test_an_auditor_sees_acts_and_no_content(site):
    assert site.api("POST", "users", {"name": "auditor-a", "clearance": "secret", "role": ""})[0] == 201
    assert site.api("POST", "users/auditor-a/role", {"role": "auditor"})[0] == 200
    made = site.api("POST", "tokens", {"name": "a", "actor": "auditor-a"})[1]
    bearer = {"Authorization": f"Bearer {made['token']}"}
    for path in ("ledger/entries", "users", "sessions?of=all", "whoami", "tokens"):
        assert site.api("GET", path, **bearer)[0] == 200, path
    for path in ("sources", "datasets", "models", "runs", "services", "lineage?ref=source:x", "status", "recipes"):
        assert site.api("GET", path, **bearer)[0] == 404, path
    status, answer = site.api("POST", "users", {"name": "x"}, **bearer)
    assert (status, answer["code"]) == (403, "site_role_needed")
    member = site.api("POST", "tokens", {"name": "m", "actor": "auditor-a", "scopes": ["ask"]})[1]
    status, answer = site.api("GET", "ledger/entries", Authorization=f"Bearer {member['token']}")
    assert (status, answer["code"]) == (403, "scope_missing")


def test_the_command_line_invites_gives_roles_and_limits_tokens(site):
    made = site.home.json("user", "invite", "kosal", "--role", "viewer", "--clearance", "public")
    cookie = site.come_in(made["url"].partition("link=")[2])
    who = site.api("GET", "whoami", Cookie=cookie)[1]
    assert (who["name"], who["role"], who["clearance"], who["site_role"]) == ("kosal", "viewer", "public", None)
    site.home.json("user", "role", "kosal", "auditor")
    assert site.api("GET", "whoami", Cookie=cookie)[1]["site_role"] == "auditor"
    (open_one,) = [one for one in site.home.json("user", "sessions")["items"] if one["actor"] == "kosal"]
    assert open_one["way"] == "invitation"
    site.home.run("token", "revoke", open_one["id"])
    assert site.api("GET", "whoami", Cookie=cookie)[0] == 401
    again = site.home.json("user", "invite", "kosal", "--again")["url"].partition("link=")[2]
    assert site.come_in(again)
    site.home.json("user", "role", "kosal", "none")
    limited = site.home.json("token", "create", "nightly", "--scope", "read", "--max-label", "public")
    bearer = {"Authorization": f"Bearer {limited['token']}"}
    who = site.api("GET", "whoami", **bearer)[1]
    assert (who["scopes"], who["clearance"]) == (["read"], "public")
    for method, path, body in (("POST", "tokens", {"name": "x"}), ("POST", "login-links", {}), ("POST", "sources", {})):
        status, answer = site.api(method, path, body, **bearer)
        assert (status, answer["code"]) in ((403, "scope_missing"), (400, "bad_request")), path
    key = site.home.json("key", "create", "website")
    assert site.api("GET", "services", Authorization=f"Bearer {key['token']}")[1]["code"] == "scope_missing"


def test_pages_of_people_are_whole_in_both_languages(site):
    cookie = site.come_in(site.api("POST", "login-links")[1]["url"].partition("link=")[2])
    for path in ("/account", "/account/prove", "/people", "/sign-in"):
        for language in ("en", "km"):
            status, headers, page = site.ask("GET", f"{path}?lang={language}", Cookie=cookie, Accept="text/html")
            assert (status, f'<html lang="{language}">'.encode() in page) == (200, True), path
            assert "default-src 'none'" in headers["content-security-policy"]
    for path, fields, expected in (
        ("/people/invite", {"name": "rith", "clearance": "public", "role": "viewer"}, 200),
        ("/people/rith/role", {"role": "member"}, 303),
        ("/people/rith/site-role", {"role": "auditor"}, 303),
        ("/people/rith/invite", {}, 200),
        ("/people/rith/disable", {}, 303),
        ("/people/operator/role", {"role": "viewer"}, 403),
    ):
        status, _, page = site.form(path, fields, Cookie=cookie)
        assert status == expected, (path, page[-600:])
    made = next(one for one in site.api("GET", "users")[1]["items"] if one["name"] == "rith")
    assert (made["disabled"], made["site_role"]) == (True, "auditor")
