"""Several processes that share each step, started by `torchrun`: data parallel, gradients averaged once a step.

State goes from process to process by Checkpoints alone: the Attempt keeps the one of step 0 (or has an earlier one), every process
loads it, the first keeps new ones and the last one, and the Attempt writes the Model from that. So a Run with several processes
resumes as one with one does. Sums have another order than in one process: losses agree to about six digits at first, and drift
apart as rounding does (a test states the tolerance).

Covered: several processes on one machine, `gloo` on processors, `nccl` on GPUs; the whole network in each, or a share of it
(`sharded`). Not covered: several machines, whose addresses only what places a Run on them could tell.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
import torch.distributed as dist

from baray.core import Fault, SystemClock
from baray.runs import AttemptContext
from baray.train.config import Lm, read_options
from baray.train.lm.checkpoint import Keeper
from baray.train.lm.evaluate import LOOK_TOKENS, held_out
from baray.train.lm.loop import Frozen, Training, frozen_of, measured, train_steps
from baray.train.lm.process import set_up
from baray.train.lm.sharded import ShardedTraining
from baray.train.lm.shards import Windows, open_tokens


def train_in_processes(context: AttemptContext, config: Lm, files: dict[str, Path]) -> None:
    """Train from the newest Checkpoint to one of the last step. Raises Fault `process_failed`."""
    # A shutdown asks every process; this one waits for those that keep a Checkpoint.
    signal.signal(signal.SIGTERM, lambda *_: None)
    _start(context, config, files, {})


def measure_in_processes(context: AttemptContext, config: Lm, files: dict[str, Path], frozen: Frozen) -> float:
    """Seconds for a step of all processes together. Raises Fault `process_failed`."""
    told = context.work / "measured.json"
    _start(context, config, files, {"frozen": asdict(frozen), "measured": str(told)})
    return float(json.loads(told.read_text(encoding="utf-8")))


def _start(context: AttemptContext, config: Lm, files: dict[str, Path], more: Mapping[str, object]) -> None:
    told = {
        "run_id": context.run_id,
        "spec": dict(context.spec),
        "run_dir": str(context.run_dir),
        "work": str(context.work),
        "cpus": context.cpus,
        "memory_bytes": context.memory_bytes,
        "files": {name: str(path) for name, path in files.items()},
    }
    path = context.work / "processes.json"
    path.write_text(json.dumps({**told, **more}), encoding="utf-8")
    argv = [sys.executable, "-P", "-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1"]
    argv += ["--nproc-per-node", str(config.processes), "-m", "baray.train.lm.ranks", str(path)]
    done = subprocess.run(argv, check=False, stdout=sys.stdout.fileno(), stderr=sys.stderr.fileno())
    if done.returncode:
        raise Fault("process_failed", f"A process of the training ended with code {done.returncode}; see above.")


def main(path: Path) -> None:
    """One of the processes."""
    told = json.loads(path.read_text(encoding="utf-8"))
    context = AttemptContext(
        run_id=told["run_id"],
        spec=told["spec"],
        inputs={},
        out=Path(told["work"]),
        work=Path(told["work"]),
        run_dir=Path(told["run_dir"]),
        cpus=told["cpus"],
        memory_bytes=told["memory_bytes"],
        print_line=_print_line,
        now=SystemClock().now,
    )
    config = read_options(Lm, context.spec["options"])
    # Before there is a group: use_deterministic_algorithms loads torch.distributed.nn.functional, whose functions keep the group
    # of that moment as a default. A group that is kept outlives destroy_process_group, with gloo's threads; one that lets go of
    # the last all_reduce while the interpreter ends is unwound through a destructor: "terminate called without an active
    # exception", SIGABRT (torch 2.13; 5 of 50 Runs on a loaded machine).
    set_up_torch(context, config)
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        if torch.cuda.is_available():
            torch.cuda.set_device(dist.get_rank() % torch.cuda.device_count())
        files = {name: Path(file) for name, file in told["files"].items()}
        if "measured" in told:
            _measure(config, files, frozen_of(told), Path(told["measured"]))
        else:
            _train(context, config, files)
    finally:
        dist.destroy_process_group()


def _train(context: AttemptContext, config: Lm, files: dict[str, Path]) -> None:
    """This process's share, from the newest Checkpoint."""
    keeper = Keeper(folder=context.checkpoints, tell=context.log)
    kept = keeper.newest()
    if kept is None:
        raise Fault("no_checkpoint", f"There is no Checkpoint in {context.checkpoints}.")
    training = _training(frozen_of(kept.facts))
    training.load(kept)
    windows = Windows(open_tokens(files), config.context, config.seed)
    held = held_out(open_tokens(files, "held_out")).first(LOOK_TOKENS)
    train_steps(context, config, training, windows, held, keeper)


def _measure(config: Lm, files: dict[str, Path], frozen: Frozen, told: Path) -> None:
    """How long a step takes, on a network that is thrown away."""
    seconds = measured(_training(frozen), Windows(open_tokens(files), config.context, config.seed))
    if dist.get_rank() == 0:
        told.write_text(json.dumps(seconds), encoding="utf-8")


def _training(frozen: Frozen) -> Training:
    return (ShardedTraining if frozen.plan.sharded else Training)(frozen, rank=dist.get_rank())


def set_up_torch(context: AttemptContext, config: Lm) -> None:
    """Threads, determinism, chance."""
    # As many threads as cores were leased: more are slower, fewer or more round sums otherwise.
    set_up(threads=context.cpus // config.processes, exact=config.deterministic == "yes")
    torch.manual_seed(config.seed)


def _print_line(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except SystemExit as asked:
        code = asked.code
    else:
        code = 0
    # States of shares keep their group, whose threads would be met by an interpreter that takes itself down: "terminate called
    # without an active exception". All that counts is on disk.
    sys.stdout.flush()
    os._exit(code if isinstance(code, int) else 1)
