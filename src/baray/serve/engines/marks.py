"""Marks: tokens that mean something to a Model, such as the end of a message. In a chat only the template may write them.

Who types `<|im_end|>` into a message has written ten characters, and has not ended it: else anybody could speak as the
system. How the marks of the template are told from those of the messages: characters that a mark begins or ends with are
replaced in the messages by characters that nothing else uses; what is still a mark then is the template's own.

Covered: marks in contents and roles, whole, put together from several messages, and such as become marks when the
tokenizer normalises them. Not covered: tokens that the tokenizer does not call special.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tokenizers import Encoding, Tokenizer

from baray.core import Refused

_FIRST_STAND_IN, _LAST_STAND_IN = 0xF0000, 0xFFFFD  # a plane for private use


@dataclass(frozen=True, slots=True, kw_only=True)
class Veil:
    """Messages whose characters can be part of no mark, and the way back."""

    messages: list[dict[str, Any]]
    """As they are given to the template."""
    back: dict[int, str]
    """What stood there, for `str.translate`."""


class Marks:
    """The marks of one tokenizer."""

    def __init__(self, tokenizer: Tokenizer, model: Mapping[str, Any]) -> None:
        """Find them; `model` is that part of tokenizer.json."""
        self._tokenizer = tokenizer
        added = tokenizer.get_added_tokens_decoder()
        self._texts: dict[int, str] = {number: one.content for number, one in added.items() if one.special}
        self._edges = {one for text in self._texts.values() if text for one in (text[0], text[-1]) if not one.isspace()}
        self._unknown = tokenizer.token_to_id(model["unk_token"]) if model.get("unk_token") else model.get("unk_id")
        self._literal: Tokenizer | None = None
        self._lock = threading.Lock()

    def encode(
        self, messages: Sequence[Mapping[str, Any]], render: Callable[[Sequence[Mapping[str, Any]]], str]
    ) -> list[int]:
        """Token ids of a chat as `render` writes it. Text without marks is encoded as if there were no such care.

        Raises Refused `bad_messages`, and what `render` raises.
        """
        text = render(messages)
        plain = self._tokenizer.encode(text, add_special_tokens=False)
        veil = self._veil(messages)
        if veil is None:
            return list(plain.ids)
        veiled = render(veil.messages)
        behind = self._tokenizer.encode(veiled, add_special_tokens=False)
        typed = any(mark in message["content"] for message in messages for mark in self._texts.values())
        if not typed and self._known(behind) == self._known(plain):
            return list(plain.ids)
        ids, place = [], 0
        for number, start, end in self._marks(behind, veiled):
            ids += [*self._as_text(veiled[place:start].translate(veil.back)), number]
            place = end
        return ids + self._as_text(veiled[place:].translate(veil.back))

    def _veil(self, messages: Sequence[Mapping[str, Any]]) -> Veil | None:
        """None where no character of the messages can be the edge of a mark."""
        used = {one for message in messages for part in message.values() for one in part}
        risky = sorted(one for one in used if self._can_be_edge(one))
        if not risky:
            return None
        free = (chr(code) for code in range(_FIRST_STAND_IN, _LAST_STAND_IN) if chr(code) not in used)
        stand_ins = dict(zip(risky, free, strict=False))
        there = str.maketrans(stand_ins)
        # A template compares roles with words: their letters stay.
        in_roles = str.maketrans({one: other for one, other in stand_ins.items() if not one.isalnum()})
        veiled = [
            {**message, "role": message["role"].translate(in_roles), "content": message["content"].translate(there)}
            for message in messages
        ]
        return Veil(messages=veiled, back={ord(other): one for one, other in stand_ins.items()})

    def _can_be_edge(self, one: str) -> bool:
        normaliser = self._tokenizer.normalizer
        forms = one if normaliser is None else one + normaliser.normalize_str(one)
        return any(form in self._edges for form in forms)

    def _known(self, encoding: Encoding) -> list[int]:
        """Marks among token ids, without the one that stands for what the tokenizer does not know."""
        return [number for number in encoding.ids if number in self._texts and number != self._unknown]

    def _marks(self, encoding: Encoding, text: str) -> list[tuple[int, int, int]]:
        """(id, start, end) of the marks that are written out in a text."""
        found = zip(encoding.ids, encoding.offsets, strict=True)
        return [
            (number, *at) for number, at in found if number in self._texts and self._texts[number] in text[slice(*at)]
        ]

    def _as_text(self, text: str) -> list[int]:
        """Token ids of text in which nothing is a mark. Raises Refused `bad_messages` where the tokenizer knows no other way."""
        if not text:
            return []
        with self._lock:
            if self._literal is None:
                self._literal = Tokenizer.from_str(self._tokenizer.to_str())
                self._literal.encode_special_tokens = True
        encoding = self._literal.encode(text, add_special_tokens=False)
        left = self._marks(encoding, text)
        if left:
            mark = self._texts[left[0][0]]
            raise Refused("bad_messages", f"A message holds '{mark}', a mark of this Model.", fix="Leave it out.")
        return list(encoding.ids)
