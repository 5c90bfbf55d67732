r"""ChatML: conversations as tokens, and which of them are answers. Only these are learnt from.

A turn is `<|im_start|>ROLE\nCONTENT<|im_end|>\n`. Learnt are the tokens of the assistant's content and the one that ends it; all
before is given, so a model is never taught to ask or to repeat its instructions. What somebody wrote is text, even where it
spells a special token. A tokenizer without ChatML's tokens spells the start and ends a turn with its own end token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from baray.core import Refused
from baray.train.finetune.conversations import ASSISTANT, Conversation
from baray.train.lm.export import END, END_TURN, START_TURN
from baray.train.lm.shards import permute

UNLEARNT = -100
"""Target of a position that is not learnt from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One conversation: what is read at each position, and the token that should come next."""

    ids: NDArray[np.int64]
    """[n]"""
    targets: NDArray[np.int64]
    """[n], UNLEARNT where the next token is no answer's."""
    digest: str
    """Of the conversation."""

    @property
    def num_answers(self) -> int:
        """Tokens that are learnt."""
        return int((self.targets != UNLEARNT).sum())


class Chat:
    """A tokenizer that speaks ChatML."""

    def __init__(self, tokenizer: Path, ends: Sequence[int]) -> None:
        """`ends`: token ids that end a text, as the base's config tells. Raises Refused `no_end_token`."""
        self._tokenizer = Tokenizer.from_file(str(tokenizer))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._tokenizer.encode_special_tokens = True  # what a person typed is text, whatever it spells
        self._start = self._tokenizer.token_to_id(START_TURN)
        own_end = self._tokenizer.token_to_id(END_TURN)
        spelled = self._tokenizer.token_to_id(END)
        candidates = [own_end, *ends, spelled]
        found = [one for one in candidates if one is not None and self._tokenizer.id_to_token(one) is not None]
        if not found:
            raise Refused(
                "no_end_token",
                "The base's tokenizer has no token that ends a text.",
                fix="Name it as eos_token_id in the base's config.json and import it again.",
            )
        self.end: int = found[0]
        """The token that ends a turn."""
        self.end_text = str(self._tokenizer.id_to_token(self.end))
        """How it is spelled."""
        self.vocab: int = self._tokenizer.get_vocab_size(with_added_tokens=True)
        """Tokens in all."""

    @property
    def template(self) -> str:
        """The chat template in Jinja that gives the same tokens."""
        end = self.end_text.replace("\\", "\\\\").replace("'", "\\'")
        return (
            "{% for message in messages %}{{ '"
            + START_TURN
            + "' + message['role'] + '\\n' + message['content'] + '"
            + end
            + "' "
            "+ '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '" + START_TURN + "assistant\\n' }}{% endif %}"
        )

    def example(self, conversation: Conversation) -> Example:
        """Tokens and targets of a conversation, to the end of its last answer."""
        ids: list[int] = []
        learnt: list[bool] = []
        for turn in conversation.turns:
            head = f"{turn.role}\n" if self._start is not None else f"{START_TURN}{turn.role}\n"
            encoded = self._tokenizer.encode(head + turn.content, add_special_tokens=False)
            answer = turn.role == ASSISTANT
            start = [] if self._start is None else [self._start]
            after = self._tokenizer.encode("\n", add_special_tokens=False).ids
            ids += [*start, *encoded.ids, self.end, *after]
            learnt += [False] * len(start)
            learnt += [answer and first >= len(head) for first, _ in encoded.offsets]
            learnt += [answer] + [False] * len(after)
        last = max(number for number, one in enumerate(learnt) if one)
        targets = np.where(learnt[1 : last + 1], ids[1 : last + 1], UNLEARNT)
        return Example(ids=np.array(ids[:last], dtype=np.int64), targets=targets, digest=conversation.digest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Examples side by side in rows of one length, so that little is computed for padding."""

    ids: NDArray[np.int64]
    """[rows, context]"""
    targets: NDArray[np.int64]
    """[rows, context]"""
    segments: NDArray[np.int32]
    """[rows, context]: number of the example within its row; positions see their own example alone. Padding is -1."""


def pack(examples: Sequence[Example], context: int, seed: int) -> Rows:
    """Put examples of at most `context` tokens into rows, in an order that `seed` decides."""
    lines: list[list[Example]] = [[]]
    room = context
    for number in range(len(examples)):
        example = examples[permute(number, len(examples), seed)]
        if len(example.ids) > room:
            lines.append([])
            room = context
        lines[-1].append(example)
        room -= len(example.ids)
    shape = (len(lines), context)
    ids, targets = np.zeros(shape, dtype=np.int64), np.full(shape, UNLEARNT, dtype=np.int64)
    segments = np.full(shape, -1, dtype=np.int32)
    for row, line in enumerate(lines):
        at = 0
        for number, example in enumerate(line):
            span = slice(at, at + len(example.ids))
            ids[row, span], targets[row, span], segments[row, span] = example.ids, example.targets, number
            at = span.stop
    return Rows(ids=ids, targets=targets, segments=segments)


def batch(rows: Rows, step: int, size: int, seed: int) -> Rows:
    """The rows of a step from 0: every epoch in another order, which step and seed alone decide."""
    total = len(rows.ids)
    chosen = []
    for number in range(step * size, (step + 1) * size):
        epoch, position = divmod(number, total)
        chosen.append(permute(position, total, (seed << 20) + epoch + 1))
    return Rows(ids=rows.ids[chosen], targets=rows.targets[chosen], segments=rows.segments[chosen])
