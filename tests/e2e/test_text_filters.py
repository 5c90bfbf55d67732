"""`baray text`: filters over streams, without a server, with memory that does not grow."""

import json
import os
import subprocess
import sys
import tempfile

import pytest

from baray.text import normalise, read_lexicon, redact, segment, word_model
from baray.text.lexicon import WORDS

LEXICON = "".join(f"{word}\t3\n" for word in sorted(WORDS))


def filtered(*words, given="", code=0, language="en"):
    data = given if isinstance(given, bytes) else given.encode()
    env = os.environ | {"BARAY_LANG": language, "PYTHONWARNINGS": "error"}
    done = subprocess.run(
        [sys.executable, "-m", "baray", "text", *words],
        input=data,
        capture_output=True,
        env=env,
        check=False,
        timeout=120,
    )
    assert done.returncode == code, done.stderr.decode()
    return done.stdout.decode(), done.stderr.decode()


@pytest.fixture
def lexicon(tmp_path):
    path = tmp_path / "words.tsv"
    path.write_text(LEXICON, encoding="utf-8")
    return str(path)


def test_each_filter_keeps_lines_and_their_ends(lexicon, tmp_path):
    given = "ខែ្មរ ១២\r\n\nសំបុត្រកំណើត 012 345 678"
    assert filtered("normalise", given=given)[0] == "ខ្មែរ ១២\r\n\nសំបុត្រកំណើត 012 345 678"
    assert (
        filtered("normalise", "--set", "digits=ascii", "--set", "fold_coeng_da=true", given="កណ្ដាល ១២")[0] == "កណ្តាល 12"
    )
    assert filtered("segment", "--lexicon", lexicon, given="សំបុត្រកំណើត១២\r\n\nភាសាខ្មែរ")[0] == "សំបុត្រកំណើត ១២\r\n\nភាសាខ្មែរ"
    assert filtered("clusters", given="ខ្មែរ\n")[0] == "ខ្មែ រ\n"
    assert filtered("language", given="ខ្មែរ\nLe bureau est ouvert de huit heures à midi.\n12\n")[0] == "km\nfr\nother\n"
    names = tmp_path / "names.txt"
    names.write_text("សុខ ដារ៉ា\n", encoding="utf-8")
    out, _ = filtered("redact", "--set", f"names={names}", given=given + " លោកសុខដារ៉ា\n")
    assert out == "ខែ្មរ ១២\r\n\nសំបុត្រកំណើត [PHONE] លោក[NAME]\n"


def test_json_is_one_document_with_what_was_taken_out():
    out, _ = filtered("normalise", "--json", given="ក\u200bខ\nb\n")
    assert json.loads(out) == {"items": [{"text": "កខ", "hidden": [[1, "\u200b"]]}, {"text": "b", "hidden": []}]}
    out, _ = filtered("redact", "--json", given="sok@example.org")
    assert json.loads(out) == {"items": [{"text": "[EMAIL]", "counts": {"email": 1}}]}
    out, _ = filtered("clusters", "--json")
    assert json.loads(out) == {"items": []}
    out, _ = filtered("clusters", "--json", given=b"a\n\xff", code=1)
    assert json.loads(out)["error"]["code"] == "broken_text"


def test_without_a_lexicon_words_are_learnt_or_clusters_are_parted_and_it_says_so():
    out, err = filtered("segment", given="ខ្មែរ\n")
    assert out == "ខ្មែ រ\n"
    assert "too few breaks" in err
    known = sorted(WORDS)[:160]
    typed = "".join(
        f"{word}\u200b{known[(at * 7 + 3) % 160]}\u200b{known[(at * 11 + 5) % 160]}\n" for at, word in enumerate(known)
    )
    out, err = filtered("segment", given=typed)
    assert "words are learnt" in err
    assert out.replace(" ", "") == typed
    assert out.splitlines()[5].split() == [
        part if part == typed.splitlines()[5].split("\u200b")[-1] else part + "\u200b"
        for part in typed.splitlines()[5].split("\u200b")
    ]


@pytest.mark.parametrize("name", ["normalise", "segment", "clusters", "language", "redact"])
def test_a_broken_byte_is_told_with_its_place_after_the_lines_before_it(name, lexicon):
    extra = ("--lexicon", lexicon) if name == "segment" else ()
    given = "ក\n".encode() * 1000 + b"ab\xe1\x9ec\nd\n"
    out, err = filtered(name, *extra, given=given, code=1)
    assert "Byte 4002 of the input (0xe1) is not UTF-8." in err
    assert out.count("\n") == 1000
    _, err = filtered(name, *extra, given=given, code=1, language="km")
    assert "បៃទី 4002" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("segment", "--lexicon", "nowhere.tsv"), "There is no file or folder nowhere.tsv"),
        (("redact", "--lexicon", "x"), "Only `baray text segment` reads a lexicon"),
        (("normalise", "--set", "digits=roman"), "Write one of: keep, ascii, khmer"),
        (("clusters", "--set", "digits=ascii"), "There is no option 'digits'"),
    ],
)
def test_wrong_options_are_refused_with_what_is_right(words, message):
    out, err = filtered(*words, given="x\n", code=1)
    assert out == ""
    assert message in err


def test_a_bad_lexicon_is_refused_with_its_line(tmp_path):
    path = tmp_path / "bad.tsv"
    path.write_text("ដី\t3\nទឹក 4\n", encoding="utf-8")
    assert "Line 2 of the lexicon" in filtered("segment", "--lexicon", str(path), given="x", code=1)[1]


def test_large_input_is_filtered_as_small_input_is(lexicon):
    lines = ["សូមដាក់ពាក្យនៅបន្ទប់១២ ការិយាល័យស្រុក។", "ទូរស័ព្ទ012345678 ខែ្មរ\u200bថ្មី", "The fee is 5,000 riel.", ""]
    text = "\n".join(lines * 4000)
    model = word_model(read_lexicon(LEXICON.splitlines()))
    assert filtered("segment", "--lexicon", lexicon, given=text)[0] == "\n".join(
        [segment(line, model) for line in lines] * 4000
    )
    assert filtered("normalise", given=text)[0] == "\n".join([normalise(line) for line in lines] * 4000)
    assert filtered("redact", given=text)[0] == "\n".join([redact(line)[0] for line in lines] * 4000)


@pytest.mark.parametrize(("name", "end"), [("segment", b""), ("redact", b"\n")])
def test_memory_does_not_grow_with_the_stream(name, end, lexicon):
    """Lines, or one line without an end: four times the text takes no more memory."""
    extra = ("--lexicon", lexicon) if name == "segment" else ()
    line = "សូមដាក់ពាក្យនៅបន្ទប់១២ ការិយាល័យស្រុក ".encode() + end
    small, large = (peak((name, *extra), line * count) for count in (40_000, 160_000))
    assert large < small + 10_000, (small, large)


def peak(words, given):
    """Most kilobytes that a filter of `given` had in memory."""
    with tempfile.TemporaryFile() as source:
        source.write(given)
        source.seek(0)
        process = subprocess.Popen(
            [sys.executable, "-m", "baray", "text", *words], stdin=source, stdout=subprocess.DEVNULL
        )
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return used.ru_maxrss
