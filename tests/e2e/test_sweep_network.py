"""The whole job runs on a machine that is connected to nothing, and does not even try to reach out.

The demo runs in a network namespace with only a loopback. The kernel counts there what had nowhere to go: a single attempt
outward, a name's lookup included, raises the count; a test shows that it does. `scripts/soak` also watches every `connect`.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from homes import wait_for

INSIDE = """
import fcntl, json, pathlib, socket, struct, subprocess, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:  # bring `lo` up: IFF_UP | IFF_RUNNING
    fcntl.ioctl(sock, 0x8914, struct.pack("16sH14x", b"lo", 0x41))
code = subprocess.run(sys.argv[1:], stdin=subprocess.DEVNULL).returncode
rows = [line.split() for line in pathlib.Path("/proc/net/snmp").read_text().splitlines() if line.startswith("Ip:")]
lost = int(dict(zip(*rows))["OutNoRoutes"])
if (six := pathlib.Path("/proc/net/snmp6")).exists():
    lost += int(dict(line.split() for line in six.read_text().splitlines())["Ip6OutNoRoutes"])
devices = [line.split(":")[0].strip() for line in pathlib.Path("/proc/net/dev").read_text().splitlines()[2:]]
print("\\n" + json.dumps({"code": code, "lost": lost, "devices": devices}))
"""
ATTEMPT = """
import socket
for address in (("192.0.2.1", 80), ("198.51.100.7", 53)):
    with socket.socket() as sock:
        try:
            sock.connect(address)
        except OSError:
            pass
"""


@pytest.fixture
def alone(need, missing):
    """`alone(words...)` runs a command in a network of its own: its exit code, what had nowhere to go, the devices."""
    unshare = [need("unshare"), "--net"] if os.geteuid() == 0 else [need("unshare"), "--map-root-user", "--net"]

    def run(*words: str, **environ: str) -> dict[str, Any]:
        line = [*unshare, sys.executable, "-c", INSIDE, *words]
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "CI") if name in os.environ}
        done = subprocess.run(line, env=kept | environ, capture_output=True, text=True, timeout=300, check=False)
        if "unshare failed" in done.stderr:
            missing("network namespaces")
        assert done.stdout.strip(), done.stderr
        return dict(json.loads(done.stdout.strip().splitlines()[-1])) | {"err": done.stderr}

    return run


def test_the_count_sees_an_attempt(alone):
    assert alone(sys.executable, "-c", ATTEMPT)["lost"] > 0


def demo(home: Path) -> list[str]:
    return [
        sys.executable,
        "-m",
        "baray",
        "demo",
        "--size",
        "tiny",
        "--home",
        str(home),
        "--json",
        str(home.parent / "demo.json"),
    ]


def test_the_demo_runs_without_a_network_and_never_reaches_out(alone, need, tmp_path):
    need("bwrap")
    home = tmp_path / "home"
    try:
        found = alone(*demo(home), HOME=str(tmp_path))
    finally:
        subprocess.run([sys.executable, "-m", "baray", "down", "--home", str(home)], capture_output=True, check=False)
    assert found["code"] == 0, found["err"]
    assert (found["lost"], found["devices"]) == (0, ["lo"])
    told = json.loads((tmp_path / "demo.json").read_text(encoding="utf-8"))
    assert told["ledger"]["verified"]
    assert [one["outcome"] for one in told["questions"]].count("answered") >= 2


@pytest.mark.soak
def test_no_process_of_the_demo_connects_to_anything_but_this_machine(need, tmp_path):
    """The same, seen by each `connect` and `sendto` of every process."""
    need("bwrap")
    home, trace = tmp_path / "home", tmp_path / "trace"
    line = [need("strace"), "-f", "-qq", "-e", "trace=connect,sendto,sendmsg", "-o", str(trace), *demo(home)]
    told = tmp_path / "demo.json"
    with subprocess.Popen(line, stdout=subprocess.DEVNULL, env=os.environ | {"HOME": str(tmp_path)}) as traced:
        try:
            wait_for(told.exists, 600)
        finally:  # the trace ends with the last process, and the demo leaves its server running
            subprocess.run(
                [sys.executable, "-m", "baray", "down", "--home", str(home)], capture_output=True, check=False
            )
        assert traced.wait(120) == 0
    text = trace.read_text(errors="replace")
    outward = set(re.findall(r'inet_addr\("([0-9.]+)"\)|inet_pton\(AF_INET6, "([^"]+)"', text))
    assert {four or six for four, six in outward} <= {"127.0.0.1", "::1", "0.0.0.0"}, outward
    assert "127.0.0.1" in text
