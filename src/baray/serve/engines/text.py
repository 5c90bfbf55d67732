"""Between text and token ids: the Model's own tokenizer and chat template, text that grows token by token, stop strings.

The template comes with the Model and is somebody else's program: see `template`. Marks in a chat are its alone: see `marks`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream

from baray.core import Refused
from baray.serve.engines.layout import read_object
from baray.serve.engines.marks import Marks
from baray.serve.engines.template import Template


class Wording:
    """The words of one Model."""

    def __init__(self, folder: Path) -> None:
        """Read tokenizer.json, tokenizer_config.json and the chat template. Raises Refused `unknown_layout`."""
        told = read_object(folder / "tokenizer.json")  # says what is wrong with it, in our words
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        config = read_object(folder / "tokenizer_config.json") if (folder / "tokenizer_config.json").exists() else {}
        special = {name: _token(config.get(name)) for name in ("bos_token", "eos_token", "pad_token", "unk_token")}
        # A tokenizer may have tokens that were added without a row in the Model.
        rows = read_object(folder / "config.json").get("vocab_size") if (folder / "config.json").exists() else None
        spelled: int = self._tokenizer.get_vocab_size(with_added_tokens=True)
        self.size = min(spelled, rows) if isinstance(rows, int) else spelled
        """Token ids are below it."""
        self._marks = Marks(self._tokenizer, told["model"])
        template = _template_of(folder, config)
        self._template = None if template is None else Template(template, special)

    def encode(self, text: str) -> list[int]:
        """Token ids of a prompt, with what the tokenizer puts around it."""
        found: list[int] = self._tokenizer.encode(text).ids
        return found

    def encode_chat(self, messages: Sequence[Mapping[str, Any]]) -> list[int]:
        """Token ids of a chat, up to where the assistant speaks. Raises Refused `no_chat_template`, `bad_messages`."""
        if self._template is None:
            raise Refused("no_chat_template", "This Model has no chat template.", fix="Ask it at POST /v1/completions.")
        return self._marks.encode(messages, self._template.render)

    def close(self) -> None:
        """End the template's process."""
        if self._template is not None:
            self._template.close()

    def token(self, number: int) -> str:
        """One token as text; bytes that are no whole character show as the replacement character."""
        found: str = self._tokenizer.decode([number], skip_special_tokens=False)
        return found

    def stream(self, stops: Sequence[str]) -> TextStream:
        """Text that grows token by token."""
        return TextStream(self._tokenizer, stops)


class TextStream:
    """Text of an answer as it comes. What could be the beginning of a stop string is held back until it is known."""

    def __init__(self, tokenizer: Tokenizer, stops: Sequence[str]) -> None:
        """Begin with nothing."""
        self._tokenizer, self._stops = tokenizer, tuple(stops)
        self._decoder = DecodeStream(skip_special_tokens=True)
        self._held = ""
        self.stopped = False

    def push_tokens(self, tokens: Sequence[int]) -> str:
        """Text that is now sure. Characters whose bytes are not all there yet wait; at the very end they are left out."""
        return self.push("".join(self._decoder.step(self._tokenizer, token) or "" for token in tokens))

    def push(self, text: str) -> str:
        """Text that is now sure, the stop string and what follows left out."""
        if self.stopped:
            return ""
        text = self._held + text
        places = [place for stop in self._stops if (place := text.find(stop)) >= 0]
        if places:
            self.stopped, self._held = True, ""
            return text[: min(places)]
        hold = max((_overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - hold :]
        return text[: len(text) - hold]

    def end(self) -> str:
        """What was held back, once nothing more comes."""
        rest, self._held = self._held, ""
        return rest


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that a stop string begins with."""
    return next((size for size in range(min(len(text), len(stop) - 1), 0, -1) if stop.startswith(text[-size:])), 0)


def _template_of(folder: Path, config: Mapping[str, Any]) -> str | None:
    path = folder / "chat_template.jinja"
    if path.exists():
        return path.read_text(encoding="utf-8")
    told = config.get("chat_template")
    if isinstance(told, list):  # several, by name
        told = next(
            (one.get("template") for one in told if isinstance(one, dict) and one.get("name") == "default"), None
        )
    return told if isinstance(told, str) else None


def _token(entry: object) -> str:
    found = entry.get("content") if isinstance(entry, dict) else entry
    return found if isinstance(found, str) else ""
