"""JSON: one object a line, or one array of objects, or one object that holds such an array."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any, TypeAlias

from baray.data.readers.base import Found, ReadOptions, Record, Refusal, SourceFile, file_title, first_line, refuse
from baray.data.readers.encodings import LONGEST_LINE, broken_note, opened_text

Json: TypeAlias = Any
"""Whatever a JSON text may stand for."""

_BLOCK = 65536
_SPACE = " \t\r\n"
_LINE_FIX = "Write one JSON object a line."
_FILE_FIX = "Write one array of objects, or one object a line."
_FIELD_FIX = "Set option text_field to the key that holds the text."


def read_jsonl(file: SourceFile, options: ReadOptions) -> Iterator[Found]:
    """One JSON object a line; its text stands in the field that the recipe names."""
    yield from _as_asked(_line_records(file, options), file, options)


def read_json(file: SourceFile, options: ReadOptions) -> Iterator[Found]:
    """A JSON file; the elements of an array are read one at a time, however long it is."""
    yield from _as_asked(_file_records(file, options), file, options)


def _as_asked(records: Iterator[Found], file: SourceFile, options: ReadOptions) -> Iterator[Found]:
    if options.rows != "no":
        yield from records
        return
    texts: list[str] = []
    notes: list[str] = []
    length = 0
    for record in records:
        if isinstance(record, Refusal):
            raise refuse(record.reason, record.detail, record.fix)
        texts.append(record.text)
        notes += record.notes
        length += len(record.text)
        if length > options.max_bytes:
            raise refuse(
                "too_large", f"Its texts have more than {options.max_bytes} characters.", "Let rows be Documents."
            )
    yield Record(index=0, text="\n\n".join(texts), title=file_title(file.path), notes=tuple(dict.fromkeys(notes)))


def _line_records(file: SourceFile, options: ReadOptions) -> Iterator[Found]:
    index = 0
    with opened_text(file, newline="\n") as (lines, encoding):
        while line := lines.readline(LONGEST_LINE):
            if line.isspace():
                continue
            yield _line_record(line, index, options, encoding)
            index += 1


def _line_record(line: str, index: int, options: ReadOptions, encoding: str) -> Found:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        detail = f"Record {index + 1} is not JSON."
        return Refusal(index=index, reason="broken_record", detail=detail, fix=_LINE_FIX)
    return _record(value, index, options, broken_note(line.count("\ufffd"), encoding))


def _record(value: Json, index: int, options: ReadOptions, notes: tuple[str, ...] = ()) -> Found:
    text = value.get(options.text_field) if isinstance(value, dict) else None
    if not isinstance(text, str) or not text.strip():
        detail = f"Record {index + 1} has no text in '{options.text_field}'."
        return Refusal(index=index, reason="no_text", detail=detail, fix=_FIELD_FIX)
    title = value.get("title")
    named = isinstance(title, str) and title.strip()
    return Record(index=index, text=text, title=title if named else first_line(text), notes=notes)


def _file_records(file: SourceFile, options: ReadOptions) -> Iterator[Found]:
    with opened_text(file, newline=None) as (text, _):
        first = next((one for one in iter(lambda: text.read(1), "") if one not in _SPACE), "")
    if first == "[":
        yield from _array_records(file, options)
        return
    with opened_text(file, newline=None) as (text, _):
        whole = text.read(LONGEST_LINE)
    try:
        value = json.loads(whole)
    except (ValueError, RecursionError) as error:
        what = "is longer than can be read as one object" if len(whole) == LONGEST_LINE else "is not JSON"
        raise refuse("broken_file", f"The file {what}.", _FILE_FIX) from error
    for index, one in enumerate(_listed(value, options)):
        yield _record(one, index, options)


def _listed(value: Json, options: ReadOptions) -> list[Json]:
    """The objects that a whole file stands for: itself where it has a text, else the only list of objects in it."""
    if not isinstance(value, dict) or isinstance(value.get(options.text_field), str):
        return [value]
    lists = [one for one in value.values() if isinstance(one, list) and one and all(isinstance(x, dict) for x in one)]
    return lists[0] if len(lists) == 1 else [value]


def _array_records(file: SourceFile, options: ReadOptions) -> Iterator[Found]:
    with opened_text(file, newline=None) as (text, encoding):
        for index, (value, broken) in enumerate(_Array(text)):
            yield _record(value, index, options, broken_note(broken, encoding))


class _Array:
    """Elements of one array, of which no more than one is in memory."""

    def __init__(self, text: io.TextIOWrapper) -> None:
        self._text = text
        self._held = ""
        self._at = 0
        self._decode = json.JSONDecoder().raw_decode

    def __iter__(self) -> Iterator[tuple[Json, int]]:
        self._expect("[")
        if self._peek() == "]":
            return
        while True:
            self._peek()
            yield self._value()
            if self._peek() == "]":
                return
            self._expect(",")

    def _value(self) -> tuple[Json, int]:
        wanted = _BLOCK
        while True:
            try:
                value, end = self._decode(self._held, self._at)
            except (ValueError, RecursionError) as error:
                # Perhaps only its end is missing: twice as much is tried each time.
                if isinstance(error, RecursionError) or not self._more(wanted):
                    raise self._broken() from error
                wanted *= 2
                continue
            if end < len(self._held) or not self._more(_BLOCK):
                broken = self._held.count("\ufffd", self._at, end)
                self._at = end
                return value, broken

    def _peek(self) -> str:
        """The next sign that is no space; empty at the end."""
        while True:
            while self._at < len(self._held) and self._held[self._at] in _SPACE:
                self._at += 1
            if self._at < len(self._held):
                return self._held[self._at]
            if not self._more(_BLOCK):
                return ""

    def _expect(self, sign: str) -> None:
        if self._peek() != sign:
            raise self._broken()
        self._at += 1

    def _more(self, count: int) -> bool:
        if len(self._held) - self._at > LONGEST_LINE:
            return False
        block = self._text.read(count)
        self._held = self._held[self._at :] + block
        self._at = 0
        return bool(block)

    def _broken(self) -> Exception:
        return refuse("broken_file", "The file is not JSON from here on, or cut off.", _FILE_FIX)
