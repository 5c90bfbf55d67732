"""The port that every engine keeps, and what passes through it. Engines speak token ids; text is the Replica's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

STOP, LENGTH, FAILED, GIVEN_UP = "stop", "length", "failed", "given up"


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """Tokens that somebody asks for."""

    prompt: tuple[int, ...]
    """Token ids, at least one; with `max_tokens` no more than the engine's context."""
    max_tokens: int
    """Most tokens to generate, at least 1."""
    temperature: float = 0.0
    """0: always the most probable token. Otherwise logits are divided by it, up to 2."""
    top_p: float = 1.0
    """Only the fewest tokens whose probabilities add up to this, in (0, 1]."""
    seed: int = 0
    """Of its draws, 0..2^63-1: the same seed draws the same tokens."""
    ends: frozenset[int] = frozenset()
    """Token ids that end it; they are counted and not delivered."""
    logprobs: int | None = None
    """How many of the most probable tokens to tell at each step, 0..20; None: not even the chosen one's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A token that was chosen, and how probable it was."""

    token: int
    """Its id."""
    logprob: float | None = None
    """Natural logarithm of its probability before temperature."""
    top: tuple[tuple[int, float], ...] = ()
    """The most probable tokens with theirs, best first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """What a step gave to one Generation."""

    choices: tuple[Choice, ...] = ()
    """New tokens, in order; empty where the engine tells text instead."""
    text: str | None = None
    """New text, where the engine turns its tokens into text itself."""
    finish: str = ""
    """Empty while it goes on; STOP at an end token, LENGTH at `max_tokens`, FAILED when the engine broke.

    GIVEN_UP when this Generation alone could not go on: the engine does.
    """
    num_tokens: int = 0
    """Tokens generated so far, an end token counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """How busy an engine is."""

    active: int
    """Generations in slots."""
    waiting: int
    """Generations in line."""
    steps: int
    """Steps since it started."""


Deliver = Callable[[Piece], None]
"""Takes a Piece, in the engine's thread: quick, and never raises."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """How an engine is to be started."""

    slots: int = 8
    """Generations at once."""
    context: int = 0
    """Most tokens of prompt and answer together; 0: what the Model and the memory allow."""
    precision: str = "auto"
    """fp32, bf16, q8_0 (llama.cpp alone), or auto: fp32 on processors where it fits, else bf16."""
    threads: int = 1
    """Cores it may use."""
    memory_bytes: int = 2 << 30
    """Memory it may use."""
    name: str = "model"
    """Of the Model, for what an engine writes."""


class Engine(Protocol):
    """Generates tokens for several at once.

    Greedy (temperature 0) gives the tokens that `transformers` gives in fp32, alone or beside others, where `exact` says so.
    Methods may be called from any thread. Nothing is repeated by an engine: a Generation that FAILED may be asked again
    by who asked. What goes wrong in one Generation costs that one (GIVEN_UP), unless nothing else would go on either.
    """

    context: int
    """Most tokens of prompt and answer together."""
    slots: int
    """How many Generations are decoded at once; more wait, first come first served."""
    exact: bool
    """Whether it computes in fp32 from the weights as they are."""

    def submit(self, generation: Generation, deliver: Deliver) -> int:
        """Take a Generation in; its Pieces are delivered until one has `finish`, or until it is cancelled. Its ticket."""

    def cancel(self, ticket: int) -> None:
        """Stop one within a step, and free its slot; at most one more Piece is delivered. A ticket that ended is ignored."""

    def embed(self, tokens: Sequence[int]) -> list[float]:
        """Mean over positions of the last hidden state; waits for it.

        Raises Refused `no_embeddings` where there is none; Fault `generation_failed`, `engine_broken`.
        """

    def load(self) -> Load:
        """How busy it is now."""

    def close(self) -> None:
        """End its threads and processes; what was under way is delivered as FAILED."""
