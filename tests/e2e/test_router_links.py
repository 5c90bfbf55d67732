"""Connections to Replicas: used again when all is well, never after a doubt; who is asked, and who is waited for."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
import uvloop

from baray.core import Fault
from baray.serve.router import links
from baray.serve.router.upstreams import Errand, NobodyThereError, Pool, Replica, Replicas

WELL = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
WHOLE = Errand(path="/v1/completions", body=b"{}", request_id="a_1", most_bytes=1000)
PIECES = Errand(path="/v1/completions", body=b"{}", request_id="a_1", most_bytes=0)


class Replying:
    """A Replica that says the same to each request of a connection."""

    def __init__(self, says: bytes, *, then_ends: bool = False) -> None:
        self.says, self.then_ends = says, then_ends
        self.connections = 0
        self.asked: list[bytes] = []

    async def _serve(self, reader, writer):
        self.connections += 1
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                self.asked.append(await reader.readuntil(b"\r\n\r\n{}"))
                writer.write(self.says)
                if self.then_ends:
                    break
        writer.close()

    async def listen(self, path):
        self.server = await asyncio.start_unix_server(self._serve, path)


def live(tmp_path, talk, *replicas):
    """Run `talk(pool, Replicas)` beside the replicas."""

    async def run():
        pool, ready = Pool(), []
        for number, one in enumerate(replicas):
            path = str(tmp_path / f"{number}.sock")
            await one.listen(path)
            ready.append(Replica(id=f"r_{number}", socket=path))
        try:
            await talk(pool, Replicas(engine="torch", context_tokens=64, ready=tuple(ready)))
        finally:
            pool.close()
            for one in replicas:
                one.server.close()
            await asyncio.sleep(0)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


async def answer_of(pool, replicas, errand=WHOLE):
    link = await pool.ask(replicas, errand)
    try:
        data = b""
        while piece := await link.read():
            data += piece
        return link.status, data
    finally:
        pool.let_go(link)


def test_a_connection_is_used_again_and_tells_whose_request_it_is(tmp_path):
    one = Replying(WELL)

    async def talk(pool, replicas):
        for errand in (WHOLE, PIECES, WHOLE):
            assert await answer_of(pool, replicas, errand) == (200, b"{}")

    live(tmp_path, talk, one)
    assert (one.connections, len(one.asked)) == (1, 3)
    assert b"X-Request-Id: a_1\r\nContent-Length: 2\r\n\r\n{}" in one.asked[0]


@pytest.mark.parametrize(
    ("says", "ends", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}", False, b"{}"),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}", True, b"{}"),
        (b"HTTP/1.1 200 OK\r\n\r\nto the end", True, b"to the end"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX: y\r\n\r\n", True, b"{}"),
    ],
)
@pytest.mark.parametrize("errand", [WHOLE, PIECES], ids=["whole", "pieces"])
def test_a_body_ends_as_its_head_says(tmp_path, says, ends, body, errand):
    one = Replying(says, then_ends=ends)

    async def talk(pool, replicas):
        for _ in range(2):
            assert await answer_of(pool, replicas, errand) == (200, body)

    live(tmp_path, talk, one)
    assert one.connections == 2


@pytest.mark.parametrize("more", [WELL, b"\0", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"])
def test_who_says_more_than_was_asked_is_not_asked_again_on_that_connection(tmp_path, more):
    one = Replying(WELL + more)

    async def talk(pool, replicas):
        for _ in range(3):
            with contextlib.suppress(Fault):
                assert await answer_of(pool, replicas) == (200, b"{}")

    live(tmp_path, talk, one)
    assert one.connections == 3


@pytest.mark.parametrize(
    "says",
    [
        b"HTTP/1.1 100 Continue\r\n\r\n" + WELL,
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n" + b"x" * 2000,
        CHUNKED + b"2\r\n{}\r\n0\r\nX: " + b"x" * 1_000_000 + b"\r\n\r\n",
        CHUNKED + b"2;" + b"x" * 1_000_000 + b"\r\n{}\r\n0\r\n\r\n",
    ],
)
def test_what_is_doubtful_or_too_much_is_lost(tmp_path, says):
    async def talk(pool, replicas):
        with pytest.raises(Fault) as found:
            await answer_of(pool, replicas)
        assert (found.value.code, found.value.status) == ("replica_lost", 502)

    live(tmp_path, talk, Replying(says))


def test_an_answer_that_was_not_read_to_its_end_holds_up_nobody_after_it(tmp_path):
    long = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000

    async def talk(pool, replicas):
        async with asyncio.timeout(10):
            for _ in range(5):
                link = await pool.ask(replicas, PIECES)
                await asyncio.sleep(0.05)  # what comes meanwhile is more than is read ahead
                pool.let_go(link)
            assert await answer_of(pool, replicas, PIECES) == (200, b"x" * 100_000)

    live(tmp_path, talk, Replying(long))


def test_who_sends_on_is_passed_over_and_who_is_not_there_too(tmp_path):
    full = Replying(b"HTTP/1.1 503 Full\r\nContent-Length: 0\r\nRetry-After: 1\r\n\r\n")
    lost = Replying(b"", then_ends=True)
    well = Replying(WELL)

    async def talk(pool, replicas):
        nobody = Replica(id="r_9", socket=str(tmp_path / "nobody.sock"))
        ready = (nobody, *replicas.ready)
        for at in range(4):
            order = Replicas(engine="torch", context_tokens=64, ready=ready[at:] + ready[:at])
            assert await answer_of(pool, order) == (200, b"{}")
        alone = Replicas(engine="torch", context_tokens=64, ready=(nobody,))
        with pytest.raises(NobodyThereError):
            await answer_of(pool, alone)
        assert (await answer_of(pool, Replicas(engine="torch", context_tokens=64, ready=ready[1:2])))[0] == 503

    live(tmp_path, talk, full, lost, well)


def test_the_least_busy_is_asked_and_a_slow_one_given_up(tmp_path):
    first, second, silent = Replying(b""), Replying(b""), Replying(b"")

    async def talk(pool, replicas):
        two = Replicas(engine="torch", context_tokens=64, ready=replicas.ready[:2])
        waiting = [asyncio.ensure_future(pool.ask(two, WHOLE)) for _ in range(6)]
        async with asyncio.timeout(10):
            while len(first.asked) + len(second.asked) < 6:
                await asyncio.sleep(0.01)
        assert (len(first.asked), len(second.asked)) == (3, 3)
        for one in waiting:
            one.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        slow = asyncio.ensure_future(
            pool.ask(Replicas(engine="torch", context_tokens=64, ready=replicas.ready[2:]), WHOLE)
        )
        async with asyncio.timeout(10):
            while not silent.asked:
                await asyncio.sleep(0.01)
        (link,) = pool._busy
        link.expire(asyncio.get_running_loop().time() + links.FIRST_BYTE_SECONDS - 1)
        assert not slow.done()
        link.expire(asyncio.get_running_loop().time() + links.FIRST_BYTE_SECONDS + 1)
        with pytest.raises(Fault) as found:
            await slow
        assert (found.value.code, found.value.status) == ("replica_slow", 504)

    live(tmp_path, talk, first, second, silent)
