"""EPUB: the chapters of a book in the order of its spine (EPUB 3.3, and 2.0.1)."""

from __future__ import annotations

import posixpath
import re
import zipfile
from collections.abc import Iterator
from urllib.parse import unquote

from baray.data.readers.base import Found, ReadOptions, Record, SourceFile, file_title, first_line, refuse
from baray.data.readers.markup import read_page
from baray.data.readers.packed import DAMAGE
from baray.data.readers.zipped import Element, check_archive, parse_xml, read_member

_CONTAINER = "{urn:oasis:names:tc:opendocument:xmlns:container}"
_OPF = "{http://www.idpf.org/2007/opf}"
_TITLE = "{http://purl.org/dc/elements/1.1/}title"
_PAGES = frozenset(["application/xhtml+xml", "text/html"])
_LOCK = re.compile(rb"Algorithm=[\"']([^\"']{1,200})[\"']")
_FONT_LOCKS = (b"http://www.idpf.org/2008/embedding", b"http://ns.adobe.com/pdf/enc#RC")
"""Locks that hide a font only; any other hides the text."""
_MOST_CSS = 2_000_000


def read_epub(file: SourceFile, options: ReadOptions) -> Iterator[Found]:
    """The text of a book. Raises `broken_file`, `encrypted`, `too_large`, `legacy_font`."""
    check_archive(file.blob, options.max_bytes)
    try:
        with zipfile.ZipFile(file.blob) as archive:
            record = _Book(archive, options.max_bytes).record(file)
    except DAMAGE as error:
        raise refuse("broken_file", "The file is cut off or damaged.") from error
    yield record


class _Book:
    """One open book."""

    def __init__(self, archive: zipfile.ZipFile, max_bytes: int) -> None:
        self._archive = archive
        self._max_bytes = max_bytes
        self._names = set(archive.namelist())
        self._refuse_locked()
        container = self._tree("META-INF/container.xml")
        root = container.find(f".//{_CONTAINER}rootfile")
        self._package = "" if root is None else root.get("full-path", "")
        if self._package not in self._names:
            raise refuse("broken_file", "The book names no list of its parts.")
        self._opf = self._tree(self._package)

    def record(self, file: SourceFile) -> Record:
        """The whole book."""
        items = {one.get("id", ""): one for one in self._opf.iter(_OPF + "item")}
        css = self._css(list(items.values()))
        texts: list[str] = []
        notes: list[str] = []
        missing = 0
        for place in self._opf.iter(_OPF + "itemref"):
            item = items.get(place.get("idref", ""))
            if item is None or item.get("media-type") not in _PAGES:
                continue
            name = self._path(item)
            if name not in self._names:
                missing += 1
                continue
            page = read_page(read_member(self._archive, name, self._max_bytes), css=css)
            notes += page.notes
            if page.text:
                texts.append(page.text)
        if missing:
            notes.append(f"{missing} chapters are listed in the book and not there.")
        text = "\n\n".join(texts)
        title = " ".join((self._opf.findtext(f".//{_TITLE}") or "").split())
        title = title or first_line(text) or file_title(file.path)
        return Record(index=0, text=text, title=title, notes=tuple(dict.fromkeys(notes)))

    def _refuse_locked(self) -> None:
        if "META-INF/encryption.xml" in self._names:
            locks = _LOCK.findall(read_member(self._archive, "META-INF/encryption.xml", self._max_bytes))
            if any(lock not in _FONT_LOCKS for lock in locks):
                raise refuse("encrypted", "The book is locked.", "Ask its publisher for one without a lock.")

    def _css(self, items: list[Element]) -> str:
        """Style sheets: they may draw the book in a font from before Unicode."""
        found = b""
        for item in items:
            name = self._path(item)
            if item.get("media-type") == "text/css" and name in self._names and len(found) < _MOST_CSS:
                found += read_member(self._archive, name, self._max_bytes)[:_MOST_CSS]
        return found.decode("utf-8", "replace")

    def _path(self, item: Element) -> str:
        """Name in the archive; one that leads out of it names nothing there."""
        return posixpath.normpath(posixpath.join(posixpath.dirname(self._package), unquote(item.get("href", ""))))

    def _tree(self, name: str) -> Element:
        if name not in self._names:
            raise refuse("broken_file", f"The book has no part {name}.")
        return parse_xml(read_member(self._archive, name, self._max_bytes), name, doctype=True)
