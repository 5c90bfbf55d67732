"""Languages, sentences, personal numbers, search terms and the reading of questions."""

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from baray.text import language, language_shares, quality, read_names, read_question, redact, sentences, terms
from personal_numbers import NAMES, PLACEHOLDERS, lines


def cut(text: str) -> list[str]:
    return [text[start:end] for start, end in sentences(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ខ្ញុំទៅ។ តើអ្វី? បាទ!", ["ខ្ញុំទៅ។", "តើអ្វី?", "បាទ!"]),
        ("ផ្លែឈើ។ល។ មានលក់។", ["ផ្លែឈើ។ល។ មានលក់។"]),
        ("Bring No. 5 and Art. 3. The fee is 5.50 USD.", ["Bring No. 5 and Art. 3.", "The fee is 5.50 USD."]),
        ("See Mr. Sok, e.g. today. Then go.", ["See Mr. Sok, e.g. today.", "Then go."]),
        ('He said "go." She went.', ['He said "go."', "She went."]),
        ("1. Item one. 2. Item two.", ["1. Item one.", "2. Item two."]),
        ("Title\n\nBody without end", ["Title", "Body without end"]),
        ("  \n ", []),
    ],
)
def test_sentences(text: str, expected: list[str]) -> None:
    assert cut(text) == expected


@given(st.text(alphabet='ក។ a.B?!\n1"', max_size=40))
def test_sentences_are_ordered_and_hold_all_that_is_seen(text: str) -> None:
    spans = sentences(text)
    assert all(start < end for start, end in spans)
    assert all(first[1] <= second[0] for first, second in pairwise(spans))
    assert "".join("".join(cut(text)).split()) == "".join(text.split())


def test_languages_by_script() -> None:
    assert language("សំបុត្រកំណើត (birth certificate)") == "km"
    assert language("The fee is 5,000 រៀល.") == "en"
    assert language("Документы") == "other"
    assert language("12 500") == "other"
    shares = language_shares("កខ ab ß")
    assert shares == {"km": 0.4, "en": 0.4, "other": 0.2}
    assert sum(language_shares("12").values()) == 0.0


def test_quality_sees_debris() -> None:
    prose = quality("The office opens at eight.\nThe fee is paid at counter 7.")
    debris = quality("-----|-----\n-----|-----\n-----|-----")
    assert prose.letters > 0.85
    assert prose.repeated_lines == 0.0
    assert debris.letters == 0.0
    assert debris.repeated_lines == pytest.approx(2 / 3)
    assert debris.longest_run == 5


@pytest.mark.parametrize(
    ("text", "clean", "counts"),
    [
        ("ទូរស័ព្ទ ០១២ ៣៤៥ ៦៧៨ ឬ 012-345-678", "ទូរស័ព្ទ [PHONE] ឬ [PHONE]", {"phone": 2}),
        ("+855 12 345 678, 023 720 123, (855) 12 345678", "[PHONE], [PHONE], [PHONE]", {"phone": 3}),
        ("0961234567 +855 (0)96 123 4567", "[PHONE] [PHONE]", {"phone": 2}),
        ("អត្តសញ្ញាណប័ណ្ណលេខ ០១២៣៤៥៦៧៨", "អត្តសញ្ញាណប័ណ្ណលេខ [ID]", {"id": 1}),
        ("national ID number: 150 234 567", "national ID number: [ID]", {"id": 1}),
        ("ID card No. 123456789 (01)", "ID card No. [ID]", {"id": 1}),
        ("sok.dara@example.org from 192.168.1.10", "[EMAIL] from [IP]", {"email": 1, "ip": 1}),
        ("fe80::1 at 12:30", "[IP] at 12:30", {"ip": 1}),
    ],
)
def test_personal_numbers_are_taken_out(text: str, clean: str, counts: dict[str, int]) -> None:
    assert redact(text) == (clean, counts)


@pytest.mark.parametrize(
    "text",
    [
        "ថ្លៃ ២០០ ០០០ ០០០ រៀល",
        "The budget is 150,000,000 riel, 10 000 for each.",
        "លិខិតលេខ ០១០/២៤ ចុះថ្ងៃទី ០៥.០៦.២០២៤",
        "2024-05-12 08:00-11:30, version 1.2.3.4.5, 4x6",
        "Serial 1234567890, article 012 345",
    ],
)
def test_amounts_dates_and_serials_stay(text: str) -> None:
    assert redact(text) == (text, {})


@pytest.mark.parametrize(
    "forms",
    [
        "register registration registered registering",
        "apply applications applicant",
        "certificate certificates certified",
        "renew renewal renewed",
        "marry married marriage",
        "licence license licensing",
        "pay paid payment",
        "permit permission permitted",
        "organise organisation organize",
        "residence resident",
        "keep kept keeping",
        "send sent sends",
        "write wrote written writing",
        "choose chose chosen choosing",
        "hide hidden",
        "eat ate eaten",
        "colour color coloured",
    ],
)
def test_word_forms_meet_in_one_term(forms: str) -> None:
    assert len({tuple(terms(form)) for form in forms.split()}) == 1


def test_words_that_mean_the_same_share_a_concept_in_both_languages() -> None:
    assert set(terms("truck")) & set(terms("lorry"))
    assert set(terms("penalty")) & set(terms("ត្រូវផាកពិន័យ"))
    assert set(terms("wedding")) & set(terms("រៀបការ")) & set(terms("អាពាហ៍ពិពាហ៍"))
    assert not set(terms("boat")) & set(terms("road"))


def test_terms_of_khmer_do_not_see_spaces_spellings_or_digits() -> None:
    assert terms("សំបុត្រ កំណើត") == terms("សំបុត្រកំណើត")
    assert terms("កណ្ដាល") == terms("កណ្តាល")
    assert terms("ខែ្មរ") == terms("ខ្មែរ")
    assert terms("៥ ០០០") == terms("5,000") == terms("5.000") == ["5000"]
    assert terms("the and of") == []


def test_questions_are_read() -> None:
    fee = read_question("តើលិខិតបញ្ជាក់ទីលំនៅថ្លៃប៉ុន្មាន?")
    assert [intent.name for intent in fee.intents] == ["fee"]
    assert fee.language == "km"
    content = {term.term for term in fee.terms if term.content}
    assert set(terms("ទីលំនៅ")) <= content
    assert not set(terms("ប៉ុន្មាន")) & content
    papers = read_question("What documents do I need for a permit?")
    assert "papers" in [intent.name for intent in papers.intents]


def counted(question: str) -> float:
    return sum(term.evidence for term in read_question(question).terms)


@pytest.mark.parametrize(
    ("bare", "framed"),
    [
        ("ប្រឡងប័ណ្ណបើកបរ", "តើខ្ញុំត្រូវប្រឡងប័ណ្ណបើកបរដោយរបៀបណា?"),
        ("អាជ្ញាប័ណ្ណភោជនីយដ្ឋាន", "ខ្ញុំចង់បានអាជ្ញាប័ណ្ណភោជនីយដ្ឋាន តើត្រូវធ្វើយ៉ាងដូចម្តេច?"),
        ("បើកសៀវភៅបញ្ជី", "សូមប្រាប់ខ្ញុំ តើបើកសៀវភៅបញ្ជីបានឬទេ?"),
    ],
)
def test_the_frame_of_a_question_counts_little(bare: str, framed: str) -> None:
    """Trigrams of the frame, and those across its edge, stand in no paper: they say nothing about what is missing."""
    assert counted(framed) == pytest.approx(counted(bare), rel=0.25)
    assert counted("តើខ្ញុំត្រូវធ្វើយ៉ាងដូចម្តេច?") == 0.0


def test_words_that_only_begin_like_a_frame_count() -> None:
    """ទេសចរណ៍ (known) begins like the ទេ that ends a question, and វារៈ (unknown) like វា."""
    known = {term.term: term.evidence for term in read_question("តើទេសចរណ៍បានទេ?").terms}
    assert known["ទេស"] == known["សចរ"] > 0.0
    unknown = {term.term: term.evidence for term in read_question("តើរបៀបវារៈធ្វើម៉េច?").terms}
    assert unknown["វារ"] == unknown["ារៈ"] == 1.0


def test_a_name_in_latin_letters_counts_as_a_khmer_word() -> None:
    evidence = {term.term: term.evidence for term in read_question("តើបើកឯកសារក្នុង Telegram បានទេ?").terms}
    assert evidence["telegram"] > 2 * max(evidence[term] for term in evidence if term != "telegram")
    assert {term.evidence for term in read_question("Open a file in Telegram").terms if term.term == "telegram"} == {
        1.0
    }


@pytest.mark.parametrize(
    ("question", "intents"),
    [
        ("How do I split a cell?", ["how"]),
        ("How often is the well tested?", ["number"]),
        ("Which key closes the window?", ["key"]),
        ("What is a fixed field?", ["meaning"]),
        ("Which keys open all the fields of a document?", ["key"]),
        ("How do I pay the fee?", ["fee"]),
        ("What happens when I save a file?", []),
        ("បង់យឺត ត្រូវបង់បន្ថែមប៉ុន្មាន?", ["fee"]),
        ("តើតំណខ្ពស់ជាអ្វី?", ["meaning"]),
        ("តើបញ្ចូលសន្លឹកយ៉ាងដូចម្តេច?", ["how"]),
    ],
)
def test_questions_are_read_for_what_they_ask(question: str, intents: list[str]) -> None:
    assert [intent.name for intent in read_question(question).intents] == intents


def test_personal_entities_are_found_and_what_looks_like_them_is_not():
    """1,400 made-up entities and 1,400 lines of prices, dates, case numbers, versions, ISBNs and the like."""
    names = read_names(NAMES)
    found, expected, wrong = Counter[str](), Counter[str](), []
    for line in lines():
        text, counts = redact(line.text, names)
        if line.kind in PLACEHOLDERS:
            expected[line.kind] += 1
            found[line.kind] += text == line.redacted and counts == {line.kind: 1}
        elif counts:
            wrong.append((line.kind, line.text, text))
    assert sum(expected.values()) >= 1000
    assert {kind for kind in PLACEHOLDERS if found[kind] < 0.98 * expected[kind]} == set()
    assert len(wrong) <= 0.02 * sum(found.values()), wrong[:5]


def test_names_are_found_however_they_are_spaced():
    names = read_names(["សុខ ដារ៉ា\n", "\n", "ថន", "Sok  Dara", "Marie-Claire"])
    assert redact("លោកសុខ\u200bដារ៉ា, លោក ថន និង SOK DARA", names) == ("លោក[NAME], លោក [NAME] និង [NAME]", {"name": 3})
    for text in ("សុខដារ៉ាំ", "ថនិកសត្វ", "Sok Darany", "Anne-Marie-Claires"):
        assert redact(text, names) == (text, {})
    assert read_names(["", " \n"]) is None


def test_many_names_are_one_pattern():
    """A name inside a longer one, names with the same beginning, and characters that mean something to a pattern."""
    names = read_names(["Sok", "Sok Dara", "Sok Darith", "ចាន់ ដារ៉ា", "ចាន់ ដារិទ្ធ", "[x]^-", "]y"])
    assert redact("Sok Dara, sok darith; Sok D. Soksan", names)[0] == "[NAME], [NAME]; [NAME] D. Soksan"
    assert redact("ចាន់ដារ៉ា ចាន់ ដារិទ្ធ ចាន់ដា", names)[0] == "[NAME] [NAME] ចាន់ដា"
    assert redact("a [x]^- ]y b", names)[0] == "a [NAME] [NAME] b"
