"""Reading conversations from a Dataset (Parquet) or a Source (JSONL): each row is one, or counted under the reason why not.

A row holds turns, `messages` = [{"role": "user", "content": "..."}, ...], or one question and its answer in two columns.
"""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from baray.core import Refused, digest_json
from baray.runs import Input
from baray.text import choose
from baray.train.classifier.letters import jsonl_rows
from baray.train.config import Finetune

SYSTEM, USER, ASSISTANT = "system", "user", "assistant"


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What one side says."""

    role: str
    """system, user or assistant."""
    content: str
    """Text, without white space at its ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """Turns, of which the assistant's are learnt."""

    turns: tuple[Turn, ...]
    """In order; at least one is the assistant's."""
    key: str
    """Digest of what was first asked: decides on which side of the split it is, with all that ask the same."""
    digest: str
    """Of all turns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversations:
    """What was read, in two parts that have no question in common."""

    train: tuple[Conversation, ...]
    """Learnt from; in order of their digests, so that the order of rows and files changes nothing."""
    held_out: tuple[Conversation, ...]
    """Measured on."""
    left_out: Mapping[str, int]
    """Reason -> number of rows that are no conversations."""


def read_conversations(source: Input, config: Finetune) -> Conversations:
    """Read and split. Raises Refused `no_conversations`, `missing_column`, `bad_jsonl`, `not_utf8`, `too_few_documents`."""
    left_out: Counter[str] = Counter()
    found: dict[str, Conversation] = {}
    for row in _rows(source, config):
        turns = _turns(row, config)
        reason = "no turns of role and content" if turns is None else _why_not(turns)
        if turns is None or reason:
            left_out[reason] += 1
            continue
        conversation = _conversation(turns)
        if conversation.digest in found:
            left_out["same conversation again"] += 1
        found[conversation.digest] = conversation
    if not found:
        told = ", ".join(f"{reason} {number}" for reason, number in left_out.items()) or "no rows"
        raise Refused(
            "no_conversations",
            f"{source.ref} holds no conversation ({told}).",
            fix='Give rows like {"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}.',
        )
    held = choose((one.key for one in found.values()), config.held_out)
    ordered = [found[digest] for digest in sorted(found)]
    return Conversations(
        train=tuple(one for one in ordered if not held.holds(one.key)),
        held_out=tuple(one for one in ordered if held.holds(one.key)),
        left_out=dict(sorted(left_out.items())),
    )


def _rows(source: Input, config: Finetune) -> Iterator[Mapping[str, Any]]:
    for file in sorted(source.files, key=lambda file: file.path):
        if file.path.endswith(".jsonl"):
            for row in jsonl_rows(file):
                _check_columns(row, file.path, config)
                yield row
        elif file.path.endswith(".parquet") and not file.path.startswith("dropped/"):
            parquet = importlib.import_module("pyarrow.parquet")
            table = parquet.ParquetFile(str(file.blob))
            known = table.schema_arrow.names
            _check_columns(dict.fromkeys(known), file.path, config)
            wanted = [name for name in (config.messages, config.prompt, config.answer) if name in known]
            for batch in table.iter_batches(columns=wanted):
                yield from batch.to_pylist()


def _check_columns(row: Mapping[str, Any], where: str, config: Finetune) -> None:
    if config.messages not in row and not {config.prompt, config.answer} <= row.keys():
        raise Refused(
            "missing_column",
            f"{where} has no column '{config.messages}', nor '{config.prompt}' and '{config.answer}'; "
            f"it has {', '.join(sorted(str(name) for name in row))}.",
            fix="Name the columns: --set messages=COLUMN, or --set prompt=COLUMN --set answer=COLUMN.",
        )


def _turns(row: Mapping[str, Any], config: Finetune) -> list[Turn] | None:
    """The turns of a row, with the Run's system turn where the row has none; None where it has no such form."""
    if row.get(config.messages) is not None:
        told = row[config.messages]
    else:
        told = [
            {"role": USER, "content": row.get(config.prompt)},
            {"role": ASSISTANT, "content": row.get(config.answer)},
        ]
    if not isinstance(told, list):
        return None
    turns = []
    for one in told:
        if not isinstance(one, dict) or not isinstance(one.get("role"), str) or not isinstance(one.get("content"), str):
            return None
        turns.append(Turn(role=one["role"], content=one["content"].strip()))
    if config.system and turns and turns[0].role != SYSTEM:
        turns.insert(0, Turn(role=SYSTEM, content=config.system))
    return turns


def _why_not(turns: list[Turn]) -> str:
    if any(turn.role not in {SYSTEM, USER, ASSISTANT} for turn in turns):
        return "a role that is not system, user or assistant"
    if any(turn.role == SYSTEM for turn in turns[1:]):
        return "a system turn that is not the first"
    spoken = [turn.role for turn in turns if turn.role != SYSTEM]
    if not spoken or any(role != (USER, ASSISTANT)[number % 2] for number, role in enumerate(spoken)):
        return "user and assistant do not take turns"
    if any(not turn.content or not _whole(turn.content) for turn in turns):
        return "an empty or broken turn"
    return "" if ASSISTANT in spoken else "no answer"


def _whole(text: str) -> bool:
    """Whether it has no half of a surrogate pair, which JSON can spell and UTF-8 cannot."""
    return text.encode(errors="ignore").decode() == text


def _conversation(turns: list[Turn]) -> Conversation:
    first = next(turn.content for turn in turns if turn.role == USER)
    told = [[turn.role, turn.content] for turn in turns]
    return Conversation(turns=tuple(turns), key=digest_json(first), digest=digest_json(told))
