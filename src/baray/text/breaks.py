"""Where a browser may break a line of Khmer: U+200B between words, and inside unknown text between clusters.

A run of Khmer is cut by the fewest pieces, where a known word counts one and an unknown cluster more; a wrong cut costs a
reader little, a line without any cut overflows the page.
"""

from __future__ import annotations

import re
from collections.abc import Set

from baray.text.khmer import clusters
from baray.text.lexicon import WORDS

_RUN = re.compile("[\u1780-\u17d3\u17dd]{2,}")
_ZERO_WIDTH_SPACE = "\u200b"
_UNKNOWN_COST = 1.6
_WORD_COST = 1.0
_LONGEST_WORD = max(len(clusters(word)) for word in WORDS)
# An unknown piece of more clusters than this may be broken between any two of them.
_LONGEST_UNKNOWN = 6


def break_lines(text: str) -> str:
    """`text` with U+200B where a line of Khmer may be broken. Markup and entities are not Khmer and stay whole."""
    return _RUN.sub(lambda match: _ZERO_WIDTH_SPACE.join(_pieces(match[0])), text)


def cut(units: list[str], words: Set[str], longest: int) -> list[tuple[str, bool]]:
    """The cheapest cut of the clusters `units` into `words` of at most `longest` clusters, and the rest.

    Each piece comes with whether it is such a word; what is none comes cluster by cluster.
    """
    costs = [0.0]
    back: list[tuple[int, bool]] = [(0, False)]
    for end in range(1, len(units) + 1):
        best = (costs[end - 1] + _UNKNOWN_COST, end - 1, False)
        word = ""
        for start in range(end - 1, max(0, end - longest) - 1, -1):
            word = units[start] + word
            if word in words:
                best = min(best, (costs[start] + _WORD_COST, start, True))
        costs.append(best[0])
        back.append((best[1], best[2]))
    pieces: list[tuple[str, bool]] = []
    end = len(units)
    while end:
        start, known = back[end]
        pieces.append(("".join(units[start:end]), known))
        end = start
    return pieces[::-1]


def _pieces(run: str) -> list[str]:
    """`run` cut into words and unknown pieces."""
    units = clusters(run)
    pieces: list[str] = []
    unknown: list[str] = []
    for word, known in cut(units, WORDS, _LONGEST_WORD):
        if known:
            _end_unknown(unknown, pieces)
            pieces.append(word)
            unknown = []
        else:
            unknown.append(word)
    _end_unknown(unknown, pieces)
    return pieces


def _end_unknown(unknown: list[str], pieces: list[str]) -> None:
    if len(unknown) > _LONGEST_UNKNOWN:
        pieces.extend(unknown)
    elif len(unknown) == 1 and pieces:
        pieces[-1] += unknown[0]  # a cluster alone is nearly always the tail of a compound
    elif unknown:
        pieces.append("".join(unknown))
