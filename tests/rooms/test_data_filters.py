"""The named filters of recipe `text`: each rule drops with its step and reason, C4 takes lines out, thresholds by language."""

from __future__ import annotations

import random

import pytest
from data_papers import make

from baray.core import Refused
from baray.data.recipes import FILTERS, TextRecipe, by_language, filter_set, read_options

PARTS = "ba ke lo mi nu ra se ti vo wa".split()
WORDS = [first + second + third for first in PARTS for second in PARTS for third in ("n", "rt", "st")]
RNG = random.Random(5)


def sentence() -> str:
    some = RNG.choices(WORDS, k=9)
    return f"The {' '.join(some[:4])} and {some[4]} of {some[5]} that have {some[6]} with {some[7]} to {some[8]}."


PROSE = "\n".join(" ".join(sentence() for _ in range(4)) for _ in range(8))
KHMER = "ប្រជាជននៅក្នុងភូមិនេះធ្វើស្រែចម្ការ និងទៅផ្សារជារៀងរាល់ព្រឹក។ ថ្ងៃនេះមេភូមិថាទឹកទន្លេឡើងពីព្រលឹម។"


def lines(count: int, *, end: str = ".") -> str:
    return "\n".join(" ".join(RNG.choices(WORDS, k=12)) + f" of the {number}" + end for number in range(count))


def only(tmp_path, text, filters="all", **options):
    """Reason and step of the one Document that is not prose, or None, and what prose became."""
    made = make(tmp_path, {"prose.txt": PROSE.encode(), "text.txt": text.encode()}, filters=filters, **options)
    assert made.texts()["prose.txt"] == PROSE
    dropped = [(row["step"], row["reason"], row["detail"]) for row in made.dropped]
    return made, dropped


@pytest.mark.parametrize(
    ("filters", "step", "reason", "text"),
    [
        ("all", "gopher_repetition", "duplicate_lines", f"{lines(3)}\n" * 2 + lines(1)),
        ("gopher_repetition", "gopher_repetition", "top_2_gram", "office paper " * 30 + PROSE[:900]),
        ("gopher_repetition", "gopher_repetition", "duplicate_5_gram", PROSE[:900] + (PROSE[900:1100] + " x ") * 3),
        ("gopher_quality", "gopher_quality", "too_few_words", "The people of the land have water and letters."),
        ("gopher_quality", "gopher_quality", "too_many_hashes", PROSE + " # x" * 200),
        ("gopher_quality", "gopher_quality", "too_many_bullets", lines(12).replace("\n", "\n- ")[12:]),
        ("all", "gopher_quality", "too_few_stop_words", " ".join(RNG.choices(WORDS, k=200)) + "."),
        ("all", "c4", "curly_bracket", PROSE + "\nThis is the code { of it.".replace("\n", "\n")),
        ("c4", "c4", "lorem_ipsum", PROSE + "\nHere is Lorem ipsum for you."),
        ("c4", "c4", "too_few_sentences", lines(20, end="")),
        ("fineweb", "fineweb", "few_line_ends", lines(20, end="")),
        ("fineweb", "fineweb", "short_lines", "\n".join(f"{word} of the {at}." for at, word in enumerate(WORDS[:20]))),
        ("fineweb", "fineweb", "list", "\n".join(f"{word} {'y' * 40}." for word in WORDS[:20])),
    ],
)  # fmt: skip
def test_each_rule_drops_with_its_name(tmp_path, filters, step, reason, text):
    _, dropped = only(tmp_path, text, filters)
    assert [found[:2] for found in dropped] == [(step, reason)]
    assert dropped[0][2].endswith(".")


def test_without_filters_nothing_of_it_happens(tmp_path):
    made, dropped = only(tmp_path, "The people of the land have { water } and letters.", "")
    assert dropped == []
    assert [step["step"] for step in made.report["steps"]] == [
        "read", "language", "quality", "exact_duplicates", "near_duplicates",
    ]  # fmt: skip


def test_the_report_tells_each_filter(tmp_path):
    made, _ = only(tmp_path, "The people of the land have water and letters.", "fineweb,gopher_quality")
    steps = {step["step"]: step for step in made.report["steps"]}
    assert list(steps)[3:5] == ["gopher_quality", "fineweb"]
    assert steps["gopher_quality"]["dropped"] == {"too_few_words": 1}


def test_c4_takes_lines_out_and_tells_duplicates_by_what_is_left(tmp_path):
    noisy = PROSE.replace("\n", "\nHome | About | Contact\n  ", 2).replace(" that have", "[3] that have", 1)
    made = make(tmp_path, {"a.txt": PROSE.encode(), "b.txt": noisy.encode()}, filters="c4")
    assert made.texts() == {"a.txt": PROSE}
    assert made.reasons() == {"b.txt": "exact_duplicate"}


def test_thresholds_of_one_language(tmp_path):
    papers = {"en.txt": PROSE.encode(), "km.txt": (KHMER * 3).encode()}
    kept = make(tmp_path / "a", papers, filters="gopher_quality", gopher_min_words="50, km=10")
    assert len(kept.rows) == 2
    fewer = make(tmp_path / "b", papers, filters="gopher_quality", gopher_min_words="50, km=1000")
    assert fewer.reasons() == {"km.txt": "too_few_words"}


def test_good_khmer_stays_by_the_defaults(tmp_path):
    texts = [f"{KHMER} លេខ {number} ។ " for number in range(3)]
    made = make(
        tmp_path, {"km.txt": "\n".join(texts).encode(), "en.txt": PROSE.encode()}, filters="gopher_quality,c4,fineweb"
    )
    assert set(made.texts()) == {"km.txt", "en.txt"}


def test_options_of_filters():
    assert filter_set(read_options(TextRecipe, {"filters": "all"})) == frozenset(FILTERS)
    assert filter_set(read_options(TextRecipe, {"filters": "c4, fineweb"})) == {"c4", "fineweb"}
    assert filter_set(read_options(TextRecipe, {"filters": "none"})) == frozenset()
    assert by_language("x", "50, km=100") == {"en": 50, "km": 100, "other": 50}
    for options in (
        {"filters": "gopher"},
        {"gopher_min_words": "many"},
        {"gopher_min_words": "fr=3"},
        {"gopher_min_words": "km=3"},
        {"gopher_min_words": "-1"},
        {"gopher_min_words": "nan"},
    ):
        with pytest.raises(Refused) as refused:
            read_options(TextRecipe, options)
        assert refused.value.code == "bad_option"
