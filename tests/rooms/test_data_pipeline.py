"""The recipe `text`: what comes in is kept, dropped or refused, and the same files give the same Dataset."""

from __future__ import annotations

import csv
import json
import tempfile
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from data_papers import NOTICE_EN, NOTICE_KM, TODAY, Paper, context_of, docx, make, paragraph, source_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from baray.access import flows, parse_label
from baray.core import Refused, digest_file
from baray.data import describe, read_options
from baray.data.pipeline.handler import build
from baray.data.recipes import TextRecipe

SAMPLE = Path(__file__).parents[2] / "src/baray/samples/one-window/documents"
LONG = "The clerk greets the citizen and asks for the queue number. The fee is named before any work begins. "


def words(number: int, *, seed: str = "word") -> str:
    return " ".join(f"{seed}{chr(97 + at % 26)}{chr(97 + at // 26)}" for at in range(number)) + "."


def test_files_of_a_version(tmp_path):
    made = make(tmp_path, {"a.txt": NOTICE_KM.encode(), "b.txt": NOTICE_EN.encode(), "c.bin": bytes(range(256))})
    assert [entry.path for entry in made.output.files] == [
        "bands/part-00000.parquet", "croissant.json", "data/part-00000.parquet", "dropped/part-00000.parquet", "preview.jsonl",
        "report.html", "report.json",
    ]  # fmt: skip
    for entry in made.output.files:
        assert digest_file(made.folder / entry.path) == entry.digest
    schema = pq.read_schema(made.folder / "data/part-00000.parquet")
    assert schema.names == [
        "id", "text", "path", "source_digest", "record", "title", "language", "language_km", "language_en", "quality",
        "redactions", "label", "valid_from", "valid_until", "office",
    ]  # fmt: skip
    assert pq.read_schema(made.folder / "dropped/part-00000.parquet").names[:5] == [
        "id",
        "path",
        "step",
        "reason",
        "text",
    ]
    assert pq.ParquetFile(made.folder / "data/part-00000.parquet").metadata.row_group(0).column(1).compression == "ZSTD"
    preview = [json.loads(line) for line in (made.folder / "preview.jsonl").read_text().splitlines()]
    assert [row["text"] for row in preview] == [row["text"] for row in made.rows]
    assert made.report["refusals"][0]["path"] == "c.bin"
    assert made.report["refusals"][0]["fix"]
    assert any("refused c.bin: unsupported_type" in line for line in made.log)
    assert made.output.summary["kept"] == 2


def test_croissant_describes_the_files(tmp_path):
    made = make(tmp_path, {"a.txt": NOTICE_KM.encode()})
    about = json.loads((made.folder / "croissant.json").read_text())
    assert about["conformsTo"] == "http://mlcommons.org/croissant/1.0"
    assert about["distribution"][0]["sha256"] == digest_file(made.folder / "data/part-00000.parquet").removeprefix(
        "sha256:"
    )
    assert [field["name"] for field in about["recordSet"][0]["field"]] == list(made.rows[0])


def test_columns_of_a_document(tmp_path):
    paper = Paper(
        data=f"{NOTICE_KM}\nTel. 012 345 678".encode(), label="internal", valid_from="2026-01-01", office="ផ្នែក"
    )
    (row,) = make(tmp_path, {"notes/a.txt": paper}).rows
    assert row["path"] == "notes/a.txt"
    assert (row["label"], row["valid_from"], row["valid_until"], row["office"]) == (
        "internal",
        "2026-01-01",
        None,
        "ផ្នែក",
    )
    assert row["language"] == "km"
    assert row["language_km"] > 0.8
    assert "[PHONE]" in row["text"]
    assert row["redactions"] == 1


def test_redaction_can_be_left_out_and_titles_are_redacted_too(tmp_path):
    paper = b"Call 012 345 678 for the office hours of the province\nand wait for the answer."
    assert "012 345 678" in make(tmp_path / "1", {"a.txt": paper}, redact="no").rows[0]["text"]
    made = make(tmp_path / "2", {"a.txt": paper})
    assert made.rows[0]["title"] == "Call [PHONE] for the office hours of the province"
    assert made.report["redacted"] == 1
    assert made.report["redactions"] == {"phone": 1}


def test_short_but_real_notices_stay(tmp_path):
    notices = {
        "a.txt": "បិទថ្ងៃសុក្រ ១២ មិថុនា",
        "b.txt": "Closed on Friday 12 June.",
        "c.csv": "Fee,5000\nDays,3\nRoom,102\n",
    }
    made = make(tmp_path, {path: text.encode() for path, text in notices.items()})
    assert len(made.rows) == 3


def test_quality_drops(tmp_path):
    papers = {
        "short.txt": "Hello.",
        "symbols.txt": "=-=-=*#" * 30 + " words that do not help",
        "lines.txt": "the same line of text again and again\n" * 12,
        "good.txt": NOTICE_EN,
    }
    made = make(tmp_path, {path: text.encode() for path, text in papers.items()})
    assert made.reasons() == {"short.txt": "too_short", "symbols.txt": "mostly_symbols", "lines.txt": "repeated_lines"}
    assert {row["step"] for row in made.dropped} == {"quality"}
    assert made.dropped[0]["detail"]


def test_unwanted_languages(tmp_path):
    made = make(tmp_path, {"a.txt": NOTICE_KM.encode(), "b.txt": NOTICE_EN.encode()}, languages="km")
    assert made.reasons() == {"b.txt": "unwanted_language"}


def test_exact_duplicates_by_visible_text(tmp_path):
    # Zero-width spaces, a vowel typed before its subscript and other spacing are the same text.
    papers = {"b.txt": NOTICE_KM, "a.txt": "\u200b".join(NOTICE_KM).replace(" ", "  "), "c.txt": NOTICE_KM + "\n"}
    made = make(tmp_path, {path: text.encode() for path, text in papers.items()})
    assert list(made.texts()) == ["a.txt"]
    assert {row["detail"] for row in made.dropped} == {"Same text as a.txt."}


def test_the_same_bytes_at_two_paths(tmp_path):
    made = make(tmp_path, {"z.txt": NOTICE_EN.encode(), "m.txt": NOTICE_EN.encode()})
    assert (list(made.texts()), made.reasons()) == (["m.txt"], {"z.txt": "exact_duplicate"})
    assert made.rows[0]["id"] != made.dropped[0]["id"]


def test_near_duplicates_keep_the_newest(tmp_path):
    old = Paper(data=(LONG * 5 + words(60) + " Issued on 5 February 2024.").encode(), valid_from="2024-02-05")
    new = Paper(data=(LONG * 5 + words(60) + " Issued again on 10 June 2025.").encode(), valid_from="2025-06-10")
    made = make(tmp_path, {"a.txt": old, "b.txt": new})
    assert list(made.texts()) == ["b.txt"]
    assert made.dropped[0]["reason"] == "near_duplicate"
    assert made.dropped[0]["detail"].endswith("like b.txt.")
    assert len(make(tmp_path / "all", {"a.txt": old, "b.txt": new}, near_duplicates=0).rows) == 2


def test_khmer_near_duplicates(tmp_path):
    text = "សំរាមតាមផ្ទះត្រូវប្រមូល ៣ ដងក្នុងមួយសប្តាហ៍ គឺថ្ងៃច័ន្ទ ថ្ងៃពុធ និងថ្ងៃសុក្រ។ ប្រជាពលរដ្ឋត្រូវដាក់សំរាមនៅមុខផ្ទះពីម៉ោង ៥ ដល់ម៉ោង ៧ ព្រឹក។"
    dates = ["ចុះថ្ងៃទី ១ ខែមីនា ឆ្នាំ ២០២៤។", "ចុះថ្ងៃទី ៩ ខែកញ្ញា ឆ្នាំ ២០២៥។"]
    made = make(tmp_path, {f"{at}.txt": f"{text}\n{date}".encode() for at, date in enumerate(dates)})
    assert made.reasons() == {"1.txt": "near_duplicate"}


def test_a_different_amount_is_no_near_duplicate(tmp_path):
    fees = {f"{fee}.txt": (LONG * 5 + words(60) + f" The fee is {fee} riel.").encode() for fee in (4000, 9000)}
    assert len(make(tmp_path, fees).rows) == 2
    assert len(make(tmp_path / "any", fees, numbers_must_agree=False).rows) == 1


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [
        ({"label": "public"}, {"label": "internal"}, ["a.txt"]),
        ({"label": "internal"}, {"label": "public"}, ["b.txt"]),
        ({"label": "internal:health"}, {"label": "internal:land"}, ["a.txt", "b.txt"]),
        ({"valid_until": "2020-12-31"}, {}, ["b.txt"]),
        ({"valid_until": "2020-12-31"}, {"label": "internal"}, ["a.txt", "b.txt"]),
        ({"valid_until": "2027-12-31"}, {"valid_until": "2026-12-31"}, ["a.txt"]),
        ({"valid_from": "2027-01-01"}, {"valid_from": "2024-01-01"}, ["b.txt"]),
        ({"valid_from": "2025-01-01"}, {"valid_from": "2024-01-01"}, ["a.txt"]),
    ],
)
def test_who_may_stand_in_for_whom(tmp_path, first, second, kept):
    papers = {
        "a.txt": Paper(data=NOTICE_EN.encode(), **first),
        "b.txt": Paper(data=NOTICE_EN.encode() + b" ", **second),
    }
    assert sorted(make(tmp_path, papers).texts()) == kept


def test_copies_that_both_stay_have_their_own_ids(tmp_path):
    papers = {
        "a.txt": Paper(data=NOTICE_EN.encode(), label="internal:health"),
        "b.txt": Paper(data=NOTICE_EN.encode(), label="internal:land"),
    }
    assert len({row["id"] for row in make(tmp_path, papers).rows}) == 2


def test_what_is_above_the_dataset_shows_only_its_reason(tmp_path):
    papers = {
        "public.txt": Paper(data=NOTICE_EN.encode()),
        "secret/copy.txt": Paper(data=NOTICE_EN.encode() + b"\n", label="secret"),
        "secret/short.txt": Paper(data=b"Too short", label="secret"),
        "secret/broken.pdf": Paper(data=b"%PDF-1.7", label="secret"),
    }
    made = make(tmp_path, papers)
    assert made.output.labels == ("public",)
    for path in ("report.json", "preview.jsonl", "croissant.json"):
        assert "secret" not in (made.folder / path).read_text()
    assert {(row["id"], row["path"], row["text"], row["detail"]) for row in made.dropped} == {("", "", "", "")}
    assert sorted(row["reason"] for row in made.dropped) == ["broken_file", "exact_duplicate", "too_short"]


def test_letterheads_are_no_titles(tmp_path):
    papers = {
        f"{at}.txt": f"Office of the province\n{words(20, seed=f'title{at}')}\n{words(50, seed=f'text{at}')}".encode()
        for at in "abc"
    }
    papers["other.txt"] = b"A notice of its own\nwith a little text below it."
    titles = {row["path"]: row["title"] for row in make(tmp_path, papers).rows}
    assert titles["other.txt"] == "A notice of its own"
    assert all(titles[f"{at}.txt"].startswith(f"title{at}") for at in "abc")


def test_nothing_kept_is_refused(tmp_path):
    with pytest.raises(Refused) as refused:
        make(tmp_path, {"a.txt": b"", "b.bin": bytes(range(256))})
    assert refused.value.code == "nothing_kept"
    assert "empty_file 1" in refused.value.message


def test_files_of_several_sources(tmp_path):
    inputs = {
        "letters": source_of(tmp_path, {"a.txt": NOTICE_EN.encode()}, name="letters"),
        "laws": source_of(tmp_path, {"a.txt": NOTICE_KM.encode()}, name="laws"),
    }
    context, _ = context_of(tmp_path, {"name": "both", "options": {}}, inputs)
    (output,) = build(context)
    assert output.summary["kept"] == 2
    rows = [json.loads(line) for line in (context.out / "both/preview.jsonl").read_text().splitlines()]
    assert sorted(row["path"] for row in rows) == ["laws/a.txt", "letters/a.txt"]


def test_options(tmp_path):
    assert read_options(TextRecipe, {"min_letters": "20", "redact": "no", "rows": True}) == TextRecipe(
        min_letters=20, redact=False, rows="yes"
    )
    for options in (
        {"colour": 1},
        {"min_letters": "many"},
        {"max_symbols": 2},
        {"languages": "fr"},
        {"rows": "some"},
        {"ocr": "maybe"},
    ):
        with pytest.raises(Refused) as refused:
            read_options(TextRecipe, options)
        assert refused.value.code == "bad_option"
    assert all(option.help.endswith(".") for option in describe("text"))
    assert describe("desk") == []


TEXTS = [
    NOTICE_KM,
    NOTICE_EN,
    LONG * 4,
    LONG * 4 + "One more word.",
    words(80),
    words(79),
    "short",
    "=== *** ===" * 9,
    "",
    "one line here\n" * 20,
]
LABELS = ["public", "internal", "internal:land", "restricted", "internal@laws"]
DAYS = [None, "2019-12-31", "2024-06-30", "2026-11-20", "2026-11-22", "2030-01-01"]
PAPERS = st.builds(
    Paper,
    data=st.one_of(
        st.sampled_from(TEXTS).map(str.encode),
        st.sampled_from(TEXTS).map(lambda text: docx(paragraph(text.replace("\n", " ")))),
        st.lists(st.sampled_from(TEXTS), max_size=4).map(
            lambda texts: "\n".join(json.dumps({"text": text}) for text in texts).encode()
        ),
        st.binary(max_size=40),
    ),
    label=st.sampled_from(LABELS),
    valid_from=st.sampled_from(DAYS),
    valid_until=st.sampled_from(DAYS),
)
FOLDERS = st.dictionaries(
    st.sampled_from([f"{letter}.{kind}" for letter in "abcd" for kind in ("txt", "jsonl", "md")]),
    PAPERS,
    min_size=1,
    max_size=10,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(folder=FOLDERS)
def test_any_folder_adds_up(folder):
    # Two kept Documents raise the Dataset's label above all others, so that nothing is withheld.
    anchor = {
        f"anchor-{at}.txt": Paper(data=words(30, seed=f"anchor{at}").encode(), label=label)
        for at, label in enumerate(("secret:land@none", "internal@laws"))
    }
    with tempfile.TemporaryDirectory() as place:
        made = make(Path(place), folder | anchor)
    report = made.report
    assert report["in"] == report["kept"] + sum(report["dropped"].values()) + sum(report["refused"].values())
    assert report["kept"] == len(made.rows)
    assert sum(report["dropped"].values()) + sum(report["refused"].values()) == len(made.dropped)
    assert len({row["id"] for row in made.rows}) == len(made.rows)
    for at, step in enumerate(report["steps"][1:], 1):
        assert step["in"] == report["steps"][at - 1]["kept"]
    for row in made.dropped:
        if row["step"].endswith("duplicates"):
            kept, gone = folder[row["detail"].split(" ")[-1].removesuffix(".")], folder[row["path"]]
            assert flows(parse_label(kept.label), parse_label(gone.label))
            assert (kept.valid_until or "9999") >= (gone.valid_until or "9999")
            assert (kept.valid_from or "") <= max(gone.valid_from or "", TODAY)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(folder=FOLDERS, order=st.randoms(use_true_random=False))
def test_workers_and_order_do_not_change_the_dataset(folder, order):
    papers = folder | {"anchor.txt": Paper(data=words(30, seed="anchor").encode())}
    shuffled = list(papers.items())
    order.shuffle(shuffled)
    with tempfile.TemporaryDirectory() as place:
        first = make(Path(place, "1"), papers)
        second = make(Path(place, "2"), dict(shuffled), cpus=3)
    assert first.output.digest == second.output.digest
    assert first.rows == second.rows


def test_batches_and_processes_do_not_change_the_dataset(tmp_path, monkeypatch):
    papers = {f"{at}.txt": (LONG * 2 + words(40, seed=f"s{at % 7}x{at}")).encode() for at in range(25)}
    whole = make(tmp_path / "1", papers)
    monkeypatch.setattr("baray.data.pipeline.sieve._BATCH_DOCUMENTS", 3)
    monkeypatch.setattr("baray.data.documents._PROCESS_BYTES", 1)
    monkeypatch.setattr("baray.data.pipeline.output._PART_BYTES", 2000)
    split = make(tmp_path / "2", papers, cpus=2)
    assert len(list((split.folder / "data").iterdir())) > 1
    assert (split.output.digest, split.rows) == (whole.output.digest, whole.rows)
    assert {k: v for k, v in split.report.items() if k != "digest"} == {
        k: v for k, v in whole.report.items() if k != "digest"
    }


def test_what_changes_the_identity(tmp_path):
    paper = Paper(data=NOTICE_EN.encode())
    digests = [make(tmp_path / "0", {"a.txt": paper}).output.digest]
    for at, (path, changed) in enumerate(
        [
            ("b.txt", paper),
            ("a.txt", replace(paper, label="internal")),
            ("a.txt", replace(paper, valid_until="2030-01-01")),
            ("a.txt", replace(paper, office="Land unit")),
            ("a.txt", replace(paper, data=NOTICE_KM.encode())),
        ],
        1,
    ):
        digests.append(make(tmp_path / str(at), {path: changed}).output.digest)
    assert len(set(digests)) == len(digests)
    assert make(tmp_path / "again", {"a.txt": paper}).output.digest == digests[0]


@pytest.mark.skipif(not SAMPLE.exists(), reason="the sample is not in this checkout")
def test_the_sample(tmp_path, need):
    need("tesseract")
    with (SAMPLE / "documents.csv").open(encoding="utf-8") as lines:
        about = {row["path"]: row for row in csv.DictReader(lines)}
    papers = {
        path: Paper(
            data=(SAMPLE / path).read_bytes(), label=row["label"] or "public",
            valid_from=row["valid_from"] or None, valid_until=row["valid_until"] or None, office=row["office"] or None,
        )
        for path, row in about.items()
    }  # fmt: skip
    made = make(tmp_path, papers, cpus=2)
    assert made.report["refused"] == {"broken_file": 1, "empty_file": 1, "unsupported_type": 1}
    assert made.report["dropped"] == {"exact_duplicate": 1, "near_duplicate": 3}
    assert made.report["redacted"] >= 10
    assert "បណ្ណាល័យខេត្ត" in made.texts()["social/library-notice.png"]
    assert {row["path"] for row in made.rows if row["label"] == "internal"} == {
        path for path in papers if path.startswith("internal/")
    }
    assert set(made.reasons()) >= {
        "announcements/circular-07-counter-conduct.md",
        "announcements/circular-07-reissued.md",
    }


def test_the_report_draws_what_it_counts(tmp_path):
    papers = {f"copy-{number}.txt": Paper(data=NOTICE_EN.encode()) for number in range(3)}
    papers |= {
        "secret.txt": Paper(data=NOTICE_EN.encode(), label="secret"),
        "km.txt": NOTICE_KM.encode(),
        "short.txt": b"Hm.",
    }
    made = make(tmp_path, papers)
    profile = made.report["profile"]
    assert sum(count for _, count in profile["lengths"]) == made.report["kept"]
    (cluster,) = profile["clusters"]["largest"]
    assert cluster["kept"] == "copy-0.txt"
    assert {one["path"] for one in cluster["like_it"]} == set(made.texts() | made.reasons()) - {
        "",
        "copy-0.txt",
        "km.txt",
        "short.txt",
    }
    page = (made.folder / "report.html").read_text()
    assert "copy-1.txt" in page
    assert "too_short" in page
    assert NOTICE_KM[:40] in page
    assert "http" not in page, "it asks nobody for anything"


def test_the_report_names_nothing_above_the_label(tmp_path):
    papers = {"a.txt": Paper(data=NOTICE_EN.encode()), "b.txt": Paper(data=NOTICE_EN.encode(), label="secret")}
    made = make(tmp_path, {**papers, "other.txt": NOTICE_KM.encode()})
    assert made.output.labels == ("public",)
    assert made.report["profile"]["clusters"] == {
        "sizes": [[2, 1]],
        "largest": [{"kept": "a.txt", "size": 2, "like_it": []}],
    }
    assert "b.txt" not in (made.folder / "report.html").read_text() + (made.folder / "report.json").read_text()


def test_what_a_paper_says_is_no_page(tmp_path):
    made = make(tmp_path, {"<b>.txt": b"<script>alert('a paper of the office')</script>", "km.txt": NOTICE_KM.encode()})
    page = (made.folder / "report.html").read_text()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
