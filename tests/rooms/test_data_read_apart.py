"""Reading processes: a member that kills one costs itself; what was read before it never matters; nothing is left behind."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from data_papers import NOTICE_EN, NOTICE_KM, docx, make, paragraph
from data_reading import OPTIONS
from test_data_bombs import WORDS, children_of, deflated, paper_of, pdf_of_stream
from test_data_read_packed import tarred, zipped

from baray.data.documents import Preparation, Refused, prepared
from baray.data.documents.apart import Apart

SMALL = replace(OPTIONS, most_memory=400_000_000)
BOMB = pdf_of_stream(deflated(WORDS, 600))
MEMBERS = {
    "a.txt": NOTICE_EN.encode(),
    "bomb.pdf": BOMB,
    "b.docx": docx(paragraph(NOTICE_KM)),
    "c.txt": b"The last member.",
}


@pytest.mark.parametrize("archive", [zipped(MEMBERS), tarred(MEMBERS)], ids=["zip", "tar"])
def test_a_member_that_kills_its_reader_costs_itself(tmp_path, archive):
    paper = paper_of(tmp_path, "x.arc", archive)
    with Apart(Preparation(read=SMALL, redact=True), most=1) as apart:
        found = list(apart.read(paper))
    assert [one.paper.path for one in found] == [f"x.arc/{name}" for name in MEMBERS]
    assert [one.refusal.reason if isinstance(one, Refused) else one.text for one in found] == [
        NOTICE_EN, "too_large", NOTICE_KM, "The last member.",
    ]  # fmt: skip
    assert [one.refusal.index if isinstance(one, Refused) else one.record for one in found] == [0, 1, 2, 3]
    assert len({one.id for one in found}) == 4


def test_an_archive_of_killers_ends(tmp_path):
    small = pdf_of_stream(deflated(WORDS, 600))
    archive = tarred({f"{at}.pdf": small for at in range(4)})
    preparation = Preparation(read=SMALL, redact=True)
    with pytest.MonkeyPatch.context() as patch, Apart(preparation, most=1) as apart:
        patch.setattr("baray.data.documents.apart._MOST_DEATHS", 2)
        found = list(apart.read(paper_of(tmp_path, "x.tar", archive)))
    assert [one.refusal.reason for one in found] == ["too_large", "too_large", "broken_file"]
    assert "the rest was not read" in found[-1].refusal.detail


def test_a_file_is_read_the_same_after_a_large_one(tmp_path):
    """A reader that is left large by one file is replaced; the next is not refused for want of memory."""
    large = "\n".join(f"Line {at} of a long text about fees." for at in range(150_000)).encode()
    papers = [
        paper_of(tmp_path, "a.zip", zipped({"large.txt": large})),
        paper_of(tmp_path, "b.zip", zipped({"large.txt": large})),
    ]
    with Apart(Preparation(read=replace(OPTIONS, most_memory=500_000_000), redact=False), most=1) as apart:
        for _ in range(2):
            for paper in papers:
                (found,) = apart.read(paper)
                assert not isinstance(found, Refused), found


def test_who_stops_listening_leaves_no_process_and_no_file(tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    rows = "".join(f'{{"text": "Row {at} of a file that nobody reads to its end."}}\n' for at in range(60_000)).encode()
    papers = [paper_of(tmp_path, f"{at}.zip", zipped({"rows.jsonl": rows})) for at in range(3)]
    preparation = Preparation(read=replace(OPTIONS, scratch=str(scratch)), redact=True)
    reading = prepared(papers, preparation, cpus=2)
    _paper, documents = next(reading)
    assert next(documents).text.startswith("Row 0")
    assert children_of(os.getpid())
    documents.close()
    reading.close()
    assert children_of(os.getpid()) == []
    assert list(scratch.iterdir()) == []


def test_rows_in_archives_stream_in_flat_memory(tmp_path):
    rows = "".join(f'{{"text": "Row {at} of a file of rows, number {at * 7919}."}}\n' for at in range(30_000)).encode()
    made = make(
        tmp_path, {"a.zip": zipped({"rows.jsonl": rows}), "b.txt": b"A text beside it."}, near_duplicates=0, cpus=2
    )
    assert made.report["kept"] == 30_001
    assert [row["record"] for row in made.rows if row["path"] == "a.zip/rows.jsonl"] == list(range(30_000))
    assert not [path for path in (Path(tmp_path) / "run" / "work").rglob("*") if "reader-" in path.name]
