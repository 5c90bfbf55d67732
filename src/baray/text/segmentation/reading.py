"""The cheapest reading of a text as words of a lexicon and unknown words.

A word of the lexicon costs what its count says (a unigram model). An unknown one is told by its clusters: how often these
begin words of the lexicon, follow one another in them and end them, each word counted once, for new words are like rare
ones. Viterbi's algorithm (IEEE Trans. Inf. Theory 13(2), 1967) finds the cheapest reading. Costs are whole numbers, so that
the compiled form in `data` reads every text alike.

Text is neither normalised nor changed: lexicon and text should both be normalised before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from baray.text.segmentation.units import KHMER, Unit, stretches

SCALE = 1024
"""Costs are natural logarithms of probabilities, times this, less than nothing."""
OTHER_COST = 5 * SCALE
PREFIX = -(1 << 30)
"""In place of the cost of what only begins a word of the lexicon."""
_FIRST_LETTER = 0x1780
_NEVER = 1 << 60


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WordModel:
    """Costs of words, known and unknown. Made by `word_model`. Two are the same only if they are one."""

    words: Mapping[str, int]
    """Word of the lexicon -> cost; what only begins one, unit by unit -> PREFIX."""
    begins: Mapping[str, int]
    """Cluster -> cost of an unknown word that begins with it, the share of unknown words included."""
    follows: Mapping[tuple[str, str], int]
    """Two clusters that stand in a word of the lexicon -> cost of the second after the first."""
    ends: Mapping[str, int]
    """Cluster -> cost of ending an unknown word behind it."""
    backs: Mapping[str, int]
    """Cluster -> cost of being followed by one that never followed it."""
    singles: Mapping[str, int]
    """Cluster -> cost of it without regard to its neighbours."""
    letters: tuple[int, ...]
    """Cost of each letter of the Khmer block in a cluster that no word holds."""
    new: int
    """Cost of a cluster that no word holds, its letters aside."""
    begins_back: int
    """Cost of beginning an unknown word with a cluster that begins no word."""
    ends_back: int
    """Cost of ending an unknown word behind a cluster that ends none."""
    other: int = OTHER_COST
    """Cost of a mark or a run that the lexicon does not hold."""

    def single(self, cluster: str) -> int:
        """Cost of a cluster without regard to its neighbours."""
        found = self.singles.get(cluster)
        return self.new + sum(letter_cost(self.letters, ord(c)) for c in cluster) if found is None else found

    def beginning(self, cluster: str) -> int:
        """Cost of an unknown word's first cluster."""
        found = self.begins.get(cluster)
        return self.begins_back + self.single(cluster) if found is None else found

    def following(self, first: str, second: str) -> int:
        """Cost of a cluster of an unknown word after another."""
        found = self.follows.get((first, second))
        return self.backs.get(first, 0) + self.single(second) if found is None else found

    def ending(self, cluster: str) -> int:
        """Cost of ending an unknown word."""
        return self.ends.get(cluster, self.ends_back)


def letter_cost(letters: tuple[int, ...], code: int) -> int:
    """Cost of one code point; all that is not Khmer costs as much as the last of the block."""
    at = code - _FIRST_LETTER
    return letters[at if 0 <= at < len(letters) else -1]


def segment(text: str, model: WordModel | None) -> str:
    """Insert U+0020 between words, between units where there is no model. Nothing else changes."""
    parts: list[str] = []
    apart = False
    for stretch, space in stretches(text):
        if stretch:
            parts.append((" " if apart else "") + " ".join(read(stretch, model)))
            apart = not space
        if space:
            parts.append(space)
            apart = False
    return "".join(parts)


def words(text: str, model: WordModel | None) -> list[str]:
    """Words of `text` in order; white space belongs to none."""
    return [word for stretch, _ in stretches(text) for word in read(stretch, model)]


def read(stretch: list[Unit], model: WordModel | None) -> list[str]:
    """Words of a stretch of units: the cheapest reading; every unit by itself where there is no model."""
    if model is None or len(stretch) < 2:
        return [unit.text for unit in stretch]
    found = []
    starts = _cheapest(stretch, model)
    end = len(stretch)
    while end:
        found.append("".join(unit.text for unit in stretch[starts[end] : end]))
        end = starts[end]
    return found[::-1]


def _cheapest(stretch: list[Unit], model: WordModel) -> list[int]:
    """Where the last word of the cheapest reading of each beginning of the stretch starts.

    The compiled form does the same steps in the same order: of two readings that cost the same, the first found stays.
    """
    count = len(stretch)
    best, starts = [0] + [_NEVER] * count, [0] * (count + 1)
    known = model.words
    unknown, unknown_start = _NEVER, 0  # the cheapest unknown word that reaches this unit, its end not paid
    for at, unit in enumerate(stretch):
        here, word = best[at], ""
        for end in range(at, count):
            word += stretch[end].key
            cost = known.get(word)
            if cost is None:
                break
            if cost != PREFIX and here + cost < best[end + 1]:
                best[end + 1], starts[end + 1] = here + cost, at
        if unit.kind == KHMER:
            if unknown < _NEVER:
                unknown += model.following(stretch[at - 1].key, unit.key)
            fresh = here + model.beginning(unit.key)
            if fresh < unknown:
                unknown, unknown_start = fresh, at
            cost, start = unknown + model.ending(unit.key), unknown_start
        else:
            unknown, cost, start = _NEVER, here + model.other, at
        if cost < best[at + 1]:
            best[at + 1], starts[at + 1] = cost, start
    return starts
