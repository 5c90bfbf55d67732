"""Readers: one file in, Documents out, or the reason why not."""

from __future__ import annotations

from baray.data.readers.base import REASONS, ReadOptions, Record, Refusal, SourceFile
from baray.data.readers.reading import START, Start, read_file
from baray.data.readers.scan import find_ocr
from baray.data.readers.sniff import is_packed, is_scan

__all__ = [
    "REASONS", "START", "ReadOptions", "Record", "Refusal", "SourceFile", "Start", "find_ocr", "is_packed", "is_scan",
    "read_file",
]  # fmt: skip
