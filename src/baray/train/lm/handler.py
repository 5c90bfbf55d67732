"""The handler of `lm`: plan, train or resume, evaluate, write the Model version."""

from __future__ import annotations

import shutil
import sysconfig
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from baray.catalog import FileEntry, Output
from baray.core import Fault, digest_file
from baray.runs import AttemptContext, Input
from baray.train.config import Lm, read_options
from baray.train.lm.checkpoint import Keeper, Kept
from baray.train.lm.evaluate import LOOK_TOKENS, HeldOut, final_bits, held_out, held_out_loss
from baray.train.lm.export import exported, write_json, write_model, write_papers
from baray.train.lm.loop import (
    COMPILE_PAYS_SECONDS,
    Frozen,
    Training,
    changed_since,
    facts_of,
    frozen_of,
    measure,
    steps_in,
    train_steps,
)
from baray.train.lm.model import Network
from baray.train.lm.optim import PEAK_RATE
from baray.train.lm.plan import check_disk, check_time, describe, make_plan
from baray.train.lm.ranks import measure_in_processes, set_up_torch, train_in_processes
from baray.train.lm.shards import Windows, open_tokens

_CPU_FLAGS = Path("/proc/cpuinfo")


def train(context: AttemptContext) -> list[Output]:
    """Train on a tokens Dataset; an interrupted Run goes on from its last Checkpoint, to the same bytes."""
    config = read_options(Lm, context.spec["options"])
    (source,) = context.inputs.values()
    files = {file.path: file.blob for file in source.files}
    tokens, held = open_tokens(files), held_out(open_tokens(files, "held_out"))
    set_up_torch(context, config)
    windows = Windows(tokens, config.context, config.seed)
    keeper = Keeper(folder=context.checkpoints, tell=context.log)
    kept = keeper.newest()
    training = _resume(context, kept) if kept else _begin(context, config, windows, files, keeper)
    if config.processes == 1:
        train_steps(context, config, training, windows, held.first(LOOK_TOKENS), keeper)
    else:
        frozen, exact = training.frozen, training.exact
        del training  # each process has its own: this one would only take its room
        train_in_processes(context, config, files)
        training = _take_over(frozen, keeper)
        training.exact = exact
    return [_finish(context, training, held, source, files)]


def _begin(context: AttemptContext, config: Lm, windows: Windows, files: dict[str, Path], keeper: Keeper) -> Training:
    """Plan, measure, decide, and keep what was decided before the first step: every later Attempt finds it."""
    tokens = windows.tokens
    plan = make_plan(config, vocab=tokens.vocab, memory_bytes=context.memory_bytes)
    check_disk(plan, context.run_dir)
    frozen = Frozen(
        plan=plan,
        precision=precision_of(config.precision),
        compiled=config.compile == "yes",
        optimizer=config.optimizer,
        peak_rate=config.learning_rate or PEAK_RATE[config.optimizer],
        seed=config.seed,
        eos=tokens.eos,
    )
    began = time.monotonic()
    seconds = _step_seconds(context, config, frozen, windows, files)
    steps = config.steps or steps_in(config.budget_seconds, seconds)
    if config.compile == "auto" and steps * seconds > COMPILE_PAYS_SECONDS and _can_compile():
        frozen = replace(frozen, compiled=True)
        seconds = _step_seconds(context, config, frozen, windows, files)
    # Measuring and compiling are part of the budget.
    steps = config.steps or steps_in(config.budget_seconds - (time.monotonic() - began), seconds)
    frozen = replace(frozen, plan=replace(plan, steps=steps))
    check_time(steps * seconds, float(context.spec.get("resources", {}).get("time_seconds") or 0))
    for line in describe(frozen.plan, seconds=steps * seconds, train_tokens=tokens.num_tokens):
        context.log(line)
    context.log(f"{frozen.precision}, {frozen.optimizer}, torch.compile {'on' if frozen.compiled else 'off'}")
    training = Training(frozen)
    keeper.keep(0, training.tensors(), facts_of(training))
    keeper.wait()
    if keeper.failed:
        raise Fault(
            "disk_full", "The first Checkpoint could not be written.", fix="Free space on the disk of the home."
        )
    return training


def _step_seconds(
    context: AttemptContext, config: Lm, frozen: Frozen, windows: Windows, files: dict[str, Path]
) -> float:
    """Measured alone; by all processes where a budget depends on it, or where one GPU may not hold the network."""
    shared = frozen.plan.sharded and torch.cuda.is_available()
    if config.processes > 1 and (shared or not config.steps):
        return measure_in_processes(context, config, files, frozen)
    return measure(frozen, windows)


def _can_compile() -> bool:
    """Whether what torch.compile needs is there: a compiler and Python's headers."""
    return shutil.which("g++") is not None and Path(sysconfig.get_path("include"), "Python.h").exists()


def precision_of(asked: str) -> str:
    """bf16 or fp32; where `auto` is asked for, what this machine multiplies fastest."""
    if asked != "auto":
        return asked
    flags = set(_CPU_FLAGS.read_text(encoding="ascii", errors="replace").split()) if _CPU_FLAGS.exists() else set()
    return "bf16" if torch.cuda.is_available() or flags & {"avx512_bf16", "amx_bf16"} else "fp32"


def _resume(context: AttemptContext, kept: Kept) -> Training:
    context.log(f"resumed at step {kept.step:,}")
    changed = changed_since(kept.facts["made_with"])
    if changed:
        context.log(f"NOT exact from here on: the Checkpoint was made with {'; '.join(changed)}.")
    training = Training(frozen_of(kept.facts))
    training.load(kept)
    training.exact = bool(kept.facts["exact"]) and not changed and torch.are_deterministic_algorithms_enabled()
    torch.set_rng_state(torch.frombuffer(bytearray.fromhex(kept.facts["rng"]), dtype=torch.uint8))
    context.forget_metrics(after=kept.step)
    return training


def _take_over(frozen: Frozen, keeper: Keeper) -> Training:
    """What several processes trained: their last Checkpoint."""
    kept = keeper.newest()
    if kept is None or kept.step < frozen.plan.steps:
        raise Fault("disk_full", "The last Checkpoint could not be written.", fix="Free space on the disk of the home.")
    training = Training(frozen)
    training.load(kept)
    return training


def _finish(
    context: AttemptContext, training: Training, held: HeldOut, source: Input, files: Mapping[str, Path]
) -> Output:
    """Evaluate what is written, not what was trained: the weights as they were rounded."""
    frozen, name = training.frozen, context.spec["name"]
    tensors = exported(training.network, frozen.dtype)
    rounded = Network(frozen.plan.shape)
    rounded.load_state_dict({key: value.float() for key, value in tensors.items()})
    summary = _summary(training) | {
        "again": _again(context, read_options(Lm, context.spec["options"]), frozen, source.ref),
        "held_out_loss": held_out_loss(rounded, held.first(LOOK_TOKENS)),
        "held_out_tokens": len(held.ids),
        "bits_per_byte": final_bits(rounded, files, held, lambda done, total: context.progress(done, total, "windows")),
    }
    beside = ", ".join(f"{name} {value:.4f}" for name, value in summary["bits_per_byte"].items())
    context.log(f"held out, bits for each byte: {beside}")
    directory = context.out / name
    try:
        written = write_model(
            directory, tensors, network=training.network, tokenizer=files["tokenizer.json"], eos=frozen.eos
        )
        write_json(directory / "evaluation.json", summary)
        write_papers(directory, written, source, name=name, summary=summary, plan=training.plan)
    except OSError as error:
        raise Fault(
            "disk_full",
            f"The Model could not be written: {error.strerror}.",
            fix=f"Free space on the disk of the home, then go on from the last Checkpoint: baray run retry {context.run_id}",
        ) from error
    paths = sorted(directory.iterdir())
    return Output(
        kind="model",
        name=name,
        digest=written.digest,
        labels=(source.label,),
        files=tuple(FileEntry(path=p.name, digest=digest_file(p), bytes=p.stat().st_size) for p in paths),
        summary=summary,
    )


def _again(context: AttemptContext, config: Lm, frozen: Frozen, ref: str) -> str:
    """The command that makes the same bits on such a machine: with what was measured and decided instead of `budget` and `auto`."""
    told = asdict(config) | {
        "steps": frozen.plan.steps,
        "precision": frozen.precision,
        "compile": "yes" if frozen.compiled else "no",
        "learning_rate": frozen.peak_rate,
    }
    del told["budget"]
    usual = asdict(Lm())
    kept = ("steps", "precision", "compile", "learning_rate", "seed", "params", "context", "batch_tokens")
    settings = [f"--set {name}={value}" for name, value in told.items() if name in kept or value != usual[name]]
    room = f"--cpus {context.cpus} --memory {context.memory_bytes}"
    return f"baray train lm --dataset {ref} --name {context.spec['name']} {room} {' '.join(settings)}"


def _summary(training: Training) -> dict[str, Any]:
    shape = training.plan.shape
    return {
        "recipe": "lm",
        "params": shape.params,
        "layout": "qwen3",
        "context": shape.context,
        "vocab": shape.vocab,
        "tokens": training.plan.tokens,
        "steps": training.plan.steps,
        "exact": training.exact,
    }
