"""What kind a file is, by its bytes first and its name second."""

from __future__ import annotations

import json
import mmap
import re
import zipfile
from pathlib import PurePosixPath

from baray.data.readers.base import SourceFile, refuse
from baray.data.readers.zipped import BROKEN

_HEAD_BYTES = 65536
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ENCRYPTED = "EncryptedPackage".encode("utf-16-le")
_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image"),
    (b"\xff\xd8\xff", "image"),
    (b"II*\0", "image"),
    (b"MM\0*", "image"),
)
_HTML = re.compile(
    rb"(?is)\A(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*"
    rb"<(?:!doctype\s+html|html|head|body|meta|title|h1|div|p|table)\b"
)
_BINARY = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_NO_TEXT = re.compile("[\x00-\x08\x0e-\x1a\x1c-\x1f\ufffd\uffff]")
_MOST_CONTROLS = 0.01
_TEXT_KINDS = {
    ".txt": "text", ".text": "text", "": "text", ".log": "text",
    ".md": "markdown", ".markdown": "markdown",
    ".html": "html", ".htm": "html", ".xhtml": "html",
    ".csv": "csv", ".tsv": "csv",
    ".jsonl": "jsonl", ".ndjson": "jsonl",
}  # fmt: skip
_KNOWN_FIX = "Save it as DOCX, XLSX, PDF, HTML, CSV, JSONL, MD or TXT and add it again."


def sniff(file: SourceFile) -> str:
    """One of pdf, image, docx, xlsx, html, csv, jsonl, markdown, text. Raises a refusal for anything else."""
    with file.blob.open("rb") as stream:
        head = stream.read(_HEAD_BYTES)
    if not head:
        raise refuse("empty_file", "The file has no bytes.", "Remove it or add its content.")
    if b"%PDF-" in head[:1024]:
        return "pdf"
    kind = next((kind for magic, kind in _MAGIC if head.startswith(magic)), "")
    if kind:
        return kind
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _packed(file)
    if head.startswith(_OLE):
        raise _old_office(file)
    return _textual(head, PurePosixPath(file.path).suffix.lower())


def is_packed(file: SourceFile) -> bool:
    """Whether `file` may hold more than its own length: PDF, and archives as Office writes them."""
    with file.blob.open("rb") as stream:
        head = stream.read(1024)
    return b"%PDF-" in head or head.startswith(b"PK")


def is_scan(file: SourceFile) -> bool:
    """Whether `file` begins as a picture."""
    with file.blob.open("rb") as stream:
        head = stream.read(8)
    return any(head.startswith(magic) for magic, _ in _MAGIC)


def _packed(file: SourceFile) -> str:
    suffix = PurePosixPath(file.path).suffix.lower()
    try:
        with zipfile.ZipFile(file.blob) as archive:
            names = set(archive.namelist())
    except BROKEN as error:
        raise refuse("broken_file", "The file is cut off or damaged: its table of contents cannot be read.") from error
    if "word/document.xml" in names:
        return "docx"
    if any(name.startswith("xl/workbook.") for name in names):
        return "xlsx"
    if suffix in {".docx", ".xlsx"}:
        raise refuse("broken_file", f"The file is named {suffix} but holds no such document.")
    raise refuse("unsupported_type", "It is a packed file of another kind.", "Unpack it and add what is inside.")


def _old_office(file: SourceFile) -> Exception:
    with file.blob.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        locked = data.find(_ENCRYPTED) >= 0
    if locked:
        return refuse("encrypted", "The file is locked by a password.", "Save it without a password and add it again.")
    return refuse("unsupported_type", "It is an Office file from before 2007.", _KNOWN_FIX)


def _textual(head: bytes, suffix: str) -> str:
    if _HTML.match(head):
        return "html"
    if _is_binary(head):
        raise refuse("unsupported_type", "It is a binary file of an unknown kind.", _KNOWN_FIX)
    if head.lstrip().startswith((b"{\\rtf", b"<?xml", b"<svg")):
        raise refuse("unsupported_type", "It is RTF or XML.", _KNOWN_FIX)
    kind = _TEXT_KINDS.get(suffix)
    if kind in {"text", None} and _json_lines(head):
        return "jsonl"
    if kind is None:
        raise refuse("unsupported_type", f"Files named {suffix} are not documents.", _KNOWN_FIX)
    return kind


def _is_binary(head: bytes) -> bool:
    wide = {1: "utf-16-le", 0: "utf-16-be"}
    utf16 = next((name for odd, name in wide.items() if head[odd:4096:2].count(0) > 0.4 * len(head[odd:4096:2])), "")
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        utf16 = "utf-16"
    if not utf16:
        return len(_BINARY.findall(head)) > _MOST_CONTROLS * len(head)
    text = head[: len(head) // 2 * 2].decode(utf16, "replace")
    return len(_NO_TEXT.findall(text)) > max(1, _MOST_CONTROLS * len(text))


def _json_lines(head: bytes) -> bool:
    """Whether the first two lines (or the only one) are JSON objects."""
    lines = head.split(b"\n")
    whole = lines[:-1] if len(head) == _HEAD_BYTES else lines
    tried = [line for line in whole if line.strip()][:2]
    if not tried or not all(line.lstrip().startswith(b"{") for line in tried):
        return False
    try:
        return all(isinstance(json.loads(line), dict) for line in tried)
    except (ValueError, RecursionError):
        return False
