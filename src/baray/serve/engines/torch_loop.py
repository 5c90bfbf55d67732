"""The engine `torch`: our own decode loop. New Generations join between steps; all in slots share each step.

A step: drop who was cancelled -> read a chunk of the prompt of who is next, in a row of its own -> one token for each in
slots. Rows in use are always the first ones, so that a step is a plain slice of the cache: who ends gives its row to the last.

Covered: greedy is exactly greedy; a seed draws the same tokens whatever runs beside, up to rounding of the logits; what goes
wrong in one Generation ends that one. Then the loop asks itself for a token, and ends if it cannot have one. Not covered:
prefixes that prompts share are read again for each.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import torch
from torch import Tensor

from baray.core import Fault
from baray.serve.engines.decoder import Decoder
from baray.serve.engines.layout import fit, read_layout
from baray.serve.engines.port import (
    FAILED,
    GIVEN_UP,
    LENGTH,
    STOP,
    Choice,
    Deliver,
    EngineOptions,
    Generation,
    Load,
    Piece,
)
from baray.serve.engines.tensors import Tensors

CHUNK_TOKENS = 256
"""Of a prompt, read in one step while others wait for their next token."""
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
_WRONG = (RuntimeError, ValueError, TypeError, IndexError, OverflowError)
"""What torch raises for what one Generation holds or needs: a token, a number, more memory than there is."""
_LOG = logging.getLogger("baray.engine")


@dataclass(slots=True, kw_only=True)
class _Row:
    """A Generation under way."""

    ticket: int
    generation: Generation
    deliver: Deliver
    length: int = 0  # positions in the cache
    next_token: int = -1  # chosen, not yet in the cache
    num_tokens: int = 0
    draws: torch.Generator | None = None


@dataclass(slots=True, kw_only=True)
class _Line:
    """What came in since the last step; guarded by the engine's condition."""

    waiting: deque[_Row] = field(default_factory=deque)
    texts: deque[tuple[Sequence[int], Future[list[float]]]] = field(default_factory=deque)
    cancelled: set[int] = field(default_factory=set)
    closed: bool = False
    broken: bool = False


class TorchEngine:
    """Keeps the port `Engine`."""

    def __init__(self, decoder: Decoder, *, threads: int) -> None:
        """Decode with `decoder`, whose last row is kept for what is read: prompts and texts to embed."""
        self.context, self.slots = decoder.context, decoder.slots - 1
        self.exact = decoder.dtype == torch.float32
        self._decoder, self._threads = decoder, threads
        self._line, self._changed = _Line(), threading.Condition()
        self._rows: list[_Row] = []
        self._reading: _Row | None = None  # its prompt is being read
        self._prompt_is_due = True  # texts to embed and prompts take turns: neither keeps the other out
        self._tickets, self._steps = count(1), 0
        self._thread = threading.Thread(target=self._run, name="decode", daemon=True)
        self._thread.start()

    def submit(self, generation: Generation, deliver: Deliver) -> int:
        """See `Engine`."""
        row = _Row(ticket=next(self._tickets), generation=generation, deliver=deliver)
        if generation.temperature > 0:
            row.draws = torch.Generator().manual_seed(generation.seed)
        with self._changed:
            gone = self._line.closed or self._line.broken
            if not gone:
                self._line.waiting.append(row)
                self._changed.notify()
        if gone:
            deliver(Piece(finish=FAILED))
        return row.ticket

    def cancel(self, ticket: int) -> None:
        """See `Engine`."""
        with self._changed:
            self._line.cancelled.add(ticket)
            self._changed.notify()

    def embed(self, tokens: Sequence[int]) -> list[float]:
        """See `Engine`."""
        told: Future[list[float]] = Future()
        with self._changed:
            if self._line.closed or self._line.broken:
                raise Fault("engine_broken", "The engine has ended.")
            self._line.texts.append((tokens, told))
            self._changed.notify()
        return told.result()

    def load(self) -> Load:
        """See `Engine`."""
        with self._changed:
            active = len(self._rows) + (self._reading is not None)
            return Load(active=active, waiting=len(self._line.waiting), steps=self._steps)

    def close(self) -> None:
        """See `Engine`."""
        with self._changed:
            self._line.closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        torch.set_num_threads(self._threads)
        try:
            with torch.inference_mode():
                while self._next():
                    self._step()
        finally:  # closed, or broken by what is then told on the log: nobody waits for ever
            with self._changed:
                self._line.broken = True
            left = [*self._rows, *([self._reading] if self._reading else []), *self._line.waiting]
            for row in left:
                row.deliver(Piece(finish=FAILED, num_tokens=row.num_tokens))
            for _, told in self._line.texts:
                told.set_exception(Fault("engine_broken", "The engine has ended."))

    def _next(self) -> bool:
        """Wait for work, drop who was cancelled, take who is next; False once closed."""
        with self._changed:
            line = self._line
            while not (line.closed or line.waiting or line.texts or self._rows or self._reading):
                line.cancelled.clear()  # of those that had ended
                self._changed.wait()
            gone = line.cancelled
            line.cancelled = set()
            line.waiting = deque(row for row in line.waiting if row.ticket not in gone)
            if self._reading and self._reading.ticket in gone:
                self._reading = None
            for row in [row for row in self._rows if row.ticket in gone]:
                self._free(row)
            due = self._prompt_is_due or not line.texts
            if self._reading is None and due and line.waiting and len(self._rows) < self.slots:
                self._reading, self._prompt_is_due = line.waiting.popleft(), False
            return not line.closed

    def _step(self) -> None:
        self._steps += 1
        reading = self._reading
        if reading is not None:
            try:
                self._read(reading)
            except _WRONG as error:
                self._give_up(reading, error)
        elif self._line.texts:
            self._embed()
        if self._rows:
            self._decode()

    def _give_up(self, row: _Row, error: Exception) -> None:
        """End one Generation, after it is sure that the others can go on."""
        self._look_at_oneself(error)
        _LOG.warning("a generation was given up after %d tokens", row.num_tokens, exc_info=error)
        with self._changed:
            if row is self._reading:
                self._reading = None
            else:
                self._free(row)
        row.deliver(Piece(finish=GIVEN_UP, num_tokens=row.num_tokens))

    def _look_at_oneself(self, error: Exception) -> None:
        """Read a token in a row that nobody uses. Raises Fault `engine_broken` where even that gives no numbers."""
        try:
            hidden_1D = self._pass((0,), 0, len(self._rows))
            told = "no numbers" if self._decoder.logits(hidden_1D).isnan().any() else ""
        except _WRONG as again:
            told = str(again)
        if told:
            raise Fault("engine_broken", f"The Model answers nobody: {told}.") from error

    def _read(self, row: _Row) -> None:
        """A chunk of a prompt; after the last one it takes a slot and has its first token."""
        prompt = row.generation.prompt
        chunk = prompt[row.length : row.length + (CHUNK_TOKENS if self._rows else 2 * CHUNK_TOKENS)]
        hidden_TD = self._pass(chunk, row.length, self.slots)
        row.length += len(chunk)
        if row.length < len(prompt):
            return
        self._decoder.move(self.slots, len(self._rows), row.length)
        with self._changed:
            self._reading = None
            self._rows.append(row)
        self._give([row], self._decoder.logits(hidden_TD[-1:]))

    def _decode(self) -> None:
        rows = list(self._rows)
        try:
            logits_BV = self._extend(rows)
        except _WRONG:  # of whom, nobody can tell from a step that all share: the same step again, each alone
            for row in rows:
                try:
                    logits_1V = self._extend([row])
                except _WRONG as error:
                    self._give_up(row, error)
                else:
                    self._give([row], logits_1V)
        else:
            self._give(rows, logits_BV)

    def _extend(self, rows: list[_Row]) -> Tensor:
        """Take the chosen tokens of neighbouring rows into the cache; logits [B, V] of the next ones."""
        tokens_B1 = torch.tensor([[row.next_token] for row in rows], device=self._decoder.device)
        places_B1 = torch.tensor([[row.length] for row in rows], device=self._decoder.device)
        hidden_B1D = self._decoder.forward(tokens_B1, places_B1, self._rows.index(rows[0]))
        logits_BV = self._decoder.logits(hidden_B1D[:, 0])
        for row in rows:
            row.length += 1
        return logits_BV

    def _embed(self) -> None:
        self._prompt_is_due = True
        tokens, told = self._line.texts[0]  # it stays in line until it is told: should the engine end, it hears that
        try:
            sums = torch.zeros(self._decoder.layout.width, device=self._decoder.device)
            for start in range(0, len(tokens), 2 * CHUNK_TOKENS):
                sums += self._pass(tokens[start : start + 2 * CHUNK_TOKENS], start, self.slots).sum(0)
            mean = (sums / len(tokens)).tolist()
        except _WRONG as error:
            self._look_at_oneself(error)
            self._line.texts.popleft()
            failed = Fault("generation_failed", f"The Model cannot read this text: {error}.", fix="Send another text.")
            told.set_exception(failed)
        else:
            self._line.texts.popleft()
            told.set_result(mean)

    def _pass(self, tokens: Sequence[int], start: int, slot: int) -> Tensor:
        """Hidden states [T, D] of a stretch of one text."""
        device = self._decoder.device
        tokens_1T = torch.tensor([list(tokens)], device=device)
        places_1T = torch.arange(start, start + len(tokens), device=device).unsqueeze(0)
        return self._decoder.forward(tokens_1T, places_1T, slot)[0]

    def _give(self, rows: list[_Row], logits_BV: Tensor) -> None:
        """Choose the next token of each row, deliver it, and free the rows that ended."""
        best = logits_BV.argmax(-1).tolist()
        for number, row in enumerate(rows):
            try:
                piece = _choose(row, logits_BV[number], best[number])
            except _WRONG as error:
                self._give_up(row, error)
                continue
            if piece.finish:
                with self._changed:
                    self._free(row)
            row.deliver(piece)

    def _free(self, row: _Row) -> None:
        """Take a row out; the last one moves to its place."""
        number, last = self._rows.index(row), len(self._rows) - 1
        moved = self._rows.pop()
        if number != last:
            self._decoder.move(last, number, moved.length)
            self._rows[number] = moved


def _choose(row: _Row, logits_V: Tensor, best: int) -> Piece:
    """Choose a row's next token."""
    wanted = row.generation
    token = best if row.draws is None else draw(logits_V, wanted, row.draws)
    row.next_token = token
    row.num_tokens += 1
    finish = STOP if token in wanted.ends else LENGTH if row.num_tokens >= wanted.max_tokens else ""
    choices = () if finish == STOP else (tell(logits_V, token, wanted.logprobs),)
    return Piece(choices=choices, finish=finish, num_tokens=row.num_tokens)


def draw(logits_V: Tensor, wanted: Generation, draws: torch.Generator) -> int:
    """Draw a token by temperature and nucleus (Holtzman et al. 2020)."""
    # Below the greatest one, so that no temperature however small makes infinities of all.
    probabilities_V = torch.softmax((logits_V - logits_V.max()).cpu() / wanted.temperature, -1)
    if wanted.top_p < 1:
        sorted_V, order_V = probabilities_V.sort(descending=True)
        left_out_V = sorted_V.cumsum(-1) - sorted_V >= wanted.top_p
        left_out_V[0] = False
        sorted_V[left_out_V] = 0.0
        return int(order_V[torch.multinomial(sorted_V, 1, generator=draws)])
    return int(torch.multinomial(probabilities_V, 1, generator=draws))


def tell(logits_V: Tensor, token: int, num_top: int | None) -> Choice:
    """The chosen token, with logarithms of probabilities if they were asked for."""
    if num_top is None:
        return Choice(token=token)
    logs_V = torch.log_softmax(logits_V, -1)
    best = logs_V.topk(num_top) if num_top else None
    top = tuple(zip(best.indices.tolist(), best.values.tolist(), strict=True)) if best else ()
    return Choice(token=token, logprob=float(logs_V[token]), top=top)


def load_torch(folder: Path, _work: Path, options: EngineOptions) -> TorchEngine:
    """Load the Model in `folder`. Raises Refused `unknown_layout`, `bad_safetensors`, `model_too_large`."""
    layout = read_layout(folder)
    context, precision = fit(layout, options, spare_slots=1)
    gpu = torch.cuda.is_available()
    if gpu and options.precision == "auto":
        precision = "bf16"
    torch.set_num_threads(options.threads)
    with torch.inference_mode():
        decoder = Decoder(
            layout,
            Tensors(folder),
            slots=options.slots + 1,
            context=context,
            dtype=_DTYPES[precision],
            device="cuda" if gpu else "cpu",
        )
    return TorchEngine(decoder, threads=options.threads)
