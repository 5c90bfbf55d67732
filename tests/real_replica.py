"""A Replica in a process of its own, as a worker's supervisor would start it, with an engine that computes."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import aiohttp

from baray.core import digest_file

HANDLER = "baray.serve.engines.replica:serve"
SLOTS, CONTEXT = 2, 160
LIMIT_SECONDS = 90.0  # torch may take long to load beside other tests


def session_at(path):
    return aiohttp.ClientSession(connector=aiohttp.UnixConnector(path=path, limit=0))


class Served:
    """A Replica's process, as a worker's supervisor would start it."""

    def __init__(self, folder: Path, model: Path, **options):
        self.run_id = "r_" + "0" * 26
        self.folder = folder / "home" / "runs" / self.run_id / "attempt-1"
        for name in ("work", "out"):
            (self.folder / name).mkdir(parents=True)
        self.socket = folder / "s.sock"
        blobs, files = folder / "blobs", []
        for path in sorted(model.iterdir()):
            digest = digest_file(path)
            blob = blobs / digest[7:9] / digest[9:]
            blob.parent.mkdir(parents=True, exist_ok=True)
            blob.write_bytes(path.read_bytes())
            files.append({"path": path.name, "digest": digest, "bytes": path.stat().st_size})
        options = {"engine": "torch", "slots": SLOTS, "context": CONTEXT, "socket": str(self.socket)} | options
        spec = {"handler": HANDLER, "name": "tiny", "options": options, "kind": "replica"}
        spec["resources"] = {"cpus": 1, "memory_bytes": 4 << 30}
        mounted = {"name": "model", "ref": "model:tiny@v1", "kind": "model", "digest": "sha256:abc", "label": "public"}
        facts = {"run_id": self.run_id, "blobs": str(blobs), "spec": spec, "inputs": [mounted | {"files": files}]}
        (self.folder / "attempt.json").write_text(json.dumps(facts))
        self.log = folder / "log.txt"
        with self.log.open("wb") as log:
            argv = [sys.executable, "-P", "-m", "baray.runs.attempt", str(self.folder)]
            self.process = subprocess.Popen(argv, stdout=log, stderr=log, start_new_session=True)

    def session(self):
        return session_at(str(self.socket))

    async def health(self, session=None):
        async with session or self.session() as http, http.get("http://r/healthz") as response:
            return await response.json()

    async def until(self, found, what):
        """Wait until the Replica tells a health for which `found` is true."""
        for _ in range(int(LIMIT_SECONDS * 100)):
            assert self.process.poll() is None, self.log.read_text()
            if self.socket.exists():
                health = await self.health()
                if found(health):
                    return health
            await asyncio.sleep(0.01)
        raise AssertionError(f"{what}: {health}\n{self.log.read_text()}")

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
