"""The Index: same identity from the same documents, found by questions in both languages, damage named, labels apart."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from baray.core import Fault, Refused, canonical_json, digest_bytes, digest_json
from baray.text import DocumentRow, Index, open_index, write_index

VECTORS = Path(__file__).parents[1] / "vectors" / "text"
TODAY = "2026-11-21"
BIRTH = DocumentRow(
    id="doc_a",
    path="civil/birth.txt",
    text="Birth certificate\n\nBring the identity cards of both parents. The certificate costs 5,000 riel.",
    label="public",
    title="Birth certificate",
    language="en",
    office="Civil registry",
)
LAND = DocumentRow(
    id="doc_b",
    path="land/transfer.txt",
    text="Land transfer\n\nThe transfer of a land title costs 20,000 riel. The new title is ready after 25 days.",
    label="public",
    language="en",
)
HOME = DocumentRow(
    id="doc_c",
    path="civil/ទីលំនៅ.txt",
    text="លិខិតបញ្ជាក់ទីលំនៅ\nអ្នកស្នើសុំត្រូវរស់នៅក្នុងឃុំយ៉ាងតិច ៦ ខែ។ ថ្លៃសេវាគឺ ៤ ០០០ រៀល។",
    label="public",
    language="km",
)
SAFE = DocumentRow(
    id="doc_d",
    path="internal/safe.txt",
    text="The spare key of the safe lies in the drawer of the archive.",
    label="internal",
    language="en",
)
ALL = [BIRTH, LAND, HOME, SAFE]


@pytest.fixture
def index(tmp_path: Path) -> Index:
    write_index(tmp_path, ALL)
    return open_index(tmp_path)


def test_identity_depends_on_documents_and_not_on_their_order(tmp_path: Path) -> None:
    facts = write_index(tmp_path / "one", ALL)
    again = write_index(tmp_path / "two", reversed(ALL))
    other = write_index(tmp_path / "three", [replace(BIRTH, title="Birth"), LAND, HOME, SAFE])
    assert facts == again
    assert facts.digest != other.digest
    assert (facts.documents, facts.labels) == (4, ("internal", "public"))
    for file in facts.files:
        data = (tmp_path / "one" / file.path).read_bytes()
        assert (digest_bytes(data), len(data)) == (file.digest, file.bytes)


def test_the_format_is_frozen(tmp_path: Path) -> None:
    """The files under tests/vectors/text were written once; another form needs another format number."""
    facts = write_index(tmp_path, ALL)
    assert facts.digest == json.loads((VECTORS / "index.json").read_bytes())["digest"]
    for file in facts.files:
        assert (tmp_path / file.path).read_bytes() == (VECTORS / file.path).read_bytes()
    hits = open_index(VECTORS).search("birth certificate", labels={"public"}, today=TODAY)
    assert hits[0].path == "civil/birth.txt"


@pytest.mark.parametrize(
    ("question", "path"),
    [
        ("What does a birth certificate cost?", "civil/birth.txt"),
        ("After how many days is the land title ready?", "land/transfer.txt"),
        ("តើលិខិតបញ្ជាក់ទីលំនៅថ្លៃប៉ុន្មាន?", "civil/ទីលំនៅ.txt"),
        ("តើ ត្រូវ រស់នៅ ក្នុង ឃុំ ប៉ុន្មាន ខែ?", "civil/ទីលំនៅ.txt"),
    ],
)
def test_questions_find_their_document(index: Index, question: str, path: str) -> None:
    hit = index.search(question, labels={"public"}, today=TODAY)[0]
    assert hit.path == path
    assert 0.5 < hit.coverage <= 1.0
    start, end = hit.spans[0]
    assert 0 <= start < end <= len(hit.text)
    assert hit.digest == digest_bytes(hit.text.encode())


def test_a_hidden_segment_changes_nothing(tmp_path: Path, index: Index) -> None:
    write_index(tmp_path / "without", [BIRTH, LAND, HOME])
    without = open_index(tmp_path / "without")
    for question in ("spare key of the safe", "birth certificate", "land", "zebra"):
        asked = index.search(question, labels={"public"}, today=TODAY)
        assert asked == without.search(question, labels={"public"}, today=TODAY)
    assert index.search("spare key of the safe", labels={"public", "internal"}, today=TODAY)[0].path == SAFE.path
    assert index.search("spare key", labels=set(), today=TODAY) == []


def test_a_hidden_segment_is_never_opened(tmp_path: Path) -> None:
    write_index(tmp_path, ALL)
    (tmp_path / "segment-0000.bin").write_bytes(b"")  # internal
    index = open_index(tmp_path)
    assert index.search("birth", labels={"public"}, today=TODAY)
    with pytest.raises(Fault, match=r"segment-0000\.bin"):
        index.search("birth", labels={"public", "internal"}, today=TODAY)


def test_days_of_validity_are_told(tmp_path: Path) -> None:
    write_index(
        tmp_path,
        [
            replace(BIRTH, valid_until="2026-11-20"),
            replace(LAND, valid_from="2026-11-22"),
            replace(HOME, valid_from=TODAY, valid_until=TODAY),
        ],
    )
    index = open_index(tmp_path)
    current = {
        hit.path: hit.current
        for question in ("birth", "land", "ទីលំនៅ")
        for hit in index.search(question, labels={"public"}, today=TODAY)
    }
    assert current == {BIRTH.path: False, LAND.path: False, HOME.path: True}


def test_every_flipped_byte_is_found_and_the_file_named(tmp_path: Path) -> None:
    facts = write_index(tmp_path, [BIRTH])
    for file in facts.files:
        whole = (tmp_path / file.path).read_bytes()
        for at in range(0, len(whole), max(1, len(whole) // 40)):
            broken = bytearray(whole)
            broken[at] ^= 1
            (tmp_path / file.path).write_bytes(broken)
            with pytest.raises(Fault, match=file.path.replace(".", r"\.")) as caught:
                open_index(tmp_path).search("birth", labels={"public"}, today=TODAY)
            assert caught.value.code == "index_damaged"
        (tmp_path / file.path).write_bytes(whole)


def test_files_may_lie_under_other_names(tmp_path: Path) -> None:
    facts = write_index(tmp_path, ALL)
    places: dict[str, Path] = {}
    for file in facts.files:
        places[file.path] = (tmp_path / file.path).rename(tmp_path / file.digest.removeprefix("sha256:"))
    hits = open_index(places).search("birth", labels={"public"}, today=TODAY)
    assert hits[0].path == BIRTH.path
    del places["segment-0001.bin"]
    with pytest.raises(Fault, match=r"segment-0001\.bin"):
        open_index(places)


def test_an_index_of_nothing_finds_nothing(tmp_path: Path) -> None:
    facts = write_index(tmp_path, [])
    assert (facts.documents, facts.spans, facts.labels) == (0, 0, ())
    assert open_index(tmp_path).search("birth", labels={"public"}, today=TODAY) == []
    write_index(tmp_path, [replace(BIRTH, text="", title="", path="x")])
    assert open_index(tmp_path).search("birth", labels={"public"}, today=TODAY) == []


def test_two_documents_of_one_id_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="doc_a"):
        write_index(tmp_path, [BIRTH, replace(LAND, id="doc_a")])


def test_long_documents_about_much_lose_to_short_ones_about_this(tmp_path: Path) -> None:
    much = "\n\n".join(f"Service {number}\nThe fee for service {number} is {number} riel." for number in range(60))
    catalogue = replace(LAND, id="doc_z", path="catalogue.txt", text=f"{much}\n\nA land title is mentioned here too.")
    write_index(tmp_path, [catalogue, LAND, BIRTH])
    assert (
        open_index(tmp_path).search("fee of a land title transfer", labels={"public"}, today=TODAY)[0].path == LAND.path
    )


def test_an_index_of_other_term_rules_is_refused(tmp_path: Path) -> None:
    write_index(tmp_path, ALL)
    manifest = json.loads((tmp_path / "index.json").read_bytes())
    manifest = {name: value for name, value in manifest.items() if name != "check"} | {"terms": manifest["terms"] - 1}
    (tmp_path / "index.json").write_bytes(canonical_json(manifest | {"check": digest_json(manifest)}))
    with pytest.raises(Refused, match=f"terms {manifest['terms']}") as caught:
        open_index(tmp_path)
    assert caught.value.code == "index_format"


def printed(number: int, title: str, text: str) -> DocumentRow:
    """A page as a browser prints it, with a bar of links above and a footer below."""
    footer = f"Debug information:\nThis page is: /text/p{number}.xhp\nTitle is: {title}"
    page = f"Handbook 7.4\nModule\nContents\n{title}\n{text}\n{footer}"
    return DocumentRow(
        id=f"doc_{number}", path=f"p{number}.html", text=page, label="public", title=title, language="en"
    )


PAGES = [
    printed(
        0,
        "Debug mode",
        "To see what went wrong, start the program with the switch for diagnosis, and read its protocol.",
    ),
    *(
        printed(number, f"Dish {number}", f"Boil dish {number} for {number + 3} minutes.\nServing\nServe it hot.")
        for number in range(1, 6)
    ),
]


def test_lines_of_the_page_are_no_matter_of_the_document(tmp_path: Path) -> None:
    write_index(tmp_path, PAGES)
    index = open_index(tmp_path)
    hits = index.search("debug module contents", labels={"public"}, today=TODAY)
    assert [hit.path for hit in hits] == ["p0.html"]
    lines = [hits[0].text[start:end] for start, end in hits[0].page_lines]
    assert lines == [
        "Handbook 7.4",
        "Module",
        "Contents",
        "Debug information:",
        "This page is: /text/p0.xhp",
        "Title is: Debug mode",
    ]
    serving = index.search("serving", labels={"public"}, today=TODAY)
    assert len(serving) == 5, "a heading that repeats inside is matter"


def test_copies_of_one_document_keep_their_lines(tmp_path: Path) -> None:
    write_index(tmp_path, [replace(HOME, id=f"doc_{number}", path=f"{number}.txt") for number in range(6)])
    hits = open_index(tmp_path).search("លិខិតបញ្ជាក់ទីលំនៅ", labels={"public"}, today=TODAY, limit=9)
    assert len(hits) == 6
    assert not any(hit.page_lines for hit in hits)


def test_a_title_with_the_words_loses_to_a_page_that_says_it(tmp_path: Path) -> None:
    lure = DocumentRow(
        id="a",
        path="a.txt",
        text="បោះពុម្ពលេខបន្ទាត់\n\nសូមមើលទំព័រផ្សេង។",
        label="public",
        title="បោះពុម្ពលេខបន្ទាត់",
        language="km",
    )
    right = DocumentRow(
        id="b",
        path="b.txt",
        text="ការកំណត់ផ្សេងៗ\n\nលេខបន្ទាត់ត្រូវបានបោះពុម្ពនៅរឹមទំព័រខាងឆ្វេង ជាមួយអត្ថបទ។ លេខបន្ទាត់អាចបោះពុម្ពរៀងរាល់ប្រាំបន្ទាត់។",
        label="public",
        language="km",
    )
    write_index(tmp_path, [lure, right])
    hits = open_index(tmp_path).search("តើលេខបន្ទាត់ត្រូវបានបោះពុម្ពនៅរឹមទំព័រខាងណា?", labels={"public"}, today=TODAY)
    assert hits[0].path == "b.txt"
