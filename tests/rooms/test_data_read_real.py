"""Files as real programs write them: LibreOffice, Chromium, Ghostscript, poppler, wget, gettext, tar, zip, DuckDB, Polars."""

from __future__ import annotations

import functools
import http.server
import json
import os
import shutil
import subprocess
import threading
import zlib
from collections import Counter
from pathlib import Path

import duckdb
import polars as pl
import pypdfium2
import pytest
from data_papers import NOTICE_EN, NOTICE_KM, drawn, marked, pdf
from data_reading import only, parts, read_path, reasons

from baray.data.readers import Record, find_ocr
from baray.data.readers.garbled import Doubt, agreement, agrees, doubt
from baray.text import clusters, normalise

FONT = "Khmer OS Battambang"
TABLE = (
    "<table><tr><th>Service</th><th>Fee</th><th>Days</th></tr><tr><td>Birth</td><td>4,000</td><td>3</td></tr></table>"
)
PAGE = (
    f'<!doctype html><html lang="km"><head><meta charset="utf-8"><title>T</title></head><body style="font-family: \'{FONT}\'">'
    f"<h1>ការិយាល័យបិទ</h1><p>{NOTICE_EN}</p><p>{NOTICE_KM}</p>{TABLE}</body></html>"
)
LINES = ["ការិយាល័យបិទ", NOTICE_EN, NOTICE_KM, "Service: Birth; Fee: 4,000; Days: 3"]


def office(need, folder: Path, source: Path, *kinds: str, given: str = "") -> list[Path]:
    """`source` saved by LibreOffice in each of `kinds`."""
    soffice = need("soffice")
    profile = f"-env:UserInstallation=file://{folder}/profile"
    for kind in kinds:
        filters = [f"--infilter={given}"] if given else []
        subprocess.run(
            [soffice, profile, "--headless", *filters, "--convert-to", kind, "--outdir", folder, source],
            check=True,
            capture_output=True,
            timeout=120,
        )
    return [folder / f"{source.stem}.{kind.split(':')[0]}" for kind in kinds]


@pytest.fixture(scope="module")
def papers(tmp_path_factory, need):
    """One page in every format that the word processor writes."""
    folder = tmp_path_factory.mktemp("papers")
    (folder / "page.html").write_text(PAGE)
    kinds = ("odt:writer8", "fodt", "epub", "rtf", "docx", "pdf")
    found = office(need, folder, folder / "page.html", *kinds, given="HTML (StarWriter)")
    shutil.rmtree(folder / "profile")
    return {path.suffix: path for path in found}


@pytest.mark.parametrize("suffix", [".odt", ".fodt", ".epub", ".docx", ".rtf"])
def test_papers_of_a_word_processor(papers, suffix):
    record = only(read_path(papers[suffix]))
    lines = [line for line in record.text.split("\n") if line.strip()]
    assert lines[:3] == LINES[:3]
    assert lines[3:] == (["Service; Fee; Days", "Birth; 4,000; 3"] if suffix == ".rtf" else LINES[3:])


def test_a_locked_opendocument_and_a_legacy_font(tmp_path, need, papers):
    page = PAGE.replace(FONT, "Limon S1").replace(NOTICE_KM, "RksYgmhaépÞ nig karbriyaly cracecjcUlEtmYy extRBHsaKr")
    (tmp_path / "old.html").write_text(page)
    for path in office(need, tmp_path, tmp_path / "old.html", "odt:writer8", "rtf", "docx", given="HTML (StarWriter)"):
        assert reasons(read_path(path)) == ["legacy_font"], path.suffix


def test_sheets_and_slides_of_an_office(tmp_path, need, missing):
    (tmp_path / "fees.csv").write_text('Service,Fee,Days\nBirth,"4,000",3\nសំបុត្រ,5000,2.5\n')
    (ods,) = office(need, tmp_path, tmp_path / "fees.csv", "ods", given="CSV:44,34,76")
    if not ods.exists():
        missing("LibreOffice Calc")
    assert only(read_path(ods)).text.split("\n")[1] == "Service: សំបុត្រ; Fee: 5000; Days: 2.5"
    box = f"<draw:frame><draw:text-box><text:p>{NOTICE_KM}</text:p></draw:text-box></draw:frame>"
    slides = f"<office:presentation><draw:page>{box}</draw:page></office:presentation>"
    spaces = " ".join(
        f'xmlns:{short}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"'
        for short, name in (("office", "office"), ("text", "text"), ("draw", "drawing"))
    )
    about = f'office:mimetype="application/vnd.oasis.opendocument.presentation" office:version="1.3" {spaces}'
    flat = f'<?xml version="1.0"?><office:document {about}><office:body>{slides}</office:body></office:document>'
    (tmp_path / "talk.fodp").write_text(flat)
    (odp,) = office(need, tmp_path, tmp_path / "talk.fodp", "odp")
    if not odp.exists():
        missing("LibreOffice Impress")
    assert only(read_path(odp)).text == NOTICE_KM


def khmer(text: str) -> Counter[str]:
    return Counter(one for one in clusters(normalise(text)) if "\u1780" <= one[0] <= "\u17d3")


def shared(found: str, wanted: str) -> float:
    ours, right = khmer(found), khmer(wanted)
    return 2 * sum((ours & right).values()) / (sum(ours.values()) + sum(right.values()))


LONG = "<p>".join(
    [PAGE.split("<h1>", maxsplit=1)[0], *[f"{NOTICE_KM} ក្រសួងសុខាភិបាលណែនាំឲ្យប្រជាពលរដ្ឋប្រើទឹកស្អាត និងលាងដៃ។"] * 2]
)


def test_a_pdf_that_another_program_has_rewritten_is_read_by_ocr(tmp_path, need):
    """Ghostscript drops the letters that the writer named; what is left are numbers of glyphs, as letters of any script."""
    need("tesseract")
    (tmp_path / "page.html").write_text(LONG)
    (made,) = office(need, tmp_path, tmp_path / "page.html", "pdf", given="HTML (StarWriter)")
    rewritten = tmp_path / "rewritten.pdf"
    subprocess.run([need("gs"), "-q", "-o", rewritten, "-sDEVICE=pdfwrite", made], check=True, timeout=60)
    right = only(read_path(made, ocr=find_ocr()))
    assert (shared(right.text, LONG), right.notes) == (1.0, ())
    record = only(read_path(rewritten, ocr=find_ocr()))
    assert shared(record.text, LONG) > 0.85
    assert reasons(read_path(rewritten)) == ["no_ocr"]


def test_a_scan_with_a_wrong_text_behind_it_is_read_by_ocr(tmp_path, need, papers):
    """A scanner's software has put letters behind the picture of the page that are not those of the page."""
    need("tesseract")
    document = pypdfium2.PdfDocument(papers[".pdf"])
    bitmap = document[0].render(scale=200 / 72, grayscale=True)
    rows = b"".join(bytes(bitmap.buffer)[at * bitmap.stride :][: bitmap.width] for at in range(bitmap.height))
    image = zlib.compress(rows)
    about = f"/Width {bitmap.width}/Height {bitmap.height}/ColorSpace/DeviceGray/BitsPerComponent 8/Filter/FlateDecode"
    stream = f"<</Type/XObject/Subtype/Image{about}/Length {len(image)}>>stream\n".encode() + image + b"\nendstream"
    document.close()
    wrong = " ".join(f"ក្ក{one}ាត{at}" for at, one in enumerate("鎶藁អꊶ諂" * 12))
    page = "q 595 0 0 842 0 0 cm /I0 Do Q\n" + marked(wrong, drawn(50, 700, "x"))
    made = tmp_path / "a.pdf"
    made.write_bytes(pdf(page, objects=(stream,), resources="/XObject<</I0 6 0 R>>"))
    record = only(read_path(made, ocr=find_ocr()))
    assert "The text layer of 1 pages is not what they show" in record.notes[0]
    assert "諂" not in record.text
    assert shared(record.text, NOTICE_KM) > 0.8
    assert reasons(read_path(made)) == ["no_ocr"]


def test_doubt_is_about_letters_that_no_text_has():
    right = f"{NOTICE_KM} ខេត្តព្រះសាគរ នៅខែមីនា ក្រសួង ភ្នំពេញ " * 3
    assert doubt(right, replaced=True, font="KhmerOS") == Doubt(garbled=False, unproven=False)
    assert doubt(right, replaced=False, font="KhmerOS") == Doubt(garbled=False, unproven=True)
    assert doubt(right.replace("\u17d2\u1784", "\u17d2"), replaced=True, font="").garbled
    assert doubt(right.replace("ក", "ក鎶"), replaced=True, font="").garbled
    assert doubt(NOTICE_EN * 3, replaced=False, font="Arial") == Doubt(garbled=False, unproven=False)
    assert doubt(NOTICE_EN * 3, replaced=False, font="ABCDEF+KhmerOSBattambang") == Doubt(garbled=False, unproven=True)
    codes = "karbriyalycracecjcUlEtmYyextRBHsaKrRksYgmhaépÞRbFanKN³kmµaFikar " * 3
    assert doubt(codes, replaced=False, font="KhmerKep") == Doubt(garbled=True, unproven=True)
    assert agreement(right, right) == 1.0
    assert not agrees(agreement("ABC " * 30, right))
    assert agreement(NOTICE_EN, NOTICE_EN + " ក") == 1.0


def test_a_pdf_printed_by_a_browser_is_not_doubted(tmp_path, need):
    (tmp_path / "page.html").write_text(LONG)
    made = tmp_path / "page.pdf"
    command = [need("chromium"), "--headless", "--no-sandbox", "--disable-gpu", "--no-pdf-header-footer"]
    subprocess.run(
        [*command, f"--print-to-pdf={made}", tmp_path / "page.html"], check=True, capture_output=True, timeout=120
    )
    record = only(read_path(made, ocr=("/bin/false", "khm")))
    assert (shared(record.text, LONG), record.notes) == (1.0, ())


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_arguments):
        return


@pytest.mark.parametrize("packed", [True, False], ids=["gzip", "plain"])
def test_a_crawl_by_wget(tmp_path, need, papers, packed):
    site = tmp_path / "site"
    site.mkdir()
    (site / "index.html").write_text(
        PAGE.replace("</body>", "<a href=b.html>b</a><img src=i.png><a href=page.pdf>p</a></body>")
    )
    (site / "b.html").write_text(
        PAGE.replace("Friday", "Saturday").replace("</body>", "<a href=none.html>n</a></body>")
    )
    shutil.copy(papers[".pdf"], site / "page.pdf")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    try:
        command = [need("wget"), "-q", "-r", "-P", tmp_path / "got", f"--warc-file={tmp_path}/crawl"]
        # Status 8: one of the pages is not there, as meant.
        done = subprocess.run(
            [*command, *([] if packed else ["--no-warc-compression"]), f"{address}/index.html"], check=False, timeout=60
        )
        assert done.returncode in {0, 8}
    finally:
        server.shutdown()
        server.server_close()
    found = read_path(next(tmp_path.glob("crawl.warc*")))
    assert {one.part for one in found} == {f"{address}/{name}" for name in ("index.html", "b.html", "page.pdf")}
    assert all(isinstance(one, Record) and NOTICE_KM in one.text.replace("\n", "") for one in found)


def test_a_catalogue_made_with_gettext(tmp_path, need):
    source = tmp_path / "a.c"
    source.write_text('main() { puts(gettext("Open the file\\n")); printf(ngettext("%d fee", "%d fees", 2), 2); }')
    template, catalogue = tmp_path / "a.pot", tmp_path / "km.po"
    subprocess.run([need("xgettext"), "--from-code=UTF-8", "-kngettext:1,2", "-o", template, source], check=True)
    subprocess.run(
        [need("msginit"), "--no-translator", "-l", "km.UTF-8", "-i", template, "-o", catalogue],
        check=True,
        capture_output=True,
    )
    assert only(read_path(template)).text == "Open the file\n\n%d fee"
    written = (
        catalogue.read_text()
        .replace("charset=ASCII", "charset=UTF-8")
        .replace('msgstr ""\n\n', 'msgstr "បើកឯកសារ\\n"\n\n')
        .replace('msgstr[0] ""', 'msgstr[0] "ថ្លៃ %d"')
    )
    catalogue.write_text(written)
    folded = tmp_path / "folded.po"
    subprocess.run([need("msgcat"), "--width=20", "--color=no", "-o", folded, catalogue], check=True)
    subprocess.run([need("msgfmt"), "--check-format", "-o", os.devnull, folded], check=True)
    assert only(read_path(folded)).text == only(read_path(catalogue)).text == "បើកឯកសារ\nថ្លៃ %d"


def tree(folder: Path) -> dict[str, str]:
    """A folder to pack, and what reading it must give."""
    files = {"a.txt": NOTICE_EN, "ថត/ខ.txt": NOTICE_KM, f"{'long/' * 30}c.txt": f"{NOTICE_EN} Again."}
    for name, text in files.items():
        (folder / "x" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "x" / name).write_text(text)
    return {f"x/{name}": text for name, text in files.items()}


@pytest.mark.parametrize(
    "command",
    [
        "tar -cf a.tar x", "tar --format=pax -cf a.tar x", "tar --format=ustar -cf a.tar x", "tar -czf a.tar.gz x",
        "tar --zstd -cf a.tar.zst x", "tar -cJf a.tar.xz x", "tar -cjf a.tar.bz2 x", "zip -qr a.zip x", "zip -q0r a.zip x",
        "zip -qr - x > a.zip", "tar -cf - x | zstd -q -19 --long=27 > a.tzst", "tar -cf - x | gzip -1 > a.tgz",
        "tar -cf b.tar x && zip -q a.zip b.tar && rm b.tar",
    ],
)  # fmt: skip
def test_archives_of_real_programs(tmp_path, need, command):
    for program in ("zip", "zstd", "xz", "bzip2"):
        need(program)
    wanted = tree(tmp_path)
    subprocess.run(command, shell=True, cwd=tmp_path, check=True)
    found = parts(read_path(next(tmp_path.glob("a.*"))))
    assert found == ({f"b.tar/{name}": text for name, text in wanted.items()} if "b.tar" in command else wanted)


def test_rows_of_real_databases(tmp_path):
    rows = [{"text": f"{NOTICE_EN} {n}", "title": f"Notice {n}", "n": n} for n in range(2500)] + [
        {"text": NOTICE_KM, "title": "ក", "n": None}
    ]
    frame = pl.DataFrame(rows)
    frame.write_parquet(tmp_path / "polars.parquet", compression="zstd", row_group_size=300)
    frame.write_ipc(tmp_path / "polars.arrow", compression="lz4")
    frame.write_ipc_stream(tmp_path / "polars.arrows")
    frame.write_ndjson(tmp_path / "polars.ndjson")
    frame.write_csv(tmp_path / "polars.csv")
    frame.write_csv(tmp_path / "polars.tsv", separator="\t")
    base = duckdb.connect()
    base.execute("create table t as select * from read_parquet(?)", [str(tmp_path / "polars.parquet")])
    for name, how in {
        "duckdb.parquet": "FORMAT parquet, COMPRESSION brotli",
        "duckdb.json": "FORMAT json, ARRAY true",
        "duckdb.jsonl.gz": "FORMAT json, COMPRESSION gzip",
        "duckdb.csv.zst": "FORMAT csv, COMPRESSION zstd, HEADER true",
    }.items():
        base.execute(f"copy t to '{tmp_path / name}' ({how})")
    base.close()
    (tmp_path / "python.json").write_text(json.dumps(rows, ensure_ascii=False, indent=1))
    wanted = [(row["text"], row["title"]) for row in rows]
    for path in sorted(tmp_path.glob("*.*")):
        assert [(one.text, one.title) for one in read_path(path)] == wanted, path.name


@pytest.mark.parametrize(
    "encoding", ["UTF-16", "UTF-32LE", "GB18030", "BIG5", "SHIFT_JIS", "EUC-KR", "CP1251", "KOI8-R", "TIS-620"]
)
def test_texts_converted_by_iconv(tmp_path, need, encoding):
    text = {
        "BIG5": "柬埔寨王國政府發布公告：辦公室星期五因送水節關閉，請於星期一再來。\n",
        "SHIFT_JIS": "水祭りのため、事務所は金曜日に閉まります。月曜日にまたお越しください。\n",
        "EUC-KR": "물 축제로 인해 사무실은 금요일에 문을 닫습니다. 월요일에 다시 오세요.\n",
        "CP1251": "Офис закрыт в пятницу по случаю праздника воды. Приходите в понедельник.\n",
        "KOI8-R": "Офис закрыт в пятницу по случаю праздника воды. Приходите в понедельник.\n",
        "TIS-620": "สำนักงานปิดวันศุกร์เนื่องจากเทศกาลน้ำ กรุณากลับมาอีกครั้งในวันจันทร์\n",
    }.get(encoding, f"{NOTICE_KM}\n")
    (tmp_path / "utf8").write_text(text)
    done = subprocess.run(
        [need("iconv"), "-f", "UTF-8", "-t", encoding, tmp_path / "utf8"], check=True, capture_output=True
    )
    (tmp_path / "a.txt").write_bytes(done.stdout)
    assert only(read_path(tmp_path / "a.txt")).text == text


@pytest.mark.parametrize("kind", ["png", "jpeg", "tiff", "ppm"])
def test_pictures_drawn_by_poppler(tmp_path, need, kind):
    need("tesseract")
    made = tmp_path / "a.pdf"
    page = b"BT /F1 30 Tf 60 700 Td (The office is closed on Friday.) Tj ET"
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>",
        b"<</Length %d>>stream\n%b\nendstream" % (len(page), page), b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]  # fmt: skip
    body = b"".join(b"%d 0 obj\n%b\nendobj\n" % (at, one) for at, one in enumerate(objects, 1))
    made.write_bytes(b"%PDF-1.4\n" + body + b"trailer<</Root 1 0 R/Size 6>>\n%%EOF\n")
    flags = [] if kind == "ppm" else [f"-{kind}"]
    subprocess.run(
        [need("pdftoppm"), *flags, "-r", "100", "-H", "300", made, tmp_path / "page"], check=True, capture_output=True
    )
    picture = next(path for path in tmp_path.glob("page*"))
    assert "closed on Friday" in only(read_path(picture, ocr=find_ocr())).text
