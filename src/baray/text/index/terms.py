"""Search terms: what an Index holds and what a question is made of.

Khmer is written without spaces, so its terms are trigrams of code points over normalised text; English words are
lower-cased, without stop words, and stemmed; numbers are words, without the marks between their thousands.
"""

from __future__ import annotations

import re

from baray.text.index.concepts import concept_of, concepts_in
from baray.text.index.stem import stem
from baray.text.khmer import fold_digits, normalise

TERMS_VERSION = 2
"""Written into each Index: an Index made by other rules is not searched."""

_KHMER_LETTER = "\u1780-\u17d3\u17d7\u17dd"
_SPACE_IN_KHMER = re.compile(f"(?<=[{_KHMER_LETTER}])[ \u00a0\n]+(?=[{_KHMER_LETTER}])")
_TOKEN = re.compile(
    f"[{_KHMER_LETTER}]+|\\d{{1,3}}(?:[., \u00a0]\\d{{3}})+(?!\\d)|\\d+(?:[.,]\\d+)?|[^\\W\\d_{_KHMER_LETTER}]+"
)
_INHERENT = str.maketrans({"\u17b2": "\u17b1"})
STOP_WORDS = frozenset(
    "a about after all also am an and any are as at be because been before being but by can could did do does doing for from get "
    "had has have he her here hers him his how i if in into is it its just may me might more most must my need no not of off "
    "on one or our out please shall she should so some such than that the their them then there these they this those to too "
    "under up us very was we were what when where which while who whom whose why will with would you your want wants tell "
    "know like many much someone somebody something anyone anybody anything everything nothing".split()
)


def terms(text: str) -> list[str]:
    """Search terms of `text` in order, with repetitions."""
    return [term for token in tokens(text) if token not in STOP_WORDS for term in token_terms(token)]


def token_terms(token: str) -> list[str]:
    """The terms of one token: a number itself, a word's key, a run's trigrams; then the concepts they speak of."""
    if is_khmer(token):
        return [*trigrams(token), *(concept for concept, _, _ in concepts_in(token))]
    if token[0].isdigit():
        return [token]
    word_key = stem(token)
    concept = concept_of(word_key)
    return [word_key] if concept is None else [word_key, concept]


def is_khmer(token: str) -> bool:
    """Whether the token is a run of Khmer."""
    return "\u1780" <= token[0] <= "\u17dd"


def tokens(text: str) -> list[str]:
    """Runs of Khmer letters, numbers and lower-case words of `text`, folded for comparison."""
    folded = search_form(text)
    return [_number(token) if token[0].isdigit() else token for token in _TOKEN.findall(folded)]


def search_form(text: str) -> str:
    """`text` as search compares it: normalised, look-alikes and digits folded, lower case, no spaces inside Khmer."""
    folded = (
        fold_digits(normalise(text, fold_coeng_da=True))
        .translate(_INHERENT)
        .lower()
        .replace("’", "'")
        .replace("wi-fi", "wifi")
        .replace("'s", "")
    )
    return _SPACE_IN_KHMER.sub("", folded) if not folded.isascii() else folded


def trigrams(run: str) -> list[str]:
    """Trigrams of a run of Khmer; a shorter run is one term."""
    if len(run) < 3:
        return [run]
    return [run[index : index + 3] for index in range(len(run) - 2)]


def _number(token: str) -> str:
    """`5,000`, `5.000` and `5 000` are 5000; `2.5` stays."""
    groups = re.split("[., \u00a0]", token)
    if len(groups) > 1 and all(len(group) == 3 for group in groups[1:]) and groups[0] != "0":
        return "".join(groups)
    return token.replace(",", ".")
