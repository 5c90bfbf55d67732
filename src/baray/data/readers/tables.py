"""Tables: CSV, TSV and XLSX, as one Document with a line per row or as one Document per row."""

from __future__ import annotations

import csv
import datetime
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePosixPath

import python_calamine

from baray.data.readers.base import Found, ReadOptions, Record, SourceFile, file_title, first_line, refuse
from baray.data.readers.encodings import broken_note, decode, opened_text, whole_lines
from baray.data.readers.zipped import check_archive

_SAMPLE = 65536
_LONGEST_FIELD = 10_000_000
_QUOTED_FIELD = re.compile(r'(?:^|\t)"[^"\t\n]*"(?:\t|\r?$)', re.MULTILINE)
_LONGEST_HEADER = 80
_LONG_TABLE = 5_000_000
_MANY_ROWS = 2000


def row_mode(file: SourceFile, options: ReadOptions) -> str:
    """`yes` or `no` for a CSV file: with `auto`, rows are Documents where the table is long or has a column of texts."""
    if options.rows != "auto":
        return options.rows
    with file.open() as stream:
        head = stream.read(_SAMPLE)
        size, lines = len(head), head.count(b"\n")
        while size <= _LONG_TABLE and lines <= _MANY_ROWS and (block := stream.read(_SAMPLE)):
            size, lines = size + len(block), lines + block.count(b"\n")
    first = head.split(b"\n", 1)[0].decode("utf-8-sig", "replace").strip()
    names = [name.strip(' "') for name in re.split("[,;\t|]", first)]
    has_texts = len(names) > 1 and options.text_field in names
    return "yes" if size > _LONG_TABLE or lines > _MANY_ROWS or has_texts else "no"


def read_csv(file: SourceFile, options: ReadOptions) -> Iterator[Found]:
    """A table in a text file."""
    csv.field_size_limit(_LONGEST_FIELD)
    if row_mode(file, options) == "yes":
        yield from _csv_rows(file, options)
        return
    decoded = decode(file.read(options.max_bytes))
    try:
        rows = list(csv.reader(io.StringIO(decoded.text, newline=""), _dialect(decoded.text[:_SAMPLE], file.path)))
    except csv.Error as error:
        raise refuse("broken_file", f"The table cannot be read: {error}.") from error
    yield Record(index=0, text="\n".join(row_lines(rows)), title=file_title(file.path), notes=decoded.notes)


def read_xlsx(file: SourceFile, options: ReadOptions) -> Iterator[Found]:
    """The visible sheets of a workbook."""
    sheets = _sheets(file, options)
    if options.rows == "yes":
        index = 0
        for _, rows in sheets:
            for record in row_records(rows, options, start=index):
                yield record
                index = record.index + 1
        return
    parts: list[str] = []
    for name, rows in sheets:
        lines = list(row_lines(rows))
        if lines:
            parts.append("\n".join([name, *lines]) if len(sheets) > 1 else "\n".join(lines))
    yield Record(index=0, text="\n\n".join(parts), title=file_title(file.path))


def row_lines(rows: Iterable[Sequence[str]], *, header: bool | None = None) -> Iterator[str]:
    """Lines of a table: `Fee: 5,000 riel; Days: 3`. `header` tells whether row 0 is one; None means look."""
    table = [[" ".join(cell.split()) for cell in row] for row in rows]
    table = [row for row in table if any(row)]
    if header is None:
        header = looks_like_header(table)
    names = table[0] if header and table else []
    for row in table[1:] if names else table:
        line = named_line(row, names) if names else _unnamed(row)
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


def named_line(row: Sequence[str], names: Sequence[str]) -> str:
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


def _dialect(sample: str, path: str) -> type[csv.Dialect]:
    if PurePosixPath(path).suffix.lower() in {".tsv", ".tab"}:
        # A tab cannot stand in a field of most such files, and a quote there is a letter like others.
        return csv.excel_tab if _QUOTED_FIELD.search(sample) else _Tabs
    try:
        return csv.Sniffer().sniff(sample, delimiters=",;\t|")
    except csv.Error:
        return csv.excel


class _Tabs(csv.excel_tab):
    quoting = csv.QUOTE_NONE


def _csv_rows(file: SourceFile, options: ReadOptions) -> Iterator[Found]:
    with opened_text(file, newline="") as (text, _encoding):
        sample = text.read(_SAMPLE)
    with opened_text(file, newline="") as (text, encoding):
        try:
            rows = csv.reader(whole_lines(text), _dialect(sample, file.path))
            yield from row_records(rows, options, encoding=encoding)
        except csv.Error as error:
            raise refuse("broken_file", f"The table cannot be read: {error}.") from error


def row_records(
    rows: Iterable[Sequence[str]], options: ReadOptions, *, start: int = 0, encoding: str = "Unicode"
) -> Iterator[Record]:
    """A Document a row; the first row names the columns."""
    names: Sequence[str] = ()
    index = start
    for row in rows:
        if not any(cell.strip() for cell in row):
            continue
        if not names:
            names = row
            continue
        by_name = dict(zip(names, row, strict=False))
        text = by_name.get(options.text_field) or named_line([" ".join(cell.split()) for cell in row], names)
        notes = broken_note(text.count("\ufffd"), encoding)
        yield Record(index=index, text=text, title=by_name.get("title") or first_line(text), notes=notes)
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
                sheets.append((about.name, [[cell_text(value) for value in row] for row in rows]))
    except python_calamine.PasswordError as error:
        raise refuse("encrypted", "The workbook is locked by a password.", "Save it without a password.") from error
    except (python_calamine.CalamineError, ValueError, OSError) as error:
        raise refuse("broken_file", f"The workbook cannot be read: {error}.") from error
    return sheets


def cell_text(value: object) -> str:
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    if isinstance(value, datetime.datetime) and value.time() == datetime.time():
        return value.date().isoformat()
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    return str(value)
