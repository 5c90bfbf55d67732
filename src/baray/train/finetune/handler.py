"""The handler of `finetune`: read, plan, teach or resume, measure before and after, write the Model version."""

from __future__ import annotations

import math
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from baray.catalog import Output
from baray.core import Fault, Refused, format_bytes
from baray.runs import AttemptContext, Input
from baray.train.config import Finetune, read_options
from baray.train.evaluation.paired import Interval, Resamples
from baray.train.finetune.base import Base, open_base
from baray.train.finetune.chat import Chat, Example, pack
from baray.train.finetune.conversations import Conversations, read_conversations
from baray.train.finetune.loop import (
    PEAK_RATE,
    Frozen,
    Given,
    Teaching,
    facts_of,
    mean_loss,
    resume,
    score,
    teach,
)
from baray.train.finetune.package import Taught, write_model, written_tensors
from baray.train.lm.checkpoint import Keeper
from baray.train.lm.handler import precision_of
from baray.train.lm.model import Network
from baray.train.lm.plan import KEPT_CHECKPOINTS, LIBRARIES_BYTES, micro_bytes
from baray.train.lm.process import set_up

Sums: TypeAlias = NDArray[np.float64]
DEFAULT_CONTEXT = 1024
_LOOKED_AT = 64
"""Held-out answers that are looked at while training goes on."""
_RESAMPLES = 2000
_LEAST = 0.001
"""Nats: a smaller difference is none, however sure it is."""
_FEW = 8
"""Below so many held-out answers no interval says much."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lessons:
    """What is learnt from and what measures, as tokens."""

    train: Sequence[Example]
    held_out: Sequence[Example]
    left_out: dict[str, int]
    """Reason -> rows."""


def train(context: AttemptContext) -> list[Output]:
    """Teach a base to answer; an interrupted Run goes on from its last Checkpoint, to the same bytes."""
    config = read_options(Finetune, {key: value for key, value in context.spec["options"].items() if key != "base"})
    source = next(found for name, found in context.inputs.items() if name != "base")
    base = open_base(context.inputs["base"])
    set_up(threads=context.cpus, exact=True)
    chat = Chat(base.files["tokenizer.json"], base.ends)
    if chat.vocab > base.shape.vocab:
        raise Refused(
            "bad_safetensors",
            f"The tokenizer of {base.ref} has {chat.vocab} tokens, and its table {base.shape.vocab} rows.",
            fix="Import the Model again with the tokenizer that it was made with.",
        )
    lessons, widest = _lessons(read_conversations(source, config), chat, config, base)
    rows = pack(lessons.train, widest, config.seed)
    keeper = Keeper(folder=context.checkpoints, tell=context.log)
    kept = keeper.newest()
    if kept is None:
        frozen = _plan(context, config, base, lessons, rows=len(rows.ids), widest=widest)
        teaching = _begin(context, frozen, base, lessons, keeper)
    else:
        teaching = resume(context, kept, base)
    given = Given(rows=rows, held_out=lessons.held_out[:_LOOKED_AT], base=base)
    teach(context, config, teaching, given, keeper)
    return [_finish(context, teaching, lessons, given, chat, source)]


def _lessons(found: Conversations, chat: Chat, config: Finetune, base: Base) -> tuple[Lessons, int]:
    """Conversations as tokens, and the length of a row. Those that are too long are left out, and counted."""
    most = config.context or min(base.shape.context, DEFAULT_CONTEXT)
    if most > base.shape.context:
        raise Refused(
            "bad_option",
            f"context={most}, and {base.ref} was made for {base.shape.context} tokens at most.",
            fix=f"Choose context={base.shape.context} or less.",
        )
    left_out = Counter(found.left_out)
    sides: dict[str, list[Example]] = {}
    for side, conversations in (("train", found.train), ("held_out", found.held_out)):
        every = [chat.example(one) for one in conversations]
        sides[side] = [one for one in every if len(one.ids) <= most]
        left_out["longer than the context"] += len(every) - len(sides[side])
    if not sides["train"] or not sides["held_out"]:
        raise Refused(
            "no_conversations",
            f"Of {len(found.train) + len(found.held_out)} conversations too few have {most} tokens or less.",
            fix="Give shorter ones, or a longer context: --set context=N, up to the base's.",
        )
    longest = max(len(one.ids) for one in sides["train"])
    # Rows hold several conversations where they are short, so that one step is one product of full matrices.
    widest = min(most, max(longest, config.batch_tokens))
    counts = {reason: number for reason, number in sorted(left_out.items()) if number}
    return Lessons(train=sides["train"], held_out=sides["held_out"], left_out=counts), widest


def _plan(context: AttemptContext, config: Finetune, base: Base, lessons: Lessons, *, rows: int, widest: int) -> Frozen:
    batch_rows = min(rows, max(1, round(config.batch_tokens / widest)))
    steps = config.steps or max(1, math.ceil(config.epochs * rows / batch_rows))
    shape = replace(base.shape, context=widest)
    learns = shape.params if config.method == "full" else _lora_params(base, config.rank)
    # What stays, what learns with its gradient, two numbers of the optimizer and the Checkpoint's copy of three.
    held = LIBRARIES_BYTES + 4 * shape.params + 4 * learns * 6
    room = context.memory_bytes - held
    fitting = [n for n in range(1, batch_rows + 1) if batch_rows % n == 0 and micro_bytes(shape, n) <= room]
    if not fitting:
        needed = held + micro_bytes(shape, 1)
        raise Refused(
            "does_not_fit",
            f"{base.ref} with {shape.params:,} numbers needs {format_bytes(needed)} of memory; this Run has "
            f"{format_bytes(context.memory_bytes)}.",
            fix="Give a smaller base, --set method=lora, or a smaller --set context=N.",
        )
    disk = _check_disk(context, 12 * learns * (KEPT_CHECKPOINTS + 1) + 4 * shape.params)
    frozen = Frozen(
        method=config.method,
        rank=config.rank,
        alpha=config.alpha or 2.0 * config.rank,
        context=widest,
        batch_rows=batch_rows,
        micro_rows=fitting[-1],
        steps=steps,
        precision=precision_of(config.precision),
        peak_rate=config.learning_rate or PEAK_RATE[config.method],
        seed=config.seed,
    )
    answers = sum(one.num_answers for one in lessons.train)
    tokens = sum(len(one.ids) for one in lessons.train)
    reasons = "".join(f"; left out: {reason} {number}" for reason, number in lessons.left_out.items())
    context.log(
        f"conversations: {len(lessons.train)} to learn from ({tokens:,} tokens, {answers:,} of them answers), "
        f"{len(lessons.held_out)} held out{reasons}"
    )
    context.log(
        f"training: {frozen.method}, {learns:,} of {shape.params:,} numbers learn, {steps:,} steps of {batch_rows} rows of "
        f"{widest} tokens, {4.0 * shape.params * steps * batch_rows * widest:.2g} FLOPs at least, {frozen.precision}"
    )
    context.log(
        f"needs: about {format_bytes(held + micro_bytes(shape, frozen.micro_rows))} of memory, {format_bytes(disk)} of disk"
    )
    return frozen


def _check_disk(context: AttemptContext, needed: int) -> int:
    free = shutil.disk_usage(context.run_dir).free
    if needed > free:
        raise Refused(
            "does_not_fit",
            f"Checkpoints and Model need {format_bytes(needed)} of disk; {format_bytes(free)} are free.",
            fix="Free space on the disk of the home.",
        )
    return needed


def _lora_params(base: Base, rank: int) -> int:
    shape = base.shape
    queries, keys = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    attention = 2 * (shape.width + queries) + 2 * (shape.width + keys)
    return rank * shape.layers * (attention + 3 * (shape.width + shape.hidden))


def _begin(context: AttemptContext, frozen: Frozen, base: Base, lessons: Lessons, keeper: Keeper) -> Teaching:
    """Keep what was decided before the first step: every later Attempt finds it."""
    teaching = Teaching(frozen, base)
    context.metric("held_out_loss", mean_loss(teaching.network, lessons.held_out[:_LOOKED_AT]), step=0)
    keeper.keep(0, teaching.tensors(), facts_of(teaching, base))
    keeper.wait()
    if keeper.failed:
        raise Fault(
            "disk_full", "The first Checkpoint could not be written.", fix="Free space on the disk of the home."
        )
    return teaching


def _finish(
    context: AttemptContext, teaching: Teaching, lessons: Lessons, given: Given, chat: Chat, source: Input
) -> Output:
    """Measure what is written, not what was trained: merged and rounded. Before and after on the same answers."""
    base, widest = given.base, max(len(one.ids) for one in lessons.held_out)
    tensors = written_tensors(teaching.network, base.dtype)
    taught = Network(replace(base.shape, context=max(widest, teaching.frozen.context)))
    taught.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    after = score(taught, lessons.held_out)
    del taught
    before = score(base.network(max(widest, teaching.frozen.context), torch.float32), lessons.held_out)
    evaluation = _evaluation(before, after, lessons)
    context.log(evaluation["verdict"])
    summary = _summary(teaching, base, evaluation)
    written = Taught(
        tensors=tensors,
        summary=summary,
        evaluation=evaluation | {"left_out": lessons.left_out},
        sources=(source, context.inputs["base"]),
        chat=chat,
    )
    return write_model(context, teaching, base, written)


def _evaluation(before: Sums, after: Sums, lessons: Lessons) -> dict[str, Any]:
    """`before` and `after`: sums of -ln p, one for each held-out conversation."""
    weights = np.array([float(one.num_answers) for one in lessons.held_out])
    resamples = Resamples(weights, resamples=_RESAMPLES, seed=1)
    difference = resamples.ratio(after - before)
    scores = {"before": resamples.ratio(before).as_json(), "after": resamples.ratio(after).as_json()}
    return {
        "metric": "mean of -ln p over the tokens of held-out answers; less is better",
        "answers": len(lessons.held_out),
        "answer_tokens": int(weights.sum()),
        "loss": scores,
        "difference": difference.as_json(),
        "got_better": difference.high < -_LEAST,
        "verdict": _verdict(difference, scores, len(weights)),
    }


def _verdict(difference: Interval, scores: dict[str, dict[str, float]], answers: int) -> str:
    told = f"loss {scores['before']['value']:.4f} before, {scores['after']['value']:.4f} after, on {answers} conversations; "
    told += f"difference {difference.value:+.4f}, 95 % interval {difference.low:+.4f} to {difference.high:+.4f}"
    if difference.low > _LEAST:
        return f"It got WORSE on held-out answers: {told}. Serve the base instead, or give it more conversations."
    if difference.high >= -_LEAST:
        return f"It did not get better on held-out answers: {told}. Such a difference is chance, or next to nothing."
    few = f" With only {answers} that is a hint, no proof." if answers < _FEW else ""
    return f"It got better on held-out answers: {told}.{few}"


def _summary(teaching: Teaching, base: Base, evaluation: dict[str, Any]) -> dict[str, Any]:
    frozen = teaching.frozen
    return {
        "recipe": "finetune",
        "params": base.shape.params,
        "layout": base.config["model_type"],
        "context": base.shape.context,
        "vocab": base.shape.vocab,
        "base": base.ref,
        "method": frozen.method,
        **({"rank": frozen.rank, "alpha": frozen.alpha} if frozen.method == "lora" else {}),
        "steps": frozen.steps,
        "answer_loss": {which: told["value"] for which, told in evaluation["loss"].items()},
        "got_better": evaluation["got_better"],
        "held_out_answers": evaluation["answers"],
        "exact": teaching.exact,
    }
