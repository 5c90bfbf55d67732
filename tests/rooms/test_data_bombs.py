"""Files that are small and unpack to much, or crash a reader, cost themselves and nothing else."""

from __future__ import annotations

import os
import resource
import signal
import struct
import subprocess
import sys
import threading
import time
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
from data_papers import NOTICE_EN, NOTICE_KM, context_of, docx, drawn, make, marked, paragraph, pdf, source_of, xlsx

from baray.data.documents import Paper, Preparation, Refused, prepared
from baray.data.documents.apart import Apart
from baray.data.pipeline.handler import build
from baray.data.readers import ReadOptions, SourceFile

OPTIONS = ReadOptions(
    rows="auto", text_field="text", max_bytes=200_000_000, ocr=None, ocr_pages=5, cpus=1, most_memory=512_000_000
)
WORDS = b"BT /F1 12 Tf (fee) Tj ET\n" * 40_000


def pdf_of_stream(body: bytes) -> bytes:
    """One page whose drawing is `body`, deflated already."""
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R >>",
        b"<< /Length %d /Filter /FlateDecode >>\nstream\n%b\nendstream" % (len(body), body),
    ]
    out, places = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%b\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    return out + b"xref\n0 5\n0000000000 65535 f \n" + table + (
        b"trailer << /Size 5 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % len(out)
    )  # fmt: skip


def deflated(block: bytes, times: int) -> bytes:
    packer = zlib.compressobj(9)
    return b"".join([*(packer.compress(block) for _ in range(times)), packer.flush()])


def paper_of(tmp_path, name, data):
    blob = tmp_path / f"blob-{name}"
    blob.write_bytes(data)
    file = SourceFile(path=name, blob=blob, bytes=len(data))
    return Paper(path=name, digest=name, file=file, label="public", valid_from=None, valid_until=None, office=None)


@pytest.mark.parametrize("block", [WORDS, b" " * 1_000_000], ids=["words", "spaces"])
def test_a_small_pdf_that_unpacks_to_a_gigabyte_is_one_refused_document(tmp_path, block):
    bomb = pdf_of_stream(deflated(block, 1_000_000_000 // len(block)))
    assert len(bomb) < 5_000_000
    with Watch() as watch:
        made = make(tmp_path, {"bomb.pdf": bomb, "a.txt": NOTICE_EN.encode(), "b.docx": docx(paragraph(NOTICE_KM))})
    assert set(made.texts()) == {"a.txt", "b.docx"}
    assert made.reasons()["bomb.pdf"] in {"too_large", "timeout", "no_text"}
    assert 30_000_000 < watch.peak_bytes < 1_300_000_000


class Watch(threading.Thread):
    """The greatest memory that any reading process held while it ran: of the process itself, whoever started it."""

    def __init__(self):
        super().__init__()
        self.peak_bytes, self._over = 0, threading.Event()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self.join()

    def run(self):
        while not self._over.wait(0.002):
            for one in readers(os.getpid()):
                lines = [line.split() for line in told(Path(f"/proc/{one}/status")).splitlines()]
                peaks = [int(line[1]) * 1024 for line in lines if line[0] == b"VmHWM:"]
                self.peak_bytes = max([self.peak_bytes, *peaks])


def test_memory_names_its_reason_and_the_next_file_is_read(tmp_path):
    bomb = paper_of(tmp_path, "bomb.pdf", pdf_of_stream(deflated(WORDS, 1000)))
    good = paper_of(tmp_path, "good.docx", docx(paragraph(NOTICE_EN)))
    with Apart(Preparation(read=replace(OPTIONS, most_memory=400_000_000), redact=True), most=1) as apart:
        (refused,) = apart.read(bomb)
        assert isinstance(refused, Refused)
        assert refused.refusal.reason == "too_large"
        assert "400 MB" in refused.refusal.detail
        (document,) = apart.read(good)
    assert document.text == NOTICE_EN


def test_work_without_end_is_a_timeout(tmp_path):
    slow = paper_of(tmp_path, "slow.pdf", pdf_of_stream(deflated(WORDS, 40)))
    preparation = Preparation(read=replace(OPTIONS, most_seconds=0, most_memory=4_000_000_000), redact=True)
    with Apart(preparation, most=1) as apart:
        (refused,) = apart.read(slow)
    assert refused.refusal.reason == "timeout"


def test_a_reader_that_crashes_is_a_broken_file_and_leaves_no_process(tmp_path):
    crash(tmp_path, 4_000_000_000)


def crash(tmp_path, most_memory):
    class Killer(threading.Thread):
        def run(self):
            end = time.monotonic() + 20
            while time.monotonic() < end:
                for child in readers(os.getpid()):
                    os.kill(child, signal.SIGSEGV)
                    return
                time.sleep(0.001)

    slow = paper_of(tmp_path, "slow.pdf", pdf_of_stream(deflated(WORDS, 40)))
    with Apart(Preparation(read=replace(OPTIONS, most_memory=most_memory), redact=True), most=1) as apart:
        killer = Killer()
        killer.start()
        (refused,) = apart.read(slow)
        killer.join()
    assert refused.refusal.reason == "broken_file"
    assert not children_of(os.getpid())


# A process that held more than the limit of its readers, and let it go; its readers begin with its peak in the kernel's books.
LARGE = """
import os, sys, test_data_bombs as bombs
held = bytearray(b"x" * 600_000_000)
del held
bombs.crash(bombs.Path(sys.argv[1]), 1_000_000_000)
bombs.test_memory_names_its_reason_and_the_next_file_is_read(bombs.Path(sys.argv[1]))
"""


def test_why_a_reader_died_does_not_depend_on_what_its_parent_held(tmp_path):
    argv = [sys.executable, "-c", LARGE, str(tmp_path)]
    done = subprocess.run(argv, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def readers(pid):
    """The processes that read: those below the ones that wait for them."""
    return [reader for child in children_of(pid) for reader in children_of(child)]


def children_of(pid):
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    found = [int(one) for task in tasks for one in told(task).split()]
    return [one for one in found if b"apart" in told(Path(f"/proc/{one}/cmdline"))]


def told(path):
    """What the kernel tells there; nothing once the thread or process has ended."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def test_pictures_that_declare_too_much_are_refused_before_ocr(tmp_path):
    tiff = (
        b"II*\0"
        + struct.pack("<IH", 8, 2)
        + struct.pack("<HHII", 256, 4, 1, 60_000)
        + struct.pack("<HHII", 257, 4, 1, 60_000)
    )
    options = replace(OPTIONS, ocr=("/bin/false", "khm"))
    head = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", 60_000, 60_000)
    for name, data in (("a.tif", tiff), ("a.png", head)):
        preparation = Preparation(read=options, redact=True)
        (found,) = [list(several) for _, several in prepared([paper_of(tmp_path, name, data)], preparation, cpus=1)]
        assert found[0].refusal.reason == "too_large"


def test_read_apart_is_read_the_same_whatever_the_processors(tmp_path):
    papers = {
        "a.pdf": pdf(marked(NOTICE_KM, drawn(72, 700, "x"))),
        "b.docx": docx(paragraph(NOTICE_EN)),
        "c.xlsx": xlsx({"Fees": [["Service", "Fee", "Days"], ["Birth", 4000, 3]]}),
    }
    one, many = make(tmp_path / "1", papers), make(tmp_path / "2", papers, cpus=4)
    assert one.output.digest == many.output.digest


def test_many_rows_are_as_many_documents_in_flat_memory(tmp_path):
    rows = 60_000
    table = "id,text\n" + "".join(
        f'{n},"Letter {n} asks about the fee for a permit of shop {n * 7919}."\n' for n in range(rows)
    )
    inputs = {"source": source_of(tmp_path, {"letters.csv": table.encode()})}
    context, _log = context_of(tmp_path, {"name": "letters", "options": {"near_duplicates": 0}}, inputs)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    (output,) = build(context)
    assert output.summary["in"] == rows
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert grown < 150_000_000


@pytest.mark.parametrize(
    ("table", "rows", "documents"),
    [
        ("id,text\n1,First letter about fees here.\n2,Second letter about fees here.\n", "auto", 2),
        ("Service,Fee,Days\nBirth,4000,3\nDeath,2000,5\n", "auto", 1),
        ("id,text\n1,First letter about fees here.\n2,Second letter about fees here.\n", "no", 1),
        ("n,name,fee\n" + "".join(f"{n},Service number {n},{n}00\n" for n in range(2500)), "auto", 2500),
    ],
)
def test_rows_auto(tmp_path, table, rows, documents):
    made = make(tmp_path, {"t.csv": table.encode()}, rows=rows, near_duplicates=0)
    assert made.report["in"] == documents
