"""The one way out of a sandbox: what is on its list, by name, on the public internet, and nothing else."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from baray.access import PUBLIC, parse_label
from baray.core import Refused
from baray.runs import sandbox, supervisor
from baray.runs.sandbox import egress
from baray.runs.sandbox.egress import Proxy
from baray.runs.sandbox.tries import MOST_TARGETS, check_targets, read_egress
from runs_home import open_home

ASK = """
import os, socket, sys
host, port = os.environ['HTTPS_PROXY'].removeprefix('http://').split(':')
for request in sys.argv[1:]:
    with socket.create_connection((host, int(port)), 5) as end:
        end.sendall(request.encode().decode('unicode_escape').encode() + b'\\r\\n\\r\\n')
        head = end.recv(1000)
        print(head.split(b'\\r\\n')[0].decode(), flush=True)
        if b' 200 ' in head:
            end.sendall(b'question')
            end.shutdown(socket.SHUT_WR)
            answer = b''
            while piece := end.recv(65536): answer += piece
            print(len(answer), answer[:20].decode(), flush=True)
"""


@pytest.fixture
def server():
    """A server on this machine; its port, and what it was told."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        heard = []

        def answer():
            while True:
                try:
                    end, _ = listener.accept()
                except OSError:
                    return
                with end:
                    heard.append(end.recv(1000))
                    end.sendall(b"answer" + b"x" * 100_000)

        threading.Thread(target=answer, daemon=True).start()
        yield listener.getsockname()[1], heard


def run(folder, requests, allow, *, slot=94, **rules):
    """Run the asking program in a sandbox with egress; (its lines, the tries)."""
    owner = sandbox.slot_owner(slot)
    (folder / "work").mkdir()
    (folder / "out").mkdir()
    if owner.uid is not None:
        os.chown(folder / "work", owner.uid, owner.gid)
    limits = sandbox.Limits(time_seconds=20)
    base = sandbox.supervisor_plan(
        attempt_dir=folder, log=folder / "log.txt", number=1, limits=limits, owner=owner, cgroups=[]
    )
    environment, program = sandbox.environment_bind()
    command = sandbox.Command(
        argv=(program, "-I", "-S", "-c", ASK, *requests),
        binds=(*environment, sandbox.Bind(under=folder, path="work", to="/job", write=True)),
        environment={},
        bwrap=sandbox.find_bwrap(),
        egress=allow,
        egress_owner=sandbox.proxy_uid(slot),
        interpreter=program,
    )
    plan = sandbox.sandbox_plan(base, command, limits)
    plan["sandbox"]["egress"]["rules"] |= rules
    (folder / "supervisor.json").write_text(json.dumps(plan))
    subprocess.run([sys.executable, "-I", "-S", supervisor.__file__, str(folder)], check=True, timeout=60)
    return (folder / "log.txt").read_text().splitlines(), read_egress(folder / "egress.jsonl")


def test_a_target_on_the_list_is_reached_and_told(tmp_path, need, server):
    need("bwrap")
    port, heard = server
    lines, tries = run(tmp_path, [f"CONNECT localhost:{port} HTTP/1.1"], (f"localhost:{port}",), loopback=True)
    assert lines == ["HTTP/1.1 200 Connection established", "100006 answerxxxxxxxxxxxxxx"]
    assert heard == [b"question"]
    assert tries == (
        {"target": f"localhost:{port}", "decision": "allowed", "reason": "", "count": 1, "sent": 8, "received": 100006},
    )


def test_everything_else_is_refused_and_told(tmp_path, need, server):
    need("bwrap")
    port, heard = server
    requests = [
        f"CONNECT 127.0.0.1:{port} HTTP/1.1",
        f"CONNECT 2130706433:{port} HTTP/1.1",
        f"CONNECT [::1]:{port} HTTP/1.1",
        f"CONNECT 0x7f.1:{port} HTTP/1.1",
        f"CONNECT localhost:{port + 1} HTTP/1.1",
        f"CONNECT localhost:{port} HTTP/1.1",  # on the list, and on this machine
        f"GET http://localhost:{port}/ HTTP/1.1",
        "CONNECT localhost HTTP/1.1",
        "nonsense",
        f"CONNECT localhost:{port} HTTP/1.1\\r\\nHost: other",
    ]
    allow = tuple(f"{host}:{port}" for host in ("localhost", "127.0.0.1", "2130706433"))
    lines, tries = run(tmp_path, requests, allow)
    assert lines == ["HTTP/1.1 403 Forbidden"] * len(requests)
    assert heard == []
    assert sum(one["count"] for one in tries) == len(requests)
    assert {one["decision"] for one in tries} == {"denied"}
    assert any("not on the public internet" in one["reason"] for one in tries)


def test_bytes_end(tmp_path, need, server):
    need("bwrap")
    port, _ = server
    ask = f"CONNECT localhost:{port} HTTP/1.1"
    lines, tries = run(tmp_path, [ask, ask], (f"localhost:{port}",), loopback=True, bytes=1000)
    assert lines[1].startswith("992 answer")
    assert lines[2] == "HTTP/1.1 403 Forbidden"
    assert tries[0]["sent"] + tries[0]["received"] == 1000
    assert "used up" in tries[1]["reason"]


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.251",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1%eth0",
        "fc00::1",
        "fd00:ec2::254",
        "::ffff:127.0.0.1",
        "::ffff:8.8.8.8",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "2001:0:7f00:1::",
        "ff02::1",
    ],
)
def test_a_name_of_a_private_address_is_refused(monkeypatch, address):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(2, 1, 6, "", (address, 0))])
    problem, chosen = Proxy({"allow": ["a.example:443"], "bytes": 1, "loopback": False}, -1).decide("a.example:443")
    assert "not on the public internet" in problem
    assert chosen == ""


def test_one_private_address_among_public_ones_is_enough_to_refuse(monkeypatch):
    found = [(2, 1, 6, "", ("93.184.216.34", 0)), (2, 1, 6, "", ("10.0.0.1", 0))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    proxy = Proxy({"allow": ["a.example:443"], "bytes": 1, "loopback": False}, -1)
    assert "10.0.0.1" in proxy.decide("a.example:443")[0]
    found.pop()
    assert proxy.decide("a.example:443") == ("", "93.184.216.34")


def test_the_proxy_ends_with_the_command(tmp_path, need, server):
    need("bwrap")
    run(tmp_path, [], (f"localhost:{server[0]}",))
    mark = f"localhost:{server[0]}".encode()
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert b"egress.py\0" not in entry.read_bytes() or mark not in entry.read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue


def test_tries_of_many_targets_are_added_up(tmp_path):
    lines = [{"target": f"h{n}:1", "decision": "denied", "reason": "r"} for n in range(MOST_TARGETS + 50)]
    (tmp_path / "egress.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"target": "cut')
    tries = read_egress(tmp_path / "egress.jsonl")
    assert len(tries) == MOST_TARGETS + 1
    assert tries[-1]["target"] == "others"
    assert sum(one["count"] for one in tries) == MOST_TARGETS + 50


@pytest.fixture
def home(tmp_path, need):
    need("bwrap")
    with open_home(tmp_path / "home") as home:
        home.serve()
        home.start_worker()
        yield home


def test_what_a_run_tried_stands_in_the_ledger(home):
    """`localhost` is on the Run's list, and on this machine: allowed by the one, refused by the platform."""
    _, program = sandbox.environment_bind()
    asks = ["CONNECT localhost:9 HTTP/1.1", "CONNECT other.example:443 HTTP/1.1"]
    command = (program, "-I", "-S", "-c", ASK, *asks)
    run = home.submit(command=command, label=PUBLIC, egress=("localhost:9",))
    assert home.wait(run.id).state == "succeeded"
    assert home.log(run.id).splitlines() == ["HTTP/1.1 403 Forbidden"] * 2
    assert home.entries().count(("egress.denied", run.id)) == 1
    assert home.entries().count(("egress.allowed", run.id)) == 0
    found = home.site.store.read(lambda tx: home.site.ledger.entries(tx, limit=1000))
    facts = next(entry.facts for entry in found if entry.kind == "egress.denied")
    assert facts["count"] == 2
    assert len(facts["targets"]) == 2


def test_a_run_without_egress_tries_nothing(home):
    run = home.submit(command=("/bin/true",), label=PUBLIC)
    assert home.wait(run.id).state == "succeeded"
    assert not (home.attempt_dir(run.id) / "egress.jsonl").exists()
    assert [kind for kind, _ in home.entries() if kind.startswith("egress")] == []


@pytest.mark.parametrize("label", ["internal", "restricted", "secret"])
def test_nothing_above_public_has_a_way_out_without_leave(tmp_path, label):
    with open_home(tmp_path / "home") as home:
        source = home.add_source("letters", {"a.txt": b"x"}, label=parse_label(label))
        with pytest.raises(Refused, match=label) as caught:
            home.submit(command=("true",), label=PUBLIC, inputs={"letters": source}, egress=("example.org:443",))
        assert caught.value.code == "egress_label"
        assert "--allow-egress" in caught.value.fix


@pytest.mark.parametrize(
    "target",
    [
        "example.org",
        "example.org:0",
        "example.org:70000",
        "10.0.0.1:443",
        "0x7f.1:443",
        "2130706433:1",
        "[::1]:443",
        "a b:1",
        "EXAMPLE.org:443",
        "-a.org:1",
        "a..b:1",
        "a.org:443\n",
        "*.org:443",
        "a.org:4 4",
    ],
)
def test_what_is_no_target_is_refused(target):
    with pytest.raises(Refused) as caught:
        check_targets([target])
    assert caught.value.code == "bad_target"


def test_plain_names_are_targets():
    check_targets(["example.org:443", "a-b.c1.example:8080", "host:1"])


def test_tries_without_end_do_not_fill_the_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(egress, "LOG_BYTES", 5000)
    path = tmp_path / "egress.jsonl"
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    rules = {"allow": ["a.example:443"], "bytes": 1, "loopback": False}
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            with contextlib.suppress(OSError):  # the listener is closed in the end
                Proxy(rules, log).serve(listener)

        threading.Thread(target=serve, daemon=True).start()
        heads = []
        for number in range(100):
            with socket.create_connection(listener.getsockname(), 10) as end:
                try:
                    end.sendall(f"CONNECT {number}.example:443 HTTP/1.1\r\n\r\n".encode())
                    heads.append(end.recv(1000)[:12])
                except ConnectionError:  # hung up on, with its question unread
                    heads.append(b"")
    answered = heads.count(b"HTTP/1.1 403")
    assert heads == [b"HTTP/1.1 403"] * answered + [b""] * (100 - answered)
    assert 10 < answered < 50
    assert path.stat().st_size < 5500
    tries = read_egress(path)
    assert sum(one["count"] for one in tries) == answered + 1
    assert "no more are answered" in tries[-1]["reason"]


def test_lines_that_a_full_disk_cut_are_passed_over(tmp_path):
    line = json.dumps({"target": "a.example:443", "decision": "denied", "reason": "no"})
    (tmp_path / "egress.jsonl").write_text(f"{line}\n{line[:20]}{line}\n{line}\n[]\n{line[:9]}")
    (found,) = read_egress(tmp_path / "egress.jsonl")
    assert found["count"] == 2
