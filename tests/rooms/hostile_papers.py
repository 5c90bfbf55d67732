"""Hostile documents: Office, OpenDocument, books, pages, PDF, pictures."""

from __future__ import annotations

import io
import random
import struct
import zipfile
import zlib
from collections.abc import Iterator

from data_papers import CONTENT_TYPES, NOTICE_EN, NOTICE_KM, W, docx, drawn, marked, paragraph, pdf, xlsx
from hostile_archives import ANY, BROKEN, KEPT, TEXT, TOO_MUCH, Made, zipped


def word(text: str) -> bytes:
    return zipped({"[Content_Types].xml": CONTENT_TYPES.encode(), "word/document.xml": text.encode()})


def office() -> Iterator[Made]:
    laughs = "<!DOCTYPE x [" + '<!ENTITY a0 "ha">' + "".join(
        f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 12)) + "]>"  # fmt: skip
    body = f"<w:document {W}><w:body>{paragraph('&a11;')}</w:body></w:document>"
    yield "office/laughs.docx", word(laughs + body), BROKEN
    yield "office/outside-entity.docx", word('<!DOCTYPE x [<!ENTITY a11 SYSTEM "file:///etc/passwd">]>' + body), BROKEN
    yield (
        "office/outside-doctype.docx",
        word('<!DOCTYPE x SYSTEM "http://127.0.0.1:9/x.dtd">' + body.replace("&a11;", "x")),
        BROKEN,
    )
    yield (
        "office/parameter-entity.docx",
        word('<!DOCTYPE x [<!ENTITY % a SYSTEM "file:///etc/passwd"> %a;]>' + body),
        BROKEN,
    )
    quadratic = f'<!DOCTYPE x [<!ENTITY a11 "{"a" * 50_000}">]>' + body.replace("&a11;", "&a11;" * 20_000)
    yield "office/quadratic.docx", word(quadratic), {"broken_file", "too_large"}
    yield (
        "office/include.docx",
        word(
            body.replace(
                "&a11;", '<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="/etc/passwd" parse="text"/>'
            )
        ),
        ANY,
    )
    yield "office/deep.docx", word(f"<w:document {W}>" + "<w:p>" * 50_000), BROKEN
    yield (
        "office/deep-tables.docx",
        docx("<w:tbl><w:tr><w:tc>" * 80 + paragraph("in the deep") + "</w:tc></w:tr></w:tbl>" * 80),
        ANY,
    )
    yield "office/no-xml.docx", word("nonsense"), BROKEN
    yield "office/empty-part.docx", word(""), BROKEN
    yield "office/no-body.docx", word(f"<w:document {W}/>"), {"no_text"}
    yield (
        "office/ratio.docx",
        word(f"<w:document {W}><w:body>{paragraph('fee ' * 8_000_000)}</w:body></w:document>"),
        TOO_MUCH,
    )
    circle = (
        '<w:style w:styleId="A"><w:basedOn w:val="B"/></w:style><w:style w:styleId="B"><w:basedOn w:val="A"/></w:style>'
    )
    yield (
        "office/style-circle.docx",
        docx(paragraph(NOTICE_EN, style="A"), parts={"word/styles.xml": f"<w:styles {W}>{circle}</w:styles>"}),
        KEPT,
    )
    yield "office/broken-styles.docx", docx(paragraph(NOTICE_EN), parts={"word/styles.xml": "<w:styles"}), BROKEN
    yield (
        "office/parts.docx",
        docx(paragraph(NOTICE_EN), parts={f"word/media/{n}.bin": "" for n in range(20_500)}),
        TOO_MUCH,
    )
    yield (
        "office/attribute.docx",
        word(body.replace("&a11;", "x").replace("<w:body>", f'<w:body a="{"x" * 11_000_000}">')),
        ANY,
    )
    yield "office/controls.docx", word(body.replace("&a11;", "\x01\x02")), BROKEN
    yield "office/macro.docm", docx(paragraph(NOTICE_EN), parts={"word/vbaProject.bin": "\x00macro"}), KEPT
    far = xlsx({"A": [["x"]]})
    yield "office/far-cell.xlsx", rewritten(far, "xl/worksheets/sheet1.xml", b'r="A1"', b'r="XFD1048576"'), ANY
    yield (
        "office/dimension.xlsx",
        rewritten(far, "xl/worksheets/sheet1.xml", b"<sheetData>", b'<dimension ref="A1:XFD1048576"/><sheetData>'),
        ANY,
    )
    yield (
        "office/row-number.xlsx",
        rewritten(far, "xl/worksheets/sheet1.xml", b'<row r="1">', b'<row r="99999999999">'),
        ANY,
    )
    yield "office/string-index.xlsx", rewritten(far, "xl/worksheets/sheet1.xml", b't="inlineStr"', b't="s"'), ANY
    yield (
        "office/relation-outside.xlsx",
        rewritten(far, "xl/_rels/workbook.xml.rels", b"worksheets/", b"../../../../etc/"),
        ANY,
    )
    yield (
        "office/laughs.xlsx",
        rewritten(far, "xl/worksheets/sheet1.xml", b"<worksheet", laughs.encode() + b"<worksheet"),
        ANY,
    )
    yield "office/empty.xlsx", xlsx({}), ANY
    yield (
        "office/slides.pptx",
        zipped({"[Content_Types].xml": b"<Types/>", "ppt/presentation.xml": b"<p/>"}),
        {"unsupported_type"},
    )
    yield "office/old.doc", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(2000), {"unsupported_type"}
    yield (
        "office/locked.docx",
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + "EncryptedPackage".encode("utf-16-le") * 9,
        {"encrypted"},
    )


def rewritten(data: bytes, part: str, old: bytes, new: bytes) -> bytes:
    """A packed document with one part changed."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    parts[part] = parts[part].replace(old, new)
    return zipped(parts)


ODF = " ".join(
    f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"' for name in ("office", "text", "table", "style")
)


def odf(body: str, kind: str = "text", before: str = "", styles: str = "", **parts: bytes) -> bytes:
    data = io.BytesIO()
    inside = f"{styles}<office:body><office:{kind}>{body}</office:{kind}></office:body>"
    content = f"<office:document-content {ODF}>{inside}</office:document-content>"
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("mimetype"), f"application/vnd.oasis.opendocument.{kind}")
        archive.writestr("content.xml", before + content)
        for name, part in parts.items():
            archive.writestr(name, part)
    return data.getvalue()


def open_documents() -> Iterator[Made]:
    cell = "<table:table-cell {}><text:p>fee</text:p></table:table-cell>"
    sheet = '<table:table table:name="A">{}</table:table>'
    for name, count in {
        "huge": "2147483647",
        "negative": "-5",
        "letters": "many",
        "digits": "9" * 500,
        "zero": "0",
    }.items():
        row = "<table:table-row>" + cell.format(f'table:number-columns-repeated="{count}"') + "</table:table-row>"
        yield f"odf/columns-{name}.ods", odf(sheet.format(row), "spreadsheet"), ANY
        row = f'<table:table-row table:number-rows-repeated="{count}">' + cell.format("") + "</table:table-row>"
        yield f"odf/rows-{name}.ods", odf(sheet.format(row), "spreadsheet"), ANY
        yield f"odf/spaces-{name}.odt", odf(f'<text:p>{NOTICE_EN}<text:s text:c="{count}"/>x</text:p>'), KEPT
    wide = cell.format('table:number-columns-repeated="16384"')
    both = f'<table:table-row table:number-rows-repeated="1000000">{wide}</table:table-row>'
    yield "odf/both-repeated.ods", odf(sheet.format(both * 40), "spreadsheet"), ANY
    yield (
        "odf/laughs.odt",
        odf("<text:p>&b;</text:p>", before='<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>'),
        BROKEN,
    )
    yield (
        "odf/outside.odt",
        odf("<text:p>&b;</text:p>", before='<!DOCTYPE x [<!ENTITY b SYSTEM "file:///etc/passwd">]>'),
        BROKEN,
    )
    yield "odf/deep-spans.odt", odf("<text:p>" + "<text:span>" * 200 + "fee" + "</text:span>" * 200 + "</text:p>"), ANY
    yield (
        "odf/deeper-spans.odt",
        odf("<text:p>" + "<text:span>" * 9000 + "fee" + "</text:span>" * 9000 + "</text:p>"),
        BROKEN,
    )
    circle = '<style:style style:name="A" style:parent-style-name="B"/><style:style style:name="B" style:parent-style-name="A"/>'
    yield "odf/style-circle.odt", odf(f'<text:p text:style-name="A">{NOTICE_EN}</text:p>', styles=circle), KEPT
    yield "odf/no-content.odt", zipped({"mimetype": b"application/vnd.oasis.opendocument.text"}), ANY
    yield "odf/ratio.odt", odf(f"<text:p>{'fee ' * 8_000_000}</text:p>"), TOO_MUCH
    yield (
        "odf/flat-laughs.fodt",
        b'<!DOCTYPE x [<!ENTITY a "a">]><office:document ' + ODF.encode() + b">&a;</office:document>",
        ANY,
    )
    yield "odf/flat-cut.fodt", b"<?xml version='1.0'?><office:document " + ODF.encode() + b"><office:body>", BROKEN


def books() -> Iterator[Made]:
    container = (
        b'<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfile full-path="%b"/></container>'
    )
    opf = b'<package xmlns="http://www.idpf.org/2007/opf"><manifest>%b</manifest><spine>%b</spine></package>'
    page = b"<html><body><p>" + TEXT + b"</p></body></html>"

    def book(items: bytes, spine: bytes, *, at: bytes = b"b.opf", **more: bytes) -> bytes:
        parts = {
            "mimetype": b"application/epub+zip",
            "META-INF/container.xml": container % at,
            "b.opf": opf % (items, spine),
        }
        return zipped({**parts, "p.html": page, **more})

    item = b'<item id="p" href="%b" media-type="text/html"/>'
    yield "book/package-outside.epub", book(b"", b"", at=b"../../etc/passwd"), BROKEN
    yield "book/page-outside.epub", book(item % b"../../../etc/passwd", b'<itemref idref="p"/>'), {"no_text"}
    yield "book/page-in-a-file-address.epub", book(item % b"file:///etc/passwd", b'<itemref idref="p"/>'), {"no_text"}
    yield "book/no-spine.epub", book(item % b"p.html", b""), {"no_text"}
    yield "book/same-page.epub", book(item % b"p.html", b'<itemref idref="p"/>' * 200), ANY
    yield "book/unknown-item.epub", book(b"", b'<itemref idref="q"/>'), {"no_text"}
    yield "book/no-package.epub", zipped({"META-INF/container.xml": container % b"b.opf"}), BROKEN
    yield (
        "book/laughs.epub",
        zipped({"META-INF/container.xml": b'<!DOCTYPE x [<!ENTITY a "a">]>' + container % b"b.opf"}),
        BROKEN,
    )
    yield (
        "book/locked.epub",
        book(item % b"p.html", b'<itemref idref="p"/>', **{"META-INF/encryption.xml": b'<x Algorithm="urn:drm"/>'}),
        {"encrypted"},
    )
    yield (
        "book/broken-page.epub",
        book(item % b"p.html", b'<itemref idref="p"/>', **{"p.html": b"<html><body><p>cut"}),
        ANY,
    )


def pages() -> Iterator[Made]:
    yield "page/deep.html", b"<html><body>" + b"<div>" * 100_000 + TEXT, ANY
    yield "page/deep-tables.html", b"<html><body>" + b"<table><tr><td>" * 2000 + TEXT, ANY
    yield "page/attribute.html", b'<html><body a="' + b"x" * 12_000_000 + b'">' + TEXT, ANY
    yield "page/attributes.html", b"<html><body " + b" ".join(b"a%d=1" % n for n in range(9000)) + b">" + TEXT, ANY
    yield "page/laughs.html", b'<!DOCTYPE html [<!ENTITY a "aaaa">]><html><body><p>&a;&a; ' + TEXT, ANY
    yield "page/outside.html", b'<!DOCTYPE html SYSTEM "file:///etc/passwd"><html><body><p>' + TEXT, KEPT
    yield "page/numbers.html", b"<html><body><p>&#x110000;&#xD800;&#0;&#99999999999; " + TEXT, ANY
    yield "page/charset.html", b'<html><head><meta charset="no-such-\x00"></head><body><p>' + TEXT, ANY
    yield "page/utf7.html", b'<html><head><meta charset="utf-7"></head><body><p>+ADw-script+AD4- ' + TEXT, KEPT
    yield "page/comment.html", b"<html><body><!-- " + TEXT * 50, {"no_text"}
    yield (
        "page/script-only.html",
        b"<html><body><script>var x = 1</script><style>p {}</style></body></html>",
        {"no_text"},
    )
    yield "page/controls.html", b"<html><body><p>\x00\x01\x02\x1b[31m" + TEXT, ANY
    yield (
        "page/selectors.html",
        b"<html><head><style>" + b"a" * 300_000 + b"{" * 300_000 + b"</style></head><body><p>" + TEXT,
        ANY,
    )
    yield (
        "page/comments-of-css.html",
        b"<html><head><style>" + b"/*" * 300_000 + b"</style></head><body><p>" + TEXT,
        ANY,
    )
    yield "page/lists.html", b"<html><body>" + b"<ul><li>" * 20_000 + TEXT, ANY
    yield "page/fonts.html", b"<html><body>" + b"<font face=Arial>" * 5000 + TEXT, ANY
    yield "page/just-open.html", b"<html", {"no_text", "broken_file"}


def pdfs() -> Iterator[Made]:
    good = pdf(marked(NOTICE_KM, drawn(72, 700, "x")))

    def with_(*objects: bytes, root: bytes = b"1 0 R", extra: bytes = b"") -> bytes:  # fmt: skip
        body = b"".join(b"%d 0 obj\n%b\nendobj\n" % (at, one) for at, one in enumerate(objects, 1))
        return b"%PDF-1.7\n" + body + b"trailer<</Root " + root + b"/Size 99" + extra + b">>\n%%EOF\n"

    catalog = b"<</Type/Catalog/Pages 2 0 R>>"
    page = b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Contents 4 0 R>>"
    yield "pdf/pages-of-itself.pdf", with_(catalog, b"<</Type/Pages/Count 1/Kids[2 0 R]>>"), ANY
    yield "pdf/count-lies.pdf", with_(catalog, b"<</Type/Pages/Count 2147483647/Kids[3 0 R]>>", page), ANY
    yield "pdf/count-negative.pdf", with_(catalog, b"<</Type/Pages/Count -9/Kids[3 0 R]>>", page), ANY
    yield "pdf/root-of-nothing.pdf", with_(catalog, root=b"77 0 R"), BROKEN
    yield "pdf/root-of-itself.pdf", with_(b"1 0 R"), BROKEN
    huge = page.replace(b"595 842", b"999999999 999999999")
    yield (
        "pdf/large-page.pdf",
        with_(catalog, b"<</Type/Pages/Count 1/Kids[3 0 R]>>", huge, b"<</Length 9>>stream\n0 0 m 5 5\nendstream"),
        ANY,
    )
    form = b"<</Type/XObject/Subtype/Form/BBox[0 0 9 9]/Resources<</XObject<</F 5 0 R>>>>/Length 5>>stream\n/F Do\nendstream"
    formed = page.replace(b"/Contents", b"/Resources<</XObject<</F 5 0 R>>>>/Contents")
    yield (
        "pdf/form-of-itself.pdf",
        with_(catalog, b"<</Type/Pages/Count 1/Kids[3 0 R]>>", formed, b"<</Length 5>>stream\n/F Do\nendstream", form),
        ANY,
    )
    for name, body in {
        "stream-length-lies": b"<</Length 999999999>>stream\nBT ET\nendstream",
        "filter-unknown": b"<</Length 5/Filter/Nope>>stream\nBT ET\nendstream",
        "filters": b"<</Length 5/Filter[" + b"/FlateDecode" * 2000 + b"]>>stream\nBT ET\nendstream",
        "deflate-broken": b"<</Length 9/Filter/FlateDecode>>stream\nnonsense!\nendstream",
        "image-filter": b"<</Length 9/Filter/JBIG2Decode>>stream\nnonsense!\nendstream",
        "operators": b"<</Length 90000>>stream\n" + b"q " * 45_000 + b"\nendstream",
        "arrays": b"<</Length 60000>>stream\n" + b"[" * 60_000 + b"\nendstream",
        "strings": b"<</Length 60000>>stream\n" + b"(" * 60_000 + b"\nendstream",
        "dictionaries": b"<</Length 60000>>stream\n" + b"<<" * 30_000 + b"\nendstream",
        "inline-image": b"<</Length 40>>stream\nBI /W 99999 /H 99999 /BPC 8 ID x EI\nendstream",
    }.items():  # fmt: skip
        yield f"pdf/{name}.pdf", with_(catalog, b"<</Type/Pages/Count 1/Kids[3 0 R]>>", page, body), ANY
    packed = zlib.compress(b"BT /F1 12 Tf (fee) Tj ET\n" * 60_000, 9)
    bomb = b"<</Length %d/Filter/FlateDecode>>stream\n%b\nendstream" % (len(packed), packed)
    yield "pdf/bomb.pdf", with_(catalog, b"<</Type/Pages/Count 1/Kids[3 0 R]>>", page, bomb), ANY
    yield (
        "pdf/locked.pdf",
        pdf(drawn(50, 700, "x"), trailer="/Encrypt<</Filter/Standard/V 1/R 2/O<00>/U<00>/P -4>>"),
        ANY,
    )
    yield "pdf/cut.pdf", good[: len(good) // 2], ANY
    yield "pdf/head.pdf", b"%PDF-1.7\n", BROKEN
    yield "pdf/garbage.pdf", b"%PDF-1.7\n" + random.Random(2).randbytes(20_000), BROKEN
    yield "pdf/table-lies.pdf", good.replace(b"0000000", b"9999999"), ANY
    yield "pdf/table-before-itself.pdf", good.replace(b"startxref\n", b"startxref\n0"), ANY
    yield "pdf/previous-of-itself.pdf", good.replace(b"/Root 1 0 R", b"/Root 1 0 R/Prev 9"), ANY
    yield "pdf/empty-pages.pdf", pdf(*[""] * 300), {"no_text"}
    yield "pdf/glyph-numbers.pdf", pdf(marked("ក្ក鎶ាត" * 40, drawn(50, 700, "x"))), {"no_ocr", "no_text", "kept"}


def png(width: int, height: int, data: bytes) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def pictures() -> Iterator[Made]:
    size = 60_000
    yield "picture/large.png", png(size, size, b""), {"too_large"}
    yield "picture/large.gif", b"GIF89a" + struct.pack("<HH", size, size) + bytes(20), {"too_large"}
    yield "picture/large.bmp", b"BM" + bytes(8) + struct.pack("<IIii", 54, 40, size, size) + bytes(40), {"too_large"}
    yield (
        "picture/large.webp",
        b"RIFF" + bytes(4) + b"WEBPVP8X" + bytes(8) + (size - 1).to_bytes(3, "little") * 2 + bytes(9),
        {"too_large"},
    )
    yield "picture/large.pgm", b"P5 60000 60000 255\n", {"too_large"}
    entry = struct.pack("<HHII", 256, 4, 1, size) + struct.pack("<HHII", 257, 4, 1, size)
    yield "picture/large.tif", b"II*\0" + struct.pack("<IH", 8, 2) + entry, {"too_large"}
    yield "picture/large.jpg", b"\xff\xd8\xff\xc0\0\x11\x08" + struct.pack(">HH", size, size) + bytes(20), {"too_large"}
    yield "picture/directory-of-itself.tif", b"II*\0" + struct.pack("<IH", 8, 0) + struct.pack("<I", 8), ANY
    yield "picture/directory-outside.tif", b"II*\0\xff\xff\xff\x7f", ANY
    yield "picture/no-size.png", png(0, 0, b""), ANY
    yield "picture/rows-bomb.png", png(4000, 4000, zlib.compress(bytes(40_000_000), 9)), ANY
    yield "picture/cut.png", png(50, 50, zlib.compress(bytes(2550)))[:50], ANY
    yield "picture/no-frame.jpg", b"\xff\xd8\xff\xe0" + bytes(300), ANY
    yield (
        "picture/drawing.svg",
        b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'><script/></svg>",
        {"unsupported_type"},
    )
