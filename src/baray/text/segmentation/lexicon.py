"""Lexicons: words with their counts, read from a file or learnt from a text's own breaks, and the model made of one.

The probability of an unknown word's clusters backs off in the manner of Witten and Bell (IEEE Trans. Inf. Theory 37(4),
1991): what followed a cluster, else the cluster alone, else its letters.
"""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from baray.core import Refused
from baray.text.khmer import INVISIBLE
from baray.text.segmentation.reading import PREFIX, SCALE, WordModel
from baray.text.segmentation.units import KHMER, units

UNKNOWN_SHARE = 0.04
"""Of the words of a text of another field than the lexicon's. Measured: 4 to 9 % on eight kinds of text."""
WORD_BONUS = 1.25
"""Taken off the cost of every word: one word is one factor and two words are two, so words would be joined too often."""
_LETTERS = 128
_LETTER_GOES_ON = 0.7
_BEGIN, _END = "^", "$"
_LONGEST_UNITS = 24
"""Longer entries are sentences, not words."""
_HIDDEN = re.compile(f"[{INVISIBLE}]+")


def read_lexicon(lines: Iterable[str]) -> dict[str, int]:
    """Words and counts of lines `word<TAB>count`; counts of one word add up. Raises Refused `bad_lexicon`."""
    counts: Counter[str] = Counter()
    for number, line in enumerate(lines, 1):
        entry = line.strip("\r\n\ufeff")
        if not entry.strip():
            continue
        word, tab, count = entry.partition("\t")
        if not tab or not count.strip().isdecimal() or int(count) < 1 or not word.strip():
            raise Refused(
                "bad_lexicon",
                f"Line {number} of the lexicon is {entry[:60]!r} and not a word, a tab and a count of 1 or more.",
                fix="Write one word a line: word<TAB>count. Where counts are not known, write 1.",
            )
        counts[word.strip()] += int(count)
    if not counts:
        raise Refused("bad_lexicon", "The lexicon holds no word.", fix="Write one word a line: word<TAB>count.")
    return dict(counts)


def word_model(counts: Mapping[str, int]) -> WordModel:
    """Turn counted words into costs. What holds white space is left out: no word of a text does."""
    known: Counter[str] = Counter()
    keys: dict[str, list[str]] = {}
    for word, count in counts.items():
        key = _HIDDEN.sub("", word)
        pieces = [unit.key for unit in units(key)]
        if key and len(pieces) <= _LONGEST_UNITS and not any(piece.isspace() for piece in pieces):
            known[key] += count
            keys[key] = pieces
    total = sum(known.values())
    words: dict[str, int] = {}
    for word, pieces in keys.items():
        for end in range(1, len(pieces)):
            words.setdefault("".join(pieces[:end]), PREFIX)
        words[word] = _cost(known[word] / total) - round(WORD_BONUS * SCALE)
    return _with_clusters(words, keys)


def _with_clusters(words: dict[str, int], keys: Mapping[str, list[str]]) -> WordModel:
    """Add the costs of unknown words, which are told by the clusters of the Khmer ones among the known."""
    singles: Counter[str] = Counter()
    pairs: Counter[tuple[str, str]] = Counter()
    for word, pieces in keys.items():
        if all(unit.kind == KHMER for unit in units(word)):
            chain = [_BEGIN, *pieces, _END]
            singles.update(chain[1:])
            pairs.update(itertools.pairwise(chain))
    after: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    for (first, _), count in pairs.items():
        after[first] += count
        kinds[first] += 1
    letters, new, alone = _alone(singles)

    def following(first: str, second: str) -> float:
        some = kinds[first] / (after[first] + kinds[first])
        return (1 - some) * pairs[first, second] / after[first] + some * alone[second]

    backs = {first: _cost(kinds[first] / (after[first] + kinds[first])) for first in after}
    extra = _cost(UNKNOWN_SHARE) - round(WORD_BONUS * SCALE)
    begins, ends, follows = {}, {}, {}
    for first, second in pairs:
        cost = _cost(following(first, second))
        if first == _BEGIN:
            begins[second] = cost + extra
        elif second == _END:
            ends[first] = cost
        else:
            follows[first, second] = cost
    return WordModel(
        words=words,
        begins=begins,
        follows=follows,
        ends=ends,
        backs=backs,
        singles={cluster: _cost(share) for cluster, share in alone.items() if cluster != _END},
        letters=letters,
        new=new,
        begins_back=backs.get(_BEGIN, 0) + extra,
        ends_back=_cost(alone.get(_END, 0.1)),
    )


def _alone(singles: Counter[str]) -> tuple[tuple[int, ...], int, dict[str, float]]:
    """Costs of letters, cost of a new cluster before its letters, and the probability of each cluster by itself."""
    counts: defaultdict[int, float] = defaultdict(float)
    for cluster, count in singles.items():
        for character in cluster:
            counts[_place(character)] += count
    total = sum(counts.values())
    shares = [_LETTER_GOES_ON * (counts[at] + 0.5) / (total + _LETTERS / 2) for at in range(_LETTERS)]
    clusters, kinds = sum(singles.values()), len(singles) + 1
    fresh = kinds / (clusters + kinds)

    def share(cluster: str) -> float:
        return singles[cluster] / (clusters + kinds) + fresh * math.prod(shares[_place(c)] for c in cluster)

    return tuple(map(_cost, shares)), _cost(fresh), {cluster: share(cluster) for cluster in singles}


def _place(character: str) -> int:
    at = ord(character) - 0x1780
    return at if 0 <= at < _LETTERS else _LETTERS - 1


def _cost(share: float) -> int:
    return round(-SCALE * math.log(share))
