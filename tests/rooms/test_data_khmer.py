"""The compiled forms give what `baray.text` gives, text by text."""

import random
import sys

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from baray.data.kernel import cld2, columns, khmer, languages, normal, redaction
from baray.data.kernel.compiled import digits, filters, order
from baray.text import language_shares, normalise, normalise_recorded, read_names, redact, segment, word_model, words
from baray.text.lexicon import WORDS
from personal_numbers import NAMES, lines

KHMER = [*map(chr, range(0x1780, 0x17EA)), *"\u17d2\u17d2\u17d2\u179a\u1780\u17b6\u17b6"]
HIDDEN = ["\u200b", "\u200b", "\u200d", "\u2060", "\u00ad", "\u200e", "\ufeff"]
OTHER = [
    *" \n\n\tab1'’.",
    "\u25cc",
    "\u0301",
    "\u0323",
    "\u0e31",
    "\u0e38",
    "\u1100",
    "\u1161",
    "\u11a8",
    "é",
    "\u0340",
    "\U0002f800",
    "😀",
    "\ufe0f",
]
COUNTS = {word: 1 + len(word) % 7 for word in WORDS} | {"don't": 2, "A4": 3, "គ.ម": 2, "ឡេវ": 1}
MODELS = [word_model(COUNTS), None]


def texts(number: int, seed: int, *more: str) -> list[str]:
    chance = random.Random(seed)
    letters = [*KHMER, *HIDDEN, *OTHER]
    pieces = [*letters, *more] if more else letters
    return ["", *("".join(chance.choices(pieces, k=chance.randrange(24))) for _ in range(number))]


@pytest.mark.parametrize("model", MODELS)
def test_words_are_those_of_the_reference(model):
    some = texts(6000, 1, *sorted(WORDS))
    column = pa.array(some, pa.large_string())
    tables = khmer.word_tables(model)
    assert khmer.segment(column, tables).to_pylist() == [segment(text, model) for text in some]
    assert khmer.count_words(column, tables).tolist() == [len(words(text, model)) for text in some]
    part = column.slice(100, 50)  # offsets that do not begin at 0
    assert khmer.segment(part, tables).to_pylist() == [segment(text, model) for text in some[100:150]]


def test_every_code_point_is_of_the_kind_that_the_reference_sees():
    """Between two letters of each of three kinds, what a code point does tells its kind."""
    codes = [code for code in range(1, 0x30000) if not 0xD800 <= code < 0xE000 and code not in range(0x3400, 0x4DC0)]
    some = [f"ក{chr(code)}ខ a{chr(code)}b" for code in codes]
    column = pa.array(some, pa.large_string())
    assert khmer.segment(column, khmer.word_tables(None)).to_pylist() == [segment(text, None) for text in some]
    assert len(khmer.kinds()) == len(normal.classes()) == sys.maxunicode + 1


@pytest.mark.parametrize("options", [{}, {"fold_coeng_da": True}, {"digits": "ascii"}, {"digits": "khmer"}])
def test_normalised_columns_are_those_of_the_reference(options):
    some = texts(8000, 2)
    found = normal.normalise_all(pl.Series("text", some), **options)
    assert found.texts.to_list() == [normalise(text, **options) for text in some]
    assert found.texts.name == "text"
    hidden = set(map(chr, khmer.HIDDEN))
    assert found.hidden.tolist() == [sum(character in hidden for character in text) for text in some]


def test_word_breaks_of_columns_are_those_of_the_reference():
    some = [*texts(6000, 8), "សំបុត្រ\u200bកំណើត\u200b\u200bនិង\u2060 ខែ\u200b្មរ\u200b"]
    found = normal.normalise_all(pl.Series(some), record=True)
    assert found.word_breaks is not None
    assert found.word_breaks.to_list() == [list(normalise_recorded(text).word_breaks) for text in some]
    assert normal.normalise_all(pl.Series(some)).word_breaks is None


def test_more_lines_in_disorder_than_were_expected_are_no_matter():
    typed = "ស្រី្ត\n" * 5000
    found = normal.normalise_all(pl.Series([typed, "ក"]))
    assert found.texts.to_list() == [normalise(typed), "ក"]
    assert found.lines_looked_at == 5000


def test_clean_lines_are_not_looked_at():
    clean = [normalise(text) for text in texts(2000, 3)]
    settled = [text for text in clean if all(ord(c) < 0x300 or 0x1780 <= ord(c) < 0x17EA for c in text)]
    ordered = [text for text in settled if "\u17d2\u179a\u17d2" not in text and not text.startswith("\u17d2")]
    assert len(ordered) > 200
    assert normal.normalise_all(pl.Series(["ភាសាខ្មែរ ស្ត្រី កំណើត\nលោក ស៊ី ១២"] * 50)).lines_looked_at == 0
    assert normal.normalise_all(pl.Series(["The fee, and the form.\n" * 9] * 50)).lines_looked_at == 0


@pytest.mark.parametrize("names", [None, read_names(NAMES)])
def test_redacted_columns_are_those_of_the_reference(names):
    chance = random.Random(4)
    labelled = [line.text for line in lines(700, 700, seed=5)]
    some = [
        "",
        *(
            "".join(chance.choice(labelled) + chance.choice("\n\n \r") for _ in range(chance.randrange(7)))
            for _ in range(800)
        ),
    ]
    some += [
        "".join(chance.choices("0123456789០១២៣+()-. /\u00a0:@aN\nលេខ", k=chance.randrange(60))) for _ in range(8000)
    ]
    found = redaction.redact_all(pl.Series(some), names)
    reference = [redact(text, names) for text in some]
    assert found.texts.to_list() == [text for text, _ in reference]
    assert list(found.counts) == [counts for _, counts in reference]
    quiet = redaction.redact_all(pl.Series(["ថ្លៃ ៥០០០ រៀល\nno number\n"] * 100), names)
    assert quiet.lines_looked_at == 0


def test_empty_columns():
    nothing = pl.Series([], dtype=pl.String)
    assert len(normal.normalise_all(nothing).texts) == len(redaction.redact_all(nothing).texts) == 0
    assert len(khmer.segment(pa.array([], pa.large_string()), khmer.word_tables(None))) == 0
    assert np.array_equal(khmer.count_words(pa.array([""], pa.large_string()), khmer.word_tables(None)), [0])


LANGUAGES = {
    "km": ["ការិយាល័យបើកម៉ោងប្រាំបីព្រឹក។", "សូមយកអត្តសញ្ញាណប័ណ្ណ (ID card) មកជាមួយ។", "ទេ"],
    "en": ["The office opens at eight in the morning.", "Bring your card and the form to the second counter."],
    "fr": ["Le bureau est ouvert de huit heures à midi.", "Apportez votre carte et le formulaire au deuxième guichet."],
    "vi": ["Văn phòng mở cửa lúc tám giờ sáng.", "Xin mang theo giấy tờ và đơn đến quầy số hai."],
    "th": ["สำนักงานเปิดเวลาแปดโมงเช้า", "กรุณานำบัตรและแบบฟอร์มมาที่ช่องสอง"],
    "lo": ["ຫ້ອງການເປີດເວລາແປດໂມງເຊົ້າ"],
    "zh": ["办公室早上八点开门。", "請把表格帶到第二個櫃檯。"],
    "ja": ["事務所は朝八時に開きます。"],
    "ko": ["사무실은 아침 여덟 시에 문을 엽니다."],
    "ru": ["Документы принимают с восьми часов утра."],
    "id": ["Kantor buka pukul delapan pagi setiap hari kerja."],
    "de": ["Das Büro öffnet um acht Uhr am Morgen."],
    "other": ["", "12 500 ១២", "។ ៕ (…)"],
}


def test_languages_by_script_and_then_by_a_model():
    rows = [(text, code) for code, some in LANGUAGES.items() for text in some]
    found = languages.languages_all(pl.Series([text for text, _ in rows]))
    assert list(zip(found.codes, strict=True)) == [(code,) for _, code in rows]
    assert [cld2.language_of(text) for text, _ in rows] == [code for _, code in rows]


def test_shares_of_scripts_are_those_of_the_reference():
    chance = random.Random(6)
    some = [
        "".join(
            chr(
                chance.choice(
                    (chance.randrange(1, 0x3000), chance.randrange(0x1780, 0x1800), chance.randrange(0x41, 0x7B))
                )
            )
            for _ in range(chance.randrange(30))
        )
        for _ in range(5000)
    ]
    found = languages.languages_all(pl.Series(some))
    shares = [language_shares(text) for text in some]
    assert found.khmer.tolist() == [share["km"] for share in shares]
    assert found.latin.tolist() == [share["en"] for share in shares]
    assert found.other.tolist() == [share["other"] for share in shares]
    assert found.codes.to_list() == [cld2.language_of(text) for text in some]
    assert all(code == "km" for code, share in zip(found.codes, shares, strict=True) if share["km"] > 1 / 3)


def test_all_is_compiled_ahead():
    columns.warm()
    ours = [filters.fill, filters.separate, filters.count_words, filters.word_breaks, filters.count_letters]
    compiled = [*ours, order.clean, digits.numbered_lines]
    assert all(function.signatures for function in compiled)
