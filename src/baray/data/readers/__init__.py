"""Readers: one file in, Documents out, or the reason why not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from baray.core import Refused
from baray.data.readers.base import REASONS, ReadOptions, Record, Refusal, SourceFile, refuse
from baray.data.readers.markup import read_html
from baray.data.readers.pdf import read_pdf
from baray.data.readers.plain import read_markdown, read_text
from baray.data.readers.scan import find_ocr, read_image
from baray.data.readers.sniff import is_packed, is_scan, sniff
from baray.data.readers.tables import read_csv, read_jsonl, read_xlsx, row_mode
from baray.data.readers.word import read_docx

__all__ = [
    "REASONS", "ReadOptions", "Record", "Refusal", "SourceFile", "find_ocr", "is_packed", "is_scan", "read_file",
]  # fmt: skip

_WHOLE = {
    "text": lambda file, _options: read_text(file),
    "markdown": lambda file, _options: read_markdown(file),
    "html": lambda file, _options: read_html(file),
    "docx": read_docx,
    "pdf": read_pdf,
    "image": read_image,
}
_ROWS = {"csv": read_csv, "xlsx": read_xlsx, "jsonl": read_jsonl}
_NO_TEXT_FIX = "Check that the file holds text, and not only pictures."


def read_file(file: SourceFile, options: ReadOptions) -> Iterator[Record | Refusal]:
    """Documents of `file` in order; a file that cannot be read is one Refusal, also when it breaks half way.

    Raises OSError when the blob itself cannot be read: that is no fault of the file.
    """
    index = 0
    try:
        for found in _documents(file, options):
            index = found.index + 1
            yield found
    except Refused as refused:
        yield Refusal(index=index, reason=refused.code, detail=refused.message, fix=refused.fix)
        return
    if index == 0:
        yield Refusal(index=0, reason="no_text", detail=REASONS["no_text"], fix=_NO_TEXT_FIX)


def _documents(file: SourceFile, options: ReadOptions) -> Iterator[Record | Refusal]:
    if file.bytes == 0:
        raise refuse("empty_file", "", "Remove it or add its content.")
    kind = sniff(file)
    if kind == "csv":
        options = replace(options, rows=row_mode(file, options))
    streamed = (kind == "jsonl" and options.rows != "no") or (kind == "csv" and options.rows == "yes")
    if file.bytes > options.max_bytes and not streamed:
        limit = options.max_bytes // 1_000_000
        raise refuse(
            "too_large", f"The file has {file.bytes} bytes, more than {limit} MB.", "Raise option max_file_megabytes."
        )
    if kind in _ROWS:
        records: Iterator[Record | Refusal] = _ROWS[kind](file, options)
    else:
        records = iter([_WHOLE[kind](file, options)])
    for record in records:
        if isinstance(record, Record) and not record.text.strip():
            yield Refusal(index=record.index, reason="no_text", detail=REASONS["no_text"], fix=_NO_TEXT_FIX)
        else:
            yield record
