"""Router: what it adds to a model behind it, beside nginx and LiteLLM; and what its own desks and classifiers take.

The desk holds the sample's documents and is asked its test questions; the model is trained on the sample's letters. All
duties are on: audience and labels, receipts in the spool with fdatasync. `peers/gateways.py` says how gateways are compared.
"""

from __future__ import annotations

import csv
import http.client
import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from figures import Context, Figure
from peers import streams
from peers.gateways import Gateway, Load, before_others, gateways, load_by_turns, missing
from peers.streams import Speaker
from search import SAMPLE, sample_documents

from baray.core import digest_file
from baray.runs import AttemptContext, Input, InputFile
from baray.text import write_index
from baray.train.classifier.text_classifier import train

START_SECONDS = 20.0
CONNECTIONS = 8
SERVICE = {
    "project_id": "p_1",
    "project": "main",
    "revision": 1,
    "label": "public",
    "floor": "public",
    "ceiling": None,
    "audience": ["public"],
    "created": 1.0,
}
SERVICE |= {"office": None, "examples": [], "title": "Bench", "artefact": "bench@v1"}


def measure(context: Context) -> Iterator[Figure]:
    """What it adds to a model behind it, then what it takes for desks and classifiers."""
    yield from measure_gateways(context)
    yield from measure_engines(context)


def measure_gateways(context: Context) -> Iterator[Figure]:
    """Yield `rps.vs_litellm`, `rps.vs_nginx`, `added_p50_ms.c1`, `p99_ms.c256.vs_nginx`, and the figures of streams."""
    lacking = missing()
    if lacking:
        print(f"router: without {' and '.join(lacking)} gateways are not compared (as root they are installed)")
        return
    folder = context.folder / "gateways"
    folder.mkdir()
    rounds = 1 if context.quick else 5
    with before_others():
        yield from measure_beside_others(context, folder, rounds)


def measure_beside_others(context: Context, folder: Path, rounds: int) -> Iterator[Figure]:
    """The same, once there is everything."""
    speaker = Speaker(folder / "speaker.sock")
    try:
        with gateways(folder, folder / "speaker.sock", with_litellm=True) as found:
            streaming = found.pop("streams")
            yield from compare(load_by_turns(found, rounds, 2, folder))
            yield from measure_streams(context, speaker, streaming, folder)
    finally:
        speaker.close()


def compare(loads: dict[tuple[str, int], Load]) -> Iterator[Figure]:
    """The figures of all loads."""
    for peer, title in (("litellm", "LiteLLM proxy"), ("nginx", "nginx proxy_pass")):
        yield Figure(
            name=f"rps.vs_{peer}",
            value=loads["router", 32].rps,
            unit="1/s",
            peer=title,
            peer_value=loads[peer, 32].rps,
        )
    direct = loads["mock", 1].p50_ms
    added = {name: loads[name, 1].p50_ms - direct for name in ("router", "nginx", "litellm")}
    yield Figure(
        name="added_p50_ms.c1", value=added["router"], unit="ms", peer="LiteLLM proxy", peer_value=added["litellm"]
    )
    yield Figure(name="added_p50_ms.c1.nginx", value=added["nginx"], unit="ms")
    for number in (32, 256):
        one, other = loads["router", number].p99_ms, loads["nginx", number].p99_ms
        yield Figure(name=f"p99_ms.c{number}.vs_nginx", value=one, unit="ms", peer="nginx proxy_pass", peer_value=other)
    for peer, title in (("litellm", "LiteLLM proxy"), ("nginx", "nginx proxy_pass")):
        spent = loads["router", 32].cpu_ms
        yield Figure(name=f"cpu_ms.vs_{peer}", value=spent, unit="ms", peer=title, peer_value=loads[peer, 32].cpu_ms)
    for (name, number), one in loads.items():
        yield Figure(name=f"rps.{name}.c{number}", value=one.rps, unit="1/s")


def measure_streams(context: Context, speaker: Speaker, router: Gateway, folder: Path) -> Iterator[Figure]:
    """Yield `stream.chunks_per_s`, `stream.cpu_us`, `stream.added_first_byte_ms`, `stream.cancel_ms`."""
    through, direct = ("127.0.0.1", router.port), str(folder / "speaker.sock")
    number, tokens = (50, 500) if context.quick else (300, 3000)
    rates: dict[object, list[float]] = {through: [], direct: []}
    first: dict[object, list[float]] = {through: [], direct: []}
    for _ in range(3):
        for where in (through, direct):
            rates[where].append(streams.events_per_second(where, router.key, streams=8, tokens=tokens))
            first[where].append(streams.first_byte_ms(where, router.key, number))
    rate, alone = (statistics.median(rates[where]) for where in (through, direct))
    yield Figure(name="stream.chunks_per_s", value=rate, unit="1/s", peer="the model alone", peer_value=alone)
    for many in (1, 8):
        before = router.cpu_seconds()
        streams.events_per_second(through, router.key, streams=many, tokens=tokens, pause_ms=2.0)
        spent = router.cpu_seconds() - before
        yield Figure(name=f"stream.cpu_us.c{many}", value=1e6 * spent / (many * tokens), unit="us")
    added = statistics.median(first[through]) - statistics.median(first[direct])
    yield Figure(name="stream.added_first_byte_ms", value=added, unit="ms")
    yield Figure(name="stream.cancel_ms", value=streams.cancel_ms(speaker, through, router.key, number // 5), unit="ms")


def measure_engines(context: Context) -> Iterator[Figure]:
    """Yield `answers.p50_ms`, `classify.p50_ms`, `page.p50_ms`, `answers_per_s`, `rss_mb`, `train_s`, `train_score`."""
    write_index(context.folder / "index", sample_documents(context.folder))
    yield from train_model(context.folder)
    process, port = start(context.folder)
    try:
        questions = [
            json.loads(line)["question"]
            for path in sorted((SAMPLE / "tests").glob("*.jsonl"))
            for line in path.open(encoding="utf-8")
        ]
        with (SAMPLE / "letters.csv").open(encoding="utf-8", newline="") as file:
            letters = [row["text"] for row in csv.DictReader(file)]
        number = 200 if context.quick else 1000
        kinds: dict[str, Callable[[int], tuple[str, str, Any]]] = {
            "answers": lambda at: (
                "POST",
                "/v1/answers",
                {"model": "desk", "question": questions[at % len(questions)]},
            ),
            "classify": lambda at: ("POST", "/v1/classify", {"model": "model", "input": letters[at % len(letters)]}),
            "page": lambda at: ("GET", f"/desk/desk?q={quote(questions[at % len(questions)])}", None),
        }
        for name, make in kinds.items():
            times = sorted(ask_all(port, make, number))
            yield Figure(name=f"{name}.p50_ms", value=1000 * statistics.median(times), unit="ms")
            yield Figure(name=f"{name}.p99_ms", value=1000 * times[len(times) * 99 // 100], unit="ms")
        yield Figure(name="answers_per_s", value=rate(port, kinds["answers"], number), unit="1/s")
        yield Figure(name="rss_mb", value=rss_bytes(process.pid) / 1e6, unit="MB")
    finally:
        process.terminate()
        process.wait(20)


def train_model(folder: Path) -> Iterator[Figure]:
    """Train on the sample's letters into `folder/out/bench`."""
    path = SAMPLE / "letters.csv"
    entry = InputFile(
        path="letters.csv", digest=digest_file(path), bytes=path.stat().st_size, blob=path, label="public"
    )
    mounted = Input(
        name="letters", ref="source:letters@v1", kind="source", digest=entry.digest, label="public", files=(entry,)
    )
    run = AttemptContext(
        run_id="r_benchmark",
        spec={"name": "bench", "options": {}},
        inputs={"letters": mounted},
        out=folder / "out",
        work=folder,
        run_dir=folder,
        cpus=1,
        memory_bytes=4_000_000_000,
        print_line=lambda _line: None,
        now=time.time,
    )
    started = time.perf_counter()
    (output,) = train(run)
    yield Figure(name="train_s", value=time.perf_counter() - started, unit="s")
    yield Figure(
        name="train_score",
        value=output.summary["score"],
        unit="",
        peer="keyword rules",
        peer_value=output.summary["baseline"],
    )


def start(folder: Path) -> tuple[subprocess.Popen[bytes], int]:
    """A router on the index and the model of `folder`, once it answers."""
    services = []
    for kind, place in (("desk", folder / "index"), ("model", folder / "out" / "bench")):
        files = {path.name: str(path) for path in place.iterdir()}
        services.append(
            SERVICE | {"id": f"e_{kind}", "revision_id": f"w_{kind}", "name": kind, "kind": kind, "files": files}
        )
    snapshot = {
        "v": 1,
        "made": 1.0,
        "control": "",
        "default_project": "main",
        "actors": [],
        "tokens": [],
        "services": services,
    }
    (folder / "run").mkdir()
    (folder / "run" / "routes.json").write_text(json.dumps(snapshot))
    (folder / "router-config.json").write_text(json.dumps({"home": str(folder), "port": 0}))
    process = subprocess.Popen([sys.executable, "-m", "baray.serve.router", str(folder / "router-config.json")])
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        told = folder / "run" / "router.json"
        if told.exists():
            port = json.loads(told.read_text())["port"]
            if ask_once(port, "/healthz") == 200:
                return process, port
        time.sleep(0.05)
    process.kill()
    raise TimeoutError(f"the router did not answer within {START_SECONDS} s")


def ask_once(port: int, path: str) -> int:
    """Status of one GET."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path)
    status = connection.getresponse().status
    connection.close()
    return status


def ask_all(port: int, make: Callable[[int], tuple[str, str, Any]], number: int) -> list[float]:
    """Seconds of each of `number` requests on one connection, after a few to warm up."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    times = []
    for at in range(-20, number):
        method, path, body = make(at)
        data = None if body is None else json.dumps(body).encode()
        started = time.perf_counter()
        connection.request(method, path, body=data)
        response = connection.getresponse()
        response.read()
        if response.status != 200:
            raise RuntimeError(f"{path}: {response.status}")
        if at >= 0:
            times.append(time.perf_counter() - started)
    connection.close()
    return times


def rate(port: int, make: Callable[[int], tuple[str, str, Any]], number: int) -> float:
    """Requests a second with several connections at once."""
    clients = [threading.Thread(target=ask_all, args=(port, make, number // CONNECTIONS)) for _ in range(CONNECTIONS)]
    started = time.perf_counter()
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    return CONNECTIONS * (number // CONNECTIONS + 20) / (time.perf_counter() - started)


def rss_bytes(pid: int) -> int:
    """Resident memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096
