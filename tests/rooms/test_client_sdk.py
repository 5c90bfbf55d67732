"""The SDK against real sockets: what it sends, which errors it raises, what it repeats."""

from __future__ import annotations

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from baray.client import Client, Endpoint, Missing, Timing, Unreachable, gather
from baray.core import Fault, NotFound, Refused, StateUnknown, TestClock, digest_bytes


class Server:
    """A server whose answers a test sets: a list of (status, document), used in order, the last one for ever."""

    def __init__(self):
        self.seen = []
        self.answers = [(200, {})]
        self.cut = 0
        self.cut_body = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                outer.seen.append((self.command, self.path, dict(self.headers), body))
                if outer.cut > 0:
                    outer.cut -= 1
                    self.connection.shutdown(socket.SHUT_RDWR)
                    self.close_connection = True
                    return
                status, document = outer.answers.pop(0) if len(outer.answers) > 1 else outer.answers[0]
                data = document if isinstance(document, bytes) else json.dumps(document).encode()
                short = outer.cut_body > 0  # looked at once: the test goes on as soon as the body is out
                outer.cut_body -= short
                self.send_response(status)
                self.send_header("Content-Length", str(len(data) + (10 if short else 0)))
                self.end_headers()
                self.wfile.write(data)
                self.close_connection = self.close_connection or short

            def log_message(self, *_args):
                pass

        for method in ("GET", "POST", "PUT", "DELETE"):
            setattr(Handler, f"do_{method}", Handler.handle_any)
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.01,))
        self.thread.start()

    def close(self):
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


@pytest.fixture
def server():
    server = Server()
    yield server
    server.close()


@pytest.fixture
def timing():
    clock = TestClock()
    return Timing(clock=clock, sleep=clock.advance)


@pytest.fixture
def client(server, timing):
    with Client(server.url, "bry_pat_x", "health", timing=timing, language="km") as client:
        yield client


def test_a_request_carries_token_project_and_language(server, client):
    server.answers = [(200, {"name": "ដារ៉ា"})]
    assert client.get("whoami") == {"name": "ដារ៉ា"}
    method, path, headers, _ = server.seen[0]
    assert (method, path) == ("GET", "/api/v1/whoami?project=health")
    assert headers["Authorization"] == "Bearer bry_pat_x"
    assert headers["Accept-Language"] == "km"


def test_khmer_goes_out_as_utf8_json(server, client):
    client.ask_desk("counter", "តើត្រូវការអ្វី?", ask_as="public")
    method, path, _, body = server.seen[0]
    assert (method, path.partition("?")[0]) == ("POST", "/api/v1/services/counter/ask")
    assert json.loads(body) == {"question": "តើត្រូវការអ្វី?", "as": "public"}
    assert "តើ".encode() in body


@pytest.mark.parametrize(
    ("status", "kind"), [(400, Refused), (403, Refused), (404, Missing), (409, Refused), (500, Fault), (501, Fault)]
)
def test_problem_documents_become_typed_errors(server, client, status, kind):
    problem = {"title": "t", "status": status, "code": "a_code", "detail": "What.", "fix": "Do this."}
    server.answers = [(status, problem)]
    with pytest.raises(kind) as caught:
        client.get("runs/r_1")
    assert (caught.value.code, caught.value.message, caught.value.fix) == ("a_code", "What.", "Do this.")
    assert caught.value.status == status
    assert isinstance(caught.value, NotFound) == (status == 404)


def test_errors_without_a_problem_document_still_say_what_came(server, client):
    server.answers = [(418, b"<h1>teapot</h1>")]
    with pytest.raises(Refused, match="teapot") as caught:
        client.get("x")
    assert caught.value.code == "http_418"
    server.answers = [(400, {"error": {"message": "bad model", "code": "no_model"}})]
    with pytest.raises(Refused, match="bad model") as caught:
        client.get("x")
    assert caught.value.code == "no_model"


def test_nobody_listening_is_said_with_the_fix(timing):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
    with pytest.raises(Unreachable) as caught:
        Client(url, timing=timing).get("whoami")
    assert url in caught.value.message
    assert "baray up" in caught.value.fix


def test_a_bad_address_is_refused(timing):
    with pytest.raises(Refused) as caught:
        Client("localhost:8642", timing=timing).get("whoami")
    assert caught.value.code == "bad_server"


def test_harmless_requests_are_repeated_until_the_server_is_back(server, client):
    server.answers = [(503, {"code": "restarting"}), (502, {}), (200, {"ok": True})]
    assert client.get("whoami") == {"ok": True}
    server.cut = 2
    assert client.get("whoami") == {"ok": True}
    server.cut_body = 1
    assert client.get("whoami") == {"ok": True}
    assert len(server.seen) == 3 + 3 + 2


def test_a_start_whose_connection_broke_is_not_repeated(server, client):
    client.get("whoami")
    client.close()
    server.cut = 1
    with pytest.raises(StateUnknown, match="may or may not"):
        client.start_run({"command": ["true"]})
    assert [method for method, *_ in server.seen] == ["GET", "POST"]


def test_patience_ends(server, client, timing):
    server.answers = [(503, {"code": "restarting", "detail": "Restarting.", "fix": "Wait."})]
    started = timing.clock.monotonic()
    with pytest.raises(Fault) as caught:
        client.get("whoami")
    assert caught.value.code == "restarting"
    assert 10 <= timing.clock.monotonic() - started < 15


def test_a_server_that_came_back_elsewhere_is_found(server, timing):
    first = Server()
    places = [first.url, server.url]
    server.answers = [(200, {"from": "second"})]
    with Client(lambda: Endpoint(url=places[0] if len(places) > 1 else places[-1]), timing=timing) as client:
        client.get("whoami")
        first.close()
        first.cut = 1
        places.pop(0)
        client.close()
        client._http._endpoint = None  # what a failed try does
        assert client.get("whoami") == {"from": "second"}


def test_lists_are_read_page_by_page(server, client):
    server.answers = [
        (200, {"items": [{"n": 1}, {"n": 2}], "next": "c2"}),
        (200, {"items": [{"n": 3}], "next": None}),
    ]
    assert client.pages("runs", state="failed") == {"items": [{"n": 1}, {"n": 2}, {"n": 3}], "next": None}
    assert "after=c2" in server.seen[1][1]
    assert "state=failed" in server.seen[1][1]


def test_only_missing_bytes_are_sent(server, client, tmp_path):
    (tmp_path / "a.txt").write_text("ក")
    (tmp_path / "b.txt").write_text("bb")
    (tmp_path / "same.txt").write_text("bb")
    missing = digest_bytes(b"bb")
    server.answers = [(200, {"missing": [missing]}), (201, {}), (201, {"ref": "source:s@v1"})]
    told = []
    version = client.add_source(
        "s", [tmp_path], label="public", progress=lambda done, total: told.append((done, total))
    )
    assert version == {"ref": "source:s@v1"}
    assert [(method, path.partition("?")[0]) for method, path, *_ in server.seen] == [
        ("POST", "/api/v1/blobs/missing"),
        ("PUT", f"/api/v1/blobs/{missing}"),
        ("POST", "/api/v1/sources"),
    ]
    assert server.seen[1][3] == b"bb"
    assert told == [(0, 2), (2, 2)]
    sent = json.loads(server.seen[2][3])
    assert [file["path"] for file in sent["files"]] == ["a.txt", "b.txt", "same.txt"]
    assert sent["label"] == "public"


def test_a_file_goes_on_where_its_connection_broke(server, client, tmp_path):
    (tmp_path / "a.txt").write_text("0123456789")
    digest = digest_bytes(b"0123456789")
    server.answers = [
        (200, {"missing": [digest], "begun": {digest: 4}}),  # somebody pressed Ctrl-C yesterday
        (409, {"code": "bad_start", "detail": "There are 2 bytes of it.", "fix": "Ask."}),
        (200, {"missing": [digest], "begun": {digest: 2}}),
        (201, {}),
        (201, {"ref": "source:s@v1"}),
    ]
    assert client.add_source("s", [tmp_path])["ref"] == "source:s@v1"
    sent = [(path, body) for method, path, _, body in server.seen if method == "PUT"]
    assert [("start=4" in sent[0][0], sent[0][1]), ("start=2" in sent[1][0], sent[1][1])] == [
        (True, b"456789"),
        (True, b"23456789"),
    ]


def test_waiting_for_a_run_shows_it_and_has_a_limit(server, client):
    server.answers = [(200, {"state": "queued"}), (200, {"state": "running"}), (200, {"state": "succeeded"})]
    seen = []
    run = client.wait("run:r_01", seen=lambda document: seen.append(document["state"]))
    assert (run["state"], seen) == ("succeeded", ["queued", "running", "succeeded"])
    server.answers = [(200, {"state": "queued"})]
    with pytest.raises(Refused, match="still queued"):
        client.wait("r_01", limit_seconds=5)


def test_a_log_is_followed_to_its_end(server, client):
    server.answers = [
        (200, {"text": "សួស្តី ", "next": 20, "done": False}),
        (200, {"text": "", "next": 20, "done": False}),
        (200, {"text": "end", "next": 23, "done": False}),
        (200, {"text": "", "next": 23, "done": True}),
    ]
    assert "".join(client.log("r_01", follow=True)) == "សួស្តី end"


def test_downloads_appear_whole(server, client, tmp_path):
    server.answers = [(200, b"x" * 1000)]
    client.download("datasets/d@v1/files/report.json", tmp_path / "report.json")
    assert (tmp_path / "report.json").read_bytes() == b"x" * 1000
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]


def test_gather_leaves_out_what_is_hidden_or_leads_away(tmp_path):
    folder, outside = tmp_path / "in", tmp_path / "out"
    (folder / "ថត").mkdir(parents=True)
    outside.mkdir()
    (outside / "secret.txt").write_text("s")
    (folder / "ថត" / "លិខិត.txt").write_text("k")
    (folder / ".hidden").write_text("h")
    (folder / ".git").mkdir()
    (folder / ".git" / "config").write_text("c")
    (folder / "away.txt").symlink_to(outside / "secret.txt")
    (folder / "inside.txt").symlink_to(folder / "ថត" / "លិខិត.txt")
    (folder / "dir").symlink_to(outside)
    found = gather([folder])
    assert [file.path for file in found.files] == ["inside.txt", "ថត/លិខិត.txt"]
    reasons = {skipped.path: skipped.reason for skipped in found.skipped}
    assert reasons == {
        ".git": "hidden",
        ".hidden": "hidden",
        "away.txt": "a link that leaves the folder",
        "dir": "a link to a folder",
    }


def test_gather_names_paths_below_what_was_given(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.txt").write_text(name)
    assert [file.path for file in gather([tmp_path / "one"]).files] == ["a.txt"]
    assert [file.path for file in gather([tmp_path / "one", tmp_path / "two"]).files] == ["one/a.txt", "two/a.txt"]
    assert [file.path for file in gather([tmp_path / "one" / "a.txt"]).files] == ["a.txt"]
    with pytest.raises(Refused, match="Two files would be"):
        gather([tmp_path / "one" / "a.txt", tmp_path / "two" / "a.txt"])
    with pytest.raises(Refused, match="no file or folder"):
        gather([tmp_path / "three"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(Refused, match="No files"):
        gather([tmp_path / "empty"])
