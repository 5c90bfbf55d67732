"""Training on a GPU: the same losses as on a processor, and a benchmark that says when there is none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from baray.train.lm.loop import Frozen, Training
from baray.train.lm.model import Shape
from baray.train.lm.plan import Plan

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "train_gpu.py"
SHAPE = Shape(vocab=384, width=64, layers=2, heads=4, kv_heads=2, head_dim=16, hidden=128, context=32)


@pytest.mark.gpu
def test_a_gpu_gives_the_losses_of_a_processor():
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    plan = Plan(shape=SHAPE, batch_rows=8, micro_rows=8, processes=1, steps=20)
    frozen = Frozen(plan=plan, precision="fp32", compiled=False, optimizer="muon", peak_rate=0.006, seed=1, eos=0)
    there = Training(frozen)
    here = Training(frozen)
    here.device = torch.device("cpu")
    here.network.to("cpu")
    here.optimizer = type(there.optimizer)(here.network, "muon")
    ids = torch.randint(0, 384, (8, 33), generator=torch.Generator().manual_seed(1)).numpy()
    losses = [(here.do_step(ids)[0], there.do_step(ids)[0]) for _ in range(20)]
    assert losses[-1][0] < 0.9 * losses[0][0]
    assert max(abs(a - b) for a, b in losses) < 5e-3


def test_the_benchmark_says_that_there_is_no_gpu():
    if torch.cuda.is_available():
        pytest.skip("there is one")
    done = subprocess.run([sys.executable, str(BENCHMARK)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is no GPU here" in done.stderr
