"""The text recipe: megabytes a second of one core, where it decides as datatrove does, and how well Khmer comes out of PDF.

`pipeline`: all steps and all filters with thresholds that nothing breaks, so that every step sees every Document; megabytes of
the text for each second of the processor, of all processes together. English is this machine's own documentation, Khmer
lies outside the project (`peers/corpora.py`). `limit`: the same rows copied to Parquet and nothing else.
Khmer accuracy is 1 - edit distance / length over letters, spaces aside, between the sample's Khmer papers and what is
read of them after LibreOffice and Chromium have made PDF of them, and after the PDF was turned into a picture; these
figures need those programs, and are left out where one is missing.
"""

from __future__ import annotations

import hashlib
import html
import importlib
import json
import re
import resource
import shutil
import statistics
import struct
import subprocess
import sys
import time
import venv
import zlib
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pypdfium2
from figures import Context, Figure

import baray
from baray.core import digest_file
from baray.data.pipeline.handler import build
from baray.data.readers import ReadOptions, Record, SourceFile, find_ocr, read_file
from baray.runs import AttemptContext, Input, InputFile
from baray.text import language, normalise

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "peers"))
corpora, agreement, likeness = (importlib.import_module(name) for name in ("corpora", "agreement", "likeness"))

SAMPLE_MEGABYTES = {"en": 2.5, "km": 0.6}
"""Of the texts that datatrove is timed on; it takes some ten seconds for each."""
NEVER = "1000000000"
OPEN = {
    "filters": "all",
    **{
        f"gopher_{name}": NEVER
        for name in (
            *(f"duplicate_{part}" for part in ("paragraphs", "paragraph_characters", "lines", "line_characters")),
            *(f"duplicate_{size}_gram" for size in range(5, 11)),
            *(f"top_{size}_gram" for size in range(2, 5)),
            *("max_words", "max_word_length", "max_symbols", "max_bullets", "max_open_lines"),
        )
    },
    **{f"gopher_min_{name}": "0" for name in ("words", "word_length", "alphabetic", "stop_words")},
    **{"c4_min_sentences": "0", "c4_min_line_words": "0", "fineweb_min_line_ends": "0"},
    **{f"fineweb_max_{name}": NEVER for name in ("short_lines", "repeated", "newlines")},
}
"""Thresholds that nothing breaks."""
SAMPLE = Path(baray.__file__).parent / "samples" / "one-window" / "documents"
FONT = "Khmer OS Battambang"


def measure(context: Context) -> Iterator[Figure]:
    """Yield the figures `pipeline.*`, `limit.*`, `agreement.*`, `folder_s`, `duplicates.*` and `khmer.*`."""
    corpora.install()
    peer = environment()
    texts = {"en": corpora.english(quick=context.quick), "km": corpora.khmer(quick=context.quick)}
    for code, found in texts.items():
        if found:
            yield from speed(context, peer, code, found)
    if peer:
        yield from agreements(context, peer, texts)
    papers = texts_of_sample(context.folder)
    files = [path for path in sorted(SAMPLE.rglob("*")) if path.is_file() and path.name != "documents.csv"]
    yield Figure(name="folder_s", value=process(context.folder / "sample", files)[0], unit="s")
    some = [line for text in texts["en"] or papers for line in text.split("\n") if len(line) > 40]
    alike = likeness.some_alike(list(dict.fromkeys(some))[:6000], 1000 if context.quick else 5000)
    for name, value in zip(("precision", "recall"), likeness.precision_and_recall(alike), strict=True):
        yield Figure(name=f"duplicates.{name}", value=value, unit="")
    yield from khmer_accuracy(
        context.folder, [text for text in papers if language(text) == "km"][: 4 if context.quick else 12]
    )


def speed(context: Context, peer: Path | None, code: str, texts: list[str]) -> Iterator[Figure]:
    """Every step on every Document, beside datatrove on an even sample of them and beside copying rows to Parquet."""
    path = context.folder / f"{code}.jsonl"
    path.write_text("".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts), encoding="utf-8")
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    process(context.folder / f"{code}-first", [path], **OPEN)
    rounds = [process(context.folder / f"{code}-{turn}", [path], **OPEN)[1] for turn in range(3)]
    theirs = None
    if peer:
        sample = texts[:: max(1, round(megabytes / SAMPLE_MEGABYTES[code] * (4 if context.quick else 1)))]
        (seconds,) = agreement.ask(peer, "time", code, [{"text": text} for text in sample])
        theirs = sum(len(text.encode()) for text in sample) / 1e6 / sum(seconds.values())
    value = megabytes / statistics.median(rounds)
    name = "datatrove, all stages but its language filter and writing" if theirs else ""
    yield Figure(name=f"pipeline.{code}", value=value, unit="MB/s", peer=name, peer_value=theirs)
    started = time.process_time()
    pl.scan_ndjson(path).sink_parquet(context.folder / f"{code}.parquet", compression="zstd", compression_level=3)
    yield Figure(name=f"limit.{code}", value=megabytes / (time.process_time() - started), unit="MB/s")


def agreements(context: Context, peer: Path, texts: dict[str, list[str]]) -> Iterator[Figure]:
    """How often we decide as datatrove does. Injected: it gets our words and sentences, so that the rules alone are compared."""
    for code, ways in (("en", ("inject", "decide")), ("km", ("inject",))):
        some = texts[code][:: 4 if context.quick else 1]
        for task in ways if some else ():
            way = {"inject": "injected", "decide": "end_to_end"}[task] + (".km" if code == "km" else "")
            for name, share, alone in agreement.filters(peer, some, code, task):
                print(
                    f"data: agreement.{name}.{way}: dropped by us alone {alone['ours']}, by datatrove {alone['theirs']}"
                )
                yield Figure(name=f"agreement.{name}.{way}", value=share, unit="")
    some = texts["en"][:: 4 if context.quick else 1]
    if some:
        copied = agreement.with_copies(some)
        for way, inject in (("injected", True), ("end_to_end", False)):
            yield Figure(
                name=f"agreement.minhash.{way}", value=agreement.near(peer, copied, "en", inject=inject), unit=""
            )
        yield Figure(name="agreement.pii.end_to_end", value=agreement.personal(peer, some, "en"), unit="")


def environment() -> Path | None:
    """The Python of an environment of its own with datatrove, made once; None where it cannot be made."""
    pins = HERE / "peers" / "trove.txt"
    folder = (
        HERE.parent
        / ".venv"
        / "peers"
        / f"trove-{hashlib.sha256(pins.read_bytes() + sys.version.encode()).hexdigest()[:12]}"
    )
    python = folder / "bin" / "python"
    if (folder / "ready").exists():
        return python
    venv.create(folder, with_pip=True, clear=True)
    done = subprocess.run([python, "-m", "pip", "install", "-qq", "--no-deps", "-r", pins], check=False)
    if done.returncode:
        print("data: datatrove cannot be installed, so it does not stand beside")
        return None
    folder.joinpath("ready").touch()
    return python


def process(place: Path, files: list[Path], **options: str) -> tuple[float, float]:
    """Build a Dataset of `files` on one core. Returns wall and processor seconds, those of reading processes included."""
    entries = tuple(
        InputFile(path=path.name, digest=digest_file(path), bytes=path.stat().st_size, blob=path, label="public")
        for path in files
    )
    for folder in (place / "out", place / "work"):
        folder.mkdir(parents=True)
    run = AttemptContext(
        run_id="r_benchmark",
        spec={"name": "bench", "options": options, "today": "2026-01-01"},
        inputs={"source": Input(name="source", ref="", kind="source", digest="", label="public", files=entries)},
        out=place / "out",
        work=place / "work",
        run_dir=place,
        cpus=1,
        memory_bytes=4_000_000_000,
        print_line=lambda _line: None,
        now=time.time,
    )
    wall, processor = time.perf_counter(), processor_seconds()
    build(run)
    return time.perf_counter() - wall, processor_seconds() - processor


def processor_seconds() -> float:
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


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
