"""Files made for the tests of `data`, byte by byte, and a Run of its handlers without a worker."""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pypdfium2

from baray.catalog import Output
from baray.core import digest_bytes
from baray.data.pipeline.handler import build
from baray.runs import AttemptContext, Input, InputFile

TODAY = "2026-11-21"
NOTICE_KM = "ការិយាល័យបិទនៅថ្ងៃសុក្រ ដោយសារបុណ្យអុំទូក។ សូមមកវិញនៅថ្ងៃចន្ទ។"
NOTICE_EN = "The office is closed on Friday for the water festival. Please come back on Monday."
CONTENT_TYPES = (
    '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Override PartName="/word/document.xml"'
    ' ContentType="application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"/></Types>'
)
WORKBOOK_TYPES = CONTENT_TYPES.replace("word/document", "xl/workbook").replace(
    "wordprocessingml.document.main", "spreadsheetml.sheet.main"
)
RELATIONS = (
    '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="rId1"'
    ' Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" Target="word/document.xml"/>'
    "</Relationships>"
)
W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'


@dataclass(frozen=True, kw_only=True)
class Paper:
    """One file of a Source."""

    data: bytes
    label: str = "public"
    valid_from: str | None = None
    valid_until: str | None = None
    office: str | None = None


@dataclass(frozen=True, kw_only=True)
class Made:
    """What a build left."""

    output: Output
    folder: Path
    rows: list[dict[str, Any]]
    dropped: list[dict[str, Any]]
    report: dict[str, Any]
    log: list[str] = field(default_factory=list)

    def texts(self) -> dict[str, str]:
        return {row["path"]: row["text"] for row in self.rows}

    def reasons(self) -> dict[str, str]:
        return {row["path"]: row["reason"] for row in self.dropped}


def source_of(tmp_path: Path, papers: dict[str, Paper | bytes], *, name: str = "source") -> Input:
    """A Source whose blobs lie below `tmp_path`."""
    blobs = tmp_path / "blobs"
    blobs.mkdir(parents=True, exist_ok=True)
    files = []
    for path, given in papers.items():
        paper = given if isinstance(given, Paper) else Paper(data=given)
        digest = digest_bytes(paper.data)
        blob = blobs / digest.removeprefix("sha256:")
        blob.write_bytes(paper.data)
        files.append(
            InputFile(
                path=path,
                digest=digest,
                bytes=len(paper.data),
                blob=blob,
                label=paper.label,
                valid_from=paper.valid_from,
                valid_until=paper.valid_until,
                office=paper.office,
            )
        )
    return Input(
        name=name,
        ref=f"source:{name}@v1",
        kind="source",
        digest="sha256:" + "0" * 64,
        label="public",
        files=tuple(files),
    )


def context_of(
    tmp_path: Path, spec: dict[str, Any], inputs: dict[str, Input], *, cpus: int = 1
) -> tuple[AttemptContext, list[str]]:
    """An Attempt as a worker would make it, and its log lines."""
    run = tmp_path / "run"
    for folder in ("out", "work"):
        (run / folder).mkdir(parents=True, exist_ok=True)
    log: list[str] = []
    context = AttemptContext(
        run_id="r_0000000000test",
        spec={"today": TODAY, **spec},
        inputs=inputs,
        out=run / "out",
        work=run / "work",
        run_dir=run,
        cpus=cpus,
        memory_bytes=2_000_000_000,
        print_line=log.append,
        now=lambda: 0.0,
    )
    return context, log


def make(tmp_path: Path, papers: dict[str, Paper | bytes], *, cpus: int = 1, **options: Any) -> Made:
    """Build a Dataset of `papers`."""
    inputs = {"source": source_of(tmp_path, papers)}
    context, log = context_of(tmp_path, {"name": "letters", "options": options}, inputs, cpus=cpus)
    (output,) = build(context)
    folder = context.out / "letters"
    return Made(
        output=output,
        folder=folder,
        rows=pl.read_parquet(folder / "data").to_dicts(),
        dropped=pl.read_parquet(folder / "dropped").to_dicts(),
        report=json.loads((folder / "report.json").read_text()),
        log=log,
    )


def docx(body: str, *, parts: dict[str, str] | None = None) -> bytes:
    """A Word document with `body` inside w:body."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", CONTENT_TYPES)
        archive.writestr("_rels/.rels", RELATIONS)
        archive.writestr("word/document.xml", f"<w:document {W}><w:body>{body}</w:body></w:document>")
        for name, content in (parts or {}).items():
            archive.writestr(name, content)
    return data.getvalue()


def paragraph(text: str, *, style: str = "", font: str = "") -> str:
    """A paragraph of one run."""
    properties = f'<w:pPr><w:pStyle w:val="{style}"/></w:pPr>' if style else ""
    fonts = f'<w:rPr><w:rFonts w:ascii="{font}" w:hAnsi="{font}" w:cs="{font}"/></w:rPr>' if font else ""
    return f"<w:p>{properties}<w:r>{fonts}<w:t>{text}</w:t></w:r></w:p>"


def table(rows: list[list[str]]) -> str:
    """A table of paragraphs."""
    cells = ("".join(f"<w:tc>{paragraph(cell)}</w:tc>" for cell in row) for row in rows)
    return "<w:tbl>" + "".join(f"<w:tr>{row}</w:tr>" for row in cells) + "</w:tbl>"


def xlsx(sheets: dict[str, list[list[str | float]]], *, hidden: frozenset[str] = frozenset()) -> bytes:
    """A workbook with inline strings and numbers."""
    names = list(sheets)
    state = {name: ' state="hidden"' if name in hidden else "" for name in names}
    listed = "".join(
        f'<sheet name="{name}" sheetId="{at}"{state[name]} r:id="rId{at}"/>' for at, name in enumerate(names, 1)
    )
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006/relationships"
    links = "".join(
        f'<Relationship Id="rId{at}" Type="{office}/worksheet" Target="worksheets/sheet{at}.xml"/>'
        for at in range(1, len(names) + 1)
    )
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", WORKBOOK_TYPES)
        archive.writestr("_rels/.rels", RELATIONS.replace("word/document", "xl/workbook"))
        archive.writestr(
            "xl/workbook.xml", f'<workbook xmlns="{main}" xmlns:r="{office}"><sheets>{listed}</sheets></workbook>'
        )
        archive.writestr("xl/_rels/workbook.xml.rels", f'<Relationships xmlns="{package}">{links}</Relationships>')
        for at, name in enumerate(names, 1):
            rows = "".join(_sheet_row(number, row) for number, row in enumerate(sheets[name], 1))
            archive.writestr(
                f"xl/worksheets/sheet{at}.xml", f'<worksheet xmlns="{main}"><sheetData>{rows}</sheetData></worksheet>'
            )
    return data.getvalue()


def _sheet_row(number: int, row: list[str | float]) -> str:
    cells = []
    for at, value in enumerate(row):
        where = f"{chr(65 + at)}{number}"
        if isinstance(value, str):
            cells.append(f'<c r="{where}" t="inlineStr"><is><t>{value}</t></is></c>')
        else:
            cells.append(f'<c r="{where}"><v>{value}</v></c>')
    return f'<row r="{number}">{"".join(cells)}</row>'


def pdf(
    *pages: str, font: str = "Helvetica", trailer: str = "", objects: tuple[bytes, ...] = (), resources: str = ""
) -> bytes:
    """A PDF of the given content streams; F1 is `font`. `objects` are numbered after the pages."""
    bodies: list[bytes] = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"",
        f"<</Type/Font/Subtype/Type1/BaseFont/{font}>>".encode(),
    ]
    kids = []
    for page in pages:
        content = page.encode("latin-1")
        number = len(bodies) + 1
        kids.append(f"{number} 0 R")
        about = f"/MediaBox[0 0 595 842]/Contents {number + 1} 0 R/Resources<</Font<</F1 3 0 R>>{resources}>>"
        bodies.append(f"<</Type/Page/Parent 2 0 R{about}>>".encode())
        bodies.append(b"<</Length %d>>stream\n%s\nendstream" % (len(content), content))
    bodies[1] = f"<</Type/Pages/Count {len(kids)}/Kids[{' '.join(kids)}]>>".encode()
    bodies.extend(objects)
    out = bytearray(b"%PDF-1.7\n")
    places = []
    for number, body in enumerate(bodies, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(bodies) + 1)
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    out += f"trailer<</Size {len(bodies) + 1}/Root 1 0 R{trailer}>>\nstartxref\n{start}\n%%EOF\n".encode()
    return bytes(out)


def drawn(x: float, y: float, text: str, *, size: float = 12) -> str:
    """Draws text at a place."""
    escaped = text.replace("(", "\\(").replace(")", "\\)")
    return f"BT /F1 {size} Tf 1 0 0 1 {x} {y} Tm ({escaped}) Tj ET\n"


def marked(actual: str, content: str) -> str:
    """Content whose letters are `actual`."""
    octets = b"\xfe\xff" + actual.encode("utf-16-be")
    return f"/Span <</ActualText <{octets.hex()}>>> BDC\n{content}EMC\n"


def png_of(data: bytes, *, scale: float = 3.0) -> bytes:
    """The first page of a PDF as a grey PNG: a scan of it."""
    document = pypdfium2.PdfDocument(data)
    bitmap = document[0].render(scale=scale, grayscale=True)
    rows = memoryview(bitmap.buffer).cast("B")
    lines = b"".join(
        b"\0" + bytes(rows[at * bitmap.stride : at * bitmap.stride + bitmap.width]) for at in range(bitmap.height)
    )
    size = struct.pack(">IIBBBBB", bitmap.width, bitmap.height, 8, 0, 0, 0, 0)
    document.close()
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", size) + _chunk(b"IDAT", zlib.compress(lines)) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
