"""Filters over streams of UTF-8 lines: whole lines in, the same lines out, newlines and all; memory does not grow.

A line of more than a mebibyte is handed on in parts that end with a blank.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol

from baray.core import Refused
from baray.text.khmer import Digits, clusters, normalise, normalise_recorded
from baray.text.language import language, language_shares
from baray.text.redact import Names, redact
from baray.text.segmentation.learning import MOST_CHARACTERS, learn_lexicon
from baray.text.segmentation.lexicon import word_model
from baray.text.segmentation.reading import WordModel, segment

Result = dict[str, Any]
Filter = Callable[[Sequence[str]], list[Result]]
"""Lines without their ends -> what became of each; `text` is what is printed, the rest is told with --json."""

_SWITCH = ("false", "true")
_YES_OR_NO = {"true": "true", "yes": "true", "1": "true", "false": "false", "no": "false", "0": "false"}
OPTIONS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "normalise": {"fold_coeng_da": _SWITCH, "digits": ("keep", "ascii", "khmer")},
    "segment": {},
    "clusters": {},
    "language": {},
    "redact": {"names": ()},
}
"""Filter -> option -> what it may be, the default first; nothing: anything."""
LINE_BY_LINE = ("normalise", "segment", "redact")
"""Filters to which a newline is like an end of the text: lines that stand together come out as each by itself."""
_DIGITS: Mapping[str, Digits] = {"keep": "keep", "ascii": "ascii", "khmer": "khmer"}
_BLOCK_BYTES = 1 << 20
_LONG_BYTES = 1 << 20


class NormaliseLines(Protocol):
    """`normalise`, over many lines."""

    def __call__(self, lines: Sequence[str], *, fold_coeng_da: bool, digits: Digits) -> list[str]:
        """Each line, normalised."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fast:
    """Faster forms of the same steps, over many lines at once, where the packages for them are installed."""

    segment: Callable[[Sequence[str], WordModel | None], list[str]] | None = None
    normalise: NormaliseLines | None = None
    redact: Callable[[Sequence[str], Names | None], list[tuple[str, dict[str, int]]]] | None = None
    language: Callable[[str], str] = language
    """This one knows more languages, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which filter, and how."""

    name: str
    """Key of OPTIONS."""
    options: Mapping[str, str]
    model: WordModel | None = None
    """What `segment` reads words with; None: every unit is a word."""
    names: Names | None = None
    """What `redact` looks for beside numbers and addresses."""
    recorded: bool = False
    """Whether `normalise` also tells which invisible characters stood where."""


def check_options(name: str, options: Mapping[str, object]) -> dict[str, str]:
    """Options as text. Raises Refused `bad_option` for one that the filter does not have, or that may not be so."""
    checked = {}
    for option, given in options.items():
        value = _YES_OR_NO.get(str(given).lower(), str(given)) if OPTIONS[name].get(option) == _SWITCH else str(given)
        known = OPTIONS[name]
        if option not in known:
            has = ", ".join(f"{key}={'|'.join(values) or 'FILE'}" for key, values in known.items())
            fix = f"{name} has: {has}." if has else f"{name} has no options."
            raise Refused("bad_option", f"There is no option '{option}'.", fix=fix)
        if known[option] and value not in known[option]:
            fix = f"Write one of: {', '.join(known[option])}."
            raise Refused("bad_option", f"{value} for option '{option}' is out of range.", fix=fix)
        checked[option] = value
    return checked


def make_filter(wanted: Wanted, fast: Fast) -> Filter:
    """The filter, over lines without their ends."""
    fold = wanted.options.get("fold_coeng_da") == "true"
    digits = _DIGITS[wanted.options.get("digits", "keep")]

    def normalised(lines: Sequence[str]) -> list[Result]:
        if wanted.recorded:
            return [
                {"text": normalise(line, fold_coeng_da=fold, digits=digits), "hidden": normalise_recorded(line).hidden}
                for line in lines
            ]
        if fast.normalise is not None:
            return [{"text": line} for line in fast.normalise(lines, fold_coeng_da=fold, digits=digits)]
        return [{"text": normalise(line, fold_coeng_da=fold, digits=digits)} for line in lines]

    def redacted(lines: Sequence[str]) -> list[Result]:
        done = fast.redact(lines, wanted.names) if fast.redact else [redact(line, wanted.names) for line in lines]
        return [{"text": text, "counts": counts} for text, counts in done]

    def segmented(lines: Sequence[str]) -> list[Result]:
        done = fast.segment(lines, wanted.model) if fast.segment else [segment(line, wanted.model) for line in lines]
        return [{"text": line} for line in done]

    filters: dict[str, Filter] = {
        "normalise": normalised,
        "segment": segmented,
        "clusters": lambda lines: [{"text": " ".join(clusters(line))} for line in lines],
        "language": lambda lines: [{"text": fast.language(line), "shares": language_shares(line)} for line in lines],
        "redact": redacted,
    }
    return filters[wanted.name]


def read_blocks(source: BinaryIO) -> Iterator[list[str]]:
    """Lines with their ends, about a mebibyte at a time. Raises Refused `broken_text` for what is not UTF-8."""
    offset, rest = 0, b""
    while block := source.read(_BLOCK_BYTES):
        rest += block
        end = rest.rfind(b"\n") + 1
        if not end and len(rest) > _LONG_BYTES:
            end = rest.rfind(b" ") + 1
        if end:
            yield from _decoded_lines(rest[:end], offset)
            offset, rest = offset + end, rest[end:]
    if rest:
        yield from _decoded_lines(rest, offset)


def _decoded_lines(data: bytes, offset: int) -> Iterator[list[str]]:
    """Lines of a block; before a broken byte is refused, the lines in front of its own are handed on."""
    try:
        yield _lines(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        sound = data.rfind(b"\n", 0, error.start) + 1
        yield _lines(data[:sound].decode("utf-8"))
        raise _broken(error, offset) from error


def _lines(text: str) -> list[str]:
    """Lines with their ends. `str.splitlines` would end lines at more than the newline."""
    return [line for line in re.split("(?<=\n)", text) if line]


def decoded(data: bytes) -> str:
    """A file's text. Raises Refused `broken_text`."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _broken(error, 0) from error


def _broken(error: UnicodeDecodeError, offset: int) -> Refused:
    return Refused(
        "broken_text",
        f"Byte {offset + error.start} of the input (0x{error.object[error.start]:02x}) is not UTF-8.",
        fix="Save the text as UTF-8, or convert it: iconv -f ENCODING -t UTF-8 FILE",
    )


def parted(line: str) -> tuple[str, str]:
    """A line and its end."""
    body = line.rstrip("\r\n") if line.endswith("\n") else line
    return body, line[len(body) :]


def learn_model(blocks: Iterator[list[str]]) -> tuple[WordModel | None, int, list[list[str]]]:
    """A model learnt from the first lines' own breaks, its number of words, and the blocks that were read for it."""
    read: list[list[str]] = []
    characters = 0
    for block in blocks:
        read.append(block)
        characters += sum(map(len, block))
        if characters >= MOST_CHARACTERS:
            break
    counts = learn_lexicon(line for block in read for line in block)
    return (None if counts is None else word_model(counts)), len(counts or ()), read
