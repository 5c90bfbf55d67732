"""What kind a file is, by its bytes first and its name second."""

from __future__ import annotations

import json
import mmap
import re
import struct
from pathlib import PurePosixPath

from baray.data.readers.base import SourceFile, refuse
from baray.data.readers.encodings import wide_encoding
from baray.data.readers.packed import open_zip

_HEAD_BYTES = 65536
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ENCRYPTED = "EncryptedPackage".encode("utf-16-le")
_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image"),
    (b"\xff\xd8\xff", "image"),
    (b"II*\0", "image"),
    (b"MM\0*", "image"),
    (b"GIF8", "image"),
    (b"\x1f\x8b", "gz"),
    (b"\x28\xb5\x2f\xfd", "zst"),
    (b"BZh", "bz2"),
    (b"\xfd7zXZ\0", "xz"),
    (b"PAR1", "parquet"),
    (b"ARROW1", "arrow"),
    (b"\xff\xff\xff\xff", "arrow"),
    (b"WARC/", "warc"),
    (_OLE, "ole"),
)
_LOCKED_MAGIC = (b"PARE",)
_OTHER_ARCHIVES = (b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07", b"MSCF", b"!<arch>\n", b"070701", b"xar!")
_BITMAP_HEADERS = frozenset([12, 40, 52, 56, 64, 108, 124])
_ANYMAP = re.compile(rb"P[1-6]\s+(?:#[^\n]*\n\s*)*\d+\s+\d+\s")
_HTML = re.compile(
    rb"(?is)\A(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*"
    rb"<(?:!doctype\s+html|html|head|body|meta|title|h1|div|p|table)\b"
)
_FLAT_ODF = re.compile(rb"<office:document\b")
_BINARY = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_NO_TEXT = re.compile("[\x00-\x08\x0e-\x1a\x1c-\x1f\ufffd\uffff]")
_MOST_CONTROLS = 0.01
_TEXT_KINDS = {
    ".txt": "text", ".text": "text", "": "text", ".log": "text",
    ".md": "markdown", ".markdown": "markdown",
    ".html": "html", ".htm": "html", ".xhtml": "html",
    ".csv": "csv", ".tsv": "csv", ".tab": "csv",
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json",
    ".po": "po", ".pot": "po",
}  # fmt: skip
_OPEN_DOCUMENT = {
    b"application/vnd.oasis.opendocument.text": "odf",
    b"application/vnd.oasis.opendocument.spreadsheet": "odf",
    b"application/vnd.oasis.opendocument.presentation": "odf",
    b"application/epub+zip": "epub",
}
_NO_ARCHIVES = frozenset([".jar", ".apk", ".whl", ".xpi", ".ipa", ".aar", ".war", ".kmz", ".npz"])
_KNOWN_FIX = "Save it as DOCX, ODT, XLSX, PDF, HTML, CSV, JSONL, MD or TXT and add it again."
_UNPACK_FIX = "Unpack it and add what is inside, or pack it as ZIP or TAR."


def sniff(file: SourceFile) -> str:
    """Kind of `file`, one that a reader is there for; `zip` for a packed stream that must be on disk to be told.

    Raises a refusal for anything else.
    """
    with file.open() as stream:
        head = stream.read(_HEAD_BYTES)
    if not head:
        raise refuse("empty_file", "The file has no bytes.", "Remove it or add its content.")
    kind = _magic(head)
    if kind == "ole":
        raise _old_office(file)
    if kind == "zip" and file.unpack is None:
        return _packed(file)
    return kind or _textual(head, PurePosixPath(file.path).suffix.lower())


def is_packed(file: SourceFile) -> bool:
    """Whether `file` may hold more than its own length, or is made of bytes that only a library understands."""
    with file.blob.open("rb") as stream:
        head = stream.read(1024)
    return _magic(head) not in {"", "image"}


def is_scan(file: SourceFile) -> bool:
    """Whether `file` begins as a picture."""
    with file.blob.open("rb") as stream:
        head = stream.read(1024)
    return _magic(head) == "image"


def _magic(head: bytes) -> str:
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return "zip"
    kind = next((kind for magic, kind in _MAGIC if head.startswith(magic)), "")
    if kind or _is_tar(head):
        return kind or "tar"
    # A PDF may stand behind other bytes; in an archive, the first member's may be near.
    return "pdf" if b"%PDF-" in head[:1024] else "image" if _is_picture(head) else ""


def _is_tar(head: bytes) -> bool:
    """Whether the first block's checksum is right (POSIX.1-1988, ustar): the oldest tar has no other sign."""
    block = head[:512]
    if len(block) < 512 or not block[0]:
        return False
    try:
        said = int(block[148:156].strip(b" \0") or b"-1", 8)
    except ValueError:
        return False
    return said == sum(block[:148]) + 8 * 32 + sum(block[156:])


def _is_picture(head: bytes) -> bool:
    if head.startswith(b"BM") and len(head) >= 18:
        return head[6:10] == b"\0\0\0\0" and struct.unpack_from("<I", head, 14)[0] in _BITMAP_HEADERS
    if head.startswith(b"RIFF"):
        return head[8:12] == b"WEBP"
    return _ANYMAP.match(head) is not None


def _packed(file: SourceFile) -> str:
    suffix = PurePosixPath(file.path).suffix.lower()
    with open_zip(file.blob) as archive:
        names = set(archive.namelist())
        first = archive.infolist()[0] if names else None
        kind = b""
        if first is not None and first.filename == "mimetype" and first.file_size < 200 and not first.compress_type:
            with file.blob.open("rb") as stream:
                stream.seek(first.header_offset + 26)
                skip = sum(struct.unpack("<HH", stream.read(4)))
                stream.seek(skip, 1)
                kind = stream.read(first.file_size).strip()
    if "word/document.xml" in names:
        return "docx"
    if any(name.startswith("xl/workbook.") for name in names):
        return "xlsx"
    if kind in _OPEN_DOCUMENT or kind.removesuffix(b"-template") in _OPEN_DOCUMENT:
        return _OPEN_DOCUMENT[kind.removesuffix(b"-template")]
    if "META-INF/container.xml" in names:
        return "epub"
    if suffix in {".docx", ".xlsx", ".odt", ".ods", ".odp", ".epub"}:
        raise refuse("broken_file", f"The file is named {suffix} but holds no such document.")
    if kind or "[Content_Types].xml" in names or suffix in _NO_ARCHIVES:
        raise refuse("unsupported_type", "It is a packed file of another kind.", _KNOWN_FIX)
    return "archive"


def _old_office(file: SourceFile) -> Exception:
    locked = False
    if file.unpack is None:
        with file.blob.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            locked = data.find(_ENCRYPTED) >= 0
    if locked:
        return refuse("encrypted", "The file is locked by a password.", "Save it without a password and add it again.")
    return refuse("unsupported_type", "It is an Office file from before 2007.", _KNOWN_FIX)


def _textual(head: bytes, suffix: str) -> str:
    if head.startswith(_OTHER_ARCHIVES):
        raise refuse("unsupported_type", "It is an archive of another kind.", _UNPACK_FIX)
    if head.startswith(_LOCKED_MAGIC):
        raise refuse("encrypted", "The file is locked by a key.", "Save it without encryption and add it again.")
    if _HTML.match(head):
        return "html"
    if _is_binary(head):
        raise refuse("unsupported_type", "It is a binary file of an unknown kind.", _KNOWN_FIX)
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if start.startswith(b"{\\rtf"):
        return "rtf"
    if start.startswith((b"<?xml", b"<svg", b"<office:")):
        if _FLAT_ODF.search(head[:4096]):
            return "fodt"
        raise refuse("unsupported_type", "It is XML of an unknown kind.", _KNOWN_FIX)
    return _named(head, suffix)


def _named(head: bytes, suffix: str) -> str:
    """Kind of a text, where the name may tell."""
    kind = _TEXT_KINDS.get(suffix)
    if kind in {"text", "json", None} and _json_lines(head, least=2 if kind == "json" else 1):
        return "jsonl"
    if kind is None:
        raise refuse("unsupported_type", f"Files named {suffix} are not documents.", _KNOWN_FIX)
    return kind


def _is_binary(head: bytes) -> bool:
    encoding = wide_encoding(head)
    if not encoding:
        return len(_BINARY.findall(head)) > _MOST_CONTROLS * len(head)
    text = head[: len(head) // 4 * 4 or len(head)].decode(encoding, "replace")
    return len(_NO_TEXT.findall(text)) > max(1, _MOST_CONTROLS * len(text))


def _json_lines(head: bytes, *, least: int) -> bool:
    """Whether the first two lines (or the only one, where `least` is 1) are JSON objects."""
    lines = head.split(b"\n")
    whole = lines[:-1] if len(head) == _HEAD_BYTES else lines
    tried = [line for line in whole if line.strip()][:2]
    if len(tried) < least or not all(line.lstrip(b"\xef\xbb\xbf \t").startswith(b"{") for line in tried):
        return False
    try:
        return all(isinstance(json.loads(line.removeprefix(b"\xef\xbb\xbf")), dict) for line in tried)
    except (ValueError, RecursionError):
        return False
