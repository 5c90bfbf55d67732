"""The handler of `finetune`: sets the environment of its own process, then loads what is heavy."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable

from baray.catalog import Output
from baray.runs import AttemptContext


def train(context: AttemptContext) -> list[Output]:
    """Teach a base to answer; an interrupted Run goes on from its last Checkpoint, to the same bytes."""
    # libgomp reads it when torch loads: threads that spin while they wait take the cores from others.
    os.putenv("OMP_WAIT_POLICY", "passive")
    work: Callable[[AttemptContext], list[Output]] = importlib.import_module("baray.train.finetune.teacher").train
    return work(context)
