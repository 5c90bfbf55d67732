"""A Replica without an engine, for drills: a trusted handler that speaks as `speaking_replica` does."""

from __future__ import annotations

import asyncio
import importlib
import json
import signal
import sys
from pathlib import Path

from aiohttp import web

from baray.core import Refused

sys.path.append(str(Path(__file__).parents[1]))
Speaker = importlib.import_module("speaking_replica").Speaker


def serve(context):
    """Speaks until SIGTERM. The Model's config may say that it breaks (`broken`) or is slow (`pause_seconds`)."""
    files = {file.path: file.blob for file in context.inputs["model"].files}
    config = json.loads(files["config.json"].read_bytes())
    if config.get("broken"):
        raise Refused("broken_model", "The weights make no sense.", fix="Train it again.")
    asyncio.run(_serve(Path(context.spec["options"]["socket"]), config))
    return []


async def _serve(path, config):
    path.unlink(missing_ok=True)
    speaker = Speaker(float(config.get("pause_seconds", 0.0)))
    app = web.Application()
    app.router.add_post("/v1/completions", speaker.complete)
    app.router.add_get("/healthz", speaker.health)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=30.0)
    await runner.setup()
    await web.UnixSite(runner, str(path)).start()
    await stop.wait()
    await runner.cleanup()
