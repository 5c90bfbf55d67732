"""Khmer: one visual form, one encoding; clusters, digits, line breaks."""

import re
import unicodedata
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from baray.text import break_lines, clusters, fold_digits, normalise, normalise_recorded

SHARED = Path(__file__).parents[3] / "shared" / "data" / "khmer"
FIXTURES = SHARED / "normalisation"
HIDDEN = re.compile("[\u00ad\u17b4\u17b5\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]")
# What one mark may be written for: two-part vowels, shifters that moved down as -u, letters that Unicode gave up.
PARTS = str.maketrans({
    "\u17be": "\u17c1\u17b8", "\u17c4": "\u17c1\u17b6", "\u17c9": "\u17bb", "\u17ca": "\u17bb", "\u17a3": "\u17a2",
    "\u17a4": "\u17a2\u17b6",
})  # fmt: skip
KHMER = st.text(
    alphabet=[*map(chr, range(0x1780, 0x17DE)), *"\u17d2\u17d2\u179a\u1780", "\u200b", "\u25cc", " ", "a", "\u0301"],
    max_size=14,
)


@pytest.mark.parametrize(
    ("typed", "right"),
    [
        ("\u1781\u17c2\u17d2\u1798\u179a", "\u1781\u17d2\u1798\u17c2\u179a"),  # vowel before its coeng
        ("\u179f\u17d2\u179a\u17d2\u178f\u17b8", "\u179f\u17d2\u178f\u17d2\u179a\u17b8"),  # coeng RO comes last
        ("\u179b\u17c1\u17b6\u1780", "\u179b\u17c4\u1780"),  # two-part vowel, in either order
        ("\u179b\u17b6\u17c1\u1780", "\u179b\u17c4\u1780"),
        ("\u1792\u17d2\u179c\u17b8\u17c1", "\u1792\u17d2\u179c\u17be"),
        ("\u1780\u17c6\u17bb", "\u1780\u17bb\u17c6"),  # sign before vowel
        ("\u1798\u17c9\u17d2\u1799\u17b6\u1784", "\u1798\u17d2\u1799\u17c9\u17b6\u1784"),  # shifter before coeng
        ("\u179f\u17b8\u17bb", "\u179f\u17ca\u17b8"),  # -u typed for a shifter, first series
        ("\u1798\u17bb\u17b8", "\u1798\u17c9\u17b8"),  # and second series
        ("\u1792\u17d2\u1798\u17cc", "\u1792\u17cc\u17d2\u1798"),  # robat before coeng
        ("\u1780\u17c7\u17c6", "\u1780\u17c6\u17c7"),  # reahmuk last
        ("\u1780\u17d2\u17d2\u179a", "\u1780\u17d2\u179a"),  # coeng typed twice
        ("\u17a4", "\u17a2\u17b6"),  # deprecated letter
        ("\u1780\u200b\u17b6\u200c\ufeff\u1781\u2060", "\u1780\u17b6\u1781"),  # invisible characters
        ("e\u0301", "\u00e9"),
    ],
)
def test_one_form_has_one_encoding(typed: str, right: str) -> None:
    assert normalise(typed) == right
    assert normalise(right) == right


def test_coeng_da_is_kept_in_text_and_folded_in_keys() -> None:
    assert normalise("\u1780\u178e\u17d2\u178a\u17b6\u179b") == "\u1780\u178e\u17d2\u178a\u17b6\u179b"
    assert (
        normalise("\u1780\u178e\u17d2\u178a\u17b6\u179b", fold_coeng_da=True) == "\u1780\u178e\u17d2\u178f\u17b6\u179b"
    )


@settings(max_examples=400, deadline=None)
@given(KHMER)
def test_normalising_twice_changes_nothing_more(text: str) -> None:
    once = normalise(text)
    assert normalise(once) == once
    folded = normalise(text, fold_coeng_da=True)
    assert normalise(folded, fold_coeng_da=True) == folded


@settings(max_examples=200, deadline=None)
@given(KHMER)
def test_clusters_and_breaks_lose_nothing(text: str) -> None:
    assert "".join(clusters(text)) == text
    without = text.replace("\u200b", "")
    assert break_lines(without).replace("\u200b", "") == without


def letters(text: str) -> Counter[str]:
    """What is seen of a text, without its order."""
    once = re.sub("\u17d2+", "\u17d2", HIDDEN.sub("", text))
    return Counter(unicodedata.normalize("NFC", once.translate(PARTS)))


def is_lossless(text: str) -> bool:
    """Normalising twice changes no more, loses no letter and adds none, and what is not seen is recorded."""
    recorded = normalise_recorded(text)
    kept = "".join(characters for _, characters in recorded.hidden) == "".join(HIDDEN.findall(text))
    same = recorded.text == normalise(text) == normalise(recorded.text)
    return kept and same and letters(recorded.text) == letters(text)


@settings(max_examples=400, deadline=None)
@given(KHMER)
def test_nothing_is_lost(text: str) -> None:
    assert is_lossless(text)


SYLLABLES = st.tuples(
    st.sampled_from("កខគងចញដណតថនបផពមយរលវសហអ"),
    st.sampled_from(["", "\u17cc"]),
    st.sampled_from(["", "\u17d2\u1798", "\u17d2\u178f\u17d2\u179a", "\u17d2\u179a", "\u17d2\u178a"]),
    st.sampled_from(["", "\u17c9", "\u17ca"]),
    st.sampled_from(["", *map(chr, range(0x17B6, 0x17C6))]),
    st.sampled_from(["", "\u17c6", "\u17cb", "\u17cd"]),
    st.sampled_from(["", "\u17c7"]),
).map(lambda parts: [parts[0], *re.findall("\u17d2.|.", "".join(parts[1:]))])


@settings(max_examples=400, deadline=None)
@given(SYLLABLES, st.randoms(use_true_random=False))
def test_however_a_syllable_was_typed_it_has_one_encoding(units: list[str], chance) -> None:
    typed = units[1:]
    chance.shuffle(typed)
    assert normalise(units[0] + "".join(typed)) == "".join(units)


def test_twenty_thousand_sentences_lose_nothing() -> None:
    sentences = [
        re.sub("[ _~^]", "", line.partition("\t")[2])
        for path in sorted((SHARED / "segmentation").glob("*.tsv"))
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    if not sentences:
        pytest.skip("the third-party sentences are not here")
    assert len(sentences) >= 20_000
    assert [sentence for sentence in sentences if not is_lossless(sentence)] == []


def test_zero_width_spaces_are_recorded_as_ends_of_words() -> None:
    recorded = normalise_recorded("\ufeffសំបុត្រ\u200bកំណើត\u200bខែ\u200b្មរ\u200d ថ្មី\u200b")
    assert recorded.text == "សំបុត្រកំណើតខ្មែរ ថ្មី"
    assert recorded.hidden == (
        (0, "\ufeff"),
        (7, "\u200b"),
        (12, "\u200b"),
        (16, "\u200b"),
        (17, "\u200d"),
        (22, "\u200b"),
    )
    assert recorded.word_breaks == (7, 12, 16)


def test_digits_of_choice() -> None:
    assert normalise("ទី ១២ (2024)", digits="ascii") == "ទី 12 (2024)"
    assert normalise("ទី ១២ (2024)", digits="khmer") == "ទី ១២ (២០២៤)"


def test_pairs_of_the_spelling_institute() -> None:
    if not FIXTURES.is_dir():
        pytest.skip("the third-party spelling pairs are not here")
    bad = (FIXTURES / "sil-bad.txt").read_text(encoding="utf-8").split()
    good = (FIXTURES / "sil-good.txt").read_text(encoding="utf-8").split()
    assert [normalise(word, fold_coeng_da=True) for word in bad] == good
    assert len(good) > 80


def test_digits_fold_and_nothing_else() -> None:
    assert fold_digits("ថ្លៃ ១២ ៥០០ រៀល (2024)") == "ថ្លៃ 12 500 រៀល (2024)"


def test_clusters_are_what_a_reader_sees_as_one() -> None:
    assert clusters("ខ្មែរ 1") == ["ខ្មែ", "រ", " ", "1"]


def test_lines_break_between_words_and_leave_markup_alone() -> None:
    broken = break_lines('<p title="ថ្លៃសេវា">សូមដាក់ពាក្យនៅបន្ទប់ &amp; ការិយាល័យ</p>')
    assert "សូម\u200bដាក់ពាក្យ\u200bនៅ\u200bបន្ទប់" in broken
    assert "&amp;" in broken
    assert break_lines("plain English, 12 500") == "plain English, 12 500"


def test_a_long_unknown_run_can_still_be_broken() -> None:
    assert break_lines("ឡ" * 40).count("\u200b") >= 5
