"""From a file to its Documents: which reader, through which packings, and what becomes of what cannot be read."""

from __future__ import annotations

import importlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import cast

from baray.core import Refused
from baray.data.readers.base import REASONS, Found, ReadOptions, Record, Refusal, SourceFile, refuse
from baray.data.readers.packed import PACKINGS, Allowance, Member, tar_members, unpacked, warc_members, zip_members
from baray.data.readers.sniff import sniff

_READERS = {
    "text": "plain:read_text",
    "markdown": "plain:read_markdown",
    "html": "markup:read_html",
    "docx": "word:read_docx",
    "pdf": "pdf:read_pdf",
    "image": "scan:read_image",
    "csv": "tables:read_csv",
    "xlsx": "tables:read_xlsx",
    "jsonl": "objects:read_jsonl",
    "json": "objects:read_json",
    "rtf": "rich:read_rtf",
    "odf": "opendocument:read_opendocument",
    "fodt": "opendocument:read_flat",
    "epub": "book:read_epub",
    "po": "catalogue:read_po",
    "parquet": "columns:read_parquet",
    "arrow": "columns:read_arrow",
}
"""Kind -> where its reader is: a library is loaded by the first file that needs it."""
_STREAMED = frozenset(["csv", "jsonl", "json"])
"""Kinds that are read row by row, whatever their length."""
_MEMBERS = {"tar": tar_members, "archive": zip_members, "warc": warc_members}
_NO_TEXT_FIX = "Check that the file holds text, and not only pictures."
_COPY_BYTES = 1_000_000

Reader = Callable[[SourceFile, ReadOptions], Iterator[Found]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Where in a file to begin: an archive is read on behind the member that cost a process its life."""

    member: int = 0
    """Members of an archive that are passed over."""
    index: int = 0
    """Number of the first Document."""


START = Start()


def read_file(
    file: SourceFile, options: ReadOptions, *, start: Start = START, at_member: Callable[[int, str], None] | None = None
) -> Iterator[Found]:
    """Documents of `file` in order; a file that cannot be read is one Refusal, also when it breaks half way.

    In an archive each member is read like a file, and a member that cannot be read is one Refusal. `at_member` is told
    the number and the name of each member before it is read. Raises OSError when the blob itself cannot be read: that is
    no fault of the file.
    """
    with ExitStack() as stack:
        reading = _Reading(file, options, start.member, at_member or _unheard, stack)
        for found in reading.guarded(file, 0):
            yield replace(found, index=start.index + found.index) if start.index else found


def _unheard(_member: int, _name: str) -> None:
    return


class _Reading:
    """One file of a Source, with all that is packed in it."""

    def __init__(
        self,
        file: SourceFile,
        options: ReadOptions,
        passed: int,
        at_member: Callable[[int, str], None],
        stack: ExitStack,
    ) -> None:
        self._options = options
        self._allowance = Allowance(packed_bytes=file.bytes, most_bytes=options.most_unpacked)
        self._blob = file.blob
        self._passed = passed
        self._at_member = at_member
        self._stack = stack

    @cached_property
    def _scratch(self) -> Path:
        """Made for the first file that has anything packed in it."""
        folder = tempfile.TemporaryDirectory(dir=self._options.scratch or None, prefix="unpacked-")
        return Path(self._stack.enter_context(folder))

    def guarded(self, file: SourceFile, depth: int) -> Iterator[Found]:
        """Documents of `file`, numbered from 0; one Refusal where nothing more can be read of it."""
        index = 0
        try:
            for found in self._documents(file, depth):
                index = found.index + 1
                yield found
        except Refused as refused:
            if self._allowance.exhausted and depth:
                raise  # no other member of the archive can be read either
            yield Refusal(index=index, reason=refused.code, detail=refused.message, fix=refused.fix)
            return
        if index == 0 and (depth or not self._passed):
            yield Refusal(index=0, reason="no_text", detail=REASONS["no_text"], fix=_NO_TEXT_FIX)

    def _documents(self, file: SourceFile, depth: int) -> Iterator[Found]:
        kind = sniff(file)
        if kind in PACKINGS:
            self._allowance.descend(depth)
            yield from self._documents(unpacked(file, kind, self._allowance), depth + 1)
        elif kind in _MEMBERS:
            self._allowance.descend(depth)
            yield from self._members(_MEMBERS[kind](file, self._allowance), depth + 1, outer=file.blob == self._blob)
        elif file.unpack is not None and kind not in _STREAMED:
            yield from self._documents(self._on_disk(file, depth), depth)
        else:
            yield from self._records(file, kind)

    def _members(self, members: Iterator[Member], depth: int, *, outer: bool) -> Iterator[Found]:
        """Documents of an archive; only the members of the outermost one are told and passed over."""
        index = 0
        for number, member in enumerate(members):
            if outer:
                if number < self._passed:
                    continue
                self._at_member(number, member.name)
            for found in self._member(member, depth):
                notes = (*member.notes, *found.notes) if isinstance(found, Record) else ()
                part = f"{member.name}/{found.part}" if found.part else member.name
                moved = replace(found, index=index + found.index, part=part)
                yield replace(moved, notes=notes) if isinstance(moved, Record) else moved
                last = found.index
            index += last + 1

    def _member(self, member: Member, depth: int) -> Iterator[Found]:
        if member.stream is None or member.problem is not None:
            problem = member.problem or refuse("broken_file", "")
            yield Refusal(index=0, reason=problem.code, detail=problem.message, fix=problem.fix)
            return
        place = self._scratch / f"member-{depth}"
        try:
            with member.stream, place.open("wb") as target:
                shutil.copyfileobj(member.stream, target, _COPY_BYTES)
        except Refused as refused:
            if self._allowance.exhausted:
                raise
            yield Refusal(index=0, reason=refused.code, detail=refused.message, fix=refused.fix)
            return
        file = SourceFile(
            path=member.read_as or member.name, blob=place, bytes=place.stat().st_size, charset=member.charset
        )
        yield from self.guarded(file, depth)

    def _on_disk(self, file: SourceFile, depth: int) -> SourceFile:
        """What a stream unpacks to, as a file: most readers go to and fro in it."""
        place = self._scratch / f"stream-{depth}"
        most = self._options.max_bytes
        with file.open() as stream, place.open("wb") as target:
            while block := stream.read(_COPY_BYTES):
                target.write(block)
                if target.tell() > most:
                    raise refuse(
                        "too_large", f"It unpacks to more than {most} bytes.", "Raise option max_file_megabytes."
                    )
        return SourceFile(path=file.path, blob=place, bytes=place.stat().st_size)

    def _records(self, file: SourceFile, kind: str) -> Iterator[Found]:
        most = self._options.max_bytes
        if file.bytes > most and kind not in _STREAMED:
            raise refuse(
                "too_large", f"The file has {file.bytes} bytes, more than {most}.", "Raise option max_file_megabytes."
            )
        for record in _reader(kind)(file, self._options):
            if isinstance(record, Record) and not record.text.strip():
                yield Refusal(index=record.index, reason="no_text", detail=REASONS["no_text"], fix=_NO_TEXT_FIX)
            else:
                yield record


def _reader(kind: str) -> Reader:
    module, _, name = _READERS[kind].partition(":")
    return cast("Reader", getattr(importlib.import_module(f"baray.data.readers.{module}"), name))
