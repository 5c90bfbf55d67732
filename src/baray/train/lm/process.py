"""How a process that trains is set up: threads, exact sums, and memory that it keeps.

Memory: a step asks for the same large pieces as the step before. As glibc is set, each goes back to the system at once and comes
again as empty pages, which cost a tenth of a step in page faults. Here it is kept until the process ends.
"""

from __future__ import annotations

import ctypes
from typing import Any

import torch

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # names of mallopt's parameters
_NEVER = 2**31 - 1


def set_up(*, threads: int, exact: bool) -> None:
    """Before the first tensor: as many threads as were leased; whether the same work has to give the same bits."""
    torch.set_num_threads(max(1, threads))
    torch.use_deterministic_algorithms(exact)
    # It would fill every tensor that is about to be written, to show who reads one that was not: 7 % of a step, and no bit differs.
    settings: Any = torch.utils.deterministic
    settings.fill_uninitialized_memory = False
    keep_memory()


def keep_memory() -> bool:
    """Ask glibc to keep what is freed for the next step; whether it will. Other libraries of C do as they do."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(_MMAP_MAX, 0)) and bool(mallopt(_TRIM_THRESHOLD, _NEVER))
