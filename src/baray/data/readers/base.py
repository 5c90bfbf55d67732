"""What readers yield, and the words for what they refuse."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeAlias

from baray.core import Refused

REASONS = {
    "unsupported_type": "Baray has no reader for this kind of file.",
    "broken_file": "The file is damaged or cut off.",
    "broken_record": "One line of the file is not valid.",
    "empty_file": "The file has no bytes.",
    "encrypted": "The file is locked by a password.",
    "too_large": "The file, or what it unpacks to, is larger than allowed.",
    "timeout": "Reading the file takes too long.",
    "unsafe_archive": "The archive, or a part of it, is made to do harm, or could: a link, a path that leads out, no end.",
    "labels_inside": "The archive holds a documents.csv, whose labels could not be kept.",
    "no_text": "No text was found.",
    "no_ocr": "It is a scan, and the OCR program or its Khmer data is not installed or not wanted.",
    "legacy_font": "Khmer is written with a font from before Unicode: the letters stored are not Khmer letters.",
    "decode_error": "The bytes are in no encoding that is known.",
}
"""Reason of a refusal -> what it means."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """What readers need of the recipe and of the machine."""

    rows: str
    """`yes`, `no` or `auto`: one Document per row."""
    text_field: str
    """Column or key that holds a row's text."""
    max_bytes: int
    """Largest file, and largest content of a packed file."""
    ocr: tuple[str, str] | None
    """Program and languages of OCR; None where scans cannot be read."""
    ocr_pages: int
    """Most pages of a file that are read as scans."""
    cpus: int
    """Processors that OCR may use at a time."""
    most_memory: int = 1_000_000_000
    """Address space, in bytes, of a process that reads packed files."""
    most_seconds: int = 120
    """Processor time, in seconds, that such a process may take for one file, one part of an archive, or 1,000 rows."""
    most_unpacked: int = 20_000_000_000
    """Most bytes that one archive or compressed file may unpack to, all its parts together."""
    scratch: str = ""
    """Folder where parts of archives are put while they are read; empty for the system's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """One file to read."""

    path: str
    """Path below the folder of the Source."""
    blob: Path
    """Where its bytes lie; read only."""
    bytes: int
    """Length; of a stream that is unpacked while it is read, -1."""
    unpack: Callable[[], BinaryIO] | None = None
    """Opens what is packed in the blob; None where the blob's bytes are the file's."""
    charset: str = ""
    """Encoding as whoever sent it said."""

    def open(self) -> BinaryIO:
        """Its bytes from the beginning."""
        return self.blob.open("rb") if self.unpack is None else self.unpack()

    def read(self, most_bytes: int) -> builtins.bytes:
        """All its bytes. Raises `too_large`."""
        with self.open() as stream:
            data = stream.read(most_bytes + 1)
        if len(data) > most_bytes:
            raise refuse(
                "too_large",
                f"The file has more than {most_bytes} bytes.",
                "Raise option max_file_megabytes, or split it.",
            )
        return data


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One Document as read."""

    index: int
    """Number in its file, from 0."""
    text: str
    title: str
    notes: tuple[str, ...] = ()
    """What could not be read of it, one sentence each."""
    part: str = ""
    """Path inside the file, where the file is an archive; empty where the file is the Document."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One Document that could not be read."""

    index: int
    """Number in its file, from 0."""
    reason: str
    """One of REASONS."""
    detail: str
    fix: str
    part: str = ""
    """Path inside the file, where the file is an archive; empty where it is the file that was refused."""


Found: TypeAlias = Record | Refusal
"""What became of one Document."""


def refuse(reason: str, detail: str, fix: str = "") -> Refused:
    """An error that ends the reading of one file, with a word from REASONS as its code."""
    return Refused(reason, detail or REASONS[reason], fix=fix)


def first_line(text: str, *, longest: int = 160) -> str:
    """First line that says something, cut to `longest` code points."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return line if len(line) <= longest else line[: longest - 1].rstrip() + "…"


def file_title(path: str) -> str:
    """Name of a file, as a title where its content gives none."""
    return Path(path).stem.replace("_", " ").replace("-", " ").strip()
