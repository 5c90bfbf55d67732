"""The desk: answered with exact citations, expired, or out of scope with a referral; hidden looks like out of scope."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import baray
from baray.serve import desk
from baray.text import DocumentRow, Index, language, normalise, open_index, write_index

TODAY = "2026-11-21"
SAMPLE = Path(baray.__file__).parent / "samples" / "one-window"


def row(path: str, text: str, **more: Any) -> DocumentRow:
    return DocumentRow(
        id=path, path=path, text=text, label=more.pop("label", "public"), language=language(text), **more
    )


FISHING = row(
    "fishing.html",
    "Fishing permit\n\nA fishing permit costs 8,000 riel a year. It is issued within 4 working days.\n"
    "What to bring\n- the identity card\n- a photograph of the boat\n- the old permit\nNets\nNets under 5 cm are forbidden.",
    office="Agriculture unit",
    title="Fishing permit",
)
TAX = row(
    "tax.txt",
    "Signboard tax\n\nThe signboard tax is 24,000 riel a square metre.",
    valid_until="2021-12-31",
    office="Tax unit",
)
PLATE_OLD = row(
    "plate-2019.txt",
    "Motorbike registration\n\nThe registration of a motorbike costs 38,000 riel.",
    valid_until="2023-12-31",
)
PLATE = row("plate.txt", "Motorbike registration\n\nThe fee to register a motorbike is 52,000 riel, plate included.")
PLATE_KM = row("plate-km.txt", "ការចុះបញ្ជីម៉ូតូ\n\nថ្លៃចុះបញ្ជីម៉ូតូគឺ ៥២ ០០០ រៀល រួមទាំងស្លាកលេខ។")
SAFE = row(
    "safe.txt",
    "Safe\n\nThe spare key of the steel safe lies in the drawer of room 9.",
    label="internal",
    office="Secretariat",
)
ALL = [FISHING, TAX, PLATE_OLD, PLATE, PLATE_KM, SAFE]


@pytest.fixture
def index(tmp_path: Path) -> Index:
    write_index(tmp_path, ALL)
    return open_index(tmp_path)


def ask(index: Index, question: str, *labels: str) -> desk.DeskAnswer:
    return desk.answer(index, question, labels=labels or ("public",), today=TODAY, default_office="Information desk")


@pytest.mark.parametrize(
    ("question", "path", "holds"),
    [
        ("How much does a fishing permit cost?", "fishing.html", "8,000 riel"),
        ("How long does it take to get a fishing permit?", "fishing.html", "4 working days"),
        ("What do I have to bring for a fishing permit?", "fishing.html", "a photograph of the boat"),
        ("What is the fee to register a motorbike?", "plate.txt", "52,000 riel"),
        ("តើចុះបញ្ជីម៉ូតូថ្លៃប៉ុន្មាន?", "plate-km.txt", "៥២ ០០០ រៀល"),
    ],
)
def test_answers_quote_the_document_exactly(index: Index, question: str, path: str, holds: str) -> None:
    said = ask(index, question)
    assert said.outcome == "answered"
    assert holds in said.answer
    assert said.answer == "\n".join(citation.text for citation in said.citations)
    texts = {document.path: document.text for document in ALL}
    for citation in said.citations:
        assert citation.document == path
        assert texts[path][citation.start : citation.end] == citation.text
    assert said.found[0].document == path
    assert (said.referral, said.labels) == (None, ("public",))


def test_a_list_of_papers_is_quoted_whole(index: Index) -> None:
    said = ask(index, "Which documents must I bring for the fishing permit?")
    assert said.citations[0].text == "What to bring\n- the identity card\n- a photograph of the boat\n- the old permit"


def test_what_expired_is_not_cited(index: Index) -> None:
    said = ask(index, "How much is the signboard tax for a square metre?")
    assert (said.outcome, said.answer, said.citations, said.labels) == ("expired", "", (), ("public",))
    assert {found.document for found in said.found} <= {"plate-km.txt", "plate.txt"}, "documents that are valid today"
    assert said.referral == "Tax unit"


def test_the_document_in_force_answers_for_the_expired_one(index: Index) -> None:
    said = ask(index, "What does the registration of a motorbike cost?")
    assert said.outcome == "answered"
    assert said.citations[0].document == said.found[0].document == "plate.txt"
    assert "plate-2019.txt" not in [found.document for found in said.found]


def test_a_document_not_yet_in_force_is_not_cited(tmp_path: Path) -> None:
    write_index(tmp_path, [replace(FISHING, valid_from="2027-01-01"), PLATE])
    said = ask(open_index(tmp_path), "How much does a fishing permit cost?")
    assert said.outcome != "answered"
    assert said.citations == ()


@pytest.mark.parametrize("question", ["What is the capital of Australia?", "តើព្រះច័ន្ទនៅឆ្ងាយពីផែនដីប៉ុន្មាន?", "?", "", "និង"])
def test_what_no_document_says_is_refused(index: Index, question: str) -> None:
    said = ask(index, question)
    assert (said.outcome, said.answer, said.citations, said.found) == ("out-of-scope", "", (), ())
    assert said.referral == "Information desk"


def test_hidden_is_the_same_as_out_of_scope(index: Index, tmp_path: Path) -> None:
    question = "Where is the spare key of the steel safe?"
    assert ask(index, question, "public", "internal").citations[0].document == "safe.txt"
    assert ask(index, question, "public", "internal").labels == ("internal",)
    write_index(tmp_path / "without", [document for document in ALL if document is not SAFE])
    without = open_index(tmp_path / "without")
    assert ask(index, question) == ask(without, question)
    assert ask(index, question).outcome == "out-of-scope"
    assert ask(index, "How much does a fishing permit cost?") == ask(without, "How much does a fishing permit cost?")


def test_the_questions_language_goes_first_and_the_other_serves(tmp_path: Path) -> None:
    write_index(tmp_path / "both", [PLATE, PLATE_KM])
    both = open_index(tmp_path / "both")
    assert ask(both, "តើចុះបញ្ជីម៉ូតូថ្លៃប៉ុន្មាន?").found[0].document == "plate-km.txt"
    assert ask(both, "What is the fee to register a motorbike?").found[0].document == "plate.txt"
    write_index(tmp_path / "english", [PLATE, FISHING])
    said = ask(open_index(tmp_path / "english"), "តើចុះបញ្ជីម៉ូតូថ្លៃប៉ុន្មាន?")
    assert (said.outcome, said.language, said.found[0].document) == ("answered", "km", "plate.txt")


def test_found_names_a_file_once(tmp_path: Path) -> None:
    rows = [replace(FISHING, id=f"fishing-{number}") for number in range(8)]
    write_index(tmp_path, [*rows, PLATE])
    found = ask(open_index(tmp_path), "How much does a fishing permit cost?").found
    assert [one.document for one in found][:1] == ["fishing.html"]
    assert len({one.document for one in found}) == len(found) <= 5


def test_the_same_question_gets_the_same_answer(tmp_path: Path, index: Index) -> None:
    write_index(tmp_path / "again", reversed(ALL))
    for question in ("How much does a fishing permit cost?", "What is a unicorn?"):
        assert ask(open_index(tmp_path / "again"), question) == ask(index, question)


GUIDE = row(
    "guide.docx",
    "How do I book the hall?\n\nThe hall is booked at counter 3, at least 5 days before.\n\n"
    "Booking the hall with the form\n1. Fill in form H-2.\n2. Hand it in at counter 3.\n3. Pay the deposit.\n\n"
    "For example, a choir booked the hall in March.\nHall booking rules",
    title="Booking the hall",
)
SHARED = [
    row(
        f"page-{number}.pdf",
        f"Handbook of offices\nContents\nRule {number}\nThe {name} is kept for {number + 4} years in room {number}.\n"
        f"Handbook, help contents\nTitle is: Rule {number}",
        title=f"Rule {number}",
    )
    for number, name in enumerate(
        ("register of boats", "list of stalls", "book of guests", "map of wells", "roll of voters")
    )
]


@pytest.mark.parametrize(
    ("question", "holds"),
    [
        ("Where is the hall booked?", "counter 3"),
        ("How many days before must the hall be booked?", "at least 5 days before"),
        ("How do I book the hall with the form?", "1. Fill in form H-2."),
    ],
)
def test_titles_own_questions_and_asides_are_not_quoted(tmp_path: Path, question: str, holds: str) -> None:
    write_index(tmp_path, [GUIDE, *ALL])
    said = ask(open_index(tmp_path), question)
    assert (said.outcome, said.found[0].document) == ("answered", "guide.docx")
    assert holds in said.answer
    quoted = {citation.text for citation in said.citations}
    assert quoted.isdisjoint({"How do I book the hall?", "Hall booking rules", "Booking the hall with the form"})
    assert "choir" not in said.answer


def test_steps_are_quoted_together(tmp_path: Path) -> None:
    write_index(tmp_path, [GUIDE, *ALL])
    said = ask(open_index(tmp_path), "How do I book the hall with the form?")
    assert said.answer == "1. Fill in form H-2.\n2. Hand it in at counter 3.\n3. Pay the deposit."


def test_a_line_that_announces_is_quoted_with_what_it_announces(tmp_path: Path) -> None:
    pump = row(
        "pump.txt",
        "Water pump\n\nThe pump of the well is stopped by the guard on duty so:\nPress the red switch.\n\nIt makes much noise.",
    )
    write_index(tmp_path, [pump, *ALL])
    said = ask(open_index(tmp_path), "Where is the pump of the well stopped?")
    assert said.answer == "The pump of the well is stopped by the guard on duty so:\nPress the red switch."


def test_what_every_page_carries_is_not_quoted(tmp_path: Path) -> None:
    write_index(tmp_path, SHARED)
    index = open_index(tmp_path)
    said = ask(index, "How long is the book of guests kept?")
    assert said.answer == "The book of guests is kept for 6 years in room 2."
    assert ask(index, "Where are the contents of the handbook?").outcome == "out-of-scope"


def test_other_forms_of_a_verb_are_the_same_word(tmp_path: Path) -> None:
    write_index(
        tmp_path, [*SHARED, row("seal.txt", "The steel seal\n\nThe clerk keeps the steel seal in the safe of room 9.")]
    )
    said = ask(open_index(tmp_path), "Where is the steel seal kept?")
    assert (said.outcome, said.found[0].document) == ("answered", "seal.txt")


KHMER = [
    row(
        "round.html",
        "ការបង្កើតជ្រុងមូល\n\nចតុកោណកែងមានស៊ុមតូចមួយនៅជ្រុងខាងឆ្វេង។ អូសស៊ុមនោះទៅកណ្តាល ដើម្បីឲ្យជ្រុងទៅជារាងមូល។",
    ),
    row("print.html", "ការបោះពុម្ពលឿន\n\nម៉ាស៊ីនបោះពុម្ពដំណើរការលឿនជាងមុន ពេលដែលរូបភាពត្រូវបានកាត់បន្ថយគុណភាព។"),
    row("border.html", "ស៊ុមក្រឡា\n\nជ្រើសក្រឡា រួចចុចផ្ទាំងស៊ុមក្នុងប្រអប់។"),
    row("agenda.html", "របៀបវារៈ\n\nអ្នកជំនួយការបង្កើតរបៀបវារៈសម្រាប់កិច្ចប្រជុំ។"),
]


@pytest.mark.parametrize(
    ("question", "path"),
    [
        ("ខ្ញុំចង់ដាក់ស៊ុមជុំវិញក្រឡាខ្លះ តើត្រូវចុចអ្វីមុន?", "border.html"),
        ("តើធ្វើយ៉ាងណាទើបខ្ញុំអាចឲ្យវាមានជ្រុងមូលបានតាមចិត្ត?", "round.html"),
        ("តើពួកយើងគួរដាក់អ្វីខ្លះនៅក្នុងរបៀបវារៈទើបល្អ?", "agenda.html"),
        ("ម៉ាស៊ីននេះដើរយឺតណាស់ តើមានវិធីណាខ្លះឲ្យបោះពុម្ពលឿនជាងនេះបន្តិចដែរឬទេ?", "print.html"),
        ("ខ្ញុំចង់ធ្វើលិខិតឆ្លងដែន តើត្រូវធ្វើយ៉ាងម៉េច?", None),
        ("តើមានវិធីណាធ្វើម្ហូបឲ្យបានឆ្ងាញ់ជាងមុនដែរឬទេ?", None),
        ("តើបើករូបភាពក្នុង Telegram បានដោយរបៀបណា?", None),
    ],
)
def test_khmer_that_says_it_in_its_own_words(tmp_path: Path, question: str, path: str | None) -> None:
    write_index(tmp_path, KHMER)
    said = ask(open_index(tmp_path), question)
    assert said.outcome == ("out-of-scope" if path is None else "answered")
    assert {citation.document for citation in said.citations} == ({path} if path else set())


def result(answer_in: list[str] | None, outcome: str, *found: str, spoken: str = "en", ms: float = 1.0) -> Any:
    asked = {"question": "?", "language": spoken, "answer_in": answer_in}
    return asked, {"outcome": outcome, "found": [{"document": name} for name in found]}, ms


def test_figures_of_a_question_set() -> None:
    figures = desk.evaluate(
        [
            result(["a"], "answered", "a", "b", ms=3.0),
            result(["a", "c"], "answered", "b", "c", ms=1.0),
            result(["a"], "out-of-scope", spoken="km", ms=2.0),
            result(None, "expired", spoken="km", ms=5.0),
            result(None, "answered", "b", spoken="km", ms=4.0),
        ]
    )
    assert figures["questions"] == 5
    assert (figures["hit_at_1"], figures["hit_at_5"]) == (0.3333, 0.6667)
    assert (figures["refused_right"], figures["refused_wrong"]) == (0.5, 0.3333)
    assert figures["p50_ms"] == 3.0
    assert figures["by_language"]["en"]["refused_right"] is None
    assert figures["by_language"]["km"]["hit_at_1"] == 0.0
    assert desk.evaluate([])["hit_at_1"] is None


def test_the_sample_is_answered_well_enough(tmp_path: Path) -> None:
    """Tuning questions about the sample's plain-text papers: a floor under the quality, in both languages."""
    root = SAMPLE / "documents"
    with (root / "documents.csv").open(encoding="utf-8", newline="") as file:
        known = {line["path"]: line for line in csv.DictReader(file)}
    papers = {
        path.relative_to(root).as_posix(): normalise(path.read_text(encoding="utf-8"))
        for path in sorted(root.rglob("*"))
        if path.suffix in (".txt", ".md") and path.stat().st_size
    }
    dates = ("valid_from", "valid_until", "office")
    write_index(
        tmp_path,
        [
            row(
                path,
                text,
                label=known[path]["label"] or "public",
                **{name: known[path][name] or None for name in dates},
            )
            for path, text in papers.items()
            if path in known
        ],
    )
    index = open_index(tmp_path)
    results = []
    for file in sorted((SAMPLE / "tuning").glob("*.jsonl")):
        for line in file.read_text(encoding="utf-8").splitlines():
            asked = json.loads(line)
            if asked["answer_in"] is None or set(asked["answer_in"]) & papers.keys():
                said = ask(index, asked["question"])
                found = [{"document": one.document} for one in said.found]
                results.append((asked, {"outcome": said.outcome, "found": found}, 0.0))
    figures = desk.evaluate(results)
    assert figures["questions"] >= 25
    assert figures["hit_at_1"] >= 0.9
    assert figures["refused_right"] >= 0.9
    assert figures["refused_wrong"] <= 0.1
