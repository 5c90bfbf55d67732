"""Text files: TXT and Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator

from baray.data.readers.base import Found, ReadOptions, Record, SourceFile, file_title, first_line
from baray.data.readers.encodings import decode

_HEADING = re.compile(r"(?m)^ {0,3}#{1,2}[ \t]+(.+?)[ \t#]*$")


def read_text(file: SourceFile, options: ReadOptions) -> Iterator[Found]:
    """A plain text file."""
    found = decode(file.read(options.max_bytes), declared=file.charset)
    title = first_line(found.text) or file_title(file.path)
    yield Record(index=0, text=found.text, title=title, notes=found.notes)


def read_markdown(file: SourceFile, options: ReadOptions) -> Iterator[Found]:
    """A Markdown file; its marks stay, they are readable as they are."""
    found = decode(file.read(options.max_bytes))
    heading = _HEADING.search(found.text)
    title = heading[1].strip() if heading else first_line(found.text)
    yield Record(index=0, text=found.text, title=title or file_title(file.path), notes=found.notes)
