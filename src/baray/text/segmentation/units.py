"""Units: what is never parted when a text is cut into words.

A unit is an orthographic cluster of Khmer, a run of letters and digits of other scripts, or a single mark. Invisible
characters belong to the unit before them and are not looked at, but a zero-width space ends a word, and an invisible
joiner ties the next unit to its own. A mark that is written on a letter of any script belongs to what stands before it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from baray.text.khmer import BASE, INVISIBLE, MARK

SPACE, KHMER, RUN, OTHER = range(4)
ZERO_WIDTH_SPACE = "\u200b"
JOINERS = ("\u00ad", "\u200d", "\u2060")
APOSTROPHES = "'\u2019"
_RUN = "[^\\W_\u1780-\u17dd]+"
_UNIT = re.compile(
    f"(?P<khmer>[{BASE}\u25cc](?:[{INVISIBLE}]*(?:\u17d2[{BASE}]|[{MARK}]))*)"
    "|(?P<space>\\s+)"
    f"|(?P<run>{_RUN}(?:[{APOSTROPHES}]{_RUN})*)"
    f"|(?P<hidden>[{INVISIBLE}]+)"
    "|(?P<other>.)",
    re.DOTALL,
)
_KINDS = {"khmer": KHMER, "run": RUN, "other": OTHER, "space": SPACE}
_HIDDEN = re.compile(f"[{INVISIBLE}]+")


@dataclass(slots=True)
class Unit:
    """One unit, in the making until the next begins."""

    text: str
    """As it stands, with the invisible characters that follow."""
    key: str
    """Without invisible characters: what is looked up."""
    kind: int
    """KHMER, RUN, OTHER; SPACE for white space, which belongs to no word."""
    ends_word: bool = False
    """A zero-width space says that a word ends here."""
    joined: bool = False
    """An invisible joiner says that what follows belongs to this unit."""


def units(text: str) -> Iterator[Unit]:
    """Cut `text` into units; joined, their texts give it back."""
    last: Unit | None = None
    for match in _UNIT.finditer(text):
        piece, name = match[0], str(match.lastgroup)
        if name == "hidden" and last is not None:
            last.text += piece
            last.ends_word = last.ends_word or ZERO_WIDTH_SPACE in piece
            last.joined = piece.endswith(JOINERS)
        elif last is not None and _belongs(last, piece, name):
            last.text, last.key, last.joined = last.text + piece, last.key + _HIDDEN.sub("", piece), False
        else:
            if last is not None:
                yield last
            last = Unit(piece, _key(piece, name), SPACE if name == "hidden" else _KINDS[name])
    if last is not None:
        yield last


def stretches(text: str) -> Iterator[tuple[list[Unit], str]]:
    """Units that no white space and no zero-width space parts, with the white space that follows them."""
    stretch: list[Unit] = []
    for unit in units(text):
        if unit.kind == SPACE:
            yield stretch, unit.text
            stretch = []
            continue
        if stretch and stretch[-1].ends_word:
            yield stretch, ""
            stretch = []
        stretch.append(unit)
    if stretch:
        yield stretch, ""


@lru_cache(maxsize=4096)
def is_mark(character: str) -> bool:
    """Whether it is written on or around the letter before it, in any script."""
    return unicodedata.category(character)[0] == "M"


def _belongs(last: Unit, piece: str, name: str) -> bool:
    if last.kind == SPACE:
        return False
    if name == "other" and is_mark(piece):
        return True
    # A run that a mark or something invisible interrupts goes on: Thai and Hindi write vowels as marks.
    goes_on = last.joined or (name == "run" and last.kind == RUN)
    return name != "space" and goes_on and not last.ends_word


def _key(piece: str, name: str) -> str:
    return _HIDDEN.sub("", piece) if name == "khmer" and len(piece) > 1 else piece
