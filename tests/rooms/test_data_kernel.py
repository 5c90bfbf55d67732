"""The compiled pass: words, measures of each filter against plain Python that says the same, rules, and what is kept compiled."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from baray.data.kernel import characters, measures, rules
from baray.data.kernel.compiled import jit

ENGLISH = measures.LanguageRules(stop_words=rules.STOP_WORDS["en"], line_ends=".?!\"'", least_words=3, short_line=30)
CHINESE_END = characters.CHINESE_END
ANY_LINE = measures.LanguageRules(stop_words=(), line_ends="", least_words=0, short_line=30)
PIECES = (
    "the cat sat. and the dog Don't can't e.g. U.S. Mr.X foo.bar Foo.Bar http://a.bc/d a@b.cd 10km 5% $5 ... … -- a-b x,y"
    " (see :) ) [1] [edit] {x} javascript lorem ipsum • - # ***"
    " === ខ្មែរ ភាសា។ ព្រះរាជា ១២៣ é 中文 🎉 \u00a0 \t \r\n \n \n\n \u2028 ’s 'quoted'"
    " uses cookies Terms of Use. word! Really? end..."
).split(" ")
TEXTS = st.lists(st.sampled_from([*PIECES, " ", "\n"]) | st.text(max_size=3), max_size=60).map(" ".join)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("The cat can't sit, e.g. (Mr. Smith's)", "The|cat|ca|n't|sit|,|e.g.|(|Mr.|Smith|'s|)"),
        ("foo.bar Foo.Bar foo.Bar docs.python.org/x a@b.com", "foo.bar|Foo|.|Bar|foo|.|Bar|docs.python.org/x|a@b.com"),
        ("10km 5G 100% US$5 10am 3-4 1,000 x,y", "10|km|5|G|100|%|US$|5|10|am|3|-|4|1,000|x|,|y"),
        ("a--b a---b --opt -x /usr/lib a=b", "a|--|b|a|---|b|--opt|-x|/usr|/|lib|a|=|b"),
        ("x... y…z .. .hidden word:) (see:) 8)", "x|...|y|…|z|..|.hidden|word|:)|(|see|:)|8)"),
        ("“Hi,” he’s ***", "“|Hi|,|”|he|’s|*|*|*"),
        ("U.S. end. R&D a|b _a_", "U.S.|end|.|R&D|a|b|_|a|_".replace("a|b", "a\0b")),
        ("ភាសាខ្មែរ (ខេត្ត)។", "ភា|សា|ខ្មែ|រ|(|ខេ|ត្ត|)|។"),
        ("192.168.1.1 8.8.8.8/x 8.8.8.8.", "192.168.1.1|8.8.8.8/x|8.8.8.8|."),
    ],
)
def test_words(text, found):
    assert measures.words(text) == [word.replace("\0", "|") for word in found.split("|")]


@given(TEXTS)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_words_hold_all_that_is_not_white_space(text):
    text = text.encode("utf-8", "replace").decode()
    assert "".join(measures.words(text)) == "".join(text.split())


@given(st.lists(TEXTS, max_size=4))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_measures_are_those_of_plain_python(texts):
    texts = [text.encode("utf-8", "replace").decode() for text in texts]
    every = measures.REPETITION | measures.QUALITY | measures.C4 | measures.FINEWEB
    rows = measures.measure(pl.Series(texts, dtype=pl.String), [0] * len(texts), [ENGLISH], groups=every).frame()
    for text, row in zip(texts, rows.iter_rows(named=True), strict=True):
        expected = plain_counts(text) | plain_repetition(text) | plain_lines(text)
        assert {name: row[name] for name in expected} == expected


def plain_counts(text: str) -> dict[str, int]:
    words = measures.words(text)
    symbols = {chr(code) for code in range(characters.TABLE) if not characters.flag_table()[code] & characters.PLAIN}
    plain = [word for word in words if set(word) - symbols]
    return {
        "characters": len(text),
        "words": len(words),
        "newlines": text.count("\n"),
        "plain_words": len(plain),
        "plain_letters": sum(map(len, plain)),
        "alphabetic_words": sum(any(map(is_letter, word)) for word in words),
        "hashes": text.count("#"),
        "ellipses": text.count("...") + text.count("…"),
        "stop_words": len(set(rules.STOP_WORDS["en"]) & set(words)),
    }


def is_letter(character: str) -> bool:
    """As Python has it; above the table each place in the blocks of Chinese letters, whether Python knows one there or not."""
    return character.isalpha() if ord(character) < characters.TABLE else ord(character) < CHINESE_END


def repeated(parts: list[str]) -> tuple[int, int]:
    again = [part for at, part in enumerate(parts) if part in set(parts[:at])]
    return len(again), sum(map(len, again))


def plain_repetition(text: str) -> dict[str, int]:
    words = measures.words(text)
    paragraphs, lines = re.split("\n{2,}", text.strip()), re.split("\n+", text)
    found = dict(zip(("repeated_paragraphs", "repeated_paragraph_letters"), repeated(paragraphs), strict=True))
    found |= dict(zip(("repeated_lines", "repeated_line_letters"), repeated(lines), strict=True))
    for size in range(2, 5):
        runs = Counter(" ".join(words[at : at + size]) for at in range(len(words) - size + 1))
        found[f"top_{size}"] = max((len(run) * times for run, times in runs.most_common(1)), default=-1)
    for size in range(5, 11):
        seen, letters, at = set(), 0, 0
        while at <= len(words) - size:
            run = "".join(words[at : at + size])
            letters, at = (letters + len(run), at + size) if run in seen else (letters, at + 1)
            seen.add(run)
        found[f"repeated_{size}"] = letters
    return found | {"paragraphs": len(paragraphs), "lines": len(lines)}


def plain_lines(text: str) -> dict[str, int]:
    lines = text.splitlines()
    inked = [line for line in text.split("\n") if line.strip()]
    ends = tuple(chr(code) for code in range(characters.TABLE) if characters.flag_table()[code] & characters.TERMINAL)
    return {
        "split_lines": len(lines),
        "bullet_lines": sum(line.lstrip().startswith(("•", "-")) for line in lines),
        "open_lines": sum(line.rstrip().endswith(("...", "…")) for line in lines),
        "inked_lines": len(inked),
        "ended_lines": sum(line.endswith(ends) for line in inked),
        "short_lines": sum(len(line) <= 30 for line in inked),
        "repeated_letters": repeated(inked)[1],
    }


@pytest.mark.parametrize(
    ("text", "state", "kept", "sentences"),
    [
        ("One good line here. And more of it!\nno stop\nAnother good line here.", 0, 2, 3),
        ("A line with lorem ipsum in it.", 2, 0, 0),
        ("A line with Lorem Ipsum but no end\nA fine line is here.", 0, 1, 1),
        ("A line of code { here.", 3, 0, 0),
        ("Please enable JavaScript for this.\nA fine line is here.", 0, 1, 1),
        ("See our privacy policy for this.\nWe USE COOKIES on this page.", 0, 0, 0),
        ("It is cited here.[12] So it is. [3]\nIt is cited here.[4]", 0, 1, 1),
        ("Two words.\nA fine line of " + "x" * 1001 + ".", 0, 0, 0),
        ("A line that goes on...", 0, 0, 0),
        ('He said: "It is so." She: "No!"', 0, 1, 2),
        ("", 0, 0, 0),
    ],
)
def test_lines_of_c4(text, state, kept, sentences):
    row = measures.measure(pl.Series([text]), [0], [ENGLISH], groups=measures.C4).frame().row(0, named=True)
    assert (row["c4_state"], row["c4_kept"], row["c4_sentences"]) == (state, kept, sentences)


def test_verdicts_tell_the_lines_of_each_text():
    texts = ["Keep this line here.\nnot this\r\nKeep this one too!", "", "no\u2028A good line it is."]
    found = measures.measure(pl.Series(texts), [0, 0, 0], [ENGLISH], groups=measures.C4)
    bounds = zip(found.line_places[:-1], found.line_places[1:], strict=True)
    verdicts = [found.kept_lines[low:high].tolist() for low, high in bounds]
    assert verdicts == [[1, 0, 1], [], [0, 1]]


def test_a_row_does_not_depend_on_the_others():
    texts = ["the cat. " * 50, "ភាសាខ្មែរ។ " * 30, "a\n" * 100, "", "x" * 5000]
    together = measures.measure(pl.Series(texts), [0] * 5, [ANY_LINE], groups=15).counts
    for at, text in enumerate(texts):
        alone = measures.measure(pl.Series(["other", text])[1:], [0], [ANY_LINE], groups=15).counts
        assert alone.tolist() == together[at : at + 1].tolist()


def test_only_the_first_million_of_a_text_is_measured():
    row = measures.measure(pl.Series(["word " * 300_000]), [0], [ENGLISH], groups=15).frame().row(0, named=True)
    assert (row["characters"], row["words"]) == (measures.LONGEST, measures.LONGEST // 5)


def test_where_nothing_can_be_kept_it_is_compiled_anew(monkeypatch, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setattr(jit, "places", lambda: [blocked / "below"])

    def twice(value: int) -> int:
        return value * 2

    assert jit.entry(twice)(21) == 42


def test_a_folder_that_others_may_write_is_not_trusted(monkeypatch, tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    monkeypatch.setattr(jit, "places", lambda: [shared, tmp_path / "own"])

    def thrice(value: int) -> int:
        return value * 3

    assert jit.entry(thrice)(3) == 9
    assert list(shared.iterdir()) == []
    assert len(list((tmp_path / "own").glob("*.nbi"))) == 1


def test_the_door_loads_no_compiler():
    program = "import sys, baray.data, baray.data.recipes; print('numba' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
