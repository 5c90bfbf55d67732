"""Which script a text is written in, and what kind of text it is.

Khmer is told by its script: on text of this kind that is as good as a trained model, and a mixed text keeps its shares.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

_KHMER_LETTERS = re.compile("[\u1780-\u17d3]+")
_NO_LATIN_LETTER = bytes(code for code in range(256) if not (code < 0x80 and chr(code).isalpha()))
"""Bytes of UTF-8 that are no basic Latin letter: what is left without them is counted ten times faster than letters are found."""
_OTHER_LETTERS = re.compile("[^\\W\\d_A-Za-z\u1780-\u17d3\u17dc\u17dd]+")
_LETTERS_AND_MARKS = re.compile("[^\\W\\d_]|[\u17b6-\u17d3]")
_ENGLISH_SHARE = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """Plain features of a text that tell prose from debris; shares are 0..1."""

    characters: int
    """Code points."""
    letters: float
    """Share of letters and Khmer marks among all that is not white space."""
    repeated_lines: float
    """Share of lines, blank ones aside, that stood before."""
    longest_run: int
    """Code points of the longest run of one repeated character."""


def language_shares(text: str) -> dict[str, float]:
    """Shares of letters that are Khmer (`km`), basic Latin (`en`) and `other`; all 0.0 where there is no letter.

    Khmer marks count as letters, since they write the vowels.
    """
    latin = len(text.encode("utf-8", "surrogatepass").translate(None, _NO_LATIN_LETTER))
    if text.isascii():
        return {"km": 0.0, "en": 1.0 if latin else 0.0, "other": 0.0}
    khmer = sum(map(len, _KHMER_LETTERS.findall(text)))
    other = sum(map(len, _OTHER_LETTERS.findall(text)))
    total = khmer + latin + other
    if total == 0:
        return {"km": 0.0, "en": 0.0, "other": 0.0}
    return {"km": khmer / total, "en": latin / total, "other": other / total}


def language(text: str) -> str:
    """`km`, `en` or `other`. A text that is one third Khmer is Khmer: its names and terms are often Latin."""
    shares = language_shares(text)
    if shares["km"] > 1 / 3:
        return "km"
    return "en" if shares["en"] >= _ENGLISH_SHARE else "other"


def quality(text: str) -> Quality:
    """Measure `text`."""
    dense = "".join(text.split())
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    repeated = sum(count - 1 for count in Counter(lines).values())
    runs = (len(match[0]) for match in re.finditer(r"(\S)\1*", text))
    return Quality(
        characters=len(text),
        letters=len(_LETTERS_AND_MARKS.findall(dense)) / len(dense) if dense else 0.0,
        repeated_lines=repeated / len(lines) if lines else 0.0,
        longest_run=max(runs, default=0),
    )
