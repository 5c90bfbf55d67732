"""OpenDocument, EPUB, RTF, gettext catalogues, crawls, pictures and style sheets, from bytes that are written here."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
import zlib

import pytest
from data_papers import NOTICE_EN, NOTICE_KM, png_of
from data_papers import drawn as drawn_text
from data_papers import pdf as pdf_of
from data_reading import only, parts, read, reasons

OFFICE = " ".join(
    f'xmlns:{short}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"'
    for short, name in (
        ("office", "office"), ("text", "text"), ("table", "table"), ("style", "style"), ("fo", "xsl-fo-compatible"),
        ("svg", "svg-compatible"), ("draw", "drawing"), ("presentation", "presentation"), ("manifest", "manifest"),
    )
)  # fmt: skip
LEGACY = "RksYgmhaépÞ nig karbriyaly cracecjcUlEtmYy extRBHsaKr"


def odf(body: str, *, kind: str = "text", styles: str = "", parts: dict[str, str] | None = None) -> bytes:
    data = io.BytesIO()
    inside = f"{styles}<office:body><office:{kind}>{body}</office:{kind}></office:body>"
    content = f"<office:document-content {OFFICE}>{inside}</office:document-content>"
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("mimetype", f"application/vnd.oasis.opendocument.{kind}")
        archive.writestr("content.xml", content)
        for name, part in (parts or {}).items():
            archive.writestr(name, part)
    return data.getvalue()


def sheet(name: str, *rows: str, style: str = "") -> str:
    named = f' table:style-name="{style}"' if style else ""
    return (
        f'<table:table table:name="{name}"{named}>'
        + "".join(f"<table:table-row>{row}</table:table-row>" for row in rows)
        + "</table:table>"
    )


def cell(text: str, **attributes: object) -> str:
    said = "".join(f' table:{name.replace("_", "-")}="{value}"' for name, value in attributes.items())
    return (
        f"<table:table-cell{said}><text:p>{text}</text:p></table:table-cell>" if text else f"<table:table-cell{said}/>"
    )


def test_an_opendocument_text(tmp_path):
    body = f"""<text:tracked-changes><text:p>deleted</text:p></text:tracked-changes>
    <text:h text:outline-level="1">Hours of<text:line-break/>the office</text:h>
    <text:p>One<text:s text:c="3"/>two<text:tab/>three <text:span>{NOTICE_KM}</text:span>
    and on.<office:annotation><text:p>a remark</text:p></office:annotation></text:p>
    <text:p>Noted<text:note><text:note-citation>1</text:note-citation>
    <text:note-body><text:p>at the foot</text:p></text:note-body></text:note>.</text:p>
    {sheet("T", cell("Service") + cell("Fee") + cell("Days"), cell("Birth") + cell("4,000") + cell("3"))}
    <text:list><text:list-item><text:p>first</text:p></text:list-item></text:list>
    <text:p><draw:frame><draw:text-box><text:p>in a box</text:p></draw:text-box></draw:frame></text:p>"""
    record = only(read(tmp_path, "a.odt", odf(body)))
    assert record.title == "Hours of"
    assert record.text.split("\n") == [
        "Hours of", "the office", f"One   two three {NOTICE_KM} and on.", "Noted.", "at the foot",
        "Service: Birth; Fee: 4,000; Days: 3", "first", "in a box",
    ]  # fmt: skip
    inside = f"<office:body><office:text>{body}</office:text></office:body>"
    flat = f"<?xml version='1.0'?><office:document {OFFICE}>{inside}</office:document>"
    assert only(read(tmp_path, "a.fodt", flat.encode())).text == record.text


def test_an_opendocument_spreadsheet(tmp_path):
    hidden = (
        '<office:automatic-styles><style:style style:name="ta2" style:family="table">'
        '<style:table-properties table:display="false"/></style:style></office:automatic-styles>'
    )
    rows = (
        cell("Service") + cell("Fee") + cell("", number_columns_repeated=16000),
        cell("Birth") + cell("4,000"),
        cell("", number_columns_repeated=16384),
    )
    shown = sheet("Fees", *rows).replace("<table:table-row>", '<table:table-row table:number-rows-repeated="1">', 1)
    body = shown + sheet("Salaries", cell("Sok") + cell("1"), style="ta2")
    assert (
        only(read(tmp_path, "a.ods", odf(body, kind="spreadsheet", styles=hidden))).text == "Service: Birth; Fee: 4,000"
    )
    two = odf(shown + sheet("More", cell("x") + cell("y")), kind="spreadsheet")
    assert only(read(tmp_path, "a.ods", two)).text == "Fees\nService: Birth; Fee: 4,000\n\nMore\nx: y"
    texts = sheet("T", cell("title") + cell("text"), cell("A") + cell(NOTICE_EN), cell("B") + cell(NOTICE_KM))
    found = read(tmp_path, "a.ods", odf(texts, kind="spreadsheet"), rows="yes")
    assert [(one.index, one.title, one.text) for one in found] == [(0, "A", NOTICE_EN), (1, "B", NOTICE_KM)]


def test_slides(tmp_path):
    page = (
        "<draw:page><draw:frame><draw:text-box><text:p>{}</text:p></draw:text-box></draw:frame>"
        "<presentation:notes><text:p>said</text:p></presentation:notes></draw:page>"
    )
    body = page.format(NOTICE_EN) + page.format(NOTICE_KM)
    assert only(read(tmp_path, "a.odp", odf(body, kind="presentation"))).text == f"{NOTICE_EN}\n{NOTICE_KM}"


def test_opendocument_that_is_locked_or_broken(tmp_path):
    lock = {"META-INF/manifest.xml": f"<manifest:manifest {OFFICE}><manifest:encryption-data/></manifest:manifest>"}
    assert reasons(read(tmp_path, "a.odt", odf("<text:p>x</text:p>", parts=lock))) == ["encrypted"]
    assert reasons(read(tmp_path, "a.odt", odf("<text:p>x"))) == ["broken_file"]
    entities = odf("<text:p>&b;</text:p>").replace(
        b"<office:document-content", b'<!DOCTYPE x [<!ENTITY b "bb">]>\n<office:document-content'
    )
    assert reasons(read(tmp_path, "a.odt", entities)) == ["broken_file"]
    assert reasons(read(tmp_path, "a.odt", odf("<text:p/>"))) == ["no_text"]


@pytest.mark.parametrize("where", ["span", "paragraph", "parent", "default"])
def test_a_legacy_font_of_an_opendocument_is_refused(tmp_path, where):
    font = '<style:text-properties style:font-name="F1"/>'
    face = '<style:font-face style:name="F1" svg:font-family="&apos;Limon S1&apos;"/>'
    faces = f"<office:font-face-decls>{face}</office:font-face-decls>"
    styles = {
        "span": f'<style:style style:name="T1" style:family="text">{font}</style:style>',
        "paragraph": f'<style:style style:name="P1" style:family="paragraph">{font}</style:style>',
        "parent": f'<style:style style:name="Old" style:family="paragraph">{font}</style:style>'
        '<style:style style:name="P1" style:parent-style-name="Old"/>',
        "default": f'<style:default-style style:family="paragraph">{font}</style:default-style>',
    }[where]
    body = f'<text:p text:style-name="P1"><text:span text:style-name="T1">{LEGACY}</text:span></text:p>'
    made = odf(body, styles=f"{faces}<office:automatic-styles>{styles}</office:automatic-styles>")
    (refusal,) = read(tmp_path, "a.odt", made)
    assert (refusal.reason, "Limon S1" in refusal.detail) == ("legacy_font", True)
    khmer = odf(
        body.replace(LEGACY, NOTICE_KM), styles=f"{faces}<office:automatic-styles>{styles}</office:automatic-styles>"
    )
    assert only(read(tmp_path, "a.odt", khmer)).text == NOTICE_KM


def epub(
    pages: dict[str, str], *, css: str = "", spine: list[str] | None = None, parts: dict[str, str] | None = None
) -> bytes:
    data = io.BytesIO()
    items = "".join(f'<item id="{name}" href="{name}.xhtml" media-type="application/xhtml+xml"/>' for name in pages)
    order = "".join(f'<itemref idref="{name}"/>' for name in spine or pages)
    opf = (
        '<package xmlns="http://www.idpf.org/2007/opf"><metadata xmlns:dc="http://purl.org/dc/elements/1.1/">'
        f"<dc:title>A book</dc:title></metadata><manifest>{items}"
        f'<item id="css" href="a%20b.css" media-type="text/css"/></manifest><spine>{order}</spine></package>'
    )
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("mimetype", "application/epub+zip")
        archive.writestr(
            "META-INF/container.xml",
            '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
            '<rootfile full-path="OEBPS/b.opf"/></rootfiles></container>',
        )
        archive.writestr("OEBPS/b.opf", opf)
        archive.writestr("OEBPS/a b.css", css)
        for name, body in pages.items():
            archive.writestr(
                f"OEBPS/{name}.xhtml",
                f'<?xml version="1.0"?><!DOCTYPE html><html xmlns="http://www.w3.org/1999/xhtml"><body>{body}</body></html>',
            )
        for name, part in (parts or {}).items():
            archive.writestr(name, part)
    return data.getvalue()


def test_a_book_is_read_in_the_order_of_its_spine(tmp_path):
    pages = {
        "two": f"<h1>Second</h1><p>{NOTICE_KM}</p>",
        "one": f"<h1>First</h1><p>{NOTICE_EN}</p>",
        "other": "<p>unlisted</p>",
    }
    record = only(read(tmp_path, "a.epub", epub(pages, spine=["one", "two"])))
    assert record.text == f"First\n{NOTICE_EN}\n\nSecond\n{NOTICE_KM}"
    assert (record.title, record.notes) == ("A book", ())
    old = epub({"p": f"<p>{LEGACY}</p>"}, css="@font-face{font-family:x} body, p.t { font: 12pt 'Limon S1', serif }")
    assert reasons(read(tmp_path, "a.epub", old)) == ["legacy_font"]
    lock = "<encryption><EncryptionMethod Algorithm='http://www.w3.org/2001/04/xmlenc#aes128-cbc'/></encryption>"
    assert reasons(read(tmp_path, "a.epub", epub(pages, parts={"META-INF/encryption.xml": lock}))) == ["encrypted"]
    fonts = "<encryption><EncryptionMethod Algorithm='http://www.idpf.org/2008/embedding'/></encryption>"
    assert only(read(tmp_path, "a.epub", epub(pages, parts={"META-INF/encryption.xml": fonts}))).title == "A book"


@pytest.mark.parametrize(
    ("css", "body", "legacy"),
    [
        ("p { font-family: Limon S1 }", f"<p>{LEGACY}</p>", True),
        (".old { font-family: 'Limon R1', serif }", f"<div class='x old'><p>{LEGACY}</p></div>", True),
        ("#a b, td.z:hover > .old { font-family: 'ABC-TEXT-05' }", f"<p class=old>{LEGACY}</p>", True),
        (".old { font-family: Limon }", f"<p>{NOTICE_EN}</p><p class=old>km</p>", False),
        ("@font-face { font-family: Limon; src: url(x) }", f"<p>{NOTICE_EN}</p>", False),
        ("p { font-family: Limon } p { font-family: Arial }", f"<p>{NOTICE_EN}</p>", False),
        ("/* p { font-family: Limon } */", f"<p>{NOTICE_EN}</p>", False),
        ("", f"<p style='font: bold 12pt/14pt \"Limon S1\"'>{LEGACY}</p>", True),
        ("", f"<font face='Limon S1'>{LEGACY}</font>", True),
        ("body { font-family: Limon S1 }", f"<p>{NOTICE_KM}</p>", False),
    ],
)
def test_style_sheets_tell_the_font_of_a_page(tmp_path, css, body, legacy):
    page = f"<html><head><style>{css}</style></head><body>{body}</body></html>"
    assert reasons(read(tmp_path, "a.html", page.encode())) == (["legacy_font"] if legacy else [])


def test_rich_text(tmp_path):
    def rtf(body, fonts="{\\f0\\fnil Arial;}"):
        return (
            "{\\rtf1\\ansi\\ansicpg1252\\deff0{\\fonttbl"
            + fonts
            + "}{\\*\\generator x;}{\\info{\\title no}}"
            + body
            + "}"
        ).encode("ascii")

    khmer = "".join(f"\\u{ord(one)}?" for one in NOTICE_KM)
    body = (
        "\\pard A caf\\'e9 \\ldblquote closed\\rdblquote\\par\n"
        + khmer
        + "\\line {\\b bold}\\tab x\\~y\\par {\\header top}"
    )
    record = only(read(tmp_path, "a.rtf", rtf(body)))
    assert record.text.strip().split("\n") == ["A café “closed”", NOTICE_KM, "bold x\u00a0y"]
    russian = "".join(f"\\'{byte:02x}" for byte in "Офис".encode("cp1251"))
    assert (
        only(read(tmp_path, "a.rtf", rtf("\\f1 " + russian, "{\\f0 Arial;}{\\f1\\fcharset204 Arial Cyr;}"))).text
        == "Офис"
    )
    legacy = rtf(
        "\\f1 " + LEGACY.encode("cp1252").decode("latin-1").replace("é", "\\'e9").replace("Þ", "\\'de"),
        "{\\f0 Arial;}{\\f1\\fnil Limon S1;}",
    )
    assert reasons(read(tmp_path, "a.rtf", legacy)) == ["legacy_font"]
    emoji = "\\u-10179?\\u-8704?"
    assert only(read(tmp_path, "a.rtf", rtf("fee " + emoji))).text == "fee 😀"
    assert reasons(read(tmp_path, "a.rtf", b"{\\rtf1 " + b"{" * 5000)) == ["broken_file"]


PO = """msgid ""
msgstr ""
"Content-Type: text/plain; charset=UTF-8\\n"

#: a.c:1
msgctxt "menu"
msgid "Open \\"file\\""
msgstr "បើក"
"ឯកសារ\\n"

#, c-format, fuzzy
msgid "Close"
msgstr "បិទ?"

msgid "one file"
msgid_plural "%d files"
msgstr[0] "ឯកសារ %d"

msgid "not yet"
msgstr ""

#~ msgid "gone"
#~ msgstr "ចាស់"
"""


def test_a_catalogue_gives_its_translations(tmp_path):
    record = only(read(tmp_path, "km.po", PO.encode()))
    assert record.text == "បើកឯកសារ\nឯកសារ %d"
    assert record.notes == ("2 of 4 messages are fuzzy or not translated.",)
    found = read(tmp_path, "km.po", PO.encode(), rows="yes")
    assert [(one.index, one.title) for one in found] == [(0, 'Open "file"'), (1, "one file")]
    template = 'msgid ""\nmsgstr ""\n\nmsgid "Open"\nmsgstr ""\n'
    assert only(read(tmp_path, "a.pot", template.encode())).text == "Open"
    other = PO.replace("UTF-8", "EUC-KR").replace("បើក", "물 축제로").replace("បិទ?", "월").replace("ឯកសារ", "월요일")
    assert only(read(tmp_path, "ko.po", other.replace("ចាស់", "").encode("euc_kr"))).text == "물 축제로월요일\n월요일 %d"
    assert reasons(read(tmp_path, "a.po", b"nothing of the kind")) == ["broken_file"]


def record_of(
    kind: str, address: str, body: bytes, content_type: str = "application/http; msgtype=response", **more: str
) -> bytes:
    headers = {
        "WARC-Type": kind,
        "WARC-Target-URI": address,
        "Content-Type": content_type,
        "Content-Length": str(len(body)),
        **more,
    }
    return (
        b"WARC/1.0\r\n"
        + "".join(f"{k}: {v}\r\n" for k, v in headers.items() if v).encode()
        + b"\r\n"
        + body
        + b"\r\n\r\n"
    )


def answer(body: bytes, *, status: str = "200 OK", kind: str = "text/html; charset=utf-8", **more: str) -> bytes:
    headers = "".join(
        f"{name.replace('_', '-')}: {value}\r\n" for name, value in {"Content-Type": kind, **more}.items()
    )
    return f"HTTP/1.1 {status}\r\n{headers}\r\n".encode() + body


PAGE = f"<a name=top></a><p>{NOTICE_KM}</p>".encode()
CHUNKED = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (PAGE[:9], PAGE[9:])) + b"0\r\n\r\n"
CRAWL = [
    record_of("warcinfo", "", b"software: x\r\n", "application/warc-fields"),
    record_of("request", "http://a.example/", b"GET / HTTP/1.1\r\n\r\n", "application/http; msgtype=request"),
    record_of("response", "http://a.example/1", answer(PAGE)),
    record_of("response", "http://a.example/2", answer(gzip.compress(PAGE), Content_Encoding="gzip")),
    record_of("response", "http://a.example/3", answer(CHUNKED, Transfer_Encoding="chunked")),
    record_of("response", "<http://a.example/4>", answer(PAGE, Content_Encoding="gzip", Transfer_Encoding="chunked")),
    record_of(
        "response",
        "http://a.example/5",
        answer(zlib.compress(PAGE), Content_Encoding="deflate"),
        WARC_Truncated="length".replace("_", "-"),
    ),
    record_of(
        "response",
        "http://a.example/6",
        answer("prix: 5 €".encode("cp1252") * 9, kind="text/plain; charset=windows-1252"),
    ),
    record_of("response", "http://a.example/gone", answer(PAGE, status="404 Not Found")),
    record_of("response", "http://a.example/x.css", answer(b"p {}", kind="text/css")),
    record_of("response", "http://a.example/7", answer(PAGE, Content_Encoding="br")),
    record_of("response", "http://a.example/8", answer(gzip.compress(PAGE)[:40], Content_Encoding="gzip")),
    record_of("revisit", "http://a.example/1", answer(b"")),
    record_of("conversion", "http://a.example/9", NOTICE_EN.encode(), "text/plain"),
    record_of("resource", "metadata://gnu.org/log", b"a log", "text/plain"),
    record_of("response", "dns:a.example", b"1.2.3.4", "text/dns"),
]


@pytest.mark.parametrize(
    "pack", [b"".join, lambda records: b"".join(map(gzip.compress, records))], ids=["plain", "gzip"]
)
def test_a_crawl_gives_its_pages(tmp_path, pack):
    found = parts(read(tmp_path, "crawl.warc.gz", pack(CRAWL)))
    site = "http://a.example/"
    assert found == {
        **{f"{site}{at}": NOTICE_KM for at in (1, 2, 3, 4, 5)},
        f"{site}6": "prix: 5 €" * 9,
        f"{site}7": "unsupported_type",
        f"{site}8": "broken_file",
        f"{site}9": NOTICE_EN,
    }


def test_a_damaged_crawl_gives_what_lies_before(tmp_path):
    found = read(tmp_path, "a.warc", b"".join(CRAWL[:4])[:-30])
    assert [getattr(one, "reason", "") for one in found] == ["", "broken_file"]
    assert reasons(read(tmp_path, "a.warc", CRAWL[2] + b"nonsense\r\n" + CRAWL[3])) == ["broken_file"]
    assert reasons(read(tmp_path, "a.warc", b"WARC/1.0\r\nContent-Length: x\r\n\r\n")) == ["broken_file"]
    bomb = record_of(
        "response", "http://a.example/b", answer(gzip.compress(b"fee " * 20_000_000), Content_Encoding="gzip")
    )
    assert reasons(read(tmp_path, "a.warc", bomb)) == ["unsafe_archive"]
    assert reasons(read(tmp_path, "a.warc", CRAWL[0])) == ["no_text"]


def headers_of_pictures(size: int) -> dict[str, bytes]:
    return {
        "a.gif": b"GIF89a" + struct.pack("<HH", size, size) + bytes(20),
        "a.bmp": b"BM" + bytes(4) + bytes(4) + struct.pack("<IIii", 54, 40, size, -size) + bytes(40),
        "a.webp": b"RIFF" + bytes(4) + b"WEBPVP8X" + bytes(8) + (size - 1).to_bytes(3, "little") * 2 + bytes(9),
        "b.webp": b"RIFF"
        + bytes(4)
        + b"WEBPVP8L"
        + bytes(4)
        + b"\x2f"
        + struct.pack("<I", 16383 | 16383 << 14)
        + bytes(9),
        "c.webp": b"RIFF" + bytes(4) + b"WEBPVP8 " + bytes(10) + struct.pack("<HH", 16383, 16383) + bytes(9),
        "a.pgm": f"P5\n# made by hand\n{size} {size}\n255\n".encode() + bytes(9),
    }


@pytest.mark.parametrize("name", headers_of_pictures(2))
def test_pictures_of_every_kind_are_measured_before_ocr(tmp_path, name):
    assert reasons(read(tmp_path, name, headers_of_pictures(60_000)[name], ocr=("/bin/false", "khm"))) == ["too_large"]


def test_a_picture_in_an_archive_needs_ocr_too(tmp_path):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("scan.png", png_of(pdf_of(drawn_text(50, 700, "x")), scale=0.5))
    assert parts(read(tmp_path, "a.zip", data.getvalue())) == {"scan.png": "no_ocr"}
