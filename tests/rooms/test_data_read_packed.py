"""Archives: every member is a Document with a path, in the archive's order; what could do harm is refused."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import stat
import tarfile
import zipfile
from collections.abc import Callable

import pyarrow
import pytest
from data_papers import NOTICE_EN, NOTICE_KM, Paper, docx, drawn, make, paragraph, pdf
from data_reading import only, parts, read, reasons

from baray.data.documents import document_id
from baray.data.readers import Record


def zipped(members: dict[str, bytes], *, change: Callable[[zipfile.ZipInfo], None] | None = None) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            entry = zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            if change is not None:
                change(entry)
            archive.writestr(entry, content)
    return data.getvalue()


def tarred(members: dict[str, bytes | tarfile.TarInfo]) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        for name, content in members.items():
            entry = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            if isinstance(content, bytes):
                entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content) if isinstance(content, bytes) else None)
    return data.getvalue()


def zstd(data: bytes) -> bytes:
    return pyarrow.compress(data, codec="zstd", asbytes=True)


FOLDER = {
    "letters/a.txt": NOTICE_EN.encode(),
    "letters/ខ.docx": docx(paragraph(NOTICE_KM)),
    "empty.txt": b"",
    "rows.csv": b"title,text\nA,The first row of a table.\nB,The second row of a table.\n",
}
READ = {
    "letters/a.txt": NOTICE_EN,
    "letters/ខ.docx": NOTICE_KM,
    "empty.txt": "empty_file",
}
PACKED = {
    "a.zip": zipped(FOLDER),
    "a.tar": tarred(FOLDER),
    "a.tar.gz": gzip.compress(tarred(FOLDER)),
    "a.tar.zst": zstd(tarred(FOLDER)),
    "a.tgz": gzip.compress(tarred(FOLDER)),
    "a.tar.xz": lzma.compress(tarred(FOLDER)),
    "a.tar.bz2": bz2.compress(tarred(FOLDER)),
    "named-otherwise": gzip.compress(zipped(FOLDER)),
}


@pytest.mark.parametrize("name", PACKED)
def test_members_are_documents_in_the_order_of_the_archive(tmp_path, name):
    found = read(tmp_path, name, PACKED[name])
    assert [one.index for one in found] == list(range(5))
    assert [one.part for one in found] == [*READ, "rows.csv", "rows.csv"]
    assert {path: text.strip() for path, text in parts(found[:3]).items()} == READ
    assert [one.title for one in found[3:]] == ["A", "B"]


@pytest.mark.parametrize("pack", [gzip.compress, zstd, bz2.compress, lzma.compress])
@pytest.mark.parametrize(
    ("name", "data", "text"),
    [
        ("a.txt", NOTICE_KM.encode(), NOTICE_KM),
        ("a.docx", docx(paragraph(NOTICE_KM)), NOTICE_KM),
        ("a.html", f"<html><body><p>{NOTICE_EN}</p></body></html>".encode(), NOTICE_EN),
        ("a.jsonl", f'{{"text": "{NOTICE_EN}"}}\n'.encode(), NOTICE_EN),
    ],
)
def test_one_packed_file_is_the_file(tmp_path, pack, name, data, text):
    record = only(read(tmp_path, f"{name}.gz", pack(data)))
    assert (record.text.strip(), record.part) == (text, "")


def test_several_compressed_streams_in_one_file_are_read_to_the_end(tmp_path):
    lines = [f'{{"text": "Record {at} is about a fee."}}\n'.encode() for at in range(3)]
    for pack in (gzip.compress, zstd, bz2.compress, lzma.compress):
        assert len(read(tmp_path, "a.jsonl.x", b"".join(map(pack, lines)))) == 3


def test_an_archive_that_begins_with_a_pdf_is_an_archive(tmp_path):
    page = pdf(drawn(50, 700, "A page of text in an archive"))
    stored = io.BytesIO()
    with zipfile.ZipFile(stored, "w") as archive:
        archive.writestr("a.pdf", page)
    for data in (tarred({"a.pdf": page}), stored.getvalue()):
        assert parts(read(tmp_path, "a", data)) == {"a.pdf": "A page of text in an archive"}


def test_archives_inside_archives_have_one_path(tmp_path):
    inner = zipped({"a.txt": NOTICE_EN.encode(), "b.gz": gzip.compress(NOTICE_KM.encode())})
    found = read(tmp_path, "a.tar.gz", gzip.compress(tarred({"x/inner.zip": inner, "y.txt": NOTICE_EN.encode()})))
    assert parts(found) == {"x/inner.zip/a.txt": NOTICE_EN, "x/inner.zip/b.gz": NOTICE_KM, "y.txt": NOTICE_EN}


def test_too_many_packings_are_refused(tmp_path):
    data = NOTICE_EN.encode()
    for _ in range(5):
        data = gzip.compress(data)
    assert only(read(tmp_path, "a", data)).text == NOTICE_EN
    assert reasons(read(tmp_path, "a", gzip.compress(data))) == ["unsafe_archive"]
    nested = zipped({"a.txt": NOTICE_EN.encode()})
    for _ in range(7):
        nested = zipped({"n.zip": nested})
    assert reasons(read(tmp_path, "a.zip", nested)) == ["unsafe_archive"]


@pytest.mark.parametrize(
    "name", ["../a.txt", "x/../../a.txt", "/etc/passwd", "C:\\a.txt", "..\\a.txt", "a\x01b.txt", "x" * 2000, "a/b/.."]
)
def test_paths_that_lead_out_cost_their_member_only(tmp_path, name):
    members = {"first.txt": NOTICE_EN.encode(), name: b"stolen text of a member", "last.txt": NOTICE_KM.encode()}
    for archive in (zipped(members), tarred(members)):
        found = read(tmp_path, "a", archive)
        assert [getattr(one, "reason", "") for one in found] == ["", "unsafe_archive", ""]
        assert ".." not in found[1].part.split("/") or found[1].part.startswith("'")


def test_links_and_devices_are_refused(tmp_path):
    made = {}
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
        entry = tarfile.TarInfo(f"link-{kind.decode()}")
        entry.type, entry.linkname = kind, "/etc/passwd"
        made[entry.name] = entry
    found = read(tmp_path, "a.tar", tarred({**made, "a.txt": NOTICE_EN.encode()}))
    assert [getattr(one, "reason", "") for one in found] == ["unsafe_archive"] * 4 + [""]

    def link(entry):
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16

    assert reasons(read(tmp_path, "a.zip", zipped({"link": b"/etc/passwd"}, change=link))) == ["unsafe_archive"]


def test_the_same_path_twice_is_refused_once(tmp_path):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("a.txt", NOTICE_EN)
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a.txt", NOTICE_KM)
    found = read(tmp_path, "a.zip", data.getvalue())
    assert isinstance(found[0], Record)
    assert reasons(found) == ["unsafe_archive"]


def test_what_systems_put_beside_documents_is_passed_over(tmp_path):
    members = {
        "__MACOSX/._a.txt": b"\0\5\x16\7",
        ".DS_Store": b"\0\0\0\1Bud1",
        "x/Thumbs.db": b"\xd0\xcf",
        "a.txt": b"The fee.",
    }
    for archive in (zipped(members), tarred(members)):
        assert parts(read(tmp_path, "a", archive)) == {"a.txt": "The fee."}


def test_labels_inside_an_archive_refuse_it_before_anything_of_it_is_read(tmp_path):
    members = {"open.txt": NOTICE_EN.encode(), "papers/documents.csv": b"path,label\nopen.txt,secret\n"}
    for archive in (zipped(members), tarred(members), gzip.compress(tarred(members))):
        (refusal,) = read(tmp_path, "a", archive)
        assert refusal.reason == "labels_inside"
        assert "papers/documents.csv" in refusal.detail


def test_a_bomb_costs_no_more_than_its_allowance(tmp_path):
    bomb = gzip.compress(b"fee " * 8_000_000)
    assert reasons(read(tmp_path, "a.txt.gz", bomb)) == ["unsafe_archive"]
    inside = zipped({"bomb.txt": b"fee " * 8_000_000, "a.txt": NOTICE_EN.encode()})
    assert reasons(read(tmp_path, "a.zip", inside)) == ["unsafe_archive"]
    rows = zstd(b"text\n" + b"The fee is 5,000 riel, and it is paid at the counter.\n" * 500_000)
    assert reasons(read(tmp_path, "a.csv.zst", rows))[-1:] == ["unsafe_archive"]
    assert reasons(read(tmp_path, "a.txt.gz", gzip.compress(NOTICE_EN.encode() * 9), most_unpacked=100)) == [
        "too_large"
    ]


def test_members_that_share_their_bytes_are_refused(tmp_path):
    data = bytearray(zipped({"a.txt": bytes(500_000), "b.txt": bytes(500_000)}))
    second = data.rfind(b"PK\x01\x02")
    data[second + 42 : second + 46] = bytes(4)
    assert reasons(read(tmp_path, "a.zip", bytes(data))) == ["unsafe_archive"]


def test_a_damaged_archive_gives_what_lies_before_the_damage(tmp_path):
    members = {f"{at}.txt": f"Notice {at}: {NOTICE_EN}".encode() for at in range(6)}
    archive = bytearray(tarred(members))
    archive[3 * 1024 : 3 * 1024 + 512] = b"\x55" * 512
    found = read(tmp_path, "a.tar", bytes(archive))
    assert [one.part for one in found if isinstance(one, Record)] == ["0.txt", "1.txt", "2.txt"]
    assert reasons(found) == ["broken_file"]
    lines = b"".join(f'{{"text": "Record {at} of the file has {at * 7919} words."}}\n'.encode() for at in range(9000))
    cut = read(tmp_path, "a.jsonl.gz", gzip.compress(lines)[:20_000])
    assert len(cut) > 1000
    assert reasons(cut)[-1] == "broken_file"
    crc = bytearray(zipped({"a.txt": NOTICE_EN.encode(), "b.txt": NOTICE_KM.encode()}))
    crc[45] ^= 0xFF
    assert reasons(read(tmp_path, "a.zip", bytes(crc))) == ["broken_file"]


def test_locked_members_and_other_archives(tmp_path):
    data = bytearray(zipped({"a.txt": NOTICE_EN.encode()}))
    data[6] |= 1
    at = data.rfind(b"PK\x01\x02")
    data[at + 8] |= 1
    assert reasons(read(tmp_path, "a.zip", bytes(data))) == ["encrypted"]
    assert reasons(read(tmp_path, "a.7z", b"7z\xbc\xaf\x27\x1c" + bytes(90))) == ["unsupported_type"]
    assert reasons(read(tmp_path, "a.rar", b"Rar!\x1a\x07\x01\x00" + bytes(90))) == ["unsupported_type"]
    assert reasons(read(tmp_path, "a.zip", zipped({}))) == ["no_text"]


def test_a_dataset_of_an_archive_cites_its_members_and_is_the_same_on_any_number_of_processors(tmp_path):
    papers = {
        "old/letters.zip": Paper(data=PACKED["a.zip"], label="internal", office="Land unit"),
        "a.txt": Paper(data=b"A text that stands outside of all archives."),
        "more.tar.gz": Paper(
            data=gzip.compress(tarred({"../up.txt": b"x", "n.txt": b"The inner notice about taxis."}))
        ),
    }
    one, many = make(tmp_path / "1", papers), make(tmp_path / "2", papers, cpus=3)
    assert (one.output.digest, one.rows) == (many.output.digest, many.rows)
    rows = {row["path"]: row for row in one.rows}
    assert rows["old/letters.zip/letters/ខ.docx"]["text"] == NOTICE_KM
    assert rows["old/letters.zip/letters/ខ.docx"]["office"] == "Land unit"
    assert rows["old/letters.zip/letters/ខ.docx"]["label"] == "internal"
    assert rows["more.tar.gz/n.txt"]["record"] == 1
    assert one.report["in"] == 8
    assert one.report["refused"] == {"empty_file": 1, "unsafe_archive": 1}
    assert {row["id"] for row in one.rows if row["path"].startswith("old/")} <= {
        document_id(paper_of(one, "old/letters.zip/letters/a.txt"), number) for number in range(5)
    }


def paper_of(made, path):
    class Like:
        digest = next(row["source_digest"] for row in made.rows if row["path"] == path)
        twin = False

    return Like
