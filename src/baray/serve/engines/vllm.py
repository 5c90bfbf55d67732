"""The engine `vllm`: starts `vllm serve` on the Model's folder as a child, and asks it over a unix socket.

Where a GPU and vLLM are; vLLM is not among our dependencies. Its API: `--uds`, /health, /v1/completions with token ids as
prompt, streamed with continuous usage; closing a connection aborts its request.

Covered: the child dies with this process, where util-linux is. Not covered: equal tokens to fp32, as it computes in bf16.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from baray.core import Fault, Refused
from baray.serve.engines.layout import read_layout
from baray.serve.engines.pool import PooledEngine, code_of, failure
from baray.serve.engines.port import LENGTH, STOP, Choice, Deliver, EngineOptions, Generation, Piece

START_SECONDS = 900.0
_POLL_SECONDS = 0.25
_MEMORY_SHARE = "0.85"


def load_vllm(folder: Path, work: Path, options: EngineOptions) -> PooledEngine:
    """Start vLLM on `folder` and wait until it answers. Raises Refused `no_vllm`; Fault `engine_crashed`."""
    program = shutil.which("vllm") or shutil.which("vllm", path=str(Path(sys.executable).parent))
    if program is None:
        raise Refused("no_vllm", "vLLM is not installed here.", fix="Install it beside Baray, or use the engine torch.")
    layout = read_layout(folder)
    context = options.context or layout.context
    place = Path(tempfile.mkdtemp(prefix="baray-"))  # a socket's path may have 107 bytes; `work` may be longer
    command = [program, "serve", str(folder), "--uds", str(place / "vllm.sock"), "--served-model-name", "model"]
    command += ["--max-model-len", str(context), "--max-num-seqs", str(options.slots)]
    command += ["--gpu-memory-utilization", _MEMORY_SHARE, "--disable-log-requests"]
    command += ["--dtype", "float32" if options.precision == "fp32" else "auto"]
    quiet = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "HOME": str(work)}
    with_us = shutil.which("setpriv")  # of util-linux: killed when this process dies, however that ends
    command = [with_us, "--pdeathsig", "KILL", "--", *command] if with_us else command
    child = subprocess.Popen(command, env={"PATH": os.defpath, **quiet})

    def end() -> None:
        child.terminate()
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        shutil.rmtree(place, ignore_errors=True)

    try:
        _wait(child, place / "vllm.sock")
    except BaseException:
        end()
        raise
    asking = _asking(place / "vllm.sock")
    return PooledEngine(asking, slots=options.slots, context=context, exact=options.precision == "fp32", end=end)


def _wait(child: subprocess.Popen[bytes], path: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if child.poll() is not None:
            raise Fault("engine_crashed", f"vLLM ended with {child.returncode} at its start.", fix="See the Run's log.")
        if path.exists() and _is_healthy(path):
            return
        time.sleep(_POLL_SECONDS)
    raise Fault("engine_crashed", f"vLLM did not answer within {START_SECONDS:.0f} s.", fix="See the Run's log.")


def _is_healthy(path: Path) -> bool:
    connection = _Connection(path)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _asking(path: Path) -> Callable[[Generation, Deliver, threading.Event], None]:
    def ask(generation: Generation, deliver: Deliver, stop: threading.Event) -> None:
        connection = _Connection(path)
        try:
            connection.request("POST", "/v1/completions", _request(generation), {"Content-Type": "application/json"})
            response = connection.getresponse()
            if response.status != 200:
                sys.stderr.write(f"vLLM: {response.status} {response.read(2000).decode(errors='replace')}\n")
                deliver(failure(response.status))
                return
            for told in _events(response):
                deliver(_piece(told))
                if stop.is_set():
                    return
        except (OSError, http.client.HTTPException) as error:
            sys.stderr.write(f"vLLM: {error}\n")
        finally:
            connection.close()

    return ask


def _request(generation: Generation) -> bytes:
    body = {
        "model": "model",
        "prompt": list(generation.prompt),
        "max_tokens": generation.max_tokens,
        "temperature": generation.temperature,
        "top_p": max(generation.top_p, 1e-9),
        "seed": generation.seed,
        "ignore_eos": not generation.ends,
        "stop_token_ids": sorted(generation.ends),
        "logprobs": generation.logprobs,
        "return_token_ids": True,
        "stream": True,
        "stream_options": {"include_usage": True, "continuous_usage_stats": True},
    }
    return json.dumps(body).encode()


def _events(response: http.client.HTTPResponse) -> Iterator[dict[str, Any]]:
    for line in response:
        if line.startswith(b"data: {"):
            told = json.loads(line[6:])
            if told.get("choices") or "error" in told:
                yield told


def _piece(told: dict[str, Any]) -> Piece:
    if "error" in told:
        return failure(code_of(told))
    choice = told["choices"][0]
    finish = {"stop": STOP, "length": LENGTH}.get(choice.get("finish_reason") or "", "")
    logs = (choice.get("logprobs") or {}).get("token_logprobs") or []
    tokens = choice.get("token_ids") or []
    choices = tuple(
        Choice(token=token, logprob=logs[at] if at < len(logs) else None) for at, token in enumerate(tokens)
    )
    number = (told.get("usage") or {}).get("completion_tokens") or 0
    return Piece(choices=choices, text=choice.get("text") or "", finish=finish, num_tokens=number)


class _Connection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("vllm")
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)
