"""`documents.csv`: what the owner of a folder says of single files in it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
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
    first, last = _day(line, row["valid_from"]), _day(line, row["valid_until"])
    if first and last and last < first:
        raise _bad(line, f"holds from {first} until {last}", "Write the earlier day first.")
    return SourceFile(
        path=file.path,
        digest=file.digest,
        bytes=file.bytes,
        label=str(own),
        valid_from=first,
        valid_until=last,
        office=row["office"] or None,
    )


def _read_rows(data: bytes) -> dict[str, tuple[int, dict[str, str]]]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _bad(1, f"is not UTF-8: {error}", "Save it as 'CSV UTF-8'.") from error
    rows: dict[str, tuple[int, dict[str, str]]] = {}
    for line, row in _lines(text):
        if row["path"] in rows:
            raise _bad(line, f"names '{row['path']}' twice", "Remove one of the two lines.")
        rows[row["path"]] = (line, row)
    return rows


def _lines(text: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and cells of each line that is not empty. A cell that would be lost is refused, never dropped."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [column.strip() for column in next(reader, [])]
        if "path" not in header or set(header) - set(COLUMNS) or len(set(header)) < len(header):
            raise _bad(1, f"has the columns {', '.join(header)}", f"Name the columns {','.join(COLUMNS)}, each once.")
        for found in reader:
            cells = [cell.strip() for cell in found]
            if len(cells) > len(header):
                raise _bad(reader.line_num, f"has {len(cells)} cells, not {len(header)}", 'Put "..." around a comma.')
            row = dict.fromkeys(COLUMNS, "") | dict(zip(header, cells, strict=False))
            if row["path"]:
                yield reader.line_num, row
            elif any(cells):
                raise _bad(reader.line_num, "names no path", "Write the file's path, or remove the line.")
    except csv.Error as error:
        raise _bad(
            reader.line_num, f"is not CSV: {error}", "Write it anew with a spreadsheet as 'CSV UTF-8'."
        ) from error


def _day(line: int, text: str) -> str | None:
    if not text:
        return None
    try:
        return date.fromisoformat(fold_digits(text)).isoformat()
    except ValueError as error:
        raise _bad(line, f"has the day '{text}'", "Write days like 2026-11-21.") from error


def _bad(line: int, what: str, fix: str) -> Refused:
    return Refused("bad_documents_csv", f"documents.csv line {line} {what}.", fix=fix)
