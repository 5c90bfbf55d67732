"""Parquet and Arrow: a Document a row, read in batches of bounded size."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

from baray.data.readers.base import Found, ReadOptions, Record, Refusal, SourceFile, file_title, first_line, refuse
from baray.data.readers.packed import Allowance
from baray.data.readers.tables import cell_text, named_line, row_lines

Native: TypeAlias = Any
"""A thing of Arrow, which has no types here."""

_BATCH_BYTES = 8_000_000
_MOST_ROWS = 4096
_FEW_ROWS = 2000
_STREAM_MAGIC = b"\xff\xff\xff\xff"
_FIX = "Write it again, for example with pyarrow."


def read_parquet(file: SourceFile, options: ReadOptions) -> Iterator[Found]:
    """A Parquet file. Raises `broken_file`, `encrypted`."""
    arrow, parquet = (importlib.import_module(name) for name in ("pyarrow", "pyarrow.parquet"))

    def opened() -> Iterator[Native]:
        table = parquet.ParquetFile(
            file.blob,
            memory_map=True,
            read_dictionary=_repeated(parquet.read_schema(file.blob, memory_map=True), arrow),
        )
        bytes_ = sum(table.metadata.row_group(at).total_byte_size for at in range(table.metadata.num_row_groups))
        each = max(1, bytes_ // max(1, table.metadata.num_rows))
        yield table.schema_arrow, table.metadata.num_rows
        wanted = _wanted(table.schema_arrow.names, options)
        yield from table.iter_batches(batch_size=max(1, min(_MOST_ROWS, _BATCH_BYTES // each)), columns=wanted)

    yield from _records(opened, file, options, arrow)


def read_arrow(file: SourceFile, options: ReadOptions) -> Iterator[Found]:
    """An Arrow file (Feather 2), or an Arrow stream."""
    arrow, ipc = (importlib.import_module(name) for name in ("pyarrow", "pyarrow.ipc"))
    with file.open() as stream:
        is_stream = stream.read(4) == _STREAM_MAGIC

    def opened() -> Iterator[Native]:
        source = arrow.memory_map(str(file.blob))
        if is_stream:
            reader = ipc.open_stream(source)
            yield reader.schema, _FEW_ROWS + 1
            batches = iter(reader)
        else:
            whole = ipc.open_file(source)
            first = whole.get_batch(0).num_rows if whole.num_record_batches == 1 else _FEW_ROWS + 1
            yield whole.schema, first if whole.num_record_batches else 0
            batches = (whole.get_batch(at) for at in range(whole.num_record_batches))
        for batch in batches:
            # What offsets say is not believed: one that lies would be read as memory of ours.
            batch.validate(full=True)
            for at in range(0, batch.num_rows, _FEW_ROWS):
                yield batch.slice(at, _FEW_ROWS)

    yield from _records(opened, file, options, arrow)


def _wanted(names: Sequence[str], options: ReadOptions) -> list[str] | None:
    """Only the columns of text and title, where there are such and rows are Documents."""
    if options.rows == "no" or options.text_field not in names:
        return None
    return [name for name in dict.fromkeys((options.text_field, "title")) if name in names]


def _repeated(schema: Native, arrow: Native) -> list[str]:
    """Columns of texts: read as dictionaries, a long text that stands in a million rows is in memory once."""
    return [one.name for one in schema if arrow.types.is_string(one.type) or arrow.types.is_large_string(one.type)]


def _records(
    opened: Callable[[], Iterator[Native]], file: SourceFile, options: ReadOptions, arrow: Native
) -> Iterator[Found]:
    try:
        batches = opened()
        schema, rows = next(batches)
        if options.rows == "no" or (
            options.rows == "auto" and options.text_field not in schema.names and rows <= _FEW_ROWS
        ):
            yield _one(batches, schema.names, file, options)
            return
        yield from _rows(batches, Allowance(packed_bytes=file.bytes, most_bytes=options.most_unpacked), options)
    except (arrow.ArrowException, ValueError, TypeError, OSError, KeyError, UnicodeDecodeError, OverflowError) as error:
        if isinstance(error, OSError) and error.errno is not None and not isinstance(error, arrow.ArrowException):
            raise
        locked = "ncrypt" in str(error)
        if locked:
            raise refuse("encrypted", "The file is locked by a key.", "Save it without encryption.") from error
        raise refuse("broken_file", "The file is damaged or cut off.", _FIX) from error


def _one(batches: Iterator[Native], names: Sequence[str], file: SourceFile, options: ReadOptions) -> Record:
    table: list[list[str]] = [list(names)]
    length = 0
    for batch in batches:
        for at in range(batch.num_rows):
            table.append([_text(column[at].as_py()) for column in batch.columns])
            length += sum(map(len, table[-1]))
            if length > options.max_bytes:
                raise refuse(
                    "too_large", f"Its texts have more than {options.max_bytes} characters.", "Let rows be Documents."
                )
    return Record(index=0, text="\n".join(row_lines(table, header=True)), title=file_title(file.path))


def _rows(batches: Iterator[Native], allowance: Allowance, options: ReadOptions) -> Iterator[Found]:
    """A few bytes may say that one long text stands in a million rows: what they come to is bounded."""
    index = 0
    for batch in batches:
        names, columns = batch.schema.names, batch.columns
        for at in range(batch.num_rows):
            found = _record(
                {name: column[at].as_py() for name, column in zip(names, columns, strict=True)}, index, options
            )
            if isinstance(found, Record):
                allowance.spend(len(found.text))
            yield found
            index += 1


def _record(row: dict[str, object], index: int, options: ReadOptions) -> Found:
    text = _text(row[options.text_field]) if options.text_field in row else _line(row)
    if not text.strip():
        detail = f"Row {index + 1} has no text in '{options.text_field}'."
        fix = "Set option text_field to the column that holds the text."
        return Refusal(index=index, reason="no_text", detail=detail, fix=fix)
    return Record(index=index, text=text, title=_text(row.get("title")).strip() or first_line(text))


def _line(row: dict[str, object]) -> str:
    return named_line([" ".join(_text(value).split()) for value in row.values()], list(row))


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False, default=str)
    return cell_text(value)
