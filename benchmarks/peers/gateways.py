"""The router beside nginx and LiteLLM: the same mock of a model behind each, the same load, one core for the gateway.

The mock is nginx with a fixed answer (`return 200`), so that what is measured is the gateway. All duties of the router are
on: hash of the key, its quotas of requests and tokens, JSON, usage, a receipt with fdatasync. nginx only passes bytes.

All are loaded by turns, so that each meets the same machine. As root the benchmark goes before other work: where Linux
groups processes by session (autogroup), `nice` only ranks those of one session, so it is the session that is ranked.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
import statistics
import subprocess
import sys
import time
import venv
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

HERE = Path(__file__).parent
ENVIRONMENTS = HERE.parents[1] / ".venv" / "peers"
START_SECONDS = 120.0
CONNECTIONS = (1, 32, 256)
CORES = tuple(map(str, sorted(os.sched_getaffinity(0))))
"""Gateways run on the first; the mock and what loads them on the last."""
TEXT = "The office is open from seven to eleven in the morning. " * 3
ANSWER = {
    "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "talk",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": TEXT}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 40, "completion_tokens": 40, "total_tokens": 80},
}  # fmt: skip
ASKED = {
    "model": "talk",
    "messages": [{"role": "system", "content": "You answer briefly."}, {"role": "user", "content": TEXT}],
    "max_tokens": 64,
}


@dataclass(frozen=True)
class Load:
    """What wrk says of one load."""

    rps: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float = 0.0
    """Of the gateway, a request: hardly depends on what else runs."""


@dataclass(frozen=True)
class Gateway:
    """Something that stands before the mock."""

    name: str
    port: int
    key: str = ""
    pid: int = 0

    def cpu_seconds(self) -> float:
        """Processor time that it and its children have taken."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        tasks = [task for pid in [self.pid, *children] for task in Path(f"/proc/{pid}/task").iterdir()]
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def missing() -> list[str]:
    """What is not there and cannot be had: as root it is installed."""
    tools = [name for name in ("nginx", "wrk", "taskset") if shutil.which(name) is None]
    if tools and os.geteuid() == 0:
        packages = ["nginx-light" if name == "nginx" else name for name in tools]
        subprocess.run(["apt-get", "install", "-y", "-q", *packages], check=False, capture_output=True)
    return [name for name in tools if shutil.which(name) is None]


@contextmanager
def before_others() -> Iterator[None]:
    """Rank this session before others while the block runs, where we may, and keep what loads off the gateways' core."""
    group, cores = Path("/proc/self/autogroup"), os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    try:
        before = group.read_text().split()[-1]
        group.write_text("-15")
    except OSError:
        before = ""
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)
        if before:
            group.write_text(before)


def load_by_turns(found: dict[str, Gateway], rounds: int, seconds: int, folder: Path) -> dict[tuple[str, int], Load]:
    """The medians of what wrk says of each gateway at 1, 32 and 256 connections."""
    seen: dict[tuple[str, int], list[Load]] = {}
    for _ in range(rounds):
        for number in CONNECTIONS:
            for name, gateway in found.items():
                seen.setdefault((name, number), []).append(load(gateway, number, seconds, folder))
    return {key: Load(*map(statistics.median, zip(*map(astuple, loads), strict=True))) for key, loads in seen.items()}


def load(gateway: Gateway, connections: int, seconds: int, folder: Path) -> Load:
    """One load by wrk on the last core."""
    script = folder / "post.lua"
    body = json.dumps(ASKED)
    script.write_text(
        f'wrk.method = "POST"\nwrk.body = [[{body}]]\nwrk.headers["Content-Type"] = "application/json"\n'
        f'wrk.headers["Authorization"] = "Bearer {gateway.key}"\n'
    )
    url = f"http://127.0.0.1:{gateway.port}/v1/chat/completions"
    argv = ["taskset", "-c", CORES[-1], "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency"]
    before = gateway.cpu_seconds()
    said = _read(subprocess.run([*argv, "-s", str(script), url], capture_output=True, text=True, check=True).stdout)
    spent = gateway.cpu_seconds() - before
    return replace(said, cpu_ms=1000 * spent / max(1.0, said.rps * seconds))


def _read(text: str) -> Load:
    if "Non-2xx" in text:
        raise RuntimeError(text)
    latency = {row[0]: _milliseconds(row[1]) for row in re.findall(r"^\s+(50|99)%\s+(\S+)", text, re.MULTILINE)}
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    assert rate is not None
    return Load(rps=float(rate[1]), p50_ms=latency["50"], p99_ms=latency["99"])


def _milliseconds(text: str) -> float:
    number, unit = text.rstrip("usm"), text.lstrip("0123456789.")
    return float(number) * {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}[unit]


@contextmanager
def gateways(folder: Path, speaker: Path, *, with_litellm: bool) -> Iterator[dict[str, Gateway]]:
    """The mock, and each gateway before it, on the first core; `streams` is a router before the model at `speaker`."""
    with ExitStack() as stack:
        ports = [18_650 + number + os.getpid() % 1000 * 5 for number in range(4)]
        mock = stack.enter_context(_nginx(folder / "mock", _mock(folder, ports[0]), CORES[-1]))
        proxy = stack.enter_context(_nginx(folder / "proxy", _proxy(folder, ports[1]), CORES[0]))
        router = stack.enter_context(_router(folder / "router", folder / "mock.sock"))
        found = {
            "mock": Gateway("mock", ports[0], pid=mock),
            "nginx": Gateway("nginx", ports[1], pid=proxy),
            "router": router,
        }
        found["streams"] = stack.enter_context(_router(folder / "streams", speaker))
        if with_litellm:
            found["litellm"] = stack.enter_context(_litellm(folder, ports[0], ports[2]))
        yield found


def _mock(folder: Path, port: int) -> str:
    body = json.dumps(ANSWER)
    return (
        f"server {{ listen 127.0.0.1:{port}; listen unix:{folder}/mock.sock; keepalive_requests 10000000;\n"
        f"location / {{ default_type application/json; return 200 '{body}'; }} }}"
    )


def _proxy(folder: Path, port: int) -> str:
    return (
        f"upstream model {{ server unix:{folder}/mock.sock; keepalive 300; keepalive_requests 10000000; }}\n"
        f"server {{ listen 127.0.0.1:{port}; keepalive_requests 10000000; location / {{ proxy_pass http://model;\n"
        'proxy_http_version 1.1; proxy_set_header Connection ""; } }'
    )


@contextmanager
def _nginx(folder: Path, server: str, core: str) -> Iterator[int]:
    folder.mkdir()
    temporary = " ".join(f"{name}_temp_path {folder}/{name};" for name in ("proxy", "fastcgi", "uwsgi", "scgi"))
    (folder / "nginx.conf").write_text(
        f"worker_processes 1; daemon off; pid {folder}/pid; error_log {folder}/error.log;\n"
        f"events {{ worker_connections 4096; }}\nhttp {{ access_log off; client_body_temp_path {folder}/body; {temporary}\n"
        f"{server} }}\n"
    )
    argv = ["taskset", "-c", core, "nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")]
    process = subprocess.Popen([*argv, "-g", f"user {_user()};"] if os.geteuid() == 0 else argv)
    try:
        _until((folder / "pid").exists, process)
        yield process.pid
    finally:
        process.terminate()
        process.wait(20)


def _user() -> str:
    return "root"  # its files lie in a folder of ours alone


@contextmanager
def _router(home: Path, upstream: Path) -> Iterator[Gateway]:
    """The router with a key that has quotas, as control would tell it."""
    (home / "run").mkdir(parents=True)
    key = "bry_svc_" + secrets.token_hex(20)
    actor = {"id": "u_1", "name": "bench", "kind": "service", "clearance": "public", "roles": {}, "projects": []}
    bounds = {"requests_per_minute": 1_000_000, "services": None, "tokens_per_day": 10**12}
    token = {"hash": hashlib.sha256(key.encode()).hexdigest(), "id": "k_1", "actor": "u_1", "expires": 4e9}
    token |= {"scopes": ["ask"], "max_label": None, "bounds": bounds}
    upstreams = [{"replica": "r_1", "socket": str(upstream)}]
    engine = {"kind": "replica", "name": "torch", "upstreams": upstreams, "limits": {"context": 4096}}
    service: dict[str, Any] = {
        "id": "e_1", "name": "talk", "title": "Talk", "kind": "model", "project_id": "p_1", "project": "main",
        "revision_id": "w_1", "revision": 1, "label": "public", "floor": "public", "ceiling": None, "audience": ["public"],
        "created": 1.0, "office": None, "examples": [], "artefact": "model:talk@v1", "files": {}, "engine": engine,
    }  # fmt: skip
    snapshot = {"v": 1, "made": 1.0, "control": "", "default_project": "main", "actors": [actor], "tokens": [token]}
    (home / "run" / "routes.json").write_text(json.dumps(snapshot | {"services": [service]}))
    (home / "config.json").write_text(json.dumps({"home": str(home), "port": 0}))
    argv = ["taskset", "-c", CORES[0], sys.executable, "-m", "baray.serve.router", str(home / "config.json")]
    process = subprocess.Popen(argv)
    try:
        _until((home / "run" / "router.json").exists, process)
        gateway = Gateway("router", json.loads((home / "run" / "router.json").read_text())["port"], key, process.pid)
        _until(lambda: _answers(gateway), process)
        yield gateway
    finally:
        process.terminate()
        process.wait(20)


@contextmanager
def _litellm(folder: Path, upstream: int, port: int) -> Iterator[Gateway]:
    """LiteLLM's proxy as its documents start it: one process, no database, no callbacks."""
    key = "sk-" + secrets.token_hex(16)
    about = {"model": "openai/talk", "api_base": f"http://127.0.0.1:{upstream}/v1", "api_key": "none"}
    config = {"model_list": [{"model_name": "talk", "litellm_params": about}]}
    (folder / "litellm.yaml").write_text(json.dumps(config))
    python = environment("litellm")
    environ = os.environ | {
        "LITELLM_MASTER_KEY": key,
        "LITELLM_TELEMETRY": "False",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }
    environ.pop("PYTHONPATH", None)
    argv = ["taskset", "-c", CORES[0], str(python.parent / "litellm"), "--config", str(folder / "litellm.yaml")]
    with (folder / "litellm.log").open("wb") as log:
        process = subprocess.Popen([*argv, "--port", str(port)], env=environ, stdout=log, stderr=log)
    try:
        gateway = Gateway("litellm", port, key, process.pid)
        _until(lambda: _answers(gateway), process)
        yield gateway
    finally:
        process.terminate()
        process.wait(30)


def environment(name: str) -> Path:
    """The Python of a peer's own environment, made from its pins if it is not there."""
    pins = HERE / f"{name}.txt"
    folder = ENVIRONMENTS / f"{name}-{hashlib.sha256(pins.read_bytes() + sys.version.encode()).hexdigest()[:12]}"
    if not (folder / "whole").exists():
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([str(folder / "bin" / "python"), "-m", "pip", "install", "-q", "-r", str(pins)], check=True)
        (folder / "whole").touch()
    return folder / "bin" / "python"


def _answers(gateway: Gateway) -> bool:
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {gateway.key}"}
    url = f"http://127.0.0.1:{gateway.port}/v1/chat/completions"
    try:
        with urlopen(Request(url, json.dumps(ASKED).encode(), headers), timeout=10) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def _until(found: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + START_SECONDS
    while not found():
        if process.poll() is not None or time.monotonic() > end:
            raise RuntimeError(f"{process.args!r} does not answer")
        time.sleep(0.05)
