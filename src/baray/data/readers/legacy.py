"""Khmer from before Unicode: letters drawn over Latin code points by fonts of the families below.

Bytes alone do not show it; the name of the font does. Nothing is converted: every family needs a table of its own, and a
wrong guess would put false words into an Answer.
"""

from __future__ import annotations

import re

_FAMILY = re.compile(
    r"(?i)^\W*(?:[a-z]{6}\+)?"
    r"(?:limon|abc[-_ ]?(?:text|title|zwsp)|khek|ek?reach|fk[-_ ]|baidok|ktext|kbd[-_ ]?khmer|tech[-_ ]?khmer)"
)
_KHMER = re.compile("[\u1780-\u17d3]")
_WORD = re.compile("[^\\W_]|[\u00a1-\u00ff]")
_LEAST = 20
_SHARE = 0.2


def is_legacy(font: str) -> bool:
    """Whether `font` names a family from before Unicode."""
    return _FAMILY.search(font) is not None


class FontTally:
    """Counts letters that are drawn in legacy fonts against all letters."""

    def __init__(self) -> None:
        """Nothing seen yet."""
        self.legacy = 0
        self.total = 0
        self.font = ""

    def add(self, text: str, font: str) -> None:
        """Count the letters of `text`, drawn in `font`. Khmer code points are Unicode, whatever the font."""
        letters = len(_WORD.findall(text))
        self.total += letters
        if letters and is_legacy(font) and not _KHMER.search(text):
            self.legacy += letters
            self.font = self.font or font

    def found(self) -> bool:
        """Whether so much is in legacy fonts that the Document cannot be used."""
        return self.legacy >= _LEAST and self.legacy >= _SHARE * self.total

    def detail(self) -> str:
        """Sentence for the refusal."""
        return f"{self.legacy} of {self.total} letters are drawn in the font '{self.font}', which is not Unicode."


LEGACY_FIX = "Convert the file to Khmer Unicode and add it again."
