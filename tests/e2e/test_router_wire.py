"""The router's HTTP itself, over real sockets: where a request ends, who is waited for and how long, what is never answered."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import threading
import time
from contextlib import closing, contextmanager

import pytest
import uvloop

from baray.core import BarayError, SystemClock
from baray.serve.router.connection import MAX_AHEAD, MAX_HEAD_BYTES, Patience
from baray.serve.router.incoming import MAX_BODY_BYTES
from baray.serve.router.listener import Listener
from baray.serve.router.messages import StreamedResponse, json_response, problem, read_json, read_request

POST = b"POST /echo HTTP/1.1\r\nHost: x\r\n"
QUICK = Patience(head=0.5, idle=0.5, discard=0.5, linger=0.5, stall=1.0)


class Running:
    """A listener in a thread of its own that tells what it was asked."""

    def __init__(self, patience=None, most=100) -> None:
        self.asked = []
        self.left = 0
        self.cut = 0
        self.ended = 0
        self.trouble = []
        self._patience, self._most = patience, most
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(10)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._live())

    async def _live(self) -> None:
        self._loop, self._stop, self._hurry = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
        self._loop.set_exception_handler(lambda _loop, context: self.trouble.append(context))
        self.listener = Listener(self._respond, most=self._most, clock=SystemClock(), patience=self._patience)
        await self.listener.open(self._socket)
        self._ready.set()
        await self._stop.wait()
        await self.listener.drain(self.seconds, self._hurry)

    async def _respond(self, incoming):
        try:
            request = read_request(incoming)
            self.asked.append((request.method, request.path))
            if request.path == "/early":
                return json_response({"early": True})
            if request.path == "/stream":
                return StreamedResponse(chunks=self._words(incoming), end=self._end)
            if request.path == "/no-head":
                return StreamedResponse(chunks=self._words(incoming), end=self._end, headers=(("x-name", "ខ្មែរ"),))
            if request.path == "/slow":
                await asyncio.sleep(0.3)
            if request.path == "/never":
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    self.cut += 1
                    raise
            body = await read_json(request) if request.method == "POST" else None
            return json_response({"body": body, "authorization": request.headers.get("authorization")})
        except BarayError as error:
            return problem(error)

    def _end(self):
        self.ended += 1

    async def _words(self, incoming):
        try:
            for number in range(5 if "full" not in incoming.headers else 10**9):
                yield b"%d " % number * (1 if number < 5 else 10_000)
                await asyncio.sleep(0)
        finally:
            self.left += incoming.gone

    seconds = 5.0

    def stop(self, seconds=5.0):
        self.seconds = seconds
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)
        assert not self._thread.is_alive()

    def connect(self):
        return closing(socket.create_connection(("127.0.0.1", self.port), timeout=10))

    def say(self, data: bytes) -> bytes:
        """All that comes until the connection ends."""
        with self.connect() as caller:
            caller.sendall(data)
            return rest(caller)


def rest(caller) -> bytes:
    data = b""
    try:
        while more := caller.recv(65536):
            data += more
    except ConnectionResetError:
        pass
    return data


@contextmanager
def running(**values):
    one = Running(**values)
    try:
        yield one
    finally:
        one.stop()


@pytest.fixture(scope="module")
def wire():
    with running(patience=QUICK) as one:
        yield one


AMBIGUOUS = {
    "a length and chunks": POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and a length": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n",
    "two lengths": POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{} ",
    "one length twice": POST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    "a list of lengths": POST + b"Content-Length: 2, 2\r\n\r\n{}",
    "a length with a sign": POST + b"Content-Length: +2\r\n\r\n{}",
    "a length below nothing": POST + b"Content-Length: -2\r\n\r\n{}",
    "a length without end": POST + b"Content-Length: 99999999999999999999\r\n\r\n{}",
    "a length of nothing": POST + b"Content-Length:\r\n\r\n{}",
    "a space before the colon": POST + b"Content-Length : 2\r\n\r\n{}",
    "an unknown coding": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunks inside another coding": POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "a coding inside chunks": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunks twice": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a folded coding": POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "chunks in HTTP/1.0": b"POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a folded header": POST + b"A: b\r\n c\r\nContent-Length: 2\r\n\r\n{}",
    "bare line feeds": b"POST /echo HTTP/1.1\nHost: x\nContent-Length: 2\n\n{}",
    "one bare line feed": b"POST /echo HTTP/1.1\r\nHost: x\nContent-Length: 2\r\n\r\n{}",
    "a bare carriage return": b"POST /echo HTTP/1.1\r\nHost: x\rContent-Length: 2\r\n\r\n{}",
    "a zero byte": POST + b"A: b\0c\r\nContent-Length: 2\r\n\r\n{}",
    "a header without a name": POST + b": b\r\n\r\n",
    "a space before the first header": b"POST /echo HTTP/1.1\r\n Host: x\r\n\r\n",
    "a chunk that ends with a line feed": POST + b"Transfer-Encoding: chunked\r\n\r\n2\n{}\n0\n\n",
    "a chunk with a space": POST + b"Transfer-Encoding: chunked\r\n\r\n2 \r\n{}\r\n0\r\n\r\n",
    "a chunk without end": POST + b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n{}\r\n0\r\n\r\n",
    "no version": b"GET /echo\r\n\r\n",
    "version 2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "version 3.1": b"GET /echo HTTP/3.1\r\n\r\n",
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "a space in the target": b"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n",
}


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_a_request_whose_end_is_doubtful_is_refused_and_nothing_after_it_is_read(wire, name):
    before = len(wire.asked)
    data = wire.say(AMBIGUOUS[name] + b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n")
    assert data.startswith(b"HTTP/1.1 400 ")
    assert data.count(b"HTTP/1.1 ") == 1
    assert b"connection: close" in data
    assert [path for _, path in wire.asked[before:] if path != "/echo"] == []


def test_the_answers_before_a_bad_request_come_first(wire):
    data = wire.say(POST + b"Content-Length: 2\r\n\r\n{}" + AMBIGUOUS["two lengths"])
    assert [part[:3] for part in data.split(b"HTTP/1.1 ")[1:]] == [b"200", b"400"]


def test_a_trailer_names_nobody(wire):
    body = b"2\r\n{}\r\n0\r\nAuthorization: Bearer x\r\n\r\n"
    data = wire.say(POST + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n" + body)
    assert json.loads(data.partition(b"\r\n\r\n")[2]) == {"body": {}, "authorization": None}


def test_nothing_is_answered_after_a_connection_that_was_to_close(wire):
    before = len(wire.asked)
    data = wire.say(b"GET /one HTTP/1.1\r\nConnection: close\r\n\r\nGET /two HTTP/1.1\r\n\r\n")
    assert data.count(b"HTTP/1.1 200") == 1
    assert wire.asked[before:] == [("GET", "/one")]


@pytest.mark.parametrize(
    "head", [b"Connection: upgrade\r\nUpgrade: h2c\r\n", b"Connection: upgrade\r\nUpgrade: websocket\r\n"]
)
def test_another_protocol_is_not_changed_to(wire, head):
    data = wire.say(b"GET /one HTTP/1.1\r\nHost: x\r\n" + head + b"\r\nGET /two HTTP/1.1\r\n\r\n")
    assert data.count(b"HTTP/1.1 200") == data.count(b"HTTP/1.1 ") == 1
    assert b"connection: close" in data


def test_old_http_gets_an_answer_that_ends_with_the_connection(wire):
    data = wire.say(b"GET /one HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert data.startswith(b"HTTP/1.1 200")
    assert b"connection: close" in data
    head, _, body = wire.say(b"GET /stream HTTP/1.0\r\n\r\n").partition(b"\r\n\r\n")
    assert (body, b"chunked" in head) == (b"0 1 2 3 4 ", False)


def test_a_body_may_come_in_chunks_and_byte_by_byte(wire):
    text = '{"word": "សួស្តី"}'.encode()
    chunks = b"".join(b"%x;part=1\r\n%b\r\n" % (1, text[at : at + 1]) for at in range(len(text))) + b"0\r\n\r\n"
    for framed in (
        b"Transfer-Encoding: chunked\r\n\r\n" + chunks,
        b"Content-Length: %d\r\n\r\n" % len(text) + text,
    ):
        with wire.connect() as caller:
            caller.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for at in range(len(POST + framed)):
                caller.sendall((POST + framed)[at : at + 1])
            data = b""
            while b"}}" not in data and b"null}" not in data:
                data += caller.recv(65536)
        assert json.loads(data.partition(b"\r\n\r\n")[2])["body"] == {"word": "សួស្តី"}


def test_who_asks_before_sending_is_told_to_go_on_or_why_not(wire):
    with wire.connect() as caller:
        caller.sendall(POST + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert caller.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        caller.sendall(b"{}")
        assert caller.recv(1000).startswith(b"HTTP/1.1 200")
    head = b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % (MAX_BODY_BYTES + 1)
    assert wire.say(POST + head).startswith(b"HTTP/1.1 413")
    # Who does not wait to be told is not told, nor who speaks a version that does not know of it.
    with wire.connect() as caller:
        caller.sendall(b"POST /echo HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        time.sleep(0.1)
        caller.sendall(b"{}")
        assert rest(caller).startswith(b"HTTP/1.1 200")
    data = wire.say(POST + b"Connection: close\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n{}")
    assert data.startswith(b"HTTP/1.1 200")


def test_who_was_not_told_to_go_on_is_not_answered_again(wire):
    """They may send the body or another request next: one could be taken for the other."""
    before = len(wire.asked)
    with wire.connect() as caller:
        caller.sendall(b"POST /early HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 30\r\n\r\n")
        told = caller.recv(1000)
        assert told.startswith(b"HTTP/1.1 200")
        assert b"connection: close" in told
        caller.sendall(b"x" * 30 + b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n")
        assert rest(caller) == b""
    assert wire.asked[before:] == [("POST", "/early")]


def test_who_hangs_up_before_being_told_to_go_on_leaves_no_trouble():
    with running(patience=QUICK) as one:
        with one.connect() as caller:
            caller.sendall(POST.replace(b"echo", b"slow") + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
            end = time.monotonic() + 10
            while not one.asked and time.monotonic() < end:
                time.sleep(0.01)
        time.sleep(0.6)  # twice as long as it takes to come to the body
        assert one.say(b"GET /x HTTP/1.1\r\nConnection: close\r\n\r\n").startswith(b"HTTP/1.1 200")
    assert one.trouble == []


def test_a_body_that_nobody_wanted_is_read_over(wire):
    early = b"POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"
    with wire.connect() as caller:
        caller.sendall(early)
        assert caller.recv(1000).startswith(b"HTTP/1.1 200")
        caller.sendall(b"x" * 100_000 + b"GET /next HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert rest(caller).startswith(b"HTTP/1.1 200")


def test_requests_far_ahead_of_their_answers_are_refused(wire):
    # The first is being answered when the others come.
    with wire.connect() as caller:
        caller.sendall(b"GET /slow HTTP/1.1\r\n\r\n")
        time.sleep(0.1)
        caller.sendall(b"GET /x HTTP/1.1\r\n\r\n" * (MAX_AHEAD + 20))
        data = rest(caller)
    assert data.count(b"HTTP/1.1 200") == MAX_AHEAD + 1
    assert data.count(b"HTTP/1.1 400") == 1


@pytest.mark.parametrize("method", [b"GET", b"POST"])
def test_many_requests_at_once_are_answered_wherever_reading_them_is_interrupted(wire, method):
    """More than is read at once, so that some head is cut there: what came before it is not counted as its line."""
    more = b'Content-Length: 5000\r\n\r\n{"a": "%b"}' % (b"y" * 4991)
    padded = b"X: %b\r\n" % (b"y" * 5000)
    one = method + b" /x HTTP/1.1\r\nHost: x\r\n" + padded + (more if method == b"POST" else b"\r\n")
    with wire.connect() as caller:
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
        caller.sendall(b"GET /slow HTTP/1.1\r\n\r\n")
        time.sleep(0.1)
        caller.sendall(one * 100 + b"GET /x HTTP/1.1\r\nConnection: close\r\n\r\n")
        data = rest(caller)
    assert data.count(b"HTTP/1.1 200") == 102


def test_a_request_whose_head_is_too_large_is_not_worked_for(wire):
    before = len(wire.asked)
    with wire.connect() as caller:
        caller.sendall(b"GET /large HTTP/1.1\r\nX: " + b"x" * (MAX_HEAD_BYTES + 1) + b"\r\n\r\n")
        assert rest(caller) == b""
    wire.say(b"GET /after HTTP/1.1\r\nConnection: close\r\n\r\n")
    assert wire.asked[before:] == [("GET", "/after")]


@pytest.mark.parametrize(
    "endless",
    [
        lambda: b"GET /x HTTP/1.1\r\nX: " + b"x" * (4 * MAX_HEAD_BYTES),
        lambda: b"GET /" + b"x" * (4 * MAX_HEAD_BYTES),
        lambda: b"GET /x HTTP/1.1\r\n" + b"X: y\r\n" * MAX_HEAD_BYTES,
        lambda: POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n" + b"X: y\r\n" * MAX_HEAD_BYTES,
        lambda: POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX: " + b"x" * (4 << 20) + b"\r\n\r\n",
        lambda: POST + b"Transfer-Encoding: chunked\r\n\r\n2;" + b"x" * (4 << 20) + b"\r\n{}\r\n0\r\n\r\n",
        lambda: POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"1;%b\r\n{\r\n" % (b"x" * 60_000) * 700,
    ],
    ids=["a header", "a target", "headers", "trailers", "a trailer", "a chunk's extension", "chunks' extensions"],
)
def test_what_has_no_end_is_cut_off(wire, endless):
    data = endless()
    with wire.connect() as caller:
        came = b""
        try:
            caller.sendall(data)
            came = rest(caller)
        except OSError:
            pass  # it hung up while we were still sending, as it may
    assert not came.startswith(b"HTTP/1.1 200")


def test_slow_callers_are_cut_off(wire):
    """Each for its own reason; all at once, so that it takes no longer than the slowest."""
    slow = {
        "says nothing": b"",
        "half a head": b"GET /x HTTP/1.1\r\nHo",
        "says nothing more": b"GET /x HTTP/1.1\r\n\r\n",
        "half a second head": b"GET /x HTTP/1.1\r\n\r\nGET /y",
        "half a body that nobody wants": b"POST /early HTTP/1.1\r\nContent-Length: 10\r\n\r\n12345",
        "does not hang up": b"GET /a b HTTP/1.1\r\n\r\n",
    }
    callers = {name: socket.create_connection(("127.0.0.1", wire.port), timeout=10) for name in slow}
    started = time.monotonic()
    for name, caller in callers.items():
        caller.sendall(slow[name])
    for caller in callers.values():
        rest(caller)
        caller.close()
    assert time.monotonic() - started < 8.0  # all patience together is 2 s, a tick 0.5 s


def test_who_sends_a_byte_at_a_time_is_not_waited_for_longer(wire):
    with wire.connect() as caller:
        started, at = time.monotonic(), 0
        try:
            while time.monotonic() - started < 8.0:
                caller.sendall((b"GET /x HTTP/1.1\r\n" + b"X" * 100)[at : at + 1])
                at += 1
                time.sleep(0.1)
        except ConnectionError:
            pass
        assert time.monotonic() - started < 8.0


def test_who_takes_nothing_of_a_stream_is_cut_off_and_its_maker_hears_of_it(wire):
    before = wire.left
    with wire.connect() as caller:
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        caller.sendall(b"GET /stream HTTP/1.1\r\nHost: x\r\nFull: 1\r\n\r\n")
        end = time.monotonic() + 15
        while wire.left == before and time.monotonic() < end:
            time.sleep(0.05)
    assert wire.left == before + 1


@pytest.mark.parametrize("path", ["stream", "no-head"])
def test_a_stream_is_ended_once_also_where_it_never_began(wire, path):
    before = wire.ended
    with wire.connect() as caller:
        caller.sendall(b"GET /%b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % path.encode())
        told = rest(caller)
    assert (told == b"") == (path == "no-head")
    end = time.monotonic() + 15
    while wire.ended == before and time.monotonic() < end:
        time.sleep(0.01)
    assert wire.ended == before + 1


def test_more_connections_than_allowed_are_told_so_and_let_go():
    with running(most=2) as one:
        kept = [socket.create_connection(("127.0.0.1", one.port), timeout=10) for _ in range(2)]
        for caller in kept:
            caller.sendall(b"GET /x HTTP/1.1\r\n\r\n")
            assert caller.recv(1000).startswith(b"HTTP/1.1 200")
        data = one.say(b"GET /x HTTP/1.1\r\n\r\n")
        assert data.startswith(b"HTTP/1.1 503")
        assert b"connection: close" in data
        for caller in kept:
            caller.close()


def test_leaving_lets_answers_end_closes_who_waits_and_cuts_who_takes_too_long():
    one = Running()
    idle, slow, never = (socket.create_connection(("127.0.0.1", one.port), timeout=10) for _ in range(3))
    idle.sendall(b"GET /x HTTP/1.1\r\n\r\n")
    assert idle.recv(1000).startswith(b"HTTP/1.1 200")
    slow.sendall(b"GET /slow HTTP/1.1\r\n\r\n")
    never.sendall(b"GET /never HTTP/1.1\r\n\r\n")
    end = time.monotonic() + 10
    while len(one.asked) < 3 and time.monotonic() < end:
        time.sleep(0.01)
    one.stop(seconds=1.0)
    assert rest(idle) == b""
    data = rest(slow)
    assert data.startswith(b"HTTP/1.1 200")
    assert b"connection: close" in data
    assert (rest(never), one.cut) == (b"", 1)
    assert one.trouble == []
    for caller in (idle, slow, never):
        caller.close()


def test_leaving_cuts_a_stream_that_nobody_takes():
    one = Running()
    with one.connect() as caller:
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        caller.sendall(b"GET /stream HTTP/1.1\r\nHost: x\r\nFull: 1\r\n\r\n")
        assert caller.recv(100)
        time.sleep(0.3)  # until it waits for us
        one.stop(seconds=0.2)
    assert (one.ended, one.trouble) == (1, [])


def test_bytes_changed_by_chance_never_hold_it_up(wire):
    """Whole requests, cut and spoiled anywhere: an answer or an end comes each time, and the next caller is served."""
    rng = random.Random(11)
    valid = [
        POST + b"Content-Length: 13\r\n\r\n" + b'{"a": [1, 2]}',
        POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\n{} \r\n0\r\n\r\n",
        b"GET /x?a=b HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer y\r\n\r\n",
        b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n",
    ]
    for _ in range(150):
        data = bytearray(b"".join(rng.choices(valid, k=3)) + b"GET /x HTTP/1.1\r\nConnection: close\r\n\r\n")
        for _ in range(rng.randrange(4)):
            at = rng.randrange(len(data))
            data[at : at + rng.randrange(3)] = rng.choice([b"", b"\n", b"\r", b" ", b":", b"\0", b"9", b"\xff"])
        with wire.connect() as caller:
            while data:
                size = rng.randrange(1, len(data) + 1)
                try:
                    caller.sendall(data[:size])
                except OSError:
                    break
                del data[:size]
            for part in rest(caller).split(b"HTTP/1.1 ")[1:]:
                assert part[:3] in {b"200", b"400", b"100", b"408", b"413"}
    assert wire.say(b"GET /x HTTP/1.1\r\nConnection: close\r\n\r\n").startswith(b"HTTP/1.1 200")
