"""The trusted handler of a Replica: one Model, one engine, OpenAI's routes over HTTP/1.1 on a unix socket.

Order: folder of the Model's files -> socket (told as not ready) -> engine -> ready -> until SIGTERM -> who waits is
answered, for 30 seconds -> end. A caller who hangs up frees their slot within a step. An engine that broke ends the Run:
control starts a fresh one, nothing is mended in place.

Covered: bounded waiting, bounded bodies, no door but the socket (0660). Not covered: who asks; the router has decided that.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import os
import secrets
import signal
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import uvloop
from aiohttp import web

from baray.core import Fault, Refused
from baray.runs import AttemptContext
from baray.serve.engines.layout import read_layout
from baray.serve.engines.port import Engine, EngineOptions
from baray.serve.engines.routes import Routes
from baray.serve.engines.text import Wording
from baray.serve.replicas.sockets import own_folder

DRAIN_SECONDS = 30.0
LOADERS = {
    "torch": "baray.serve.engines.torch_loop:load_torch",
    "llamacpp": "baray.serve.engines.llamacpp:load_llamacpp",
    "vllm": "baray.serve.engines.vllm:load_vllm",
}
"""Engines and who loads them."""
_NEEDS = {"torch": "torch", "llamacpp": "xllamacpp", "vllm": "vllm"}


def serve(context: AttemptContext) -> list[Any]:
    """Serve the Model that is mounted as `model` until SIGTERM; publishes nothing.

    Raises Refused `bad_option`, `unknown_layout`, `bad_safetensors`, `model_too_large`; Fault `engine_crashed`, `engine_broken`.
    """
    options = context.spec["options"]
    name = choose_engine(str(options.get("engine", "auto")))
    folder = lay_out(context)
    # Threads that wait by spinning stand in each other's way where cores are shared: 20 times as long a step. The
    # libraries read this from C's environment when they load.
    os.putenv("OMP_WAIT_POLICY", "passive")
    os.putenv("HF_HUB_OFFLINE", "1")
    module, _, function = LOADERS[name].partition(":")
    chosen = EngineOptions(
        slots=int(options.get("slots", 8)),
        context=int(options.get("context") or 0),
        precision=str(options.get("precision", "auto")),
        threads=max(1, context.cpus),
        memory_bytes=context.memory_bytes,
        name=str(context.spec.get("name", "model")),
    )
    if chosen.slots < 1:
        raise Refused("bad_option", f"slots is {chosen.slots}.", fix="Give it at least one.")

    def load() -> Engine:
        engine: Engine = getattr(importlib.import_module(module), function)(folder, context.work, chosen)
        return engine

    routes = Routes(
        wording=Wording(folder),
        ends=read_layout(folder).ends,
        slots=chosen.slots,
        told={"engine": name, "model": context.inputs["model"].digest},
        now=context.now,
        new_seed=lambda: secrets.randbits(63),
    )
    path = Path(options.get("socket") or context.run_dir.parents[1] / "run" / "replicas" / f"{context.run_id}.sock")
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(context, routes, load, path))
    finally:
        path.unlink(missing_ok=True)
        routes.close()
    return []


def choose_engine(name: str) -> str:
    """The engine's name; `auto` is vLLM where it is installed, else torch, else llama.cpp. Raises Refused `bad_option`."""
    there = [one for one in ("vllm", "torch", "llamacpp") if importlib.util.find_spec(_NEEDS[one]) is not None]
    if name == "auto" and there:
        return there[0]
    if name not in LOADERS:
        raise Refused("bad_option", f"There is no engine '{name}'; there are: {', '.join(LOADERS)}.")
    if name not in there and name != "vllm":  # vLLM may stand in an environment of its own
        raise Refused("bad_option", f"The engine '{name}' is not installed here.", fix="Run: scripts/setup lm")
    return name


def lay_out(context: AttemptContext) -> Path:
    """A folder that shows the Model's files under their names."""
    folder = context.work / "model"
    for file in context.inputs["model"].files:
        parts = Path(file.path).parts
        if Path(file.path).is_absolute() or ".." in parts:
            raise Fault("bad_path", f"The Model names a file '{file.path}'.")
        place = folder / file.path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        place.symlink_to(file.blob)
    return folder


def listen(path: Path) -> socket.socket:
    """A listening socket at `path`, of any length, for its owner and group. One that a killed process left is replaced.

    Raises Refused `unsafe_folder`.
    """
    folder = own_folder(path.parent, os.geteuid())
    listener = socket.socket(socket.AF_UNIX)
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    listener.bind(f"/proc/self/fd/{folder}/{fresh.name}")  # a socket's path may have 107 bytes; a home's may be longer
    os.close(folder)
    fresh.chmod(0o660)
    listener.listen(128)
    fresh.rename(path)  # who sees it can connect
    return listener


async def _serve(context: AttemptContext, routes: Routes, load: Callable[[], Engine], path: Path) -> None:
    application = web.Application(client_max_size=routes.most_body_bytes)
    routes.add_to(application)
    # A handler is cancelled when its caller hangs up: that is what frees the slot.
    runner = web.AppRunner(application, handler_cancellation=True, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await web.SockSite(runner, listen(path)).start()
    started = asyncio.get_running_loop().time()
    try:
        engine = await asyncio.to_thread(load)
        routes.ready(engine)
        seconds = asyncio.get_running_loop().time() - started
        exact = "fp32" if engine.exact else "less than fp32"
        told: Mapping[str, str] = routes.told
        context.log(
            f"ready after {seconds:.1f} s: {told['engine']}, {engine.slots} slots of {engine.context} tokens, {exact}"
        )
        ends = {asyncio.create_task(one.wait()) for one in (stop, routes.broken)}
        _, left = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for task in left:
            task.cancel()
        if routes.broken.is_set():
            raise Fault("engine_broken", "The engine ended while it was asked.", fix="See the Run's log.")
        routes.draining = True
        context.log(f"draining: {routes.open} requests are under way")
        await routes.idle(DRAIN_SECONDS)
        await runner.cleanup()
        await asyncio.to_thread(engine.close)
    finally:
        await runner.cleanup()
