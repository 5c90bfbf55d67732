"""One GPU: tokens/s, share of the peak, and memory of the training loop at 124M, 350M and 1B:  python benchmarks/train_gpu.py

Under eight minutes in all. Needs a GPU and the build of torch for it; without one it says so and ends with code 2. The windows are
random tokens with Document boundaries in them, so that masking costs what it costs.

    --seconds 60     measured seconds of each size
    --size 124M      one size only (may be given again)
    --plain          without torch.compile
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

from baray.train.lm.loop import Frozen, Training
from baray.train.lm.model import Shape
from baray.train.lm.plan import Plan, shape_for

PEAK_FLOPS = 989e12
"""Dense bf16 of an H100 or H200, as the maker states it."""
SIZES = {"124M": (124_000_000, 1024, 32), "350M": (350_000_000, 2048, 16), "1B": (1_000_000_000, 2048, 8)}
"""Name -> numbers, context, windows at a time."""
VOCAB = 32_768
DOCUMENT_TOKENS = 700
WARM_UP_STEPS = 5


def main() -> int:
    """Measure each size; one JSON line each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--size", action="append", choices=sorted(SIZES))
    parser.add_argument("--plain", action="store_true")
    told = parser.parse_args()
    if not torch.cuda.is_available():
        print("train_gpu: there is no GPU here that torch can use", file=sys.stderr)
        return 2
    for name in told.size or SIZES:
        print(json.dumps(measure(name, told.seconds, compiled=not told.plain)), flush=True)
        torch.cuda.empty_cache()
    return 0


def measure(name: str, seconds: float, *, compiled: bool) -> dict[str, object]:
    """One size."""
    params, context, rows = SIZES[name]
    shape = shape_for(params, vocab=VOCAB, context=context)
    torch.cuda.reset_peak_memory_stats()
    training = Training(frozen(shape, rows, compiled=compiled))
    ids = windows(shape, rows)
    for _ in range(WARM_UP_STEPS):
        training.do_step(ids)
    torch.cuda.synchronize()
    began, steps = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        training.do_step(ids)
        steps += 1
    torch.cuda.synchronize()
    tokens_per_second = steps * rows * context / (time.perf_counter() - began)
    return {
        "size": name,
        "params": shape.params,
        "context": context,
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "compiled": compiled,
        "tokens_per_second": round(tokens_per_second),
        "share_of_peak": round(tokens_per_second * shape.flops_per_token / PEAK_FLOPS, 4),
        "memory_gb": round(torch.cuda.max_memory_allocated() / 1e9, 2),
        "steps": steps,
    }


def frozen(shape: Shape, rows: int, *, compiled: bool) -> Frozen:
    """A training that never ends, with muon in bf16."""
    plan = Plan(shape=shape, batch_rows=rows, micro_rows=rows, processes=1, steps=1_000_000)
    return Frozen(plan=plan, precision="bf16", compiled=compiled, optimizer="muon", peak_rate=0.002, seed=1, eos=0)


def windows(shape: Shape, rows: int) -> np.ndarray:
    """Random ids, with a boundary about every 700."""
    chance = np.random.default_rng(1)
    ids = chance.integers(1, shape.vocab, (rows, shape.context + 1))
    ids[chance.random(ids.shape) < 1 / DOCUMENT_TOKENS] = 0
    return ids


if __name__ == "__main__":
    sys.exit(main())
