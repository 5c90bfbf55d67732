"""A program that takes `vllm serve`'s arguments and speaks its API as far as our adapter uses it, over our own decode loop.

It stands in for vLLM, which needs a GPU: what is tested with it is our side (arguments, socket, stream, cancel, end).
"""

from __future__ import annotations

import argparse
import asyncio
import json
from pathlib import Path

from aiohttp import web
from tokenizers import Tokenizer

from baray.serve.engines.port import EngineOptions, Generation
from baray.serve.engines.torch_loop import TorchEngine, load_torch


class Speaker:
    def __init__(self, engine: TorchEngine, tokenizer: Tokenizer) -> None:
        self.engine, self.tokenizer = engine, tokenizer

    async def complete(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        assert body["stream"]
        if max(body["prompt"]) >= self.tokenizer.get_vocab_size():
            error = {"message": "out of vocabulary", "type": "BadRequestError", "code": 400}
            return web.json_response({"error": error}, status=400)
        assert body["stream_options"] == {"include_usage": True, "continuous_usage_stats": True}
        pieces, loop = asyncio.Queue(), asyncio.get_running_loop()
        wanted = Generation(
            prompt=tuple(body["prompt"]),
            max_tokens=body["max_tokens"],
            temperature=body["temperature"],
            top_p=body["top_p"],
            seed=body["seed"],
            ends=frozenset() if body["ignore_eos"] else frozenset(body["stop_token_ids"]),
        )
        ticket = self.engine.submit(wanted, lambda piece: loop.call_soon_threadsafe(pieces.put_nowait, piece))
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        try:
            await response.prepare(request)
            finish, ids, text = "", [], ""
            while not finish:
                piece = await pieces.get()
                finish = piece.finish
                new = [choice.token for choice in piece.choices]
                ids += new
                whole = self.tokenizer.decode(ids)
                choice = {"index": 0, "text": whole[len(text) :], "token_ids": new, "finish_reason": finish or None}
                text = whole
                told = {"choices": [choice], "usage": {"completion_tokens": piece.num_tokens}}
                await response.write(b"data: " + json.dumps(told).encode() + b"\n\n")
            await response.write(b'data: {"choices": [], "usage": {"completion_tokens": 0}}\n\ndata: [DONE]\n\n')
        finally:
            self.engine.cancel(ticket)
        return response

    async def health(self, _request: web.Request) -> web.Response:
        return web.Response()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["serve"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--uds", required=True)
    parser.add_argument("--max-model-len", type=int, required=True)
    parser.add_argument("--max-num-seqs", type=int, required=True)
    for name in ("--served-model-name", "--gpu-memory-utilization", "--dtype"):
        parser.add_argument(name, required=True)
    parser.add_argument("--disable-log-requests", action="store_true")
    asked = parser.parse_args()
    options = EngineOptions(
        slots=asked.max_num_seqs, context=asked.max_model_len, precision="fp32", memory_bytes=4 << 30
    )
    engine = load_torch(asked.folder, asked.folder, options)
    speaker = Speaker(engine, Tokenizer.from_file(str(asked.folder / "tokenizer.json")))
    application = web.Application()
    application.router.add_post("/v1/completions", speaker.complete)
    application.router.add_get("/health", speaker.health)
    web.run_app(application, path=asked.uds, print=None, handler_cancellation=True)


if __name__ == "__main__":
    main()
