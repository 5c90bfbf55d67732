"""Tables: CSV, XLSX and JSONL, as one Document with a line per row or as one Document per row."""

from __future__ import annotations

import csv
import datetime
import io
import json
import re
from collections.abc import Iterable, Iterator, Sequence

import python_calamine

from baray.data.readers.base import ReadOptions, Record, Refusal, SourceFile, file_title, first_line, refuse
from baray.data.readers.plain import decode, encoding_of
from baray.data.readers.zipped import check_archive

_SAMPLE = 65536
_LONGEST_FIELD = 10_000_000
_LONGEST_LINE = 16_000_000
_LONGEST_HEADER = 80
_LONG_TABLE = 5_000_000
_MANY_ROWS = 2000


def row_mode(file: SourceFile, options: ReadOptions) -> str:
    """`yes` or `no` for a CSV file: with `auto`, rows are Documents where the table is long or has a column of texts."""
    if options.rows != "auto":
        return options.rows
    if file.bytes > _LONG_TABLE:
        return "yes"
    with file.blob.open("rb") as stream:
        head = stream.read(_SAMPLE)
        lines = head.count(b"\n") + sum(part.count(b"\n") for part in iter(lambda: stream.read(_SAMPLE), b""))
    first = head.split(b"\n", 1)[0].decode("utf-8-sig", "replace").strip()
    names = [name.strip(' "') for name in re.split("[,;\t|]", first)]
    return "yes" if lines > _MANY_ROWS or (len(names) > 1 and options.text_field in names) else "no"


def read_csv(file: SourceFile, options: ReadOptions) -> Iterator[Record | Refusal]:
    """A table in a text file."""
    csv.field_size_limit(_LONGEST_FIELD)
    if options.rows == "yes":
        yield from _csv_rows(file, options)
        return
    text = decode(file.blob.read_bytes())
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), _delimiter(text[:_SAMPLE])))
    except csv.Error as error:
        raise refuse("broken_file", f"The table cannot be read: {error}.") from error
    yield Record(index=0, text="\n".join(row_lines(rows)), title=file_title(file.path))


def read_xlsx(file: SourceFile, options: ReadOptions) -> Iterator[Record | Refusal]:
    """The visible sheets of a workbook."""
    sheets = _sheets(file, options)
    if options.rows == "yes":
        index = 0
        for _, rows in sheets:
            for record in _row_records(rows, options, index):
                yield record
                index = record.index + 1
        return
    parts: list[str] = []
    for name, rows in sheets:
        lines = list(row_lines(rows))
        if lines:
            parts.append("\n".join([name, *lines]) if len(sheets) > 1 else "\n".join(lines))
    yield Record(index=0, text="\n\n".join(parts), title=file_title(file.path))


def read_jsonl(file: SourceFile, options: ReadOptions) -> Iterator[Record | Refusal]:
    """One JSON object a line; its text stands in the field that the recipe names."""
    records = _json_records(file, options)
    if options.rows != "no":
        yield from records
        return
    texts: list[str] = []
    for record in records:
        if isinstance(record, Refusal):
            raise refuse(record.reason, record.detail, record.fix)
        texts.append(record.text)
    yield Record(index=0, text="\n\n".join(texts), title=file_title(file.path))


def row_lines(rows: Iterable[Sequence[str]], *, header: bool | None = None) -> Iterator[str]:
    """Lines of a table: `Fee: 5,000 riel; Days: 3`. `header` tells whether row 0 is one; None means look."""
    table = [[" ".join(cell.split()) for cell in row] for row in rows]
    table = [row for row in table if any(row)]
    if header is None:
        header = looks_like_header(table)
    names = table[0] if header and table else []
    for row in table[1:] if names else table:
        line = _named(row, names) if names else _unnamed(row)
        if line:
            yield line


def looks_like_header(table: Sequence[Sequence[str]]) -> bool:
    """Whether row 0 names the columns: all cells filled, short, different, none a number, and more rows below."""
    if len(table) < 2 or len(table[0]) < 2:
        return False
    names = list(table[0])
    if len(set(names)) < len(names):
        return False
    if any(not name or len(name) > _LONGEST_HEADER or _is_number(name) for name in names):
        return False
    # Two columns without a number below the second name are as likely a list of "what: which".
    return len(names) > 2 or any(_is_number(row[1]) for row in table[1:] if len(row) > 1)


def _named(row: Sequence[str], names: Sequence[str]) -> str:
    cells = [
        f"{_readable(names[at])}: {cell}" if at < len(names) and names[at] else cell
        for at, cell in enumerate(row)
        if cell
    ]
    return "; ".join(cells)


def _unnamed(row: Sequence[str]) -> str:
    cells = [cell for cell in row if cell]
    pair = len(row) == len(cells) == 2 and len(cells[0]) <= _LONGEST_HEADER
    return (": " if pair else "; ").join(cells)


def _readable(name: str) -> str:
    return name.replace("_", " ").strip(" :")


def _is_number(text: str) -> bool:
    digits = sum(character.isdigit() for character in text)
    return digits > 0 and digits * 2 >= len(text.replace(" ", ""))


def _delimiter(sample: str) -> type[csv.Dialect]:
    try:
        return csv.Sniffer().sniff(sample, delimiters=",;\t|")
    except csv.Error:
        return csv.excel


def _csv_rows(file: SourceFile, options: ReadOptions) -> Iterator[Record | Refusal]:
    with file.blob.open("rb") as stream:
        head = stream.read(_SAMPLE)
    encoding = encoding_of(head[: head.rfind(b"\n") + 1] or head)
    with file.blob.open(encoding=encoding, errors="replace", newline="") as lines:
        dialect = _delimiter(lines.read(_SAMPLE))
        lines.seek(0)
        try:
            yield from _row_records(csv.reader(lines, dialect), options, 0)
        except csv.Error as error:
            raise refuse("broken_file", f"The table cannot be read: {error}.") from error


def _row_records(rows: Iterable[Sequence[str]], options: ReadOptions, start: int) -> Iterator[Record]:
    names: Sequence[str] = ()
    index = start
    for row in rows:
        if not any(cell.strip() for cell in row):
            continue
        if not names:
            names = row
            continue
        by_name = dict(zip(names, row, strict=False))
        text = by_name.get(options.text_field) or _named([" ".join(cell.split()) for cell in row], names)
        yield Record(index=index, text=text, title=by_name.get("title") or first_line(text))
        index += 1


def _sheets(file: SourceFile, options: ReadOptions) -> list[tuple[str, list[list[str]]]]:
    check_archive(file.blob, options.max_bytes)
    try:
        # By its bytes: a blob has no name that would tell its format.
        workbook = python_calamine.CalamineWorkbook.from_filelike(io.BytesIO(file.blob.read_bytes()))
        sheets = []
        for at, about in enumerate(workbook.sheets_metadata):
            if about.visible == python_calamine.SheetVisibleEnum.Visible:
                rows = workbook.get_sheet_by_index(at).to_python(skip_empty_area=True)
                sheets.append((about.name, [[_cell(value) for value in row] for row in rows]))
    except python_calamine.PasswordError as error:
        raise refuse("encrypted", "The workbook is locked by a password.", "Save it without a password.") from error
    except (python_calamine.CalamineError, ValueError, OSError) as error:
        raise refuse("broken_file", f"The workbook cannot be read: {error}.") from error
    return sheets


def _cell(value: object) -> str:
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    if isinstance(value, datetime.datetime) and value.time() == datetime.time():
        return value.date().isoformat()
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    return str(value)


def _json_records(file: SourceFile, options: ReadOptions) -> Iterator[Record | Refusal]:
    index = 0
    with file.blob.open("rb") as stream:
        while line := stream.readline(_LONGEST_LINE):
            if index == 0:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if not line.strip():
                continue
            yield _json_record(line, index, options)
            index += 1


def _json_record(line: bytes, index: int, options: ReadOptions) -> Record | Refusal:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        detail = f"Record {index + 1} is not JSON."
        return Refusal(index=index, reason="broken_record", detail=detail, fix="Write one JSON object a line.")
    text = value.get(options.text_field) if isinstance(value, dict) else None
    if not isinstance(text, str) or not text.strip():
        detail = f"Record {index + 1} has no text in '{options.text_field}'."
        return Refusal(
            index=index, reason="no_text", detail=detail, fix="Set option text_field to the key that holds the text."
        )
    title = value.get("title")
    return Record(index=index, text=text, title=title if isinstance(title, str) and title.strip() else first_line(text))
