"""A small tokens Dataset, written by the format's own words, and Attempts of `lm` in processes of their own."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from baray.core import digest_bytes
from baray.runs import AttemptContext, Input, InputFile

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *(f"<|reserved_{number}|>" for number in range(5))]
WORDS = "land water the office asks fee letter ជំរាប សួរ ក្រុង province is paid on Monday".split()
TINY = {
    "params": "60k", "steps": "24", "context": "32", "batch_tokens": "256", "precision": "fp32", "checkpoint_every": "2",
}  # fmt: skip
"""Options of a training that takes a second."""


def documents(number: int = 200, seed: int = 1) -> list[str]:
    """Made-up sentences."""
    chance = random.Random(seed)
    return [" ".join(chance.choice(WORDS) for _ in range(chance.randint(5, 30))) for _ in range(number)]


def write_tokens(folder: Path, texts: list[str], vocab: int = 300) -> Input:
    """A tokens Dataset of these Documents, the last tenth held out."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    files = {"tokenizer.json": tokenizer.to_str().encode()}
    cut = len(texts) - max(1, len(texts) // 10)
    splits, sizes = {}, {}
    for split, part in (("train", texts[:cut]), ("held_out", texts[cut:])):
        streams = [[*encoding.ids, 0] for encoding in tokenizer.encode_batch(part)]
        data = np.array([one for ids in streams for one in ids], dtype="<u2").tobytes()
        starts = np.cumsum([0, *(len(ids) for ids in streams)]).astype("<u8").tobytes()
        files |= {f"data/{split}-00000.bin": data, f"data/{split}-00000.idx": starts}
        shard = {"path": f"data/{split}-00000.bin", "tokens": len(data) // 2, "digest": digest_bytes(data)}
        splits[split] = {"tokens": len(data) // 2, "documents": len(part), "shards": [shard]}
        sizes[split] = sum(len(text.encode()) for text in part)
    manifest = {"format": "baray-tokens/1", "dtype": "uint16", "vocab": tokenizer.get_vocab_size(), "eos": 0}
    manifest |= {"splits": splits, "bytes": sizes, "tokenizer": {"ref": "model:t@v1", "digest": "sha256:" + "0" * 64}}
    files["manifest.json"] = json.dumps(manifest).encode()
    return mounted(folder, files)


def mounted(folder: Path, files: dict[str, bytes]) -> Input:
    """A Dataset version with these files."""
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for name, data in files.items():
        blob = folder / digest_bytes(data)[7:27]
        blob.write_bytes(data)
        found.append(InputFile(path=name, digest=digest_bytes(data), bytes=len(data), blob=blob, label="public"))
    digest = digest_bytes(b"".join(sorted(files.values())))
    return Input(
        name="tokens", ref="dataset:tokens@v1", kind="dataset", digest=digest, label="public", files=tuple(found)
    )


def lm_context(run: Path, source: Input, *, lines: list[str] | None = None, **options: Any) -> AttemptContext:
    """An Attempt in this process."""
    for name in ("out", "work"):
        (run / "attempt-1" / name).mkdir(parents=True, exist_ok=True)
    return AttemptContext(
        run_id="r_test",
        spec={"recipe": "lm", "options": TINY | options, "name": "small"},
        inputs={"tokens": source},
        out=run / "attempt-1" / "out",
        work=run / "attempt-1" / "work",
        run_dir=run,
        cpus=1,
        memory_bytes=4 * 2**30,
        print_line=(lines if lines is not None else []).append,
        now=lambda: 1_800_000_000.0,
    )


def weights_of(run: Path) -> bytes:
    """The Model that an Attempt left."""
    return (run / "attempt-1" / "out" / "small" / "model.safetensors").read_bytes()


_PROGRAM = """
import sys; sys.path.insert(0, sys.argv[1])
import pickle
from pathlib import Path
from lm_tokens import lm_context, mounted
from baray.train.lm.handler import train
run = Path(sys.argv[2])
source, options = pickle.loads((run / "spec.pickle").read_bytes())
lines = type("Told", (list,), {"append": lambda self, text: print(text, flush=True)})()
train(lm_context(run, source, lines=lines, **options))
print("done", flush=True)
"""


def start_attempt(run: Path, source: Input, *before: str, **options: Any) -> subprocess.Popen[str]:
    """An Attempt in a process of its own; `before` stands before the interpreter in its command."""
    import pickle

    run.mkdir(parents=True, exist_ok=True)
    (run / "spec.pickle").write_bytes(pickle.dumps((source, options)))
    argv = [*before, sys.executable, "-c", _PROGRAM, str(Path(__file__).parent), str(run)]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)


def kill(process: subprocess.Popen[str]) -> None:
    """SIGKILL to all that it started."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
