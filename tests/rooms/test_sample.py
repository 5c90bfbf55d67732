"""What the one-window sample promises: counts, rows, planted trouble, question sets and letters that fit together."""

import csv
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pypdfium2
import pytest

import baray

ROOT = Path(__file__).parents[2]
SAMPLE = Path(baray.__file__).parent / "samples" / "one-window"
DOCUMENTS = SAMPLE / "documents"
UNREADABLE = {
    "land/parcel-map-request.docx",
    "announcements/empty-notice.txt",
    "transport/forms-archive.zip",
}
UNITS = {"civil", "land", "business", "transport", "social", "utilities"}
KHMER = re.compile("[\u1780-\u17ff]")
MARKS = ("Sample document, fictional", "ឯកសារគំរូ (ប្រឌិត)")
QUESTION_SETS = [
    (folder, language) for folder, language in (("tests", "km"), ("tests", "en"), ("tuning", "km"), ("tuning", "en"))
]
MAX_BYTES = 4 * 1024 * 1024


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def questions_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def files_below(folder: Path) -> dict[str, Path]:
    return {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}


def text_of(path: Path) -> str:
    """Return the words of a file, however roughly: enough to look for a mark."""
    if path.suffix in {".docx", ".xlsx"}:
        with zipfile.ZipFile(path) as archive:
            return " ".join(archive.read(name).decode() for name in archive.namelist() if name.endswith(".xml"))
    if path.suffix == ".pdf":
        with pypdfium2.PdfDocument(path) as document:
            return " ".join(page.get_textpage().get_text_range() for page in document)
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def rows() -> dict[str, dict[str, str]]:
    return {row["path"]: row for row in rows_of(DOCUMENTS / "documents.csv")}


def test_every_file_has_a_row_and_every_row_a_file(rows: dict[str, dict[str, str]]) -> None:
    assert set(files_below(DOCUMENTS)) - {"documents.csv"} == set(rows)
    assert len(rows) >= 60


def test_formats_and_size(rows: dict[str, dict[str, str]]) -> None:
    assert {Path(path).suffix for path in rows} == {
        *(".docx", ".pdf", ".html", ".csv", ".txt", ".md", ".jsonl", ".xlsx", ".png", ".zip")
    }
    assert sum(path.stat().st_size for path in SAMPLE.rglob("*") if path.is_file()) < MAX_BYTES


def test_rows_have_labels_dates_and_an_office_in_two_languages(rows: dict[str, dict[str, str]]) -> None:
    for row in rows.values():
        assert row["label"] == ("internal" if row["path"].startswith("internal/") else "public")
        english, khmer = row["office"].split(" / ")
        assert KHMER.search(khmer)
        assert not KHMER.search(english)
        dates = [date for date in (row["valid_from"], row["valid_until"]) if date]
        assert all(re.fullmatch(r"\d{4}-\d{2}-\d{2}", date) for date in dates)
        assert dates == sorted(dates)


def test_every_readable_document_says_that_it_is_a_sample(rows: dict[str, dict[str, str]]) -> None:
    readable = [path for path in rows if path not in UNREADABLE and not path.endswith(".png")]
    unmarked = [path for path in readable if not any(mark in text_of(DOCUMENTS / path) for mark in MARKS)]
    assert unmarked == []


def test_about_half_of_the_documents_are_khmer(rows: dict[str, dict[str, str]]) -> None:
    readable = [path for path in rows if path not in UNREADABLE and not path.endswith(".png")]
    khmer = sum(len(KHMER.findall(text_of(DOCUMENTS / path))) > 100 for path in readable)
    assert 0.4 <= khmer / len(readable) <= 0.6


def test_unreadable_files_cannot_be_read() -> None:
    with pytest.raises(zipfile.BadZipFile):
        text_of(DOCUMENTS / "land/parcel-map-request.docx")
    assert (DOCUMENTS / "announcements/empty-notice.txt").stat().st_size == 0
    assert zipfile.is_zipfile(DOCUMENTS / "transport/forms-archive.zip")


def test_duplicates_are_planted() -> None:
    original = DOCUMENTS / "transport/goods-transport-permit.md"
    assert (DOCUMENTS / "announcements/lorry-notice.md").read_bytes() == original.read_bytes()
    first = (DOCUMENTS / "announcements/circular-07-counter-conduct.md").read_text(encoding="utf-8").split("\n")
    second = (DOCUMENTS / "announcements/circular-07-reissued.md").read_text(encoding="utf-8").split("\n")
    assert sum(a != b for a, b in zip(first, second, strict=True)) == 1


def test_an_expired_fee_has_no_newer_document(rows: dict[str, dict[str, str]]) -> None:
    expired = {path for path, row in rows.items() if row["valid_until"]}
    assert len(expired) == 4
    assert all(rows[path]["valid_until"] < "2024-01-01" for path in expired)
    for words in ("ស្លាកយីហោ", "night market"):
        holders = [path for path in rows if path not in UNREADABLE | {"social/library-notice.png"}]
        assert {path for path in holders if words in text_of(DOCUMENTS / path)} <= expired


def test_internal_facts_stand_nowhere_else(rows: dict[str, dict[str, str]]) -> None:
    public = [path for path in rows if rows[path]["label"] == "public" and path not in UNREADABLE]
    texts = "\n".join(text_of(DOCUMENTS / path) for path in public if not path.endswith(".png"))
    for words in ("ទូដែក", "កូនសោ", "វិន័យបុគ្គលិក", "archive shift", "rota", "surprise visit"):
        assert words not in texts


def test_numbers_of_people_are_planted_in_both_scripts() -> None:
    birth = text_of(DOCUMENTS / "civil-registry/birth-certificate.docx")
    assert re.search("០១២ ០០០ [០-៩]{3}", birth)
    card = text_of(DOCUMENTS / "civil-registry/identity-card-renewal.docx")
    assert re.search(r"\+855 12 000 \d{3}", card)
    assert re.search(r"card number 010 000 \d{3}", card)


def test_typing_troubles_are_planted() -> None:
    assert "\u200b" in text_of(DOCUMENTS / "civil-registry/residence-certificate.txt")
    wrong_order = re.compile("[\u17b6-\u17c5]\u17d2")
    assert wrong_order.search(text_of(DOCUMENTS / "agriculture/animal-vaccination.txt"))
    assert not wrong_order.search(text_of(DOCUMENTS / "agriculture/fishing-permit.html"))


@pytest.mark.parametrize(("folder", "language"), QUESTION_SETS)
def test_question_sets_point_at_current_public_documents(
    rows: dict[str, dict[str, str]], folder: str, language: str
) -> None:
    questions = questions_of(SAMPLE / folder / f"questions-{language}.jsonl")
    assert len(questions) >= (120 if folder == "tests" else 30)
    out_of_scope = [question for question in questions if question["answer_in"] is None]
    assert 0.15 <= len(out_of_scope) / len(questions) <= 0.2
    for question in questions:
        assert set(question) == {"question", "language", "answer_in"}
        assert question["language"] == language
        assert bool(KHMER.search(question["question"])) == (language == "km")
        for path in question["answer_in"] or []:
            assert rows[path]["label"] == "public"
            assert not rows[path]["valid_until"]
            assert path not in UNREADABLE


def test_tests_are_kept_apart_from_tuning() -> None:
    sets = {
        folder: [
            q["question"]
            for f, x in QUESTION_SETS
            if f == folder
            for q in questions_of(SAMPLE / f / f"questions-{x}.jsonl")
        ]
        for folder in ("tests", "tuning")
    }
    demo = [question["question"] for question in questions_of(SAMPLE / "questions.jsonl")]
    together = [*sets["tests"], *sets["tuning"], *demo]
    assert len(together) == len(set(together))


def test_demo_asks_one_question_of_each_kind(rows: dict[str, dict[str, str]]) -> None:
    questions = {question["expect"]: question for question in questions_of(SAMPLE / "questions.jsonl")}
    assert set(questions) == {"answered", "expired", "out-of-scope", "hidden"}
    assert rows[questions["answered"]["answer_in"][0]]["label"] == "public"
    assert rows[questions["hidden"]["answer_in"][0]]["label"] == "internal"
    assert questions["answered"]["language"] == "km"


def test_letters_cover_every_unit_in_both_languages() -> None:
    letters = rows_of(SAMPLE / "letters.csv")
    assert len(letters) >= 400
    assert {letter["unit"] for letter in letters} == UNITS
    assert len({letter["id"] for letter in letters}) == len({letter["text"] for letter in letters}) == len(letters)
    for unit in UNITS:
        for language in ("km", "en"):
            assert sum(x["unit"] == unit and x["language"] == language for x in letters) >= 35
    for letter in letters:
        assert bool(KHMER.search(letter["text"])) == (letter["language"] == "km"), letter["id"]


def test_the_generator_makes_the_same_files(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "tools" / "make_sample.py"), "--out", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    made = files_below(tmp_path)
    assert len(made) > 60
    different = [name for name, path in made.items() if parts_of(path) != parts_of(SAMPLE / name)]
    assert different == []


def parts_of(path: Path) -> dict[str, bytes]:
    """Return a file's bytes, part by part for packed formats: compressors of other machines may pack otherwise."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return {name: archive.read(name) for name in archive.namelist()}
    return {"": b"" if path.name == "parcel-map-request.docx" else path.read_bytes()}
