"""Readers: one file of each kind in, its text or the reason why not out."""

from __future__ import annotations

import io
import json
import random
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest
from data_papers import NOTICE_EN, NOTICE_KM, docx, drawn, marked, paragraph, pdf, png_of, table, xlsx

from baray.data.readers import ReadOptions, Record, Refusal, SourceFile, find_ocr, read_file
from baray.text import normalise

OPTIONS = {"rows": "auto", "text_field": "text", "max_bytes": 50_000_000, "ocr": None, "ocr_pages": 5, "cpus": 1}


def read(tmp_path: Path, name: str, data: bytes, **options: object) -> list[Record | Refusal]:
    blob = tmp_path / "blob"
    blob.write_bytes(data)
    return list(read_file(SourceFile(path=name, blob=blob, bytes=len(data)), ReadOptions(**{**OPTIONS, **options})))


def one(tmp_path: Path, name: str, data: bytes, **options: object) -> Record:
    (record,) = read(tmp_path, name, data, **options)
    assert isinstance(record, Record), record
    return record


def reason(tmp_path: Path, name: str, data: bytes, **options: object) -> str:
    (refusal,) = read(tmp_path, name, data, **options)
    assert isinstance(refusal, Refusal), refusal
    assert refusal.detail.endswith(".")
    return refusal.reason


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_text_in_any_unicode_encoding(tmp_path, encoding):
    assert one(tmp_path, "a.txt", f"{NOTICE_KM}\n{NOTICE_EN}".encode(encoding)).text == f"{NOTICE_KM}\n{NOTICE_EN}"


def test_old_western_text_and_a_few_bad_bytes(tmp_path):
    assert one(tmp_path, "a.txt", "Le café est fermé le vendredi.".encode("cp1252")).text.startswith("Le café")
    damaged = NOTICE_KM.encode() + b"\xff" + NOTICE_KM.encode() + b"\xe1\x9e"
    assert one(tmp_path, "a.txt", damaged).text.startswith(NOTICE_KM + "\ufffd" + NOTICE_KM)
    assert one(tmp_path, "a.txt", b"\x93Closed\x94 on Friday, isn\x92t it?").text == "“Closed” on Friday, isn’t it?"


def test_bytes_in_no_known_encoding_are_refused(tmp_path):
    assert reason(tmp_path, "a.txt", bytes(range(0x80, 0x100)) * 20) == "decode_error"


def test_titles(tmp_path):
    assert one(tmp_path, "a.md", f"letterhead\n\n# Opening hours #\n\n{NOTICE_EN}".encode()).title == "Opening hours"
    assert one(tmp_path, "a.txt", f"\n{NOTICE_KM}\nmore".encode()).title == NOTICE_KM
    assert one(tmp_path, "fees-of_2026.csv", b"a,b,c\nx,y,1\n").title == "fees of 2026"


def test_html_keeps_the_main_text_only(tmp_path):
    page = f"""<!DOCTYPE html><html><head><title>Site - Notice</title><style>p {{ color: red }}</style></head><body>
    <header>Office of the province</header><nav><a href=1>Home</a> <a href=2>Contact</a></nav>
    <div class="side-menu">Menu entries</div>
    <main><h1>Closed<br>days</h1><p>{NOTICE_EN} It is <b>not</b>
    open.</p><!-- secret --><script>var x = "code"</script><p hidden>invisible</p><p style="display: none">gone</p>
    <ul><li>first</li><li>second</li></ul>
    <table><tr><th>Service</th><th>Fee</th></tr><tr><td>Birth certificate</td><td>4,000 riel</td></tr></table>
    <pre>one
two</pre></main><footer>Copyright</footer></body></html>"""
    record = one(tmp_path, "page.html", page.encode())
    assert record.title == "Closed days"
    assert record.text.split("\n") == [
        "Closed", "days", f"{NOTICE_EN} It is not open.", "first", "second", "Service: Birth certificate; Fee: 4,000 riel",
        "one", "two",
    ]  # fmt: skip


def test_html_header_with_the_title_stays(tmp_path):
    page = f"<html><body><header><h1>{NOTICE_KM}</h1></header><p>{NOTICE_EN}</p></body></html>"
    assert one(tmp_path, "x.dat", page.encode()).text == f"{NOTICE_KM}\n{NOTICE_EN}"


def test_html_charset_is_declared(tmp_path):
    page = '<html><head><meta charset="iso-8859-15"></head><body><p>Prix: 5 € ou plus, fermé le lundi</p></body></html>'
    assert "5 € ou plus, fermé" in one(tmp_path, "a.htm", page.encode("iso-8859-15")).text


def test_html_with_control_characters(tmp_path):
    page = b"<html><body><p>before<nav>x</nav>\x01af\x0bter &#2; end</p><script>y</script>\x02last</body></html>"
    assert one(tmp_path, "a.html", page).text.replace("\x01", "").startswith("before")


def test_csv_rows_become_lines_with_their_headers(tmp_path):
    data = 'service;fee_riel;days\nសំបុត្រកំណើត;4000;3\nMarriage;"9,000";\n\n'.encode()
    text = one(tmp_path, "fees.csv", data).text
    assert text.split("\n") == ["service: សំបុត្រកំណើត; fee riel: 4000; days: 3", "service: Marriage; fee riel: 9,000"]


def test_csv_without_header_stays_as_it_is(tmp_path):
    assert (
        one(tmp_path, "a.csv", b"Director,Sok Dara\nDeputy,Chan Mony\n").text == "Director: Sok Dara\nDeputy: Chan Mony"
    )


def test_csv_rows_as_documents(tmp_path):
    data = f"title,text\nA,{NOTICE_EN}\nB,{NOTICE_KM}\n".encode()
    found = read(tmp_path, "a.csv", data, rows="yes")
    assert [(r.index, r.title, r.text) for r in found] == [(0, "A", NOTICE_EN), (1, "B", NOTICE_KM)]


def test_jsonl_records(tmp_path):
    lines = [
        json.dumps({"text": NOTICE_KM, "title": "ក"}),
        "",
        "{broken",
        json.dumps({"body": "x"}),
        json.dumps({"text": NOTICE_EN}),
    ]
    found = read(tmp_path, "a.jsonl", "\n".join(lines).encode())
    assert [getattr(one, "reason", None) for one in found] == [None, "broken_record", "no_text", None]
    assert [one.index for one in found] == [0, 1, 2, 3]
    assert found[0].title == "ក"
    assert found[3].title == NOTICE_EN
    assert (
        one(tmp_path, "a.jsonl", "\n".join([lines[0], lines[4]]).encode(), rows="no").text
        == f"{NOTICE_KM}\n\n{NOTICE_EN}"
    )


def test_jsonl_is_known_by_its_content(tmp_path):
    assert one(tmp_path, "export.txt", json.dumps({"text": NOTICE_EN}).encode()).text == NOTICE_EN


def test_xlsx_visible_sheets(tmp_path):
    data = xlsx(
        {"ថ្លៃ": [["Service", "Fee", "Days"], ["សំបុត្រកំណើត", 4000.0, 2.5]], "Salaries": [["Sok", 1.0]]},
        hidden=frozenset(["Salaries"]),
    )
    assert one(tmp_path, "fees.xlsx", data).text == "Service: សំបុត្រកំណើត; Fee: 4000; Days: 2.5"
    assert (
        one(tmp_path, "fees.xlsx", xlsx({"A": [["x", "y", "z"]], "B": [["u", "v", "w"]]})).text
        == "A\nx; y; z\n\nB\nu; v; w"
    )


def test_docx_paragraphs_tables_headers_and_deleted_text(tmp_path):
    box = f"<w:txbxContent>{paragraph('in a box')}</w:txbxContent>"
    twice = (
        '<mc:AlternateContent xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006">'
        f"<mc:Choice>{box}</mc:Choice><mc:Fallback>{box}</mc:Fallback></mc:AlternateContent>"
    )
    body = (
        paragraph("Heading of the notice", style="Heading1")
        + f"<w:p><w:r><w:t>One</w:t><w:tab/><w:t>two</w:t><w:br/><w:t>{NOTICE_KM}</w:t></w:r>"
        + "<w:del><w:r><w:delText>deleted</w:delText></w:r></w:del></w:p>"
        + table([["Service", "Fee", "Days"], ["Birth", "4,000", "3"]])
        + f"<w:p><w:r>{twice}</w:r></w:p>"
    )
    header = (
        '<w:hdr xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main">'
        + paragraph("Letterhead")
        + "</w:hdr>"
    )
    record = one(tmp_path, "a.docx", docx(body, parts={"word/header1.xml": header, "word/header2.xml": header}))
    assert record.title == "Heading of the notice"
    assert record.text.split("\n") == [
        "Letterhead", "Heading of the notice", "One two", NOTICE_KM, "Service: Birth; Fee: 4,000; Days: 3", "in a box",
    ]  # fmt: skip


def test_damaged_files_are_refused_or_read(tmp_path):
    rng = random.Random(3)
    image = pdf("".join(marked(letters, drawn(50 + 20 * at, 700, "x")) for at, letters in enumerate(NOTICE_KM.split())))
    files = {"a.docx": docx(paragraph(NOTICE_KM)), "a.pdf": image, "a.xlsx": xlsx({"A": [["x", "y", "z"], ["1", 2.0, "3"]]}),
             "a.html": f"<html><body><nav>x</nav><p>{NOTICE_KM}</p></body></html>".encode(),
             "a.csv": b"a,b\n1,2\n", "a.jsonl": json.dumps({"text": NOTICE_EN}).encode()}  # fmt: skip
    for name, data in files.items():
        for _ in range(60):
            damaged = bytearray(data)
            for _ in range(rng.choice((1, 4, 16))):
                at = rng.randrange(len(damaged) + 1)
                damaged[at : at + rng.choice((0, 1, 9))] = rng.randbytes(rng.choice((0, 1, 9)))
            assert read(tmp_path, name, bytes(damaged) or b"x")


@pytest.mark.parametrize("cut", [10, 60, 200])
def test_cut_off_docx(tmp_path, cut):
    assert reason(tmp_path, "a.docx", docx(paragraph(NOTICE_EN))[:cut]) == "broken_file"


def test_docx_with_entities_is_refused(tmp_path):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("word/document.xml", '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><x>&b;</x>')
    assert reason(tmp_path, "a.docx", data.getvalue()) == "broken_file"


def test_zip_bomb(tmp_path):
    assert reason(tmp_path, "a.docx", docx(paragraph("a" * 20_000_000))) == "too_large"
    assert reason(tmp_path, "a.docx", docx(paragraph("abc" * 200_000)), max_bytes=500_000) == "too_large"


LEGACY = "karbriyal½y cracecjcUlEtmYy extþRBHsaKr" * 3


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.docx", docx(paragraph(LEGACY, font="Limon S1") + paragraph(NOTICE_EN))),
        ("a.html", f'<html><body><p><font face="Limon R1">{LEGACY}</font></p></body></html>'.encode()),
        (
            "b.html",
            f'<html><style>body {{ font-family: "ABC-TEXT-05", serif }}</style><body>{LEGACY}</body></html>'.encode(),
        ),
        ("a.pdf", pdf(drawn(50, 700, "karbriyaly cracecjcUlEtmYy extRBHsaKr"), font="ABCDEF+LimonS1")),
    ],
)
def test_khmer_in_legacy_fonts_is_refused(tmp_path, name, data):
    assert reason(tmp_path, name, data) == "legacy_font"


def test_a_legacy_font_on_unicode_khmer_does_not_matter(tmp_path):
    assert one(tmp_path, "a.docx", docx(paragraph(NOTICE_KM, font="Limon S1"))).text == NOTICE_KM


def test_pdf_of_latin_text(tmp_path):
    page = (
        drawn(50, 780, "Opening hours", size=20)
        + drawn(50, 700, "The office opens at 8")
        + drawn(50, 600, "It closes at 5.")
    )
    record = one(tmp_path, "a.pdf", pdf(page, drawn(50, 700, "Second page")))
    assert record.text == "Opening hours\nThe office opens at 8\nIt closes at 5.\n\nSecond page"
    assert record.title == "Opening hours"


def test_pdf_takes_the_letters_that_the_writer_gave(tmp_path):
    # One syllable drawn as two glyphs in two objects, as Chromium does: its letters count once.
    page = "".join(
        marked(letters, drawn(x, 700, "x") + drawn(x + 4, 698, "y"))
        for x, letters in ((50, "ខ្មែ"), (62, "រ"), (74, "ស្រី"))
    )
    assert one(tmp_path, "a.pdf", pdf(page)).text == "ខ្មែរស្រី"


def test_pdf_puts_runs_of_two_fonts_in_order(tmp_path):
    # LibreOffice draws the signs of one font first and the words of the other one after them.
    page = drawn(94, 700, "(") + drawn(128, 700, ")") + drawn(50, 700, "STYLE") + drawn(98, 700, "Red")
    assert one(tmp_path, "a.pdf", pdf(page)).text.replace(" ", "") == "STYLE(Red)"


def test_pdf_paragraphs_go_on_over_full_lines(tmp_path):
    long = "The registration of a birth takes three days and costs four thousand"
    page = drawn(50, 700, long) + drawn(50, 685, "riel in every commune.") + drawn(50, 670, "Another rule.")
    assert one(tmp_path, "a.pdf", pdf(page)).text == f"{long} riel in every commune.\nAnother rule."


def test_pdf_drawn_without_letters_needs_ocr(tmp_path):
    # Forty syllables that all have lost their subscripts: no Khmer page is without any.
    page = "".join(marked("កណតរ", drawn(50 + 12 * (at % 30), 700 - 20 * (at // 30), "x")) for at in range(40))
    assert reason(tmp_path, "a.pdf", pdf(page)) == "no_ocr"


def test_locked_cut_off_and_empty_files(tmp_path):
    locked = "/ID[<00><00>]/Encrypt<</Filter/Standard/V 1/R 2/P -4/O<" + "41" * 32 + ">/U<" + "42" * 32 + ">>>"
    assert reason(tmp_path, "a.pdf", pdf(drawn(50, 700, "x"), trailer=locked)) == "encrypted"
    assert reason(tmp_path, "a.pdf", b"%PDF-1.7\n1 0 obj\n<<") == "broken_file"
    assert reason(tmp_path, "a.txt", b"") == "empty_file"
    assert reason(tmp_path, "a.txt", b" \n\t ") == "no_text"
    assert reason(tmp_path, "a.pdf", pdf("")) == "no_text"
    ole = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)
    assert reason(tmp_path, "a.docx", ole + "EncryptedPackage".encode("utf-16-le")) == "encrypted"


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.doc", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)),
        ("a.bin", bytes(range(256)) * 4),
        ("a.txt", b"\x7fELF\x02\x01\x01\x00\x00\x00\x03\x04\x05\x06" * 9),
        ("a.txt", bytes([1, 0, 2, 0, 3, 0, 65, 0]) * 60),
        ("a.svg", b"<?xml version='1.0'?><svg/>"),
        ("a.py", b"print('hello')\n"),
        ("forms.zip", xlsx({}).replace(b"xl/workbook", b"yl/workbook")),
    ],
)
def test_other_kinds_are_refused(tmp_path, name, data):
    assert reason(tmp_path, name, data) == "unsupported_type"


def test_a_large_file_is_refused(tmp_path):
    assert reason(tmp_path, "a.txt", b"word " * 100, max_bytes=100) == "too_large"


def test_an_image_of_too_many_pixels_is_refused(tmp_path):
    bomb = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (60_000).to_bytes(4, "big") * 2 + bytes(9)
    assert reason(tmp_path, "a.png", bomb, ocr=("tesseract", "khm+eng")) == "too_large"


def test_scans_without_ocr_are_refused(tmp_path):
    assert reason(tmp_path, "a.png", png_of(pdf(drawn(50, 700, "x")), scale=0.5)) == "no_ocr"


def test_scans_are_read(tmp_path, need):
    need("tesseract")
    found = find_ocr()
    assert found is not None, "the Khmer data of tesseract is missing"
    scan = png_of(pdf(drawn(60, 760, "The office is closed on Friday.", size=22)))
    assert "closed on Friday" in one(tmp_path, "a.png", scan, ocr=found).text
    # The same as a page of a PDF that holds only the picture.
    image = (
        b"<</Type/XObject/Subtype/Image/Width 4/Height 4/ColorSpace/DeviceGray/BitsPerComponent 8/Length 16>>stream\n"
        + bytes(16)
        + b"\nendstream"
    )
    page = pdf(
        "q 100 0 0 100 50 500 cm /I1 Do Q",
        drawn(50, 700, "A page of text"),
        objects=(image,),
        resources="/XObject<</I1 8 0 R>>",
    )
    record = one(tmp_path, "a.pdf", page)
    assert record.text == "A page of text"
    assert "1 pages are scans" in record.notes[0]
    assert one(tmp_path, "a.pdf", page, ocr=found).notes == ()


def test_damaged_picture(tmp_path, need):
    need("tesseract")
    assert reason(tmp_path, "a.png", b"\x89PNG\r\n\x1a\n" + bytes(100), ocr=find_ocr()) == "broken_file"


def test_khmer_in_a_pdf_made_by_a_word_processor(tmp_path, need):
    soffice = need("soffice")
    lines = [
        "ការចុះបញ្ជីកំណើត និងការផ្តល់សំបុត្រកំណើត",
        "ឪពុក ម្តាយ ឬអាណាព្យាបាលត្រូវចុះបញ្ជីកំណើតកូនក្នុងរយៈពេល ៣០ ថ្ងៃ គិតចាប់ពីថ្ងៃទារកកើត។",
        "ថ្លៃសេវាគឺ ៤ ០០០ រៀល (Birth certificate: 4,000 riel)។",
    ]
    (tmp_path / "a.docx").write_bytes(docx("".join(paragraph(line, font="Khmer OS Battambang") for line in lines)))
    home = f"-env:UserInstallation=file://{tmp_path}/profile"
    subprocess.run(
        [soffice, home, "--headless", "--convert-to", "pdf", "--outdir", tmp_path, tmp_path / "a.docx"],
        check=True,
        capture_output=True,
    )
    record = one(tmp_path, "a.pdf", (tmp_path / "a.pdf").read_bytes())
    assert "".join(normalise(record.text).split()) == "".join("".join(lines).split())
    shutil.rmtree(tmp_path / "profile")
