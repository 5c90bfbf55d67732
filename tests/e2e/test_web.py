"""The console and the API of a real server: who gets in, what each may see, and that nothing leaks upward."""

from __future__ import annotations

import hashlib
import http.client
import json
import re
import socket
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import pytest
from homes import Home, wait_for

SECRET = "safe-and-cash"  # name of an internal document of the sample
SECRET_FACT = "២០៧"  # the room that only it names


@dataclass(frozen=True)
class Web:
    """A server with the tiny demo in it."""

    home: Home
    url: str
    router: str
    token: str

    def ask(
        self, method: str, path: str, body: bytes | None = None, *, to: str = "", **headers: str
    ) -> tuple[int, Any, bytes]:
        address = urlsplit(to or self.url)
        connection = http.client.HTTPConnection(address.hostname, address.port, timeout=20)
        with closing(connection):
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            response = connection.getresponse()
            data = response.read()
        return response.status, response.headers, data

    def api(self, method: str, path: str, body: Any = None, *, token: str | None = None) -> tuple[int, Any]:
        data = None if body is None else json.dumps(body).encode()
        status, _, answer = self.ask(
            method,
            f"/api/v1/{path}",
            data,
            Authorization=f"Bearer {token or self.token}",
            Content_Type="application/json",
        )
        return status, json.loads(answer)


@pytest.fixture(scope="module")
def web(tmp_path_factory):
    home = Home(tmp_path_factory.mktemp("web") / "home")
    home.run("demo", "--size", "tiny", "--json")
    endpoint = json.loads((home.path / "endpoint.json").read_text())
    token = (home.path / "operator.token").read_text().strip()
    yield Web(home=home, url=endpoint["url"], router=endpoint["router_url"], token=token)
    home.stop()


@pytest.fixture(scope="module")
def viewer(web):
    """Token of a viewer of the project who is cleared for public things only."""
    assert web.api("POST", "users", {"name": "visitor", "clearance": "public", "role": "viewer"})[0] == 201
    status, made = web.api("POST", "tokens", {"name": "for the visitor", "actor": "visitor", "expires": "1h"})
    assert status == 201
    return made["token"]


def session(web: Web) -> str:
    link = web.api("POST", "login-links")[1]["url"]
    form = urlencode({"link": link.partition("link=")[2]}).encode()
    kind = "application/x-www-form-urlencoded"
    status, headers, _ = web.ask("POST", "/sign-in", form, Content_Type=kind, Origin=web.url)
    assert status == 303
    again, _, page = web.ask("POST", "/sign-in", form, Content_Type=kind, Origin=web.url, Accept="text/html")
    assert again in (303, 401), page
    assert b"bry_ses" not in page
    cookie = headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    return cookie.partition(";")[0]


def test_a_sign_in_link_works_once(web):
    link = web.api("POST", "login-links")[1]["url"].partition("link=")[2]
    form = urlencode({"link": link}).encode()
    statuses = [web.ask("POST", "/sign-in", form, Origin=web.url)[0] for _ in range(2)]
    assert statuses == [303, 401]
    assert web.ask("GET", "/", Authorization=f"Bearer {link}")[0] == 401


def test_every_page_is_whole_small_and_asks_no_other_host(web):
    cookie = session(web)
    run = web.api("GET", "runs")[1]["items"][0]["id"]
    paths = ["/", "/datasets", "/datasets/one-window", "/runs", f"/runs/{run}", "/models", "/models/letters-router"]
    paths += [
        "/desks",
        "/desks/one-window?q=" + quote("តើម៉ោងធ្វើការប៉ុន្មាន?"),
        "/lineage?ref=service:one-window",
        "/ledger",
    ]
    for path in [*paths, *[path + ("&" if "?" in path else "?") + "lang=km" for path in paths]]:
        status, headers, page = web.ask("GET", path, Cookie=cookie, Accept="text/html")
        assert status == 200, (path, page[:400])
        assert len(page) < 100_000, path
        assert "default-src 'none'" in headers["content-security-policy"]
        hosts = {urlsplit(found).netloc for found in re.findall(r'(?:href|src)="(https?://[^"]+)"', page.decode())}
        assert hosts <= {urlsplit(web.url).netloc, urlsplit(web.router).netloc}, (path, hosts)
        assert ('lang="km"' if path.endswith("lang=km") else 'lang="en"') in page.decode()[:60]


def test_without_credentials_only_health_sign_in_and_the_heads_are_open(web):
    document = json.loads(web.ask("GET", "/api/v1/openapi.json", Authorization=f"Bearer {web.token}")[2])
    open_paths = set()
    for path, operations in document["paths"].items():
        for method in operations:
            asked = re.sub(r"\{[^}]*\}", "x", path)
            status, _, _ = web.ask(
                method.upper(), asked, b"{}" if method != "get" else None, Content_Type="application/json"
            )
            if status != 401:
                open_paths.add(path)
    assert open_paths == {"/healthz", "/readyz", "/ledger/{path}"}
    assert web.ask("GET", "/ledger/checkpoint")[0] == 200
    assert web.ask("GET", "/ledger/tile/entries/000.p/3")[0] == 404
    status, headers, _ = web.ask("GET", "/", Accept="text/html")
    assert (status, headers["location"]) == (303, "/sign-in")


def test_another_sites_form_and_a_foreign_host_are_refused(web):
    cookie = session(web)
    run = web.api("GET", "runs")[1]["items"][0]["id"]
    path = f"/runs/{run}/cancel"
    assert web.ask("POST", path, b"", Cookie=cookie, Origin="https://elsewhere.example")[0] == 403
    assert web.ask("POST", path, b"", Cookie=cookie, Sec_Fetch_Site="cross-site")[0] == 403
    assert web.ask("POST", path, b"", Cookie=cookie, Origin=web.url)[0] == 303
    assert web.ask("GET", "/healthz", Host="attacker.example")[0] == 400


def test_errors_are_problem_details_with_a_fix(web):
    status, headers, body = web.ask("GET", "/api/v1/datasets/nothing", Authorization=f"Bearer {web.token}")
    problem = json.loads(body)
    assert status == 404
    assert headers["content-type"] == "application/problem+json"
    assert set(problem) == {"type", "title", "status", "code", "detail", "fix"}
    assert web.api("POST", "runs", {"command": []})[1]["code"] == "bad_request"
    assert web.api("POST", "sources", {"name": "Bad Name", "files": []})[1]["code"] == "bad_name"
    assert web.ask("DELETE", "/api/v1/runs", Authorization=f"Bearer {web.token}")[0] == 405
    assert web.api("GET", "runs?limit=501")[0] == 400


def test_an_internal_document_never_reaches_the_public(web, viewer):
    """Not in lists, counts, search, answers, citations or errors."""
    seen = []
    for path in (
        "datasets",
        "indexes",
        "sources",
        "runs",
        "models",
        "services",
        "services/one-window",
        "usage",
        "status",
    ):
        status, found = web.api("GET", path, token=viewer)
        assert status == 200, path
        seen.append(json.dumps(found, ensure_ascii=False))
    hidden = ["datasets/one-window", "datasets/one-window/rows", "datasets/one-window/report", "indexes/one-window"]
    hidden += ["lineage?ref=dataset:one-window", "datasets/one-window/files/report.json", "sources/one-window"]
    for path in hidden:
        status, found = web.api("GET", path, token=viewer)
        missing = web.api("GET", path.replace("one-window", "nothing-here"), token=viewer)
        assert (status, found["code"]) == (404, "not_found"), path
        assert json.dumps(found).replace("one-window", "nothing-here") == json.dumps(missing[1]), path
    question = "តើកូនសោបម្រុងរបស់ទូដែករក្សាទុកនៅឯណា?"
    body = json.dumps({"model": "one-window", "question": question}).encode()
    for headers in ({}, {"Authorization": f"Bearer {viewer}"}):
        status, _, answer = web.ask(
            "POST", "/v1/answers", body, to=web.router, Content_Type="application/json", **headers
        )
        assert status == 200
        assert json.loads(answer)["outcome"] == "out-of-scope"
        seen.append(answer.decode())
    seen.append(web.ask("GET", "/desk/one-window?q=" + quote(question), to=web.router)[2].decode())
    for text in seen:
        assert SECRET not in text
        assert SECRET_FACT not in text
    officer = web.api("POST", "services/one-window/ask", {"question": question, "as": "officer"})[1]
    assert officer["citations"][0]["document"].endswith(f"{SECRET}.docx"), "the document is there for those cleared"


def test_a_viewer_changes_nothing_and_each_denial_is_an_entry(web, viewer):
    before = web.api("GET", "status")[1]["entries"]
    attempts = [
        ("POST", "runs", {"command": ["/bin/true"]}),
        ("POST", "services/one-window/stop", None),
        ("POST", "users", {"name": "mallory"}),
        ("POST", "projects", {"name": "mine"}),
        ("POST", "ledger/witnesses", {"name": "w", "vkey": "w"}),
        ("GET", "ledger/entries", None),
        ("GET", "users", None),
    ]
    for method, path, body in attempts:
        status, found = web.api(method, path, body, token=viewer)
        assert status in (403, 404), (path, found)

    def denials() -> int:
        entries = web.api("GET", f"ledger/entries?after={before - 1}&limit=500")[1]["items"]
        return sum(entry["kind"] == "access.denied" for entry in entries)

    wait_for(lambda: denials() >= len(attempts))


def test_naming_anothers_digest_gives_nothing(web):
    """A digest is no proof of holding the bytes: another project cannot take a file in by its name."""
    assert web.api("POST", "projects", {"name": "elsewhere"})[0] == 201
    file = web.api("GET", "sources/one-window")[1]["files"][0]
    named = {"path": "taken.txt", "digest": file["digest"], "bytes": file["bytes"]}
    status, found = web.api("POST", "sources?project=elsewhere", {"name": "taken", "files": [named]})
    assert (status, found["code"]) == (409, "missing_blobs")
    asked = web.api("POST", "blobs/missing?project=elsewhere", {"digests": [file["digest"]]})[1]
    assert asked["missing"] == [file["digest"]]


def test_a_blob_must_have_the_digest_it_is_sent_under(web):
    data = b"some bytes"
    right = "sha256:" + hashlib.sha256(data).hexdigest()
    token = f"Bearer {web.token}"
    assert web.ask("PUT", f"/api/v1/blobs/{right}", data, Authorization=token)[0] == 201
    assert web.ask("PUT", f"/api/v1/blobs/{right}", b"other", Authorization=token)[0] == 400
    assert web.ask("PUT", "/api/v1/blobs/sha256:..%2F..%2Fx", data, Authorization=token)[0] in (400, 404)


def test_an_upload_that_broke_goes_on_where_it_broke_and_is_nobody_elses(web):
    data = bytes(range(256)) * 8000
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    token, path, half = f"Bearer {web.token}", f"/api/v1/blobs/{digest}", len(data) // 2

    def begun(project: str = "") -> int:
        query = f"?project={project}" if project else ""
        told = web.api("POST", f"blobs/missing{query}", {"digests": [digest]})[1]
        assert told["missing"] == [digest]
        return told["begun"].get(digest, 0)

    address = urlsplit(web.url)
    with socket.create_connection((address.hostname, address.port)) as sender:
        head = (
            f"PUT {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {token}\r\nContent-Length: {len(data)}\r\n\r\n"
        )
        sender.sendall(head.encode() + data[:half])
        wait_for(lambda: begun() > half // 2)
        assert web.ask("PUT", f"{path}?start=0", data, Authorization=token)[0] == 503  # one at a time
    assert web.api("POST", "projects", {"name": "beside"})[0] == 201
    assert begun("beside") == 0

    def go_on() -> bool:
        """Once the server has let go of the broken connection."""
        start = begun()
        assert start <= half
        return web.ask("PUT", f"{path}?start={start}", data[start:], Authorization=token)[0] == 201

    assert web.ask("PUT", f"{path}?start={half + 1}", data[half + 1 :], Authorization=token)[0] in (409, 503)
    wait_for(go_on)
    assert web.api("POST", "blobs/missing", {"digests": [digest]})[1] == {"missing": [], "begun": {}}


def test_a_revoked_token_is_dead_at_once_on_both_planes(web):
    made = web.api("POST", "tokens", {"name": "short", "expires": "1h"})[1]
    body = json.dumps({"model": "one-window", "question": "fee?"}).encode()

    def router_status() -> int:
        bearer = f"Bearer {made['token']}"
        return web.ask(
            "POST", "/v1/answers", body, to=web.router, Authorization=bearer, Content_Type="application/json"
        )[0]

    wait_for(lambda: router_status() == 200)
    assert web.api("DELETE", f"tokens/{made['id']}")[0] == 200
    assert web.api("GET", "whoami", token=made["token"])[0] == 401
    wait_for(lambda: router_status() == 401)


def test_a_live_log_streams_until_the_run_ends(web, need):
    need("bwrap")
    run = web.api("POST", "runs", {"command": ["/bin/sh", "-c", "echo one; sleep 0.3; echo two"]})[1]
    _, headers, data = web.ask("GET", f"/api/v1/runs/{run['id']}/log/stream", Authorization=f"Bearer {web.token}")
    assert headers["content-type"].startswith("text/event-stream")
    events = data.decode()
    assert "one" in events
    assert "two" in events
    assert "event: end" in events
    for offset in (3, 2**53):
        status, found = web.api("GET", f"runs/{run['id']}/log?offset={offset}")
        assert (status, "one" in found["text"], found["next"] >= offset) == (200, False, True)


def test_nobody_makes_a_way_in_for_somebody_cleared_for_more(web):
    assert web.api("POST", "users", {"name": "low-operator", "clearance": "internal", "role": "member"})[0] == 201
    assert web.api("POST", "users/low-operator/role", {"role": "operator"})[0] == 200
    token = web.api("POST", "tokens", {"name": "own", "actor": "low-operator", "expires": "1h"})[1]["token"]
    for path, body in (("tokens", {"name": "up", "actor": "operator"}), ("users/operator/invite", None)):
        status, found = web.api("POST", path, body, token=token)
        assert (status, found["code"]) == (403, "clearance_too_low"), path
    assert web.api("POST", "tokens", {"name": "down", "actor": "officer"}, token=token)[0] == 201


def test_what_is_missing_lengthens_the_ledger_as_what_is_hidden_does(web, viewer):
    def entries_after(path: str) -> int:
        before = web.api("GET", "status")[1]["entries"]
        assert web.api("GET", path, token=viewer)[0] == 404
        return wait_for(lambda: web.api("GET", "status")[1]["entries"] - before)

    assert entries_after("datasets/one-window") == entries_after("datasets/nothing-here") == 1
