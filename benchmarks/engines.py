"""Engines: tokens a second at one and at eight streams, through the whole path and alone, with `transformers` beside.

The Model is random: Qwen3 layout, 30 million weights, width 512, 8 blocks, vocabulary 8,192. Prompts of 24 tokens, 128 new
ones each, greedy. Alone: the engine in a process of its own, called directly. The whole path: a client, the router, a
Replica, the engine; streamed. Each figure is the best of several rounds, as other work on the machine only slows it. A pass
on everything open takes a gigabyte for each of five engines, twice.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import aiohttp
from figures import Context, Figure

from baray.core import digest_file

VARIANTS = ("torch", "torch-bf16", "llamacpp", "llamacpp-bf16", "llamacpp-q8_0")
"""Engine and precision; fp32 unless said."""
LOADERS = {"torch": "torch_loop:load_torch", "llamacpp": "llamacpp:load_llamacpp"}
STREAMS, PROMPT_TOKENS, NEW_TOKENS, CONTEXT = (1, 8), 24, 128, 256
START_SECONDS, ROUNDS = 120.0, 6
SIZES = {"width": 512, "layers": 8, "heads": 8, "mlp": 1408, "vocab": 8192}


def measure(context: Context) -> Iterator[Figure]:
    """Yield `<engine>.c1`, `<engine>.c8`, and how our loop stands to llama.cpp and to `transformers`."""
    model = context.folder / "model"
    make_model(model)
    beside = ["transformers"] if importlib.util.find_spec("transformers") else []
    if not beside:
        print("engines: transformers is not installed, so nothing stands beside; scripts/setup test brings it")
    best = best_of_rounds(context, model, beside)
    for variant, streams in product(VARIANTS, STREAMS):
        yield figure(
            f"{variant}.c{streams}", best[variant, "path", streams], "the engine alone", best[variant, "alone", streams]
        )
    for streams in STREAMS:
        ours = best["torch", "alone", streams]
        for peer in ("llamacpp", "llamacpp-bf16", "llamacpp-q8_0", *beside):
            yield figure(f"torch.alone.c{streams}.vs_{peer}", ours, f"{peer} alone", best[peer, "alone", streams])


def best_of_rounds(context: Context, model: Path, beside: list[str]) -> Counter[tuple[str, str, int]]:
    """The best tokens a second of each engine, way and number of streams."""
    best: Counter[tuple[str, str, int]] = Counter()
    with ExitStack() as stack:
        ports, lonely = {}, {}
        for variant in VARIANTS:
            ports[variant] = stack.enter_context(path_to(variant, model, context.folder / variant))
        for variant in (*VARIANTS, *beside):
            lonely[variant] = stack.enter_context(alone_in_a_process(variant, model, context.folder / "work" / variant))
        # Round by round, so that all see the same machine; each keeps its best.
        for _ in range(1 if context.quick else ROUNDS):
            for variant, streams in product(lonely, STREAMS):
                figures = {"alone": lonely[variant](streams)}
                if variant in ports:
                    figures["path"] = asyncio.run(ask(ports[variant], streams))
                for way, value in figures.items():
                    best[variant, way, streams] = max(best[variant, way, streams], value)
    return best


def figure(name: str, value: float, peer: str, peer_value: float) -> Figure:
    """A figure in tokens a second."""
    return Figure(name=name, value=value, unit="tokens/s", peer=peer, peer_value=peer_value)


def make_model(folder: Path) -> None:
    """A random Model and a tokenizer, in the Hugging Face layout."""
    np, numpy_files = importlib.import_module("numpy"), importlib.import_module("safetensors.numpy")
    folder.mkdir(parents=True)
    draws, size = np.random.default_rng(0), SIZES
    width, mlp, vocab = size["width"], size["mlp"], size["vocab"]

    def weight(rows: int, columns: int, spread: float = 1.2) -> object:
        return (draws.standard_normal((rows, columns)) * spread / columns**0.5).astype(np.float32)

    head = width // size["heads"]
    tensors = {"model.embed_tokens.weight": weight(vocab, width, 2.0), "model.norm.weight": np.ones(width, np.float32)}
    for number in range(size["layers"]):
        block = {f"self_attn.{name}_proj": weight(width, width) for name in "qkvo"}
        block |= {f"mlp.{name}_proj": weight(mlp, width) for name in ("gate", "up")}
        block |= {"mlp.down_proj": weight(width, mlp)}
        block |= {f"self_attn.{name}_norm": np.ones(head, np.float32) for name in "qk"}
        block |= {f"{name}_layernorm": np.ones(width, np.float32) for name in ("input", "post_attention")}
        tensors |= {f"model.layers.{number}.{name}.weight": values for name, values in block.items()}
    numpy_files.save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "vocab_size": vocab, "hidden_size": width}
    config |= {"num_hidden_layers": size["layers"], "num_attention_heads": size["heads"], "head_dim": head}
    config |= {"num_key_value_heads": size["heads"], "intermediate_size": mlp, "max_position_embeddings": 1024}
    config |= {"rope_theta": 10000.0, "rms_norm_eps": 1e-6, "tie_word_embeddings": True, "hidden_act": "silu"}
    config |= {"eos_token_id": 0, "pad_token_id": 0, "attention_bias": False, "dtype": "float32"}
    (folder / "config.json").write_text(json.dumps(config))
    make_tokenizer(folder)


def make_tokenizer(folder: Path) -> None:
    """Bytes and the merges of a sentence: what words come out does not matter here."""
    tokenizers = importlib.import_module("tokenizers")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([str(__doc__)], trainer)
    tokenizer.save(str(folder / "tokenizer.json"))


def prompts(streams: int) -> list[list[int]]:
    """Prompts that differ."""
    return [[10 + (7 * at + 31 * stream) % 200 for at in range(PROMPT_TOKENS)] for stream in range(streams)]


@contextmanager
def alone_in_a_process(variant: str, model: Path, work: Path) -> Iterator[Callable[[int], float]]:
    """An engine in a process of its own; asked for so many streams it tells its tokens a second."""
    work.mkdir(parents=True)
    environ = os.environ | {"OMP_WAIT_POLICY": "passive", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, __file__, variant, str(model), str(work)]
    child = subprocess.Popen(command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdin is not None
    assert child.stdout is not None

    def tell(streams: int) -> float:
        print(streams, file=child.stdin, flush=True)
        return float(child.stdout.readline())

    tell(1)  # loaded and warm
    with child:
        yield tell
        child.stdin.close()


def answer_alone(variant: str, model: Path, work: Path) -> None:
    """In a process of its own: load, then measure as often as a line asks for it."""
    generate = transformers_alone(model) if variant == "transformers" else engine_alone(variant, model, work)
    for line in sys.stdin:
        print(generate(int(line)), flush=True)
    os._exit(0)  # without the destructors of libraries


def engine_alone(variant: str, model: Path, work: Path) -> Callable[[int], float]:
    """One of ours, called directly."""
    port = importlib.import_module("baray.serve.engines.port")
    name, _, precision = variant.partition("-")
    module, _, function = LOADERS[name].partition(":")
    options = port.EngineOptions(
        slots=max(STREAMS), context=CONTEXT, precision=precision or "fp32", threads=cores(), memory_bytes=8 << 30
    )
    engine = getattr(importlib.import_module(f"baray.serve.engines.{module}"), function)(model, work, options)

    def generate(streams: int) -> float:
        ends = [threading.Event() for _ in range(streams)]
        started = time.perf_counter()
        for prompt, end in zip(prompts(streams), ends, strict=True):
            wanted = port.Generation(prompt=tuple(prompt), max_tokens=NEW_TOKENS)
            engine.submit(wanted, lambda piece, end=end: end.set() if piece.finish else None)
        for end in ends:
            end.wait()
        return streams * NEW_TOKENS / (time.perf_counter() - started)

    return generate


def transformers_alone(model: Path) -> Callable[[int], float]:
    """`generate` on one batch, as its users call it."""
    torch, transformers = importlib.import_module("torch"), importlib.import_module("transformers")
    torch.set_num_threads(cores())
    loaded = transformers.AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)

    def generate(streams: int) -> float:
        ids = torch.tensor(prompts(streams))
        count = {"max_new_tokens": NEW_TOKENS, "min_new_tokens": NEW_TOKENS}
        started = time.perf_counter()
        with torch.inference_mode():
            loaded.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, **count)
        return streams * NEW_TOKENS / (time.perf_counter() - started)

    return generate


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


@contextmanager
def path_to(variant: str, model: Path, folder: Path) -> Iterator[int]:
    """A Replica and a router before it; the router's port."""
    name, _, precision = variant.partition("-")
    home = folder / "home"
    attempt = home / "runs" / "r_bench" / "attempt-1"
    for place in (attempt / "work", attempt / "out", home / "run"):
        place.mkdir(parents=True)
    socket = folder / "r.sock"
    files = lay_blobs(model, folder / "blobs")
    options: dict[str, Any] = {
        "engine": name,
        "slots": max(STREAMS),
        "context": CONTEXT,
        "precision": precision or "fp32",
    }
    spec = {
        "handler": "baray.serve.engines.replica:serve",
        "name": "bench",
        "options": options | {"socket": str(socket)},
    }
    spec["resources"] = {"cpus": cores(), "memory_bytes": 8 << 30}
    mounted = {"name": "model", "ref": "model:bench@v1", "kind": "model", "digest": "sha256:0", "label": "public"}
    facts = {"run_id": "r_bench", "blobs": str(folder / "blobs"), "spec": spec, "inputs": [mounted | {"files": files}]}
    (attempt / "attempt.json").write_text(json.dumps(facts))
    argv = [sys.executable, "-P", "-m", "baray.runs.attempt", str(attempt)]
    processes = [subprocess.Popen(argv, stdout=subprocess.DEVNULL)]
    try:
        processes.append(open_router(home, socket))
        yield until_ready(home, socket)
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(60)


def lay_blobs(model: Path, blobs: Path) -> list[dict[str, Any]]:
    """The Model's files as blobs."""
    files = []
    for path in sorted(model.iterdir()):
        digest = digest_file(path)
        blob = blobs / digest[7:9] / digest[9:]
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.hardlink_to(path)
        files.append({"path": path.name, "digest": digest, "bytes": path.stat().st_size})
    return files


def open_router(home: Path, socket: Path) -> subprocess.Popen[bytes]:
    """A router whose only Service is the Replica at `socket`."""
    engine = {"kind": "replica", "name": "torch", "upstreams": [{"replica": "r_bench", "socket": str(socket)}]}
    row = {"id": "e_1", "revision_id": "w_1", "project_id": "p_1", "project": "main", "name": "bench", "kind": "model"}
    row |= {"revision": 1, "label": "public", "audience": ["public"], "created": 1.0, "office": None, "examples": []}
    row |= {"floor": "public", "ceiling": None}
    row |= {"title": "Bench", "artefact": "bench@v1", "files": {}, "engine": engine | {"limits": {"context": CONTEXT}}}
    snapshot = {"v": 1, "made": 1.0, "control": "", "default_project": "main", "actors": [], "tokens": []}
    (home / "run" / "routes.json").write_text(json.dumps(snapshot | {"services": [row]}))
    (home / "router-config.json").write_text(json.dumps({"home": str(home), "port": 0}))
    return subprocess.Popen([sys.executable, "-m", "baray.serve.router", str(home / "router-config.json")])


async def is_ready(socket: Path) -> bool:
    """Whether the Replica has its engine."""
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(path=str(socket))) as session,
        session.get("http://r/healthz") as response,
    ):
        return bool((await response.json())["ready"])


def until_ready(home: Path, socket: Path) -> int:
    """Wait for both; the router's port."""
    end, told = time.monotonic() + START_SECONDS, home / "run" / "router.json"
    while time.monotonic() < end:
        if socket.exists() and told.exists() and asyncio.run(is_ready(socket)):
            return int(json.loads(told.read_text())["port"])
        time.sleep(0.05)
    raise TimeoutError(f"the Replica was not ready within {START_SECONDS} s")


async def ask(port: int, streams: int) -> float:
    """Tokens a second of so many streams through the router."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await one(session, port, prompts(1)[0], 4)
        started = time.perf_counter()
        counts = await asyncio.gather(*(one(session, port, prompt, NEW_TOKENS) for prompt in prompts(streams)))
        return sum(counts) / (time.perf_counter() - started)


async def one(session: aiohttp.ClientSession, port: int, prompt: list[int], number: int) -> int:
    """Tokens of one stream."""
    body = {"model": "bench", "prompt": prompt, "max_tokens": number, "temperature": 0, "ignore_eos": True}
    body |= {"stream": True, "stream_options": {"include_usage": True}}
    counted = 0
    async with session.post(f"http://127.0.0.1:{port}/v1/completions", json=body) as response:
        if response.status != 200:
            raise RuntimeError(f"{response.status}: {await response.text()}")
        async for line in response.content:
            if line.startswith(b"data: {"):
                counted = (json.loads(line[6:]).get("usage") or {}).get("completion_tokens", counted)
    return int(counted)


if __name__ == "__main__":
    answer_alone(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
