"""The baseline that a model must beat: keyword rules, learnt from the letters that the model also learns from.

A keyword belongs to the class in whose letters it stands most purely; each class keeps its purest ones; a letter goes to
the class with the most keywords in it. This is what a careful clerk would write down in a day: weaker choices (keywords
by F1) scored half as much on the one-window sample, and beating those would say nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from baray.text import terms
from baray.train.classifier.letters import Letter

KEYWORDS_PER_CLASS = 50
MIN_PURITY = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class KeywordRules:
    """Keyword -> the class it votes for, and how purely it tells it."""

    rules: dict[str, tuple[str, float]]
    """Keyword -> (its class, its purity)."""
    fallback: str
    """The most frequent class: for a letter without any keyword."""


def learn_rules(letters: Sequence[Letter]) -> KeywordRules:
    """Choose the keywords of each class."""
    classes = Counter(letter.target for letter in letters)
    with_term: Counter[str] = Counter()
    with_both: Counter[tuple[str, str]] = Counter()
    for letter in letters:
        found = set(terms(letter.text))
        with_term.update(found)
        with_both.update((letter.target, term) for term in found)
    best: dict[str, tuple[str, float]] = {}
    for (target, term), both in sorted(with_both.items()):
        # Shrunk by one letter: a keyword seen once or twice is pure by chance.
        purity = (both - 1) / (with_term[term] + 1)
        if both >= 2 and both / with_term[term] >= MIN_PURITY and purity > best.get(term, ("", 0.0))[1]:
            best[term] = (target, purity)
    rules: dict[str, tuple[str, float]] = {}
    for target in classes:
        own = sorted((-purity, term) for term, (owner, purity) in best.items() if owner == target)
        rules |= {term: best[term] for _, term in own[:KEYWORDS_PER_CLASS]}
    return KeywordRules(rules=rules, fallback=max(sorted(classes), key=lambda target: classes[target]))


def apply_rules(rules: KeywordRules, text: str) -> str:
    """The class with the most keywords in `text`; of equals the one whose keywords are purer."""
    votes: dict[str, tuple[int, float]] = {}
    for term in sorted(set(terms(text)) & rules.rules.keys()):
        target, purity = rules.rules[term]
        number, weight = votes.get(target, (0, 0.0))
        votes[target] = (number + 1, weight + purity)
    return max(sorted(votes), key=lambda target: votes[target]) if votes else rules.fallback
