"""Sending many files: over a few connections, each file once, and nothing goes on after an error or Ctrl-C."""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from baray.client import Endpoint, Timing, gather
from baray.client.sdk.sending import CONNECTIONS, send_files
from baray.client.sdk.transport import Http, Request
from baray.core import Refused

LIMIT_SECONDS = 10


class Receiver:
    """A server that takes files; a test may close its gate, which holds every request, or name a file that it refuses."""

    def __init__(self):
        self.taken = []
        self.peers = set()
        self.waiting = 0
        self.gate = threading.Event()
        self.gate.set()
        self.refused = ""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_PUT(self):
                outer.peers.add(self.client_address)
                self.rfile.read(int(self.headers["Content-Length"]))
                outer.waiting += 1
                outer.gate.wait(LIMIT_SECONDS)
                bad = outer.refused and self.path.endswith(outer.refused)
                outer.taken.append(self.path)
                self.send_response(400 if bad else 200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *_args):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.01,))
        self.thread.start()

    def close(self):
        self.gate.set()
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


@pytest.fixture
def receiver():
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture
def files(tmp_path):
    for number in range(40):
        (tmp_path / f"{number:02}.txt").write_text(f"paper {number}")
    return gather([tmp_path]).files


def sending(receiver, files, progress=lambda _done, _total: None):
    def connect(timing):
        return Http(lambda: Endpoint(url=receiver.url, seen=True), timing=timing)

    def send(line, file):
        line.json(Request(method="PUT", path=f"/{file.path}", file=file.file, repeatable=True))

    send_files(files, connect=connect, send=send, timing=Timing(), progress=progress)


def threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("sending")]


def test_each_file_once_over_a_few_connections_with_progress(receiver, files):
    seen = []
    sending(receiver, files, lambda done, total: seen.append((done, total, threading.current_thread().name)))
    assert sorted(receiver.taken) == [f"/{file.path}" for file in files]
    assert 1 <= len(receiver.peers) <= CONNECTIONS
    size = sum(file.bytes for file in files)
    assert seen[0][:2] == (0, size)
    assert seen[-1][:2] == (size, size)
    assert [done for done, _, _ in seen] == sorted(done for done, _, _ in seen)
    assert {name for _, _, name in seen} == {threading.current_thread().name}
    assert threads() == []


def test_requests_are_under_way_at_the_same_time(receiver, files):
    receiver.gate.clear()

    def look(_done, _total):
        if receiver.waiting >= CONNECTIONS:
            receiver.gate.set()

    sending(receiver, files, look)
    assert len(receiver.peers) == CONNECTIONS
    assert len(receiver.taken) == len(files)


def test_the_first_error_ends_it_and_is_raised(receiver, files):
    receiver.refused = "05.txt"
    with pytest.raises(Refused):
        sending(receiver, files)
    assert threads() == []
    assert len(receiver.taken) == len(set(receiver.taken))


def test_ctrl_c_cuts_what_is_under_way_and_leaves_no_thread(receiver, files):
    receiver.gate.clear()  # the server takes the bytes and never answers

    def interrupt(_done, _total):
        if receiver.waiting >= CONNECTIONS:
            raise KeyboardInterrupt

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        sending(receiver, files, interrupt)
    assert time.monotonic() - started < LIMIT_SECONDS / 2
    assert threads() == []
    assert receiver.waiting == CONNECTIONS
