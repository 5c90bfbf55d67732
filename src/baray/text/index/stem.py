"""A light stemmer for English: word forms of one office term should meet in one key; the key need not be a word."""

from __future__ import annotations

_VOWELS = frozenset("aeiouy")
# Longest first; (ending, what stands in its place, letters that must remain before it).
_DERIVED = (
    ("ations", "", 3),
    ("ation", "", 3),
    ("ments", "", 3),
    ("ment", "", 3),
    ("ances", "", 4),
    ("ences", "", 4),
    ("ance", "", 4),
    ("ence", "", 4),
    ("ness", "", 4),
    ("ants", "", 4),
    ("ents", "", 4),
    ("ant", "", 4),
    ("ent", "", 4),
    ("age", "", 4),
    ("ate", "", 3),
    ("ful", "", 4),
    ("al", "", 4),
    ("ly", "", 4),
)
_IRREGULAR = {
    "children": "child",
    "paid": "pay",
    "lost": "los",
    "losing": "los",
    "official": "offi",
    "officials": "offi",
    "officer": "offi",
    "officers": "offi",
    "permission": "permit",
    "permissions": "permit",
    "built": "build",
    "building": "build",
    "sold": "sell",
    "bought": "buy",
    "born": "birth",
    "died": "death",
    "dead": "death",
    "stolen": "steal",
    "women": "woman",
    "men": "man",
    "people": "person",
    "weekdays": "weekday",
}


def stem(word: str) -> str:
    """The key of a lower-case English `word`; short words and words with digits stay as they are."""
    if len(word) < 4 or not word.isalpha():
        return word
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    word = _inflected(_singular(word))
    for ending, instead, rest in _DERIVED:
        if word.endswith(ending) and len(word) - len(ending) >= rest:
            word = word[: -len(ending)] + instead
            break
    return _last_letters(word)


def _singular(word: str) -> str:
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("sses", "xes", "ches", "shes", "zes")):
        return word[:-2]
    if word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


def _inflected(word: str) -> str:
    if word.endswith("ied") and len(word) > 4:
        return word[:-3] + "y"
    for ending in ("ing", "ed"):
        rest = word.removesuffix(ending)
        if rest != word and len(rest) >= 3 and not _VOWELS.isdisjoint(rest):
            return rest[:-1] if rest[-1] == rest[-2] and rest[-1] not in "lsz" else rest
    return word


def _last_letters(word: str) -> str:
    """Endings that differ between verb, noun and spelling: -e, -y, -er, -ion, -ic, -ce."""
    if word.endswith(("tion", "sion")) and len(word) > 5:
        word = word[:-3]
    if word.endswith(("ize", "iz")) and len(word) > 5:  # one spelling of -ise
        word = word.removesuffix("e")[:-1] + "s"
    if word.endswith("e") and len(word) > 3:
        word = word[:-1]
    if word.endswith("er") and len(word) > 4:
        word = word[:-2] + "r"
    if word.endswith("ic") and len(word) > 4:
        word = word[:-1]
    if word.endswith("ns") and len(word) > 4:
        word = word[:-1] + "c"
    return word[:-1] + "i" if word.endswith("y") and len(word) > 3 else word
