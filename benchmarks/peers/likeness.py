"""Near duplicates of the recipe against brute force: all pairs of Documents by their true similarity.

Documents are sentences of one text, put together by chance; a third is another Document with some sentences changed, so that
similarities from 0.5 to 1 occur. Brute force counts the shingles that any two Documents share, and drops, in the same order of
preference, whatever is at least as alike as the threshold to one that stays. Precision: the part of what the recipe drops that
brute force drops too; recall: the part of what brute force drops that the recipe drops.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from baray.data.duplicates.minhash import band_keys, shingle_set
from baray.data.duplicates.near import NearRule, Texts, near
from baray.data.duplicates.rules import STAYS, StandIn, all_stay

DAY = "2026-01-01"
THRESHOLD = 0.8


def some_alike(sentences: Sequence[str], number: int) -> list[str]:
    """Documents, a third of them like another one."""
    chance = random.Random(20261122)
    found: list[list[str]] = []
    for at in range(number):
        document = chance.choices(sentences, k=30)
        if at % 3 == 2:
            document = list(chance.choice(found))
            for place in chance.sample(range(30), chance.randrange(1, 8)):
                document[place] = chance.choice(sentences)
        found.append(document)
    return ["\n".join(document) for document in found]


def precision_and_recall(texts: Sequence[str]) -> tuple[float, float]:
    """How the recipe's drops agree with those of brute force."""
    ours, true = dropped(texts), dropped_by_brute_force(texts)
    both = len(ours & true)
    return both / max(1, len(ours)), both / max(1, len(true))


def dropped(texts: Sequence[str]) -> set[int]:
    """What the recipe drops, the first Document being the one to stay."""
    number = len(texts)
    nothing = pl.Series([None] * number, dtype=pl.String)
    facts = pl.DataFrame({"label": ["public"] * number, "valid_from": nothing, "valid_until": nothing})
    keys, decided = band_keys(texts)[0], all_stay(number)
    reading = Texts(band=lambda band: keys[:, band].copy(), of=lambda row: texts[row], fetch=lambda _rows: None)
    rule = NearRule(threshold=THRESHOLD, numbers_must_agree=False)
    with tempfile.TemporaryDirectory() as scratch:
        near(np.arange(number), reading, StandIn(facts, DAY), decided, rule, Path(scratch))
    return set(np.flatnonzero(decided.how != STAYS).tolist())


def dropped_by_brute_force(texts: Sequence[str]) -> set[int]:
    """What all pairs say."""
    sets = [shingle_set(text) for text in texts]
    sizes = np.array([len(one) for one in sets])
    shingles = np.concatenate(sets)
    owners = np.repeat(np.arange(len(sets)), sizes)
    order = np.lexsort((owners, shingles))
    starts = np.flatnonzero(np.concatenate([[True], np.diff(shingles[order].view(np.int64)) != 0]))
    shared = np.zeros((len(sets), len(sets)), dtype=np.int32)
    for group in np.split(owners[order], starts[1:]):
        if len(group) > 1:
            shared[np.ix_(group, group)] += 1
    gone: set[int] = set()
    stays = np.zeros(len(sets), dtype=np.bool_)
    for row in range(len(sets)):
        alike = shared[row] / np.maximum(1, sizes + sizes[row] - shared[row]) >= THRESHOLD
        if (alike & stays).any():
            gone.add(row)
        stays[row] = row not in gone
    return gone
