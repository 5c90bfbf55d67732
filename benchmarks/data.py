"""The text recipe: megabytes a second of one core, and how well Khmer comes out of PDF and scans.

Input of our own: sentences of the sample's papers, put together anew until there is enough, one JSON line a Document.
Khmer accuracy is 1 - edit distance / length over letters, spaces aside, between the sample's Khmer papers and what is
read of them after LibreOffice and Chromium have made PDF of them, and after the PDF was turned into a picture; these
figures need those programs, and are left out where one is missing.
"""

from __future__ import annotations

import html
import json
import random
import re
import shutil
import struct
import subprocess
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import pypdfium2
from figures import Context, Figure

import baray
from baray.core import digest_file
from baray.data.pipeline.handler import build
from baray.data.readers import ReadOptions, Record, SourceFile, find_ocr, read_file
from baray.runs import AttemptContext, Input, InputFile
from baray.text import language, normalise, sentences

SAMPLE = Path(baray.__file__).parent / "samples" / "one-window" / "documents"
FONT = "Khmer OS Battambang"


def measure(context: Context) -> Iterator[Figure]:
    """Yield the figures `pipeline.*`, `folder_s` and `khmer.*`."""
    papers = texts_of_sample(context.folder)
    for code in ("en", "km"):
        path = context.folder / f"{code}.jsonl"
        write_corpus(path, [text for text in papers if language(text) == code], megabytes=2 if context.quick else 16)
        seconds = process(context.folder / code, [path])[1]
        yield Figure(name=f"pipeline.{code}", value=path.stat().st_size / seconds / 1e6, unit="MB/s")
    files = [path for path in sorted(SAMPLE.rglob("*")) if path.is_file() and path.name != "documents.csv"]
    yield Figure(name="folder_s", value=process(context.folder / "sample", files)[0], unit="s")
    yield from khmer_accuracy(
        context.folder, [text for text in papers if language(text) == "km"][: 4 if context.quick else 12]
    )


def process(place: Path, files: list[Path]) -> tuple[float, float]:
    """Build a Dataset of `files` on one core. Returns wall and processor seconds."""
    entries = tuple(
        InputFile(path=path.name, digest=digest_file(path), bytes=path.stat().st_size, blob=path, label="public")
        for path in files
    )
    for folder in (place / "out", place / "work"):
        folder.mkdir(parents=True)
    run = AttemptContext(
        run_id="r_benchmark",
        spec={"name": "bench", "options": {}, "today": "2026-01-01"},
        inputs={"source": Input(name="source", ref="", kind="source", digest="", label="public", files=entries)},
        out=place / "out",
        work=place / "work",
        run_dir=place,
        cpus=1,
        memory_bytes=4_000_000_000,
        print_line=lambda _line: None,
        now=time.time,
    )
    wall, processor = time.perf_counter(), time.process_time()
    build(run)
    return time.perf_counter() - wall, time.process_time() - processor


def texts_of_sample(folder: Path) -> list[str]:
    """Texts of the sample's papers that need no OCR."""
    options = reading(ocr=None)
    found = []
    for path in sorted(SAMPLE.rglob("*")):
        if path.suffix in {".txt", ".md", ".docx", ".html"}:
            file = SourceFile(path=path.name, blob=path, bytes=path.stat().st_size)
            found += [one.text for one in read_file(file, options) if isinstance(one, Record)]
    folder.mkdir(parents=True, exist_ok=True)
    return [normalise(text) for text in found]


def write_corpus(path: Path, texts: list[str], *, megabytes: int) -> None:
    """Documents of 40 sentences drawn from `texts`, so that few are alike."""
    rng = random.Random(20261121)
    pool = [text[start:end] for text in texts for start, end in sentences(text)]
    written = 0
    with path.open("w", encoding="utf-8") as lines:
        while written < megabytes * 1_000_000:
            line = json.dumps({"text": "\n".join(rng.choices(pool, k=40))}, ensure_ascii=False) + "\n"
            written += len(line.encode())
            lines.write(line)


def khmer_accuracy(folder: Path, texts: list[str]) -> Iterator[Figure]:
    """Letters that survive PDF of LibreOffice, PDF of Chromium, and a scan."""
    pages = []
    for at, text in enumerate(texts):
        body = "".join(f"<p>{html.escape(line)}</p>" for line in text.split("\n") if line)
        page = folder / f"{at}.html"
        page.write_text(
            f'<meta charset="utf-8"><style>body {{ font-family: "{FONT}" }}</style>{body}', encoding="utf-8"
        )
        pages.append(page)
    made = {"libreoffice": by_libreoffice(folder, pages), "chromium": by_chromium(folder, pages)}
    for name, files in made.items():
        if files:
            yield Figure(name=f"khmer.pdf.{name}", value=accuracy(texts, files, reading(ocr=None)), unit="")
    ocr = find_ocr()
    if ocr and made["libreoffice"]:
        scans = [scanned(path) for path in made["libreoffice"][:4]]
        yield Figure(name="khmer.scan", value=accuracy(texts[:4], scans, reading(ocr=ocr)), unit="")


def by_libreoffice(folder: Path, pages: list[Path]) -> list[Path]:
    program = shutil.which("soffice")
    if program is None:
        return []
    profile = f"-env:UserInstallation=file://{folder}/profile"
    first = [
        program,
        profile,
        "--headless",
        "--infilter=HTML (StarWriter)",
        "--convert-to",
        "docx",
        "--outdir",
        folder,
        *pages,
    ]
    subprocess.run(first, check=True, capture_output=True)
    second = [program, profile, "--headless", "--convert-to", "pdf", "--outdir", folder / "lo"]
    subprocess.run([*second, *(page.with_suffix(".docx") for page in pages)], check=True, capture_output=True)
    return [folder / "lo" / f"{page.stem}.pdf" for page in pages]


def by_chromium(folder: Path, pages: list[Path]) -> list[Path]:
    program = shutil.which("chromium")
    if program is None:
        return []
    made = []
    for page in pages:
        made.append(folder / f"chromium-{page.stem}.pdf")
        command = [
            program,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-pdf-header-footer",
            f"--print-to-pdf={made[-1]}",
            page,
        ]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
    return made


def scanned(path: Path) -> Path:
    """The first page of a PDF as a grey picture of 300 dots an inch, in a PDF's stead."""
    document = pypdfium2.PdfDocument(path)
    bitmap = document[0].render(scale=300 / 72, grayscale=True)
    rows = memoryview(bitmap.buffer).cast("B")
    lines = b"".join(b"\0" + rows[at * bitmap.stride :][: bitmap.width] for at in range(bitmap.height))
    header = struct.pack(">IIBBBBB", bitmap.width, bitmap.height, 8, 0, 0, 0, 0)
    document.close()
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b""))
    target = path.with_suffix(".png")
    target.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(kind, data) for kind, data in chunks))
    return target


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def accuracy(texts: list[str], files: list[Path], options: ReadOptions) -> float:
    wrong = total = 0
    for text, path in zip(texts, files, strict=True):
        (found,) = read_file(SourceFile(path=path.name, blob=path, bytes=path.stat().st_size), options)
        letters = re.sub(r"\s+", "", text)
        read = re.sub(r"\s+", "", normalise(found.text)) if isinstance(found, Record) else ""
        wrong += edits(letters, read)
        total += len(letters)
    return 1 - wrong / total


def edits(first: str, second: str) -> int:
    """Levenshtein distance by rows."""
    row = list(range(len(second) + 1))
    for at, one in enumerate(first, 1):
        before, row[0] = row[0], at
        for place, other in enumerate(second, 1):
            before, row[place] = row[place], min(row[place] + 1, row[place - 1] + 1, before + (one != other))
    return row[-1]


def reading(*, ocr: tuple[str, str] | None) -> ReadOptions:
    return ReadOptions(rows="auto", text_field="text", max_bytes=200_000_000, ocr=ocr, ocr_pages=20, cpus=1)
