"""Hostile archives, compressed streams and crawls."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import stat
import struct
import zipfile
from collections.abc import Iterator

import pyarrow as pa
from data_papers import NOTICE_EN, NOTICE_KM

Made = tuple[str, bytes, set[str]]
"""Name, bytes, and what may become of it: `kept` (it was read) or the reasons of a refusal; empty for any of them."""
KEPT = {"kept"}
BROKEN = {"broken_file"}
UNSAFE = {"unsafe_archive"}
TOO_MUCH = {"unsafe_archive", "too_large"}
ANY: set[str] = set()
TEXT = NOTICE_EN.encode()


def zipped(members: dict[str, bytes], mode: int = 0) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            entry = zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = mode << 16
            archive.writestr(entry, content)
    return data.getvalue()


def zips() -> Iterator[Made]:
    paths = ["../up.txt", "a/../../up.txt", "/etc/cron.d/x", "C:\\x.txt", "..\\up.txt", "//server/share/x.txt", "a\x07b.txt",
             "x" * 4000, "a/..", "./../x.txt", "\\\\server\\x.txt"]  # fmt: skip
    for at, path in enumerate(paths):
        yield f"zip/path-{at}.zip", zipped({path: TEXT}), UNSAFE
    for name, mode in {
        "link": stat.S_IFLNK,
        "device": stat.S_IFBLK,
        "socket": stat.S_IFSOCK,
        "pipe": stat.S_IFIFO,
    }.items():
        yield f"zip/{name}.zip", zipped({"a.txt": b"/etc/passwd"}, mode | 0o777), UNSAFE
    yield "zip/ratio.zip", zipped({"a.txt": b"fee " * 10_000_000}), TOO_MUCH
    nested = zipped({"a.txt": TEXT})
    for _ in range(9):
        nested = zipped({"next.zip": nested})
    yield "zip/nested.zip", nested, UNSAFE
    wide = zipped({"a.txt": b"fee " * 1_000_000})
    yield "zip/wide.zip", zipped({f"{at}.zip": wide for at in range(40)}), TOO_MUCH | KEPT
    good = zipped({"a.txt": TEXT, "b.txt": NOTICE_KM.encode()})
    end, second = good.rfind(b"PK\x05\x06"), good.rfind(b"PK\x01\x02")
    overlap = bytearray(good)
    overlap[second + 42 : second + 46] = bytes(4)
    yield "zip/overlap.zip", bytes(overlap), UNSAFE
    for name, at, value in (
        ("entries-lie", end + 10, b"\xff\xff"), ("table-size-lies", end + 12, b"\xff\xff\xff\x7f"),
        ("table-offset-lies", end + 16, b"\xff\xff\xff\x7f"), ("disk-number", end + 4, b"\x07\0"),
        ("header-offset-lies", second + 42, b"\xff\xff\xff\x7f"), ("size-lies", second + 24, b"\xff\xff\xff\x7f"),
        ("packed-size-lies", second + 20, b"\xff\xff\xff\x7f"), ("method", second + 10, b"\x63\0"),
        ("crc", second + 16, b"\0\0\0\0"), ("name-length-lies", second + 28, b"\xff\xff"), ("version", second + 6, b"\xff\xff"),
        ("locked", second + 8, b"\x01\0"), ("method-lzma", second + 10, b"\x0e\0"), ("extra-lies", second + 30, b"\xff\xff"),
    ):  # fmt: skip
        changed = bytearray(good)
        changed[at : at + len(value)] = value
        yield f"zip/{name}.zip", bytes(changed), ANY
    for cut in (5, 31, 60, second + 5, end + 3):
        yield f"zip/cut-{cut}.zip", good[:cut], BROKEN
    yield "zip/labels.zip", zipped({"a.txt": TEXT, "documents.csv": b"path,label\na.txt,secret\n"}), {"labels_inside"}
    yield "zip/empty.zip", zipped({}), {"no_text"}
    yield "zip/folders-only.zip", zipped({"a/": b"", "a/b/": b""}), {"no_text"}
    yield "zip/comment.zip", good[:-2] + struct.pack("<H", 60_000) + b"PK\x05\x06" * 15_000, ANY
    yield "zip/behind-garbage.zip", bytes(5000) + good, {"unsupported_type"}
    yield "zip/signatures.zip", b"PK\x03\x04" * 5000, BROKEN
    many = b"".join(b"PK\x01\x02" + bytes(24) + b"\x01\0" + bytes(16) + b"a" for _ in range(1000))
    yield "zip/large-table.zip", b"PK\x03\x04" + many * 710 + b"PK\x05\x06" + bytes(4) + b"\xff\xff" * 2 + struct.pack(
        "<II", len(many) * 710, 4) + b"\0\0", UNSAFE  # fmt: skip


def tar_header(
    name: str = "a.txt", *, size: bytes = b"00000000012\0", kind: bytes = b"0", link: str = "", check: bool = True
) -> bytes:
    block = bytearray(512)
    block[0:100] = name.encode()[:100].ljust(100, b"\0")
    block[100:124] = b"0000644\0" + b"0000000\0" * 2
    block[124:136] = size
    block[136:156] = b"00000000000\0" + b" " * 8
    block[156:157] = kind
    block[157:257] = link.encode()[:100].ljust(100, b"\0")
    block[257:265] = b"ustar\x0000"
    if check:
        block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def tars() -> Iterator[Made]:
    body, end = b"0123456789".ljust(512, b"\0"), bytes(1024)
    good = tar_header("good.txt", size=b"%011o\0" % len(TEXT)) + TEXT.ljust(512, b"\0")
    for at, path in enumerate(["../up.txt", "/etc/passwd", "a/../../b", "C:/x", "a\nb.txt", "..", "a\\..\\..\\b"]):
        yield f"tar/path-{at}.tar", good + tar_header(path) + body + end, {"kept", "unsafe_archive"}
    for name, kind in {
        "symlink": b"2",
        "hardlink": b"1",
        "character": b"3",
        "block": b"4",
        "pipe": b"6",
        "unknown": b"Z",
    }.items():
        yield f"tar/{name}.tar", good + tar_header("l", kind=kind, link="/etc/passwd", size=b"00000000000\0") + end, ANY
    yield "tar/link-then-file.tar", (
        tar_header("d", kind=b"2", link="/tmp", size=b"00000000000\0") + tar_header("d/x.txt") + body + good + end
    ), {"kept", "unsafe_archive"}  # fmt: skip
    for name, size in {"huge": b"77777777777\0", "base256": b"\x80" + b"\xff" * 11, "negative": b"\xff" * 12,
                       "letters": b"not octal!!\0",
                       "larger-than-file": b"00000100000\0"}.items():  # fmt: skip
        yield f"tar/size-{name}.tar", good + tar_header(size=size) + body + end, {"kept", "broken_file"}
        yield (
            f"tar/pax-size-{name}.tar",
            good + tar_header("p", size=size, kind=b"x") + body + end,
            {"kept", "broken_file"},
        )
        yield (
            f"tar/longname-size-{name}.tar",
            good + tar_header("p", size=size, kind=b"L") + body + end,
            {"kept", "broken_file"},
        )
    yield "tar/checksum.tar", good + tar_header(check=False) + body + end, {"kept", "broken_file"}
    pax = b"30 path=../../../etc/passwd12\n"
    yield (
        "tar/pax-path.tar",
        tar_header("p", size=b"%011o\0" % len(pax), kind=b"x") + pax.ljust(512, b"\0") + good + end,
        UNSAFE,
    )
    yield (
        "tar/pax-chain.tar",
        (tar_header("p", size=b"%011o\0" % 12, kind=b"x") + b"12 a=bcdefg\n".ljust(512, b"\0")) * 3000 + end,
        ANY,
    )
    sparse = tar_header("hole.txt", kind=b"S")[:386] + b"00000000000\x0000000000000\0" + bytes(102)
    yield "tar/sparse.tar", good + sparse + body + end, ANY
    yield "tar/twice.tar", good + good + end, {"kept", "unsafe_archive"}
    yield "tar/zeros-inside.tar", good + bytes(1024) + good + end, KEPT
    yield "tar/garbage-behind.tar", good + end + random.Random(1).randbytes(3000), KEPT
    yield "tar/labels.tar", good + tar_header("x/documents.csv") + body + end, {"labels_inside"}
    for cut in (300, 512, 700, 1024 + 300):
        yield f"tar/cut-{cut}.tar", (good + good)[:cut], ANY
    entries = b"".join(tar_header(f"{at:06}", size=b"00000000000\0") for at in range(400)) * 600
    yield "tar/many-entries.tar.gz", gzip.compress(entries, 1), UNSAFE


def zstd(data: bytes) -> bytes:
    return pa.compress(data, codec="zstd", asbytes=True)


def streams() -> Iterator[Made]:
    bomb = b"fee " * 6_000_000
    packers = {
        "gz": lambda data: gzip.compress(data, 9, mtime=0),
        "bz2": bz2.compress,
        "xz": lzma.compress,
        "zst": zstd,
    }
    for name, pack in packers.items():
        good = pack(TEXT * 40)
        yield f"stream/bomb.txt.{name}", pack(bomb if name != "bz2" else b"e" * 40_000_000), TOO_MUCH
        yield f"stream/cut.txt.{name}", good[: len(good) * 2 // 3], {"broken_file", "kept"}
        yield f"stream/head-only.{name}", good[:6], ANY
        yield f"stream/garbage-behind.txt.{name}", good + b"garbage that is no stream", ANY
        yield f"stream/empty.txt.{name}", pack(b""), {"empty_file", "no_text"}
        broken = bytearray(good)
        broken[len(good) // 2] ^= 0x5A
        yield f"stream/flipped.txt.{name}", bytes(broken), ANY
        deep = TEXT
        for _ in range(8):
            deep = pack(deep)
        yield f"stream/deep.{name}", deep, UNSAFE
        yield (
            f"stream/bomb.jsonl.{name}",
            pack((b'{"text": "' + b"e" * 20_000 + b'"}\n') * 1500),
            {"unsafe_archive", "kept"},
        )
    yield "stream/window.zst", b"\x28\xb5\x2f\xfd\x00\xf8" + bytes(40), BROKEN
    yield "stream/dictionary.zst", b"\x28\xb5\x2f\xfd\x23\xff\xff\xff\xff" + bytes(40), BROKEN
    yield "stream/size-lies.zst", b"\x28\xb5\x2f\xfd\xe0" + b"\xff" * 8 + bytes(40), BROKEN
    yield (
        "stream/dictionary.xz",
        lzma.compress(TEXT, filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 20}])[:-20],
        BROKEN,
    )


def crawls() -> Iterator[Made]:
    def record(body: bytes, length: str = "", head: str = "", address: str = "http://a.example/x") -> bytes:
        about = f"WARC-Type: response\r\nWARC-Target-URI: {address}\r\nContent-Type: application/http\r\n{head}"
        return (
            f"WARC/1.0\r\n{about}Content-Length: {length or len(body)}\r\n\r\n".encode("utf-8", "replace")
            + body
            + b"\r\n\r\n"
        )

    answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n%b\r\n%b"
    page = b"<p>" + TEXT + b"</p>"
    for name, length in {"huge": "9" * 30, "negative": "-1", "letters": "ten", "short": "20", "long": "5000"}.items():
        yield f"crawl/length-{name}.warc", record(answer % (b"", page), length), ANY
    yield "crawl/header-bomb.warc", b"WARC/1.0\r\n" + b"X: y\r\n" * 200_000, BROKEN
    yield "crawl/header-line.warc", b"WARC/1.0\r\nX: " + b"y" * 2_000_000, BROKEN
    yield "crawl/answer-headers.warc", record(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200_000), BROKEN | {"no_text"}
    yield "crawl/chunks-lie.warc", record(answer % (b"Transfer-Encoding: chunked\r\n", b"ffffffff\r\n" + page)), ANY
    yield "crawl/chunks-zero.warc", record(answer % (b"Transfer-Encoding: chunked\r\n", b"0\r\n\r\n" * 50_000)), ANY
    bomb = gzip.compress(b"fee " * 8_000_000)
    yield "crawl/page-bomb.warc", record(answer % (b"Content-Encoding: gzip\r\n", bomb)), TOO_MUCH
    yield "crawl/address.warc", record(answer % (b"", page), address="http://a/\x1b[31m../../" + "x" * 5000), KEPT
    yield "crawl/no-address.warc", record(answer % (b"", page), address=""), {"no_text"}
    yield "crawl/no-answer.warc", record(b"nonsense"), ANY
    yield (
        "crawl/crawl-inside.warc",
        record(answer.replace(b"text/html", b"text/plain") % (b"", record(answer % (b"", page)))),
        ANY,
    )
    yield (
        "crawl/garbage-between.warc",
        record(answer % (b"", page)) + b"garbage\r\n" + record(answer % (b"", page)),
        {"kept", "broken_file"},
    )
    yield "crawl/cut.warc.gz", gzip.compress(record(answer % (b"", page)) * 30)[:-20], ANY
