"""`documents.csv`: what the owner of a folder says of single files in it."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from datetime import date

from baray.access import Label, join, parse_label
from baray.catalog.nouns import FileEntry, SourceFile
from baray.core import Refused
from baray.text import fold_digits

DOCUMENTS_CSV = "documents.csv"
COLUMNS = ("path", "label", "valid_from", "valid_until", "office")


def describe_files(files: Sequence[FileEntry], csv_bytes: bytes | None, label: Label) -> list[SourceFile]:
    """Join `files` with the rows of `documents.csv`; a row can only raise the Source's `label`.

    Raises Refused `bad_documents_csv` naming the line: a file that is not there, a label or a day that is none.
    """
    rows = _read_rows(csv_bytes) if csv_bytes is not None else {}
    paths = {file.path for file in files}
    for path, (line, _) in rows.items():
        if path not in paths:
            raise _bad(line, f"names '{path}', which is not in the folder", "Correct the path or remove the line.")
    return [_describe(file, rows.get(file.path), label) for file in files if file.path != DOCUMENTS_CSV]


def _describe(file: FileEntry, found: tuple[int, dict[str, str]] | None, label: Label) -> SourceFile:
    if found is None:
        return SourceFile(path=file.path, digest=file.digest, bytes=file.bytes, label=str(label))
    line, row = found
    try:
        own = join([label, parse_label(row["label"])]) if row["label"] else label
    except Refused as error:
        raise _bad(line, error.message, error.fix) from error
    return SourceFile(
        path=file.path,
        digest=file.digest,
        bytes=file.bytes,
        label=str(own),
        valid_from=_day(line, row["valid_from"]),
        valid_until=_day(line, row["valid_until"]),
        office=row["office"] or None,
    )


def _read_rows(data: bytes) -> dict[str, tuple[int, dict[str, str]]]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _bad(1, f"is not UTF-8: {error}", "Save it as 'CSV UTF-8'.") from error
    reader = csv.DictReader(io.StringIO(text))
    missing = {"path"} - set(reader.fieldnames or ())
    unknown = set(reader.fieldnames or ()) - set(COLUMNS)
    if missing or unknown:
        raise _bad(1, f"has columns {reader.fieldnames}", f"Name the columns {','.join(COLUMNS)}.")
    rows: dict[str, tuple[int, dict[str, str]]] = {}
    for row in reader:
        clean = {column: (row.get(column) or "").strip() for column in COLUMNS}
        if clean["path"] in rows:
            raise _bad(reader.line_num, f"names '{clean['path']}' twice", "Remove one of the two lines.")
        if clean["path"]:
            rows[clean["path"]] = (reader.line_num, clean)
    return rows


def _day(line: int, text: str) -> str | None:
    if not text:
        return None
    try:
        return date.fromisoformat(fold_digits(text)).isoformat()
    except ValueError as error:
        raise _bad(line, f"has the day '{text}'", "Write days like 2026-11-21.") from error


def _bad(line: int, what: str, fix: str) -> Refused:
    return Refused("bad_documents_csv", f"documents.csv line {line} {what}.", fix=fix)
