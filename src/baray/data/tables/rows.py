"""Rows of a table's file, all values as text: what a type is, is decided over all files together."""

from __future__ import annotations

import csv
import decimal
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq
import python_calamine

from baray.data.readers.base import SourceFile, refuse
from baray.data.readers.encodings import LONGEST_LINE, opened_text, whole_lines
from baray.data.readers.sniff import sniff
from baray.data.readers.tables import cell_text
from baray.data.readers.zipped import check_archive

Row: TypeAlias = Mapping[str, str | None]
"""Column -> value as text; None where the file holds no value."""

_SAMPLE = 65536
_LONGEST_FIELD = 10_000_000
_DELIMITERS = ",;\t|"
_BATCH_ROWS = 4096
_HALF = re.compile("[\ud800-\udfff]")
_FIX = "Give tables: CSV, TSV, XLSX, JSON (one object a line, or an array of objects), Parquet."


def rows_of(file: SourceFile, sheet: str, most_bytes: int) -> Iterator[Row]:
    """Rows of `file` below its line of names. Raises Refused with a word of the readers' REASONS."""
    kind = sniff(file)
    read = _READERS.get(kind)
    if read is None:
        raise refuse("unsupported_type", f"A {kind} file is no table.", _FIX)
    return read(file, sheet, most_bytes)


def _csv(file: SourceFile, _sheet: str, _most_bytes: int) -> Iterator[Row]:
    csv.field_size_limit(_LONGEST_FIELD)
    with opened_text(file, newline="") as (text, _encoding):
        sample = text.read(_SAMPLE)
    try:
        with opened_text(file, newline="") as (text, _encoding):
            yield from _named(csv.reader(whole_lines(text), delimiter=_delimiter(sample)))
    except csv.Error as error:
        raise refuse("broken_file", f"The table cannot be read: {error}.") from error


def _delimiter(sample: str) -> str:
    """The sign that parts the names: the one that stands most often in the first line."""
    first = sample.partition("\n")[0]
    return max(_DELIMITERS, key=first.count)


def _workbook(file: SourceFile, sheet: str, most_bytes: int) -> Iterator[Row]:
    check_archive(file.blob, most_bytes)
    try:
        book = python_calamine.CalamineWorkbook.from_filelike(io.BytesIO(file.read(most_bytes)))
        shown = [one.name for one in book.sheets_metadata if one.visible == python_calamine.SheetVisibleEnum.Visible]
        if sheet and sheet not in shown:
            raise refuse("no_text", f"There is no sheet '{sheet}'.", f"Choose from: {', '.join(shown)}.")
        cells = book.get_sheet_by_name(sheet or shown[0]).to_python(skip_empty_area=True) if shown else []
    except python_calamine.PasswordError as error:
        raise refuse("encrypted", "The workbook is locked by a password.", "Save it without a password.") from error
    except (python_calamine.CalamineError, ValueError, OSError) as error:
        raise refuse("broken_file", f"The workbook cannot be read: {error}.") from error
    yield from _named(iter([[cell_text(value) for value in row] for row in cells]))


def _named(lines: Iterator[list[str]]) -> Iterator[Row]:
    """Rows by the names in the first line that holds anything. Raises `broken_file` where names repeat or rows are longer."""
    filled = (line for line in lines if any(cell.strip() for cell in line))
    names = [" ".join(cell.split()) for cell in next(filled, [])]
    while names and not names[-1]:
        names.pop()
    if not names:
        raise refuse("no_text", "The table has no names of columns.", "Name each column once, in the first line.")
    blank = next((at for at, name in enumerate(names, 1) if not name), 0)
    twice = next((name for name in names if names.count(name) > 1), "")
    if blank or twice:
        told = f"Column {blank} has no name." if blank else f"Two columns are called '{twice}'."
        raise refuse("broken_file", told, "Name each column once, in the first line.")
    for number, line in enumerate(filled, 2):
        if any(cell.strip() for cell in line[len(names) :]):
            raise refuse(
                "broken_file",
                f"Row {number} has {len(line)} values for {len(names)} columns.",
                "Quote values that hold the sign between columns.",
            )
        yield dict(zip(names, chain(line, [None] * (len(names) - len(line))), strict=False))


def _json_lines(file: SourceFile, _sheet: str, _most_bytes: int) -> Iterator[Row]:
    with opened_text(file, newline="\n") as (lines, _encoding):
        number = 0
        while line := lines.readline(LONGEST_LINE):
            number += 1
            if not line.isspace():
                yield _of_object(_parsed(line, f"Line {number}"), f"Line {number}")


def _json(file: SourceFile, _sheet: str, most_bytes: int) -> Iterator[Row]:
    found = _parsed(file.read(most_bytes).decode("utf-8-sig", "replace"), "The file")
    if not isinstance(found, list):
        raise refuse(
            "broken_file", "The file is no array of objects.", "Write an array of objects, or one object a line."
        )
    for number, value in enumerate(found, 1):
        yield _of_object(value, f"Element {number}")


def _parsed(text: str, what: str) -> object:
    try:
        return json.loads(text, object_pairs_hook=_once, parse_float=_exact)
    except (ValueError, RecursionError) as error:
        raise refuse("broken_record", f"{what} is not JSON: {error}.") from error


def _exact(text: str) -> float | str:
    """A number; what is written where a float would be another."""
    found = float(text)
    return found if decimal.Decimal(repr(found)) == decimal.Decimal(text) else text


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """An object. Raises ValueError where a name stands twice, for one of the values would be lost."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"'{next(name for name in names if names.count(name) > 1)}' stands twice in an object")
    return found


def _of_object(value: object, what: str) -> Row:
    if not isinstance(value, dict):
        raise refuse("broken_record", f"{what} is no object.", "Write an object with a value for each column.")
    row = {str(name): _text(one) for name, one in value.items()}
    if any(_HALF.search(text) for text in (*row, *(one for one in row.values() if one))):
        raise refuse("broken_record", f"{what} holds half a letter (\\ud800 to \\udfff alone).", "Write whole letters.")
    return row


def _text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False, sort_keys=True, default=cell_text)
    return cell_text(value)


def _parquet(file: SourceFile, _sheet: str, _most_bytes: int) -> Iterator[Row]:
    try:
        with file.blob.open("rb") as opened, pq.ParquetFile(opened) as table:
            names = table.schema_arrow.names
            twice = next((name for name in names if names.count(name) > 1), None)
            if twice is not None:
                raise refuse("broken_file", f"Two columns are called '{twice}'.", "Name each column once.")
            for batch in table.iter_batches(batch_size=_BATCH_ROWS):
                for row in batch.to_pylist():
                    yield {name: _text(value) for name, value in row.items()}
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        raise refuse("broken_file", f"The table cannot be read: {error}.") from error


_READERS: dict[str, Callable[[SourceFile, str, int], Iterator[Row]]] = {
    "csv": _csv,
    "xlsx": _workbook,
    "jsonl": _json_lines,
    "json": _json,
    "parquet": _parquet,
}
