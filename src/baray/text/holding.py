"""Which Documents are only measured on, and how long ones are cut.

The choice goes by the Document's id alone, so that a Document stays on its side when the Dataset grows, for the
tokenizer, the tokens and the model alike. What it does not cover: alike Documents on both sides; an Evaluation counts those.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from math import inf, nextafter

from baray.core import Refused

FEW_DOCUMENTS = 20
"""Below this many, long Documents are cut into short parts and each part is chosen by itself: one book is a Dataset too."""
_PART_CHARACTERS = 8_000
_LONG_CHARACTERS = 1_000_000
"""No Document is longer than this for those that learn from it: memory stays flat."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A Document, or a part of a long one."""

    id: str
    """Of the Document, with `#2` and so on behind it for its later parts."""
    key: str
    """What the choice goes by."""
    text: str
    """Its text; the parts joined are the Document's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """The choice for one Dataset."""

    below: float
    """Keys whose position is below this are held out."""

    def holds(self, key: str) -> bool:
        """Whether it is only measured on."""
        return position(key) < self.below


def parts(document_id: str, text: str, *, few: bool) -> Iterator[Part]:
    """The parts of a Document; `few` says that the Dataset has fewer than FEW_DOCUMENTS."""
    for number, piece in enumerate(cut(text, _PART_CHARACTERS if few else _LONG_CHARACTERS), 1):
        own = document_id if number == 1 else f"{document_id}#{number}"
        yield Part(id=own, key=own if few else document_id, text=piece)


def choose(keys: Iterable[str], percent: float) -> HeldOut:
    """Hold out about `percent` of `keys`, at least one and never all. Raises Refused `too_few_documents`."""
    least, most, held, total = inf, -inf, 0, 0
    for key in keys:
        at = position(key)
        least, most, total, held = min(least, at), max(most, at), total + 1, held + (at < percent / 100)
    if least == most or not total:
        raise Refused(
            "too_few_documents",
            f"{total} Documents cannot be parted into some to learn from and some to measure on.",
            fix="Give a Dataset with more text: two Documents at least, or a long one.",
        )
    if held == 0:
        return HeldOut(below=nextafter(least, inf))
    return HeldOut(below=most if held == total else percent / 100)


def position(key: str) -> float:
    """Where a key lies between 0 and 1: the first 52 bits of a digest, exact in a float."""
    return (int.from_bytes(sha256(b"baray held out 1\n" + key.encode()).digest()[:8], "big") >> 12) / 2**52


def cut(text: str, most: int) -> Iterator[str]:
    """Cut text into pieces of at most `most` code points: after a line, else after a blank, else anywhere."""
    start = 0
    while len(text) - start > most:
        end = start + most
        found = text.rfind("\n", start, end) + 1 or text.rfind(" ", start, end) + 1
        end = found if found > start else end
        yield text[start:end]
        start = end
    if start < len(text) or not text:
        yield text[start:]
