"""The engine `llamacpp`: llama.cpp in this process, on a GGUF file that we write from the Model.

Token ids go in, text comes out: llama.cpp tells no ids of characters that are not whole yet. A new Model is first loaded
and asked in a process that is thrown away, as a bad kernel for a type of weights ends a process at once; what crashes
there is tried without llama.cpp's own orders of weights, then in plainer types.

Its HTTP server cannot be switched off: it listens on a socket in a folder of our own that is removed at once, so that
nobody reaches the Model past the Replica. Prompts are not kept from one Generation to the next: how fast an answer comes
would tell what others asked.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import xllamacpp

from baray.core import Fault, Refused
from baray.serve.engines.gguf_file import write_gguf
from baray.serve.engines.layout import fit, read_layout
from baray.serve.engines.pool import PooledEngine, code_of, failure
from baray.serve.engines.port import LENGTH, STOP, Choice, Deliver, EngineOptions, Generation, Piece

PROBE_SECONDS = 300.0
_PROBE_TOKENS = 8
_FIRST = Generation(prompt=(0, 1, 2), max_tokens=1)
_KINDS = {"fp32": "f32", "bf16": "bf16", "q8_0": "q8_0"}
_PLAINER = {"q8_0": ("q8_0", "bf16", "f32"), "bf16": ("bf16", "f32"), "f32": ("f32",)}


def load_llamacpp(folder: Path, work: Path, options: EngineOptions) -> PooledEngine:
    """Write the Model as GGUF into `work`, probe it, load it.

    Raises Refused `unknown_layout`, `unknown_tokenizer`, `bad_safetensors`, `model_too_large`; Fault `engine_crashed`.
    """
    layout = read_layout(folder)
    context, precision = fit(layout, options)
    facts = {"slots": options.slots, "context": context, "threads": options.threads}
    tried = []
    for kind in _PLAINER[_KINDS[precision]]:
        path = work / f"{kind}.gguf"
        write_gguf(folder, path, kind=kind, name=options.name)
        for plain in (False, True):
            chosen = facts | {"path": str(path), "plain": plain, "exact": kind == "f32"}
            trouble = probe(chosen)
            if not trouble:
                return _engine(chosen)
            tried.append(f"{kind}{' without extra orders' if plain else ''}: {trouble}")
        path.unlink()
    raise Fault(
        "engine_crashed", f"llama.cpp cannot run this Model here: {'; '.join(tried)}.", fix="Use the engine torch."
    )


def probe(chosen: Mapping[str, Any]) -> str:
    """Load and ask a Model in a process that is thrown away; what went wrong, empty if nothing."""
    command = [sys.executable, "-P", "-m", "baray.serve.engines.llamacpp", json.dumps(dict(chosen) | {"slots": 1})]
    try:
        done = subprocess.run(command, capture_output=True, timeout=PROBE_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return f"no answer within {PROBE_SECONDS:.0f} s"
    if done.returncode == 0 and done.stdout.strip().endswith(b"}"):
        return ""
    if done.returncode < 0:
        return f"ended by signal {-done.returncode}"
    return done.stderr.decode(errors="replace").strip().rpartition("\n")[2][:200] or f"ended with {done.returncode}"


def open_server(chosen: Mapping[str, Any]) -> xllamacpp.Server:
    """llama.cpp's server, with a slot of `context` tokens for each Generation."""
    params = xllamacpp.CommonParams()
    params.model.path = chosen["path"]
    params.n_parallel = chosen["slots"]
    params.n_ctx = chosen["slots"] * chosen["context"]
    params.kv_unified = False  # each slot has its own share
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = chosen["threads"]
    params.no_extra_bufts = chosen["plain"]
    params.cache_prompt, params.cache_ram_mib = False, 0
    if chosen["exact"]:  # by default keys and values are rounded to 16 bits, and again inside flash attention
        params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
        params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    params.fit_params = params.warmup = params.ui = params.endpoint_slots = False
    params.verbosity = -1
    with tempfile.TemporaryDirectory(prefix="baray-") as folder:
        params.hostnames = [f"{folder}/none.sock"]
        return xllamacpp.Server(params)


def _engine(chosen: Mapping[str, Any]) -> PooledEngine:
    servers = [open_server(chosen)]

    def ask(generation: Generation, deliver: Deliver, stop: threading.Event) -> None:
        def take(told: object) -> bool:
            piece = _piece(told, generation)
            if piece is not None:
                deliver(piece)
            return stop.is_set()  # true: llama.cpp frees the slot

        servers[0].handle_completions(_request(generation), take)

    # One token at once: a server that is ended before its loop runs waits for ever.
    servers[0].handle_completions(_request(_FIRST) | {"stream": False})
    return PooledEngine(ask, slots=chosen["slots"], context=chosen["context"], exact=chosen["exact"], end=servers.clear)


def _request(generation: Generation) -> dict[str, Any]:
    return {
        "prompt": list(generation.prompt),
        "n_predict": generation.max_tokens,
        "temperature": generation.temperature,
        "top_p": generation.top_p,
        "samplers": ["temperature", "top_p"],
        "seed": generation.seed % (2**32 - 1),
        "ignore_eos": not generation.ends,
        "n_probs": 0 if generation.logprobs is None else max(1, generation.logprobs),
        "cache_prompt": False,
        "stream": True,
        "timings_per_token": True,
    }


def _piece(told: object, generation: Generation) -> Piece | None:
    """What one of its chunks brings; None for one that brings nothing."""
    if not isinstance(told, dict) or "choices" not in told:
        return failure(code_of(told))
    if not told["choices"]:
        return None
    choice = told["choices"][0]
    finish = {"stop": STOP, "length": LENGTH}.get(choice.get("finish_reason") or "", "")
    number = (told.get("usage") or {}).get("completion_tokens") or (told.get("timings") or {}).get("predicted_n") or 0
    entries = (choice.get("logprobs") or {}).get("content") or []
    choices = tuple(_choice(entry, generation.logprobs or 0) for entry in entries)
    return Piece(choices=choices, text=choice.get("text") or "", finish=finish, num_tokens=int(number))


def _choice(entry: Mapping[str, Any], num_top: int) -> Choice:
    top = tuple((one["id"], one["logprob"]) for one in entry.get("top_logprobs", ())[:num_top])
    return Choice(token=entry["id"], logprob=entry["logprob"], top=top)


def main() -> None:
    """Load the Model that the argument names, ask it for a few tokens, say that it lives."""
    chosen = json.loads(sys.argv[1])
    server = open_server(chosen)
    asked = replace(_FIRST, max_tokens=_PROBE_TOKENS)
    told = server.handle_completions(_request(asked) | {"stream": False})
    if "choices" not in told:
        raise Refused("engine_crashed", f"It answers {told}.")
    sys.stdout.write(json.dumps(told["choices"][0], ensure_ascii=True) + "\n")


if __name__ == "__main__":
    main()
