"""Words of Khmer: nothing but spaces is put in, a lexicon decides, unknown words are told by their clusters."""

import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from baray.core import Refused
from baray.text import learn_lexicon, read_lexicon, segment, word_model, words
from baray.text.lexicon import WORDS

GOLD = Path(__file__).parents[3] / "shared" / "data" / "khmer" / "segmentation"
MODEL = word_model(dict.fromkeys(WORDS, 3))
PIECES = st.sampled_from(
    [
        *"កខាសិរ្ត្រេំះ៖។ៗ១២ ab1'’-.\n\t\u200b\u200d\u2060\u00ad\u25cc\u0301\u0e31😀\ufe0f",
        "្រ",
        "ខ្មែរ",
        "ភាសា",
        "សំបុត្រ",
        "កំណើត",
    ]
)
ANY = st.lists(PIECES, max_size=30).map("".join)


def only_spaces_put_in(text: str, cut: str) -> bool:
    at = 0
    for character in cut:
        if at < len(text) and character == text[at]:
            at += 1
        elif character != " ":
            return False
    return at == len(text)


@settings(max_examples=500, deadline=None)
@given(ANY)
def test_only_spaces_are_put_in(text: str) -> None:
    for model in (MODEL, None):
        cut = segment(text, model)
        assert only_spaces_put_in(text, cut)
        assert [seen(piece) for piece in cut.split() if seen(piece)] == [seen(word) for word in words(text, model)]


def seen(text: str) -> str:
    return re.sub("[\u200b\u200d\u2060\u00ad]", "", text)


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("ភាសាខ្មែរសំបុត្រកំណើត", "ភាសាខ្មែរ សំបុត្រកំណើត"),  # the longest known words, not the most
        ("ថ្លៃ១២៥០០រៀល។", "ថ្លៃ ១២៥០០ រៀល ។"),
        ("សំបុត្រ\u200bកំណើត", "សំបុត្រ\u200b កំណើត"),  # a typist's break counts more than the lexicon
        ("ផ្សេងៗ  ដី\n\nផ្ទះ", "ផ្សេងៗ  ដី\n\nផ្ទះ"),  # white space stays as it is
        ("don't ask A4 (ISO)", "don't ask A4 ( ISO )"),
        ("co\u00adoperate e\u0301te\u0301", "co\u00adoperate e\u0301te\u0301"),
        ("ภาษาไทย हिन्दी", "ภาษาไทย हिन्दी"),  # other scripts keep their words, marks and all
        ("កម្ពុជាឡេវតេវធ្វើ", "កម្ពុជា ឡេវតេវ ធ្វើ"),  # an unknown word stays in one piece
        ("", ""),
        ("\u200bក", "\u200bក"),
    ],
)
def test_words(text: str, cut: str) -> None:
    assert segment(text, MODEL) == cut


def test_without_a_lexicon_clusters_are_parted() -> None:
    assert segment("ខ្មែរ ១២", None) == "ខ្មែ រ ១២"


def test_counts_decide() -> None:
    together = word_model({"ហើយក៏": 50, "ហើយ": 60, "ក៏": 60, "ទៅ": 800})
    apart = word_model({"ហើយក៏": 1, "ហើយ": 4000, "ក៏": 4000, "ទៅ": 800})
    assert words("ហើយក៏ទៅ", together) == ["ហើយក៏", "ទៅ"]
    assert words("ហើយក៏ទៅ", apart) == ["ហើយ", "ក៏", "ទៅ"]


def test_a_lexicon_is_read_and_a_bad_line_is_named() -> None:
    assert read_lexicon(["\ufeffទឹក\t3\r\n", "\n", "ដី\t1\n", "ទឹក\t2"]) == {"ទឹក": 5, "ដី": 1}
    for line in ("ដី", "ដី 3", "ដី\tx", "ដី\t0", "\t4", "ដី\t-1"):
        with pytest.raises(Refused, match="Line 2 "):
            read_lexicon(["ទឹក\t3", line])
    with pytest.raises(Refused, match="no word"):
        read_lexicon(["\n"])
    assert words("ទឹកដី", word_model({"ទឹក ដី": 5, "ទឹក": 1, "ដី": 1})) == ["ទឹក", "ដី"]


def test_a_lexicon_is_learnt_from_breaks() -> None:
    known = sorted(WORDS)[:160]
    typed = [
        "\u200b".join((word, known[(at * 7 + 3) % 160], known[(at * 11 + 5) % 160])) for at, word in enumerate(known)
    ]
    learnt = learn_lexicon(typed)
    assert learnt is not None
    assert learnt == learn_lexicon(reversed(typed))
    model = word_model(learnt)
    right = sum(words(line.replace("\u200b", ""), model) == line.split("\u200b") for line in typed)
    assert right > 0.9 * len(typed)
    assert learn_lexicon(["".join(known)]) is None
    assert learn_lexicon(["plain English text"] * 500) is None


@pytest.mark.parametrize("field", ["economic", "science", "research"])
def test_words_of_a_field_that_no_lexicon_knows(field: str) -> None:
    """The lexicon is counted from the other fields' sentences; the whole measurement is in `bench khmer`."""
    if not GOLD.is_dir():
        pytest.skip("the third-party sentences are not here")
    sentences = {
        path.stem: [
            re.sub("[_~^]", "", line.partition("\t")[2]).split() for line in path.read_text("utf-8").splitlines()
        ]
        for path in GOLD.glob("*.tsv")
    }
    model = word_model(
        Counter(word for name in sentences if name != field for line in sentences[name] for word in line)
    )
    hit = found = there = 0
    for gold in sentences[field]:
        got, right = spans(words("".join(gold), model)), spans(gold)
        hit, found, there = hit + len(got & right), found + len(got), there + len(right)
    assert 2 * hit / (found + there) > 0.92


def spans(pieces: list[str]) -> set[tuple[int, int]]:
    found, at = set(), 0
    for piece in pieces:
        found.add((at, at + len(piece)))
        at += len(piece)
    return found
