"""Loops that train one shape of network, each in a process of its own:  python trainers.py KIND DATA STEPS

KIND is `ours` (Muon, and the same bits every time), `nanogpt` (a GPT-2 block and AdamW, as small as such loops are), `trainer`
(`transformers`, Qwen3) or `peak` (one product of two square matrices). `-compiled` behind it asks for torch.compile; behind ours,
`-adamw` for that optimizer, and `-loose` for work that need not give the same bits. DATA is an `.npz` of `rows` (windows of context
+ 1 ids) and `held` (ids). A line N on standard input asks for N steps and is answered by the seconds of each, and those of
processor time; 0 asks for the loss on what was held out.
"""

from __future__ import annotations

import importlib
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from baray.train.lm.evaluate import HeldOut, held_out_loss
from baray.train.lm.loop import Frozen, Training
from baray.train.lm.model import Shape
from baray.train.lm.optim import PEAK_RATE
from baray.train.lm.plan import Plan
from baray.train.lm.process import set_up

SHAPE = Shape(vocab=8192, width=320, layers=6, heads=5, kv_heads=5, head_dim=64, hidden=896, context=256)
ROWS, EOS, RATE, DECAY, CLIP = 16, 0, PEAK_RATE["adamw"], 0.1, 1.0
Ids = NDArray[np.int64]
Answer = Callable[[], float]


def batches(rows: Ids) -> Iterator[Ids]:
    """Sixteen windows at a time, every epoch in another order; the same ones for every loop."""
    chance = np.random.default_rng(1)
    while True:
        order = chance.permutation(len(rows))
        for first in range(0, len(rows) - ROWS + 1, ROWS):
            yield rows[order[first : first + ROWS]]


def now() -> tuple[float, float]:
    """Seconds, and seconds of processor time of all threads."""
    return time.perf_counter(), time.process_time()


def since(began: tuple[float, float]) -> list[float]:
    """How much later it is, by both."""
    return [late - early for late, early in zip(now(), began, strict=True)]


def answer(step: Callable[[], object], loss: Answer) -> None:
    """Do what each line asks for."""
    for line in sys.stdin:
        seconds = []
        for _ in range(int(line)):
            began = now()
            step()
            seconds.append(since(began))
        print(json.dumps(seconds or loss()), flush=True)


def ours(rows: Ids, held: Ids, steps: int, ways: set[str]) -> None:
    """The loop of the recipe `lm`, set up as the recipe does."""
    set_up(threads=torch.get_num_threads(), exact="loose" not in ways)
    optimizer = "adamw" if "adamw" in ways else "muon"
    plan = Plan(shape=SHAPE, batch_rows=ROWS, micro_rows=ROWS, processes=1, steps=steps)
    frozen = Frozen(
        plan=plan,
        precision="bf16",
        compiled="compiled" in ways,
        optimizer=optimizer,
        peak_rate=PEAK_RATE[optimizer],
        seed=1,
        eos=EOS,
    )
    training, source = Training(frozen), batches(rows)
    look = HeldOut(ids=held, bytes=1.0, eos=EOS)
    answer(lambda: training.do_step(next(source)), lambda: held_out_loss(training.network, look))


class Layer(nn.Module):
    """Attention and a GELU layer of four times the width, each after a LayerNorm."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.between = nn.LayerNorm(width, bias=False), nn.LayerNorm(width, bias=False)
        self.triple, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.wide, self.narrow = nn.Linear(width, 4 * width, bias=False), nn.Linear(4 * width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        rows, positions, width = x.shape
        parts = self.triple(self.before(x)).view(rows, positions, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(parts[0], parts[1], parts[2], is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(rows, positions, width))
        narrow: Tensor = self.narrow(functional.gelu(self.wide(self.between(x))))
        return x + narrow


class Gpt(nn.Module):
    """Learnt positions, layers, a tied table."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.places = nn.Embedding(SHAPE.vocab, SHAPE.width), nn.Embedding(SHAPE.context, SHAPE.width)
        self.layers = nn.Sequential(*(Layer(SHAPE.width, SHAPE.heads) for _ in range(SHAPE.layers)))
        self.last = nn.LayerNorm(SHAPE.width, bias=False)
        for name, tensor in self.named_parameters():
            if tensor.ndim == 2:
                deep = name.endswith(("out.weight", "narrow.weight"))
                nn.init.normal_(tensor, std=0.02 / math.sqrt(2 * SHAPE.layers) if deep else 0.02)

    def forward(self, ids: Tensor, targets: Tensor) -> Tensor:
        x = self.table(ids) + self.places.weight[: ids.shape[1]]
        scores = functional.linear(self.last(self.layers(x)), self.table.weight)
        return functional.cross_entropy(scores.flatten(0, 1).float(), targets.flatten())


def nanogpt(rows: Ids, held: Ids, steps: int, *, compiled: bool) -> None:
    """AdamW in one fused step, bf16 by autocast, warm-up of a twentieth, cosine to a tenth."""
    torch.manual_seed(1)
    network, source = Gpt(), batches(rows)
    forward = torch.compile(network) if compiled else network
    decayed = [tensor for tensor in network.parameters() if tensor.ndim == 2]
    others = [tensor for tensor in network.parameters() if tensor.ndim != 2]
    groups = [{"params": decayed, "weight_decay": DECAY}, {"params": others, "weight_decay": 0.0}]
    adamw = torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.95), fused=True)
    warmup = max(1, steps // 20)

    def scale(step: int) -> float:
        done = min(1.0, max(0.0, (step - warmup) / max(1, steps - warmup)))
        return min(1.0, (step + 1) / warmup) * (0.1 + 0.45 * (1 + math.cos(math.pi * done)))

    schedule = torch.optim.lr_scheduler.LambdaLR(adamw, scale)

    def loss_of(call: Callable[[Tensor, Tensor], Tensor], ids: Ids) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            windows = torch.from_numpy(ids)
            return call(windows[:, :-1].contiguous(), windows[:, 1:].contiguous())

    def step() -> None:
        loss = loss_of(forward, next(source))
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(network.parameters(), CLIP)
        adamw.step()
        schedule.step()
        adamw.zero_grad(set_to_none=True)
        loss.item()

    @torch.no_grad()
    def loss() -> float:
        windows = [held[at : at + SHAPE.context + 1] for at in range(0, len(held) - 1, SHAPE.context)]
        totals = [float(loss_of(network, one[None])) * (len(one) - 1) for one in windows]
        return sum(totals) / (len(held) - 1)

    answer(step, loss)


def trainer(rows: Ids, folder: Path, *, compiled: bool) -> None:
    """`transformers.Trainer`, waiting after a step for the next line."""
    transformers = importlib.import_module("transformers")

    class Waits(transformers.TrainerCallback):
        def __init__(self) -> None:
            self.left, self.seconds, self.began = 0, list[list[float]](), now()

        def wait(self) -> None:
            line = sys.stdin.readline()
            if not line:
                os._exit(0)
            self.left, self.seconds, self.began = int(line), [], now()

        def on_train_begin(self, *_: object, **__: object) -> None:
            self.wait()

        def on_step_end(self, *_: object, **__: object) -> None:
            self.seconds.append(since(self.began))
            self.began, self.left = now(), self.left - 1
            if self.left == 0:
                print(json.dumps(self.seconds), flush=True)
                self.wait()

    # The same number of positions as the others: 256 in, of which Trainer predicts 255.
    examples = [{"input_ids": row[:-1], "labels": row[:-1]} for row in rows]
    config = transformers.Qwen3Config(**SHAPE.hf_config(dtype="float32", eos=EOS))
    arguments = transformers.TrainingArguments(
        output_dir=str(folder),
        use_cpu=True,
        bf16=True,
        torch_compile=compiled,
        max_steps=1_000_000,
        per_device_train_batch_size=ROWS,
        learning_rate=RATE,
        weight_decay=DECAY,
        max_grad_norm=CLIP,
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    network = transformers.Qwen3ForCausalLM(config)
    transformers.Trainer(network, arguments, train_dataset=examples, callbacks=[Waits()]).train()


def main() -> None:
    """Load, then answer lines."""
    kind, *ways = sys.argv[1].split("-")
    place, steps = Path(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    data = np.load(place)
    rows, held = data["rows"], data["held"]
    if kind == "trainer":
        trainer(rows, place.parent / sys.argv[1], compiled="compiled" in ways)
    elif kind == "ours":
        ours(rows, held, steps, set(ways))
    elif kind == "peak":
        square = torch.ones(2048, 2048, dtype=torch.bfloat16)
        answer(lambda: square @ square, lambda: 0.0)
    else:
        nanogpt(rows, held, steps, compiled="compiled" in ways)
    os._exit(0)  # without the destructors of libraries


if __name__ == "__main__":
    main()
