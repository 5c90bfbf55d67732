"""Hostile rows and texts, files with wrong names, and good files that were damaged."""

from __future__ import annotations

import gzip
import io
import json
import random
import struct
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq
from data_papers import NOTICE_EN, NOTICE_KM, docx, drawn, marked, paragraph, pdf, table, xlsx
from hostile_archives import ANY, BROKEN, KEPT, TEXT, Made, tar_header, zipped
from hostile_papers import odf


def jsons() -> Iterator[Made]:
    deep = 200_000
    yield "json/deep-arrays.json", b"[" * deep + b"]" * deep, ANY
    yield "json/deep-objects.json", b'{"a":' * deep + b"1" + b"}" * deep, BROKEN
    yield "json/deep-line.jsonl", b'{"text": ' + b"[" * deep + b"]" * deep + b"}\n", {"broken_record", "no_text"}
    yield "json/deep-element.json", b'[{"text": "The fee is due."}, ' + b"[" * deep + b"]" * deep + b"]", ANY
    yield "json/long-number.json", b'{"text": ' + b"9" * 1_000_000 + b"}", {"no_text", "broken_file"}
    yield "json/exponent.jsonl", b'{"text": "The fee of the office is due.", "n": 1e999999999}\n', KEPT
    yield "json/not-a-number.json", b'[{"text": NaN}, {"text": -Infinity}]', {"no_text"}
    yield "json/keys.json", json.dumps({f"k{n}": n for n in range(100_000)}).encode(), {"no_text"}
    yield "json/surrogates.jsonl", b'{"text": "The fee \\ud800 is \\udfff due on Monday."}\n', KEPT
    yield "json/zero-bytes.jsonl", b'{"text": "The fee \x00 is due."}\n' + TEXT, ANY
    yield "json/escaped-controls.jsonl", b'{"text": "The fee \\u0000\\u0007\\u001b[31m is due on Monday."}\n', KEPT
    yield "json/bad-bytes.json", b'[{"text": "The fee \xff\xfe\xfd is due on Monday at the counter."}]', ANY
    yield (
        "json/cut.json",
        json.dumps([{"text": NOTICE_EN + str(n)} for n in range(30)]).encode()[:-50],
        {"kept", "broken_file"},
    )
    yield "json/trailing-comma.json", b'[{"text": "The fee of the office is due on Monday."},]', {"kept", "broken_file"}
    yield "json/scalars.json", b"[1, 2, null, true]", {"no_text"}
    yield "json/scalar.json", b"42", {"no_text"}
    yield "json/empty-array.json", b"[]", {"no_text"}
    yield "json/nothing.json", b"   \n ", BROKEN | {"no_text"}
    yield "json/two-values.json", b'{"text": "a"} {"text": "b"}', ANY
    yield "json/one-long-string.json", b'{"text": "' + b"x" * 20_000_000, BROKEN
    yield "json/duplicate-keys.jsonl", b'{"text": "one", "text": "The fee of the office is due on Monday."}\n', KEPT
    yield "json/prototype.jsonl", b'{"__proto__": {"text": "x"}, "constructor": 1}\n', {"no_text"}


def tables() -> Iterator[Made]:
    yield "table/long-field.csv", b'a,text\n1,"' + b"x" * 12_000_000 + b'"\n', BROKEN
    yield "table/no-line-end.csv", b"a,text\n1," + b"x" * 18_000_000, BROKEN
    yield "table/open-quote.csv", b'a,text\n1,"' + TEXT + b"\n" * 50, ANY
    yield (
        "table/columns.csv",
        b",".join(b"c%d" % n for n in range(100_000)) + b"\n" + b",".join(b"x" for _ in range(100_000)),
        ANY,
    )
    yield "table/lines.csv", b"\n" * 500_000, {"no_text"}
    yield "table/commas.csv", b"," * 200_000 + b"\n" + b"," * 200_000, {"no_text"}
    yield "table/zero-bytes.csv", b"a,text\n1,x\x00y\n" * 30, ANY
    yield "table/formula.csv", b"a,text\n1,\"=cmd|'/c calc'!A1 is what the letter of the office says\"\n", KEPT
    yield (
        "table/two-encodings.csv",
        "a,text\n1,ការិយាល័យបិទនៅថ្ងៃសុក្រ\n".encode() + "2,fermé à la fête\n".encode("cp1252"),
        ANY,
    )
    yield "table/carriage-returns.csv", b"a,text\r1,The fee of the office is due.\r2,Come back on Monday please.\r", ANY
    yield "table/quotes.tsv", b'a\ttext\n"\t"\t"\n' * 3000, ANY
    yield "table/ragged.csv", b"a,text\n" + b"".join(b"," * n + b"x\n" for n in range(300)), ANY


def columns() -> Iterator[Made]:
    rows = pa.table({"text": [f"{NOTICE_EN} {n}" for n in range(50)], "n": list(range(50))})
    data = io.BytesIO()
    pq.write_table(rows, data)
    good = data.getvalue()
    for name, changed in {
        "cut": good[:-200], "head": good[:4], "ends": b"PAR1PAR1", "length-lies": good[:-8] + b"\xff\xff\xff\x7fPAR1",
        "length-negative": good[:-8] + b"\xff\xff\xff\xffPAR1", "no-footer": good[:-8] + b"\0\0\0\0PAR1",
        "footer-garbage": good[:-300] + random.Random(3).randbytes(292) + good[-8:],
        "pages-zero": good[:4] + bytes(400) + good[404:],
        "locked": b"PARE" + good[4:],
    }.items():  # fmt: skip
        yield f"column/{name}.parquet", changed, ANY
    column = pa.DictionaryArray.from_arrays(pa.array([0] * 100_000, pa.int32()), pa.array(["fee " * 25_000]))
    data = io.BytesIO()
    pq.write_table(pa.table({"text": column}), data, compression="zstd")
    yield "column/bomb.parquet", data.getvalue(), {"unsafe_archive", "kept"}
    data = io.BytesIO()
    pq.write_table(rows.slice(0, 0), data)
    yield "column/no-rows.parquet", data.getvalue(), {"no_text"}
    data = io.BytesIO()
    with ipc.new_file(data, rows.schema) as writer:
        writer.write_table(rows)
    arrow = data.getvalue()
    at = arrow.find(struct.pack("<ii", 0, len(f"{NOTICE_EN} 0")))
    lying = bytearray(arrow)
    lying[at + 4 : at + 8] = b"\xff\xff\xff\x7f"
    back = bytearray(arrow)
    back[at + 8 : at + 12] = b"\xf0\xff\xff\xff"
    for name, changed in {
        "cut": arrow[:-100], "head": arrow[:8], "offsets-lie": bytes(lying), "offsets-back": bytes(back),
        "footer-zero": arrow[:-200] + bytes(190) + arrow[-10:], "length-lies": arrow[:-10] + b"\xff\xff\xff\x7fARROW1",
    }.items():  # fmt: skip
        yield f"column/{name}.arrow", changed, ANY
    data = io.BytesIO()
    with ipc.new_stream(data, rows.schema) as writer:
        writer.write_table(rows)
    yield "column/cut.arrows", data.getvalue()[:-900], ANY
    yield "column/stream-length-lies.arrows", b"\xff\xff\xff\xff\xff\xff\xff\x7f" + bytes(40), BROKEN
    yield "column/feather-one.feather", b"FEA1" + bytes(100) + b"FEA1", {"unsupported_type"}


def catalogues() -> Iterator[Made]:
    yield "catalogue/nothing.po", b"nothing of the kind", BROKEN
    yield "catalogue/open-string.po", b'msgid "a\nmsgstr "b', ANY
    yield "catalogue/backslashes.po", b'msgid "a"\nmsgstr "' + b"\\" * 100_001 + b'"\n', ANY
    yield (
        "catalogue/plurals.po",
        b'msgid "a"\n' + b"".join(b'msgstr[%d] "x"\n' % (n % 2000) for n in range(20_000)),
        ANY,
    )
    yield "catalogue/strings.po", b'msgid "a"\nmsgstr ""\n' + b'"fee "\n' * 200_000, ANY
    yield (
        "catalogue/charset.po",
        b'msgid ""\nmsgstr "Content-Type: text/plain; charset=rot13\\n"\n\nmsgid "a"\nmsgstr "The office is closed."\n',
        ANY,
    )
    yield "catalogue/quotes.po", b'msgid "a"\nmsgstr "' + b'"' * 50_000, ANY


def rich_texts() -> Iterator[Made]:
    head = b"{\\rtf1\\ansi "
    yield "rich/groups.rtf", head + b"{" * 100_000, BROKEN
    yield "rich/closed.rtf", head + b"}" * 100_000 + TEXT, ANY
    yield "rich/unicode.rtf", head + b"\\u99999999999? \\u-99999? \\u55296? \\uc99999999 " + TEXT + b"}", ANY
    yield "rich/words.rtf", head + b"\\b" * 300_000 + b" " + TEXT + b"}", ANY
    yield "rich/long-word.rtf", head + b"\\" + b"a" * 1_000_000 + b" " + TEXT + b"}", ANY
    yield "rich/hex.rtf", head + b"\\'zz\\'g\\' " + TEXT + b"}", ANY
    yield "rich/page.rtf", b"{\\rtf1\\ansicpg99999{\\fonttbl{\\f0\\fcharset250 A;}}\\f0 \\'e9 " + TEXT + b"}", KEPT
    yield "rich/binary.rtf", head + b"\\bin99999999 " + bytes(500) + TEXT + b"}", ANY
    yield "rich/object.rtf", head + b"{\\object\\objdata " + b"41" * 50_000 + b"}" + TEXT + b"}", KEPT


def texts() -> Iterator[Made]:
    rng = random.Random(7)
    yield "text/high-bytes.txt", bytes(byte | 0x80 for byte in rng.randbytes(4000)), {"decode_error"}
    yield "text/random.txt", rng.randbytes(4000), ANY
    yield "text/zero-bytes.txt", TEXT + b"\0" + NOTICE_KM.encode() * 5, {"decode_error"}
    yield "text/only-zeros.txt", bytes(5000), ANY
    yield "text/overlong.txt", TEXT + b"\xc0\xaf\xe0\x80\xaf\xf0\x80\x80\xaf", ANY
    yield "text/surrogates.txt", TEXT + b"\xed\xa0\x80\xed\xb0\x80", ANY
    for name, mark in {
        "8": b"\xef\xbb\xbf",
        "16": b"\xff\xfe",
        "16b": b"\xfe\xff",
        "32": b"\xff\xfe\0\0",
        "32b": b"\0\0\xfe\xff",
    }.items():
        yield f"text/mark-only-{name}.txt", mark, ANY
        yield f"text/mark-and-garbage-{name}.txt", mark + rng.randbytes(801), ANY
    yield "text/utf32-beyond.txt", b"\xff\xfe\0\0" + b"\xff\xff\xff\x7f" * 50, ANY
    yield "text/utf16-half.txt", NOTICE_KM.encode("utf-16")[:-1], ANY
    yield "text/marks-above.txt", ("e" + "\u0301" * 50_000).encode(), ANY
    yield "text/khmer-signs.txt", ("ក" + "\u17d2" * 50_000).encode(), ANY
    yield "text/directions.txt", ("\u202e" * 500 + NOTICE_EN + "\u202c" * 500).encode(), ANY
    yield "text/invisible.txt", ("\u200b".join(NOTICE_KM * 20)).encode(), ANY
    yield "text/private.txt", ("\ue000" * 5000).encode(), ANY
    yield "text/spaces.txt", b" \n\t" * 5000, {"no_text"}
    yield "text/one-letter.txt", b"a" * 3_000_000, ANY
    yield "text/one-line.md", b"# " + TEXT * 5000, ANY
    yield "text/hashes.md", b"#" * 200_000, ANY
    yield "text/numbers.txt", b"0123456789 " * 50_000, ANY
    yield "text/escapes.txt", b"\x1b$B" + rng.randbytes(900), ANY
    yield "text/telephones.txt", b"012 345 678 " * 20_000, ANY
    yield "text/addresses.txt", b"a@" * 50_000, ANY
    yield "text/nothing.txt", b"", {"empty_file"}


def misnamed() -> Iterator[Made]:
    program = b"\x7fELF\x02\x01\x01" + bytes(200)
    yield "name/program.docx", program, {"unsupported_type"}
    yield "name/program.txt", program + b"\0", {"unsupported_type"}
    yield "name/windows.pdf", b"MZ\x90\0" + bytes(400), {"unsupported_type"}
    yield "name/script.csv", b"#!/bin/sh\nrm -rf /\n", ANY
    yield "name/class.jar", zipped({"META-INF/MANIFEST.MF": b"x", "A.class": b"\xca\xfe\xba\xbe"}), {"unsupported_type"}
    yield "name/disk.iso", bytes(32_769) + b"CD001" + bytes(500), {"unsupported_type"}
    yield "name/database.sqlite", b"SQLite format 3\0" + bytes(500), {"unsupported_type"}
    yield "name/pickle.json", b"\x80\x04\x95" + bytes(50), {"unsupported_type"}
    yield "name/seven.7z", b"7z\xbc\xaf\x27\x1c" + bytes(100), {"unsupported_type"}
    yield "name/roshal.rar", b"Rar!\x1a\x07\x01\0" + bytes(100), {"unsupported_type"}
    yield "name/paper.pdf.docx", docx(paragraph("A paper with two names is read as what it is.")), KEPT
    yield "name/no-suffix", b"{\\rtf1 A rich text without a name for its kind.}", KEPT


def damaged() -> Iterator[Made]:
    """A whole file of each kind, with bytes changed, left out, doubled and set to zero."""
    rng = random.Random(11)
    data = io.BytesIO()
    pq.write_table(pa.table({"text": [NOTICE_EN]}), data)
    whole = {
        "docx": docx(paragraph(NOTICE_KM) + table([["a", "b", "c"], ["1", "2", "3"]])),
        "xlsx": xlsx({"A": [["x", "y", "z"], ["1", 2.0, "3"]]}),
        "odt": odf(f"<text:p>{NOTICE_KM}</text:p>"), "pdf": pdf(marked(NOTICE_KM, drawn(72, 700, "x"))), "parquet": data.getvalue(),
        "zip": zipped({"a.txt": TEXT, "b.docx": docx(paragraph(NOTICE_EN))}),
        "html": f"<html><body><p>{NOTICE_KM}</p></body></html>".encode(),
        "json": json.dumps([{"text": NOTICE_EN}] * 9).encode(), "rtf": b"{\\rtf1 " + TEXT + b"}",
        "tgz": gzip.compress(tar_header() + bytes(1536)),
    }  # fmt: skip
    for kind, good in whole.items():
        middle = len(good) // 2
        flipped = bytearray(good)
        for _ in range(8):
            flipped[rng.randrange(len(good))] ^= 1 << rng.randrange(8)
        yield f"damaged/flipped.{kind}", bytes(flipped), ANY
        yield f"damaged/hole.{kind}", good[:middle] + good[middle + 9 :], ANY
        yield f"damaged/doubled.{kind}", good[:middle] + good, ANY
        yield f"damaged/zeros.{kind}", good[:middle] + bytes(20) + good[middle + 20 :], ANY
