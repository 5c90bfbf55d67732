"""A command reaches its own Run through the hatch of its sandbox; its token is seen by no command and dies with the Attempt."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path

import pytest
from homes import wait_for
from sweeps import OwnToken, World, serving

from baray.runs.protocol import AttemptResult, WorkerOffer
from baray.runs.sandbox import hatch
from baray.web import boundary

SELF, METRICS = "/api/v1/runs/self", "/api/v1/runs/self/metrics"
TOKEN = re.compile(rb"bry_run_[0-9A-Za-z]{40}")
ASK = """
import json, os, socket, sys, time
def send(data, more=b''):
    with socket.socket(socket.AF_UNIX) as end:
        end.settimeout(30)
        end.connect(os.environ['BARAY_API_SOCKET'])
        end.sendall(data)
        answer = b''
        while piece := end.recv(65536): answer += piece
    head, _, body = answer.partition(b'\\r\\n\\r\\n')
    return int(head.split()[1]), json.loads(body), answer
def ask(method, path, body=None, head=''):
    data = b'' if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    length = '' if body is None else f'Content-Length: {len(data)}\\r\\n'
    return send(f'{method} {path} HTTP/1.1\\r\\nHost: baray\\r\\n{head}{length}\\r\\n'.encode() + data)
def tell(**found): print(json.dumps(found), flush=True)
SELF, METRICS = '/api/v1/runs/self', '/api/v1/runs/self/metrics'
POINT = {'step': 1, 'name': 'loss', 'value': 0.5}
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory, need):
    need("bwrap")
    with serving(tmp_path_factory.mktemp("own")) as world:
        world.api("POST", "projects", {"name": "alpha"})
        yield world


@pytest.fixture(scope="module")
def own(world):
    """A Run with its token, as a worker holds it."""
    return OwnToken(world, "alpha")


def start(world: World, program: str, **more) -> dict:
    asked = {"command": ["/usr/bin/python3", "-c", ASK + program], "name": world.fresh()} | more
    return world.api("POST", "runs?project=alpha", asked)


def told(world: World, program: str, **more) -> tuple[dict, dict]:
    """What a command told, and its Run."""
    run = world.finish("alpha", start(world, program, **more))
    return json.loads(log(world, run)), run


def log(world: World, run: dict) -> str:
    return world.api("GET", f"runs/{run['id']}/log?project=alpha")["text"]


def metrics(world: World, run: dict) -> list:
    found = world.api("GET", f"runs/{run['id']}/metrics?project=alpha")["items"]
    return [(one["step"], one["name"], one["value"]) for one in found]


def entries(world: World, kind: str, run: str) -> list:
    found, last = [], -1
    while page := world.api("GET", f"ledger/entries?after={last}&limit=500")["items"]:
        found += [one for one in page if one["kind"] == kind and one["subject"] == run]
        last = page[-1]["index"]
    return found


def test_a_command_reads_itself_and_writes_its_metrics(world):
    program = """
mine = ask('GET', SELF)[1]
several = {'metrics': [{'step': n, 'name': 'acc', 'value': n / 4} for n in range(2)]}
several['progress'] = {'done': 3, 'total': 4, 'unit': 'steps'}
statuses = [ask('POST', METRICS, one)[0] for one in (POINT, [POINT], several)]
tell(id=mine['id'], label=mine['label'], run=os.environ['BARAY_RUN'], statuses=statuses)
"""
    found, run = told(world, program)
    assert found == {"id": run["id"], "run": run["id"], "label": "internal", "statuses": [200, 200, 200]}
    assert metrics(world, run) == [(1, "loss", 0.5), (1, "loss", 0.5), (0, "acc", 0.0), (1, "acc", 0.25)]
    assert run["progress"] == {"done": 3, "total": 4, "unit": "steps"}
    (entry,) = entries(world, "run.reported", run["id"])
    assert entry["actor"] == run["id"]
    assert entry["facts"]["for"] == run["actor"]
    facts = world.home.json("run", "compare", run["id"], run["id"], "--project", "alpha")["facts"][0]
    assert facts["metric.acc"] == 0.25
    assert world.home.json("run", "show", run["id"], "--project", "alpha")["metrics"] == {"loss": 0.5, "acc": 0.25}


def test_curl_is_enough(world, need):
    need("curl")
    point = json.dumps({"step": 1, "name": "loss", "value": 0.5})
    line = f"curl -s --unix-socket $BARAY_API_SOCKET http://baray{METRICS} -d '{point}'"
    asked = {"command": ["/bin/sh", "-c", line], "name": "curl"}
    run = world.finish("alpha", world.api("POST", "runs?project=alpha", asked))
    assert log(world, run) == '{"added":1}'
    assert metrics(world, run) == [(1, "loss", 0.5)]


def test_the_hatch_knows_what_the_boundary_knows():
    assert set(hatch.KNOWN) == boundary.OF_ITSELF


def test_other_paths_and_ways_to_say_them_are_refused(world):
    program = """
paths = ['/api/v1/runs', '/api/v1/runs/' + os.environ['BARAY_RUN'], '/', '/api/v1/tokens', SELF + '/', SELF + '?project=beta']
paths += ['/' + SELF, SELF + '/../self', '/api/v1/runs/%73elf', 'http://127.0.0.1:8642' + SELF, METRICS + '#', '*']
got = {path: ask('GET', path)[0] for path in paths}
got |= {'POST self': ask('POST', SELF, POINT)[0], 'GET metrics': ask('GET', METRICS)[0]}
got |= {'DELETE': ask('DELETE', SELF)[0], 'CONNECT': ask('CONNECT', '127.0.0.1:8642')[0]}
tell(**got)
"""
    found, _ = told(world, program)
    assert set(found.values()) == {404}, found


def test_nothing_can_be_smuggled_through_the_hatch(world):
    """Whatever follows a request, or is hidden in it, goes no further: one request for each connection, or none."""
    program = r"""
one = json.dumps(POINT).encode()
inner = b'GET /api/v1/tokens HTTP/1.1\r\nHost: x\r\n\r\n'
head = f'POST {METRICS} HTTP/1.1\r\nHost: baray\r\n'.encode()
tries = {
    'two in one': head + b'Content-Length: %d\r\n\r\n' % len(one) + one + inner,
    'two lengths': head + b'Content-Length: %d\r\nContent-Length: 5\r\n\r\n' % len(one) + one,
    'two lengths in one': head + b'Content-Length: %d, %d\r\n\r\n' % (len(one), len(one)) + one,
    'signed length': head + b'Content-Length: +%d\r\n\r\n' % len(one) + one,
    'other digits': head + 'Content-Length: \u0663\r\n\r\n'.encode() + one,
    'chunks': head + b'Transfer-Encoding: chunked\r\n\r\n%x\r\n' % len(one) + one + b'\r\n0\r\n\r\n' + inner,
    'chunks and length': head + b'Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n' % len(one) + one,
    'folded': head + b'X: a\r\n Transfer-Encoding: chunked\r\nContent-Length: %d\r\n\r\n' % len(one) + one,
    'space before colon': head + b'Content-Length : %d\r\n\r\n' % len(one) + one,
    'bare newline': head + b'X: a\nTransfer-Encoding: chunked\r\nContent-Length: %d\r\n\r\n' % len(one) + one,
    'line in the path': f'POST {METRICS}\r\nX: '.encode() + b'a HTTP/1.1\r\nContent-Length: 0\r\n\r\n',
    'no length': head + b'\r\n' + one,
    'too long': head + b'Content-Length: 99999999\r\n\r\n' + one,
    'body of a read': f'GET {SELF} HTTP/1.1\r\nContent-Length: {len(inner)}\r\n\r\n'.encode() + inner,
    'another host': f'GET {SELF} HTTP/1.1\r\nHost: evil\r\nAuthorization: Bearer x\r\nX-Forwarded-For: 1.1.1.1\r\n\r\n'.encode(),
}
found = {}
for name, data in tries.items():
    status, body, answer = send(data)
    found[name] = [status, answer.count(b'HTTP/1.1 ')]
tell(**found)
"""
    found, run = told(world, program)
    assert {name: got[0] for name, got in found.items()} == {
        "two in one": 200, "two lengths": 400, "two lengths in one": 400, "signed length": 400, "other digits": 400,
        "chunks": 411, "chunks and length": 411, "folded": 400, "space before colon": 400, "bare newline": 400,
        "line in the path": 400, "no length": 411, "too long": 413, "body of a read": 413, "another host": 200,
    }  # fmt: skip
    assert {got[1] for got in found.values()} == {1}
    assert metrics(world, run) == [(1, "loss", 0.5)]


def test_the_token_is_nowhere_in_the_sandbox(world):
    """After it has been used: environments, arguments, open files, every file, and what every answer says."""
    program = r"""
import re
token = re.compile(rb'bry_run_[0-9A-Za-z]{40}')
answers = [ask('GET', SELF)[2], ask('POST', METRICS, POINT)[2], ask('POST', METRICS, b'{')[2], ask('GET', '/api/v1/tokens')[2]]
found = ['answer'] * any(token.search(one) for one in answers)
def look(path):
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), 'rb') as file: return bool(token.search(file.read(1 << 22)))
    except (OSError, ValueError): return False
seen = 0
for top in ('/proc/self', '/proc/1', '/job', '/in', '/out', '/run', '/tmp', '/dev/shm', '/etc', '/var'):
    for folder, folders, files in os.walk(top):
        folders[:] = [one for one in folders if one not in ('task', 'map_files', 'net')]
        for name in files:
            seen += 1
            if name != 'mem' and look(os.path.join(folder, name)): found.append(os.path.join(folder, name))
pids = [one for one in os.listdir('/proc') if one.isdigit()]
handles = sorted(int(one) for one in os.listdir('/proc/self/fd'))
environ = [name for name, value in os.environ.items() if 'bry_' in value]
tell(found=found, seen=seen, pids=len(pids), environ=environ, handles=[one for one in handles if one > 3])
"""
    found, _ = told(world, program)
    assert found["found"] == []
    assert found["environ"] == []
    assert found["handles"] == []
    assert found["pids"] <= 3  # neither the supervisor nor the hatch
    assert found["seen"] > 50
    # Nor does it lie in the home: its hash does, beside the lease.
    for path in world.home.path.rglob("*"):
        if path.is_file():
            assert not any(TOKEN.search(part) for part in written_parts(path)), path


def written_parts(path: Path):
    """The bytes of a file without its holes: the disk of a command is gigabytes of nothing."""
    with path.open("rb") as file:
        size, at = path.stat().st_size, 0
        while at < size:
            try:
                start = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError:
                return
            at = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            yield os.pread(file.fileno(), at - start, start)


def test_anothers_hatch_cannot_be_reached(world):
    """Two commands at once: neither sees the other's socket, by any path, and each speaks for itself."""
    waiting = start(world, "ask('GET', SELF); tell(up=1)\nwhile not os.path.exists('/job/never'): time.sleep(0.05)")
    wait_for(lambda: "up" in log(world, waiting), 20)
    folder = world.home.path / "runs" / waiting["id"] / "attempt-1" / "api.sock"
    assert folder.is_socket()
    program = f"""
reached = []
for path in ({str(folder)!r}, '/proc/1/root' + {str(folder)!r}, '/proc/self/root/../' + {str(folder)!r}):
    try:
        with socket.socket(socket.AF_UNIX) as end: end.connect(path[:107])
        reached.append(path)
    except OSError: pass
tell(reached=reached, me=ask('GET', SELF)[1]['id'])
"""
    found, run = told(world, program)
    assert found == {"reached": [], "me": run["id"]}
    world.api("POST", f"runs/{waiting['id']}/cancel?project=alpha")
    world.finish("alpha", waiting, "cancelled")
    wait_for(lambda: not folder.exists())


def test_its_process_is_gone_with_the_command(world):
    found, _ = told(world, "os.fork() or time.sleep(60)\ntell(status=ask('GET', SELF)[0])")
    assert found["status"] == 200
    mark = str(Path(hatch.__file__)).encode()

    def running() -> bool:
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if mark in (entry / "cmdline").read_bytes() and (entry / "cwd").readlink() and _of(world, entry):
                    return True
            except OSError:
                continue
        return False

    wait_for(lambda: not running(), 10)


def _of(world: World, entry: Path) -> bool:
    """Whether a hatch was started by a supervisor of this home."""
    parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    return str(world.home.path).encode() in Path(f"/proc/{parent}/cmdline").read_bytes()


def test_numbers_that_are_none_are_refused(world, own):
    bad = [b"", b"{", b"[" * 60_000, b'"x"', b"{}", b"[1]", b'{"step":1,"name":"a"}', b'{"step":-1,"name":"a","value":1}',
           b'{"step":1.5,"name":"a","value":1}', b'{"step":true,"name":"a","value":1}', b'{"step":1,"name":"a","value":NaN}',
           b'{"step":1,"name":"a","value":1e999}', b'{"step":1,"name":"","value":1}', b'{"step":1,"name":"a\\nb","value":1}',
           b'{"step":1,"name":"a","value":"1"}', b'{"step":1,"name":"a","value":1,"time":0}', b'{"metrics":[],"label":"public"}',
           b'{"progress":{"done":1}}', json.dumps([{"step": 1, "name": "a", "value": 1}] * 1001).encode()]  # fmt: skip
    for body in bad:
        reply = world.ask("POST", METRICS, body, token=own.live())
        assert (reply.status, reply.json()["code"]) == (400, "bad_report"), body
        time.sleep(0.05)  # within the pace
    assert world.ask("POST", METRICS, b" " * 70_000, token=own.live()).status == 413
    assert metrics(world, own.run) == []


def test_too_many_reports_a_second_have_to_wait(world, own):
    token = own.live()
    replies = [world.ask("GET", SELF, token=token) for _ in range(120)]
    slow = [reply for reply in replies if reply.status == 429]
    assert slow
    assert slow[0].json()["code"] == "too_fast"
    assert slow[0].headers["retry-after"] == "1"
    wait_for(lambda: world.ask("GET", SELF, token=token).status == 200, 10)


def test_the_token_is_good_for_its_own_run_alone(world, own):
    token = own.live()
    for path in (
        f"/api/v1/runs/{own.run['id']}?project=alpha",
        "/api/v1/whoami",
        "/healthz",
        "/nowhere",
        "/",
        "/metrics",
    ):
        reply = world.ask("GET", path, token=token)
        assert (reply.status, reply.json()["code"]) == (403, "run_token"), path
    reply = world.ask("POST", "/api/v1/tokens", {"name": "more", "expires": "1h"}, token=token)
    assert reply.status == 403
    wait_for(lambda: len(entries(world, "access.denied", own.run["id"])) == 7)
    denied = entries(world, "access.denied", own.run["id"])[0]
    assert (denied["actor"], denied["facts"]["for"]) == (own.run["id"], own.run["actor"])
    assert world.ask("GET", "/v1/models", token=token, to=world.router).status == 401
    assert token.removeprefix("bry_run_") not in json.dumps(world.api("GET", "tokens"))


def dead(world: World, token: str) -> bool:
    replies = [
        world.ask("GET", SELF, token=token),
        world.ask("POST", METRICS, {"step": 1, "name": "a", "value": 1}, token=token),
    ]
    return {(reply.status, reply.json().get("code")) for reply in replies} == {(401, "bad_token")}


@pytest.mark.parametrize("outcome", ["succeeded", "failed", "lost"])
def test_it_is_dead_once_the_attempt_has_ended(world, outcome):
    own = OwnToken(world, "alpha")
    token = own.live()
    assert not dead(world, token)
    fields = {"attempt_id": own.grant["attempt_id"], "run_id": own.run["id"], "lease_token": own.grant["lease_token"]}
    reply = own.control.post("/worker/result", AttemptResult(**fields, outcome=outcome))
    assert reply.body["applied"]
    assert dead(world, token)
    world.api("POST", f"runs/{own.run['id']}/cancel?project=alpha")


def test_it_is_dead_once_the_run_is_to_be_cancelled(world):
    own = OwnToken(world, "alpha")
    token = own.live()
    world.api("POST", f"runs/{own.run['id']}/cancel?project=alpha")
    assert dead(world, token)


def test_it_is_dead_once_another_worker_process_takes_over(world):
    """A worker that comes back without the Attempt has lost it."""
    own = OwnToken(world, "alpha")
    token = own.live()
    own.control.post(
        "/worker/lease", WorkerOffer(worker=own.worker, cpus=1, memory_bytes=1, tier="A", limits="soft", wait_seconds=0)
    )
    assert dead(world, token)
    world.api("POST", f"runs/{own.run['id']}/cancel?project=alpha")
