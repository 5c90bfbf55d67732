"""Whether the letters that a PDF gives are those that it shows.

A PDF shows glyphs, and says beside them which letters they stand for. Many programs say it wrongly of Khmer: the vowel
that is drawn first comes first, a subscript is lost, or the number of a glyph stands there as if it were a letter of
another script. Where there is reason for doubt, one page is read by OCR and the two are compared: OCR of clear Khmer
agrees with the right letters in 0.89 to 0.98 of the clusters, with wrong ones in less than 0.78.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from baray.text import clusters, normalise

_KHMER = re.compile("[\u1780-\u17d3\u17dd]")
_LETTER = re.compile(r"[^\W\d_]")
_ENOUGH = 60
"""Letters of a page below which nothing can be told."""
_ODD = re.compile(
    "\u17d2(?![\u1780-\u17b3])"  # a subscript of nothing
    "|(?<![\u1780-\u17d3\u17dd\u200b-\u200d\u25cc])[\u17b6-\u17d1\u17dd]"  # a sign on nothing
    "|[\u17b6-\u17c5]{3,}"
    "|(?<=[\u1780-\u17d3])[\u0370-\u177f\u1800-\u1fff\u2c00-\ud7ff\uf900-\ufaff]"  # a letter of a third script, inside a word
    "|[\u0370-\u177f\u1800-\u1fff\u2c00-\ud7ff\uf900-\ufaff](?=[\u1780-\u17d3])"
)
_MOST_ODD = 0.01
_DRAWN_FIRST = re.compile("[\u17be-\u17c5]|\u17d2\u179a")
"""Signs that are drawn before the letter they follow: their order is what goes wrong."""
_KHMER_FONTS = re.compile(
    r"(?i)khmer|battambang|hanuman|mou?l|kantumruy|nokora|siem ?reap|bokor|content|freehand|fasthand|chrieng|suwannaphum"
    r"|dangrek|taprom|preah|daun ?penh|angkor|koulen|bayon|chenla|odor|kh[-_ ]"
)
_INNER_CAPITAL = re.compile(r"[a-z][A-Z]|[A-Za-z][\u00a1-\u00bf\u00d7\u00f7]|[\u00a1-\u00bf\u00d7\u00f7][A-Za-z]")
_MOST_INNER = 0.04
_LEAST_AGREED = 0.83
_FEW_KHMER = 20
_KHMER_SHARE = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """How a page may be wrong."""

    garbled: bool
    """It is wrong, whatever it shows: no text has such letters."""
    unproven: bool
    """It may be right; only the picture tells."""


def doubt(text: str, *, replaced: bool, font: str) -> Doubt:
    """Doubt about a page's `text`. `replaced` tells whether its writer named letters beside glyphs, `font` draws most of it."""
    khmer = len(_KHMER.findall(text))
    letters = len(_LETTER.findall(text))
    if khmer >= _ENOUGH:
        odd = len(_ODD.findall(text)) > _MOST_ODD * khmer
        return Doubt(garbled=odd, unproven=not replaced and _DRAWN_FIRST.search(text) is not None)
    if letters < _ENOUGH:
        return Doubt(garbled=False, unproven=False)
    coded = len(_INNER_CAPITAL.findall(text)) > _MOST_INNER * letters
    return Doubt(garbled=coded and is_khmer_font(font), unproven=coded or is_khmer_font(font))


def is_khmer_font(font: str) -> bool:
    """Whether `font` is called as fonts for Khmer are; they draw Latin letters too."""
    return _KHMER_FONTS.search(font) is not None


def agreement(layer: str, seen: str) -> float:
    """Share of Khmer clusters that the text layer and OCR have in common (Dice); 1 where neither has Khmer."""
    ours, theirs = _clusters(layer), _clusters(seen)
    counts = [sum(one.values()) for one in (ours, theirs)]
    letters = len(_LETTER.findall(seen))
    if counts[0] < _FEW_KHMER and (counts[1] < _FEW_KHMER or len(_KHMER.findall(seen)) < _KHMER_SHARE * letters):
        return 1.0
    return 2 * sum((ours & theirs).values()) / sum(counts)


def agrees(share: float) -> bool:
    """Whether so much agreement means that the letters are right."""
    return share >= _LEAST_AGREED


def _clusters(text: str) -> Counter[str]:
    return Counter(one for one in clusters(normalise(text)) if _KHMER.search(one))
