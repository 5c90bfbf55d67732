"""Known answers for the identity of a Dataset, and the likeness of texts against a slow count."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from baray.data.documents import Paper, compared_digest, document_id, tidy
from baray.data.duplicates import minhash
from baray.data.duplicates.minhash import SHINGLE, band_keys, jaccard, shingle_set
from baray.data.duplicates.rules import amounts
from baray.data.kernel.measures import sign
from baray.data.pipeline.output import IDENTITY, Identity
from baray.data.readers import SourceFile
from baray.data.readers.layout import in_logical_order
from baray.text import clusters

VECTORS = json.loads((Path(__file__).parents[1] / "vectors/data/identity.json").read_text(encoding="utf-8"))
KHMER = "សំរាមតាមផ្ទះត្រូវប្រមូលបីដងក្នុងមួយសប្តាហ៍ គឺថ្ងៃច័ន្ទ ថ្ងៃពុធ និងថ្ងៃសុក្រ។ ត្រូវដាក់សំរាមនៅមុខផ្ទះ"
TOKEN = re.compile(r"[^\W_]+")


def test_identity_vector():
    identity = Identity()
    assert identity.digest() == VECTORS["empty"]
    identity.add(VECTORS["rows"][:1])
    identity.add([{**row, "quality": 0.5, "language_km": 1.0} for row in VECTORS["rows"][1:]])
    assert identity.digest() == VECTORS["digest"]


@pytest.mark.parametrize("name", IDENTITY)
def test_each_column_of_the_identity_counts(name):
    identity = Identity()
    identity.add([{**VECTORS["rows"][0], name: "other"}, *VECTORS["rows"][1:]])
    assert identity.digest() != VECTORS["digest"]


@pytest.mark.parametrize("case", VECTORS["ids"])
def test_id_vector(case):
    file = SourceFile(path=case["path"], blob=Path("x"), bytes=0)
    paper = Paper(
        path=case["path"], digest=case["source_digest"], file=file, label="public",
        valid_from=None, valid_until=None, office=None, twin=case["twin"],
    )  # fmt: skip
    assert document_id(paper, case["record"]) == case["id"]


def test_tidy_text():
    assert tidy("a \r\nb\x00\x07 \n\n\n\n\u200bc\t\ud800 ") == "a\nb\n\nc\t?"
    assert compared_digest("ក  ខ\n") == compared_digest("ក ខ")
    assert compared_digest("ស្ដី") == compared_digest("ស្តី")
    assert compared_digest("a") != compared_digest("b")


def slow_shingles(text: str) -> set[tuple[str, ...]]:
    """The same by plain Python: clusters of Khmer, runs of letters and digits of the rest."""
    tokens: list[str] = []
    run = ""
    for cluster in clusters(text.lower().replace("\u17d2\u178a", "\u17d2\u178f")):
        khmer = re.match("[\u1780-\u17d3\u17dd]", cluster)
        if not khmer and TOKEN.fullmatch(cluster):
            run += cluster
            continue
        tokens += [run] if run else []
        run = ""
        tokens += [cluster] if khmer else []
    tokens += [run] if run else []
    if 0 < len(tokens) < SHINGLE:
        return {tuple(tokens)}
    return {tuple(tokens[at : at + SHINGLE]) for at in range(len(tokens) - SHINGLE + 1)}


PARTS = st.sampled_from([*KHMER.split(), "the", "fee", "of", "5,000", "riel", "ថ្លៃ", "។", "\n", "A-1", "é"])
SOME_TEXT = st.lists(PARTS, max_size=40).map(" ".join)


@given(first=SOME_TEXT, second=SOME_TEXT)
def test_similarity_is_the_true_jaccard(first, second):
    one, two = slow_shingles(first), slow_shingles(second)
    assert len(shingle_set(first)) == len(one)
    expected = len(one & two) / len(one | two) if one | two else 0.0
    assert jaccard(shingle_set(first), shingle_set(second)) == pytest.approx(expected)


@given(texts=st.lists(SOME_TEXT, min_size=1, max_size=6))
def test_signatures_do_not_depend_on_the_batch(texts):
    keys, some = band_keys(texts)
    for at, text in enumerate(texts):
        alone, has = band_keys([text])
        assert (alone[0] == keys[at]).all()
        assert has[0] == some[at] == bool(slow_shingles(text))


def test_alike_texts_share_a_band():
    rng = random.Random(7)
    words = [f"{a}{b}" for a in "bcdfghklmn" for b in "aeiou"]
    found = tried = 0
    for _ in range(200):
        text = [rng.choice(words) for _ in range(200)]
        changed = list(text)
        for at in rng.sample(range(200), 4):
            changed[at] = "other"
        first, second = " ".join(text), " ".join(changed)
        if jaccard(shingle_set(first), shingle_set(second)) < 0.8:
            continue
        keys, _ = band_keys([first, second])
        tried += 1
        found += bool((keys[0] == keys[1]).any())
    assert tried >= 100
    assert found >= 0.98 * tried


ANY_TEXT = (
    st.text(max_size=20) | st.text("İΣσςẞ\U00020000\U0001d7d8\U000e0041ខ្ដក្តៗ១ a\n\u200b", max_size=20) | SOME_TEXT
)


@given(texts=st.lists(ANY_TEXT, min_size=1, max_size=6))
@settings(deadline=None)
def test_the_compiled_pass_signs_as_arrays_do(texts):
    texts = [text.encode("utf-8", "replace").decode() for text in texts]
    minima, some = minhash.array_minima(texts)
    signed = sign(pl.Series(texts), *minhash.permutations())
    assert (signed.minima == minima).all()
    assert ((signed.tokens > 0) == some).all()


def test_many_texts_have_the_keys_that_few_have():
    texts = [KHMER, "The fee is 4,000 riel.", "", "!!!"]
    few, some = band_keys(texts)
    many, others = band_keys([*texts, "word " * (minhash.COMPILED_FROM // 4)])
    assert (many[:4] == few).all()
    assert others[:4].tolist() == some.tolist() == [True, True, False, False]


def test_signature_vector():
    keys, _ = band_keys(["The fee for a birth certificate is 4,000 riel.", KHMER])
    # Frozen: which near duplicates are found must not change with a library's version.
    assert [int(key) for key in keys[:, 0]] == [12576341846836961497, 3711569631060486778]
    assert np.unique(keys).size == keys.size


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("The fee is 4,000 riel in room 102.", {"4000", "102"}),
        ("ថ្លៃ ៤ ០០០ រៀល បន្ទប់លេខ ១០២", {"4000", "102"}),
        ("Issued on 5 February 2024, again on June 10, 2024 and 2024-06-10 and 10/06/2024.", set()),
        ("ចុះថ្ងៃទី ១ ខែមីនា ឆ្នាំ ២០២៤។", set()),
        ("Circular 07 of 2019 costs 2019.50 riel", {"07", "201950"}),
        ("from 8 a.m. on 3rd May", {"8"}),
    ],
)
def test_amounts_are_not_dates(text, found):
    assert amounts(text) == found


def test_khmer_in_the_order_in_which_it_is_seen():
    seen = "េខត្ត្រពះសាគរ េនៅែខមីនា ្រកសួង ៃថ្ងនេះ"
    assert in_logical_order(seen).startswith("ខេត្តព្រះសាគរ នេៅខែមីនា ក្រសួង")
    assert in_logical_order(KHMER) == KHMER
