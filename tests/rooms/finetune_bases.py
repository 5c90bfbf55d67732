"""Small bases and conversations for `finetune`, and Attempts of it in processes of their own."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

from lm_tokens import documents, lm_context, write_tokens

from baray.core import digest_bytes, digest_file
from baray.runs import AttemptContext, Input, InputFile
from baray.train.lm.handler import train as train_lm

ANSWERS = {
    "land": "the office of land", "water": "on Monday", "fee": "is paid", "letter": "the province asks", "ក្រុង": "ជំរាប សួរ",
}  # fmt: skip
"""What the conversations teach: an answer for each word."""
QUICK = {"precision": "fp32", "epochs": "4", "batch_tokens": "192", "checkpoint_every": "8", "held_out": "20"}


STRETCH = {
    "rope_type": "llama3", "rope_theta": 50_000.0, "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}  # fmt: skip
"""Rotary positions as Llama 3.1 has them."""


def conversations(number: int = 120) -> list[dict[str, Any]]:
    """Questions that differ and hold one of the words."""
    words = list(ANSWERS)
    rows = []
    for count in range(number):
        word = words[count % len(words)]
        asked, told = f"{count} {word} ?", ANSWERS[word]
        rows.append({"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": told}]})
    return rows


def jsonl_source(folder: Path, rows: list[dict[str, Any]], label: str = "internal") -> Input:
    """A Source of one JSONL file."""
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    folder.mkdir(parents=True, exist_ok=True)
    blob = folder / "rows"
    blob.write_bytes(data)
    file = InputFile(path="chats.jsonl", digest=digest_bytes(data), bytes=len(data), blob=blob, label=label)
    return Input(name="source", ref="source:chats@v1", kind="source", digest=file.digest, label=label, files=(file,))


def model_of(folder: Path, ref: str = "model:base@v1") -> Input:
    """The Model version whose files lie in a folder."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    files = tuple(
        InputFile(path=path.relative_to(folder).as_posix(), digest=digest_file(path), bytes=path.stat().st_size, blob=path)
        for path in paths
    )  # fmt: skip
    digest = digest_bytes("".join(file.digest for file in files).encode())
    return Input(name="base", ref=ref, kind="model", digest=digest, label="public", files=files)


def lm_base(folder: Path) -> Path:
    """A Model of recipe `lm`, trained for a second."""
    source = write_tokens(folder / "tokens", documents())
    train_lm(lm_context(folder / "run", source, context="64", steps="30"))
    return folder / "run" / "attempt-1" / "out" / "small"


def llama_base(folder: Path, tokenizer: Path) -> Path:
    """A Llama of transformers, untied, with random weights and a tokenizer without a chat template."""
    import torch
    import transformers  # here, so that an Attempt's process does not pay for it

    config = transformers.LlamaConfig(
        vocab_size=384, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=128, rms_norm_eps=1e-5, eos_token_id=0, bos_token_id=None,
        tie_word_embeddings=False, rope_parameters=STRETCH,
    )  # fmt: skip
    torch.manual_seed(1)
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    (folder / "tokenizer.json").write_bytes(tokenizer.read_bytes())
    told = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(told))
    return folder


def context_of(
    run: Path, source: Input, base: Input, *, lines: list[str] | None = None, **options: Any
) -> AttemptContext:
    """An Attempt in this process."""
    for name in ("out", "work"):
        (run / "attempt-1" / name).mkdir(parents=True, exist_ok=True)
    return AttemptContext(
        run_id="r_test",
        spec={"recipe": "finetune", "options": QUICK | options, "name": "helper"},
        inputs={"source": source, "base": base},
        out=run / "attempt-1" / "out",
        work=run / "attempt-1" / "work",
        run_dir=run,
        cpus=1,
        memory_bytes=4 * 2**30,
        print_line=(lines if lines is not None else []).append,
        now=lambda: 1_800_000_000.0,
    )


_PROGRAM = """
import sys; sys.path.insert(0, sys.argv[1])
import pickle
from pathlib import Path
from finetune_bases import context_of
from baray.train.finetune.handler import train
run = Path(sys.argv[2])
source, base, options = pickle.loads((run / "spec.pickle").read_bytes())
lines = type("Told", (list,), {"append": lambda self, text: print(text, flush=True)})()
train(context_of(run, source, base, lines=lines, **options))
print("done", flush=True)
"""


def start_attempt(run: Path, source: Input, base: Input, **options: Any) -> subprocess.Popen[str]:
    """An Attempt in a process of its own."""
    run.mkdir(parents=True, exist_ok=True)
    (run / "spec.pickle").write_bytes(pickle.dumps((source, base, options)))
    argv = [sys.executable, "-c", _PROGRAM, str(Path(__file__).parent), str(run)]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)
