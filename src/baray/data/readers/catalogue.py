"""PO: the translations in a catalogue of gettext, in its order."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from baray.data.readers.base import Found, ReadOptions, Record, SourceFile, file_title, first_line, refuse
from baray.data.readers.encodings import decode

_CHARSET = re.compile(rb"(?i)content-type:[^\n]{0,80}charset=([a-z0-9_.:-]{2,40})")
_FIELD = re.compile(r'(msgctxt|msgid_plural|msgid|msgstr(?:\[\d{1,3}\])?)\s+(".*)')
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"\s*\Z')
_ESCAPE = re.compile(r"\\(n|t|r|\"|\\|[0-7]{1,3}|x[0-9a-fA-F]{1,2}|.)")
_PLAIN = {"n": "\n", "t": "\t", "r": ""}


@dataclass(slots=True)
class _Entry:
    """One message with its translations."""

    fields: dict[str, list[str]] = field(default_factory=dict)
    fuzzy: bool = False

    def text(self, name: str) -> str:
        return "".join(self.fields.get(name, []))

    def translations(self) -> list[str]:
        return [text for name in self.fields if name.startswith("msgstr") and (text := self.text(name).strip())]


def read_po(file: SourceFile, options: ReadOptions) -> Iterator[Found]:
    """A catalogue: its translations, or in a template its messages. What is fuzzy or untranslated is only counted."""
    data = file.read(options.max_bytes)
    declared = _CHARSET.search(data[:8192])
    decoded = decode(data, declared=declared[1].decode() if declared else "")
    entries = [one for one in _entries(decoded.text) if one.text("msgid")]
    if not entries:
        raise refuse(
            "broken_file", "The file holds no message of gettext.", "Save it again with the program that made it."
        )
    template = not any(one.translations() for one in entries)
    good = entries if template else [one for one in entries if one.translations() and not one.fuzzy]
    left = len(entries) - len(good)
    notes = (*decoded.notes, *((f"{left} of {len(entries)} messages are fuzzy or not translated.",) if left else ()))
    texts = [one.text("msgid") if template else "\n".join(one.translations()) for one in good]
    if options.rows == "yes":
        for index, (one, text) in enumerate(zip(good, texts, strict=True)):
            yield Record(index=index, text=text, title=first_line(one.text("msgid")), notes=() if index else notes)
        return
    yield Record(index=0, text="\n".join(texts), title=file_title(file.path), notes=notes)


def _entries(text: str) -> Iterator[_Entry]:
    entry, name = _Entry(), ""
    for line in text.splitlines():
        stripped = line.strip()
        match = _FIELD.fullmatch(stripped)
        begins = stripped.startswith("#") or (match is not None and match[1] in {"msgctxt", "msgid"})
        if begins and any(one.startswith("msgstr") for one in entry.fields):
            yield entry
            entry, name = _Entry(), ""
        if match is not None:
            name = match[1]
            entry.fields.setdefault(name, []).append(_unquoted(match[2]))
        elif stripped.startswith('"') and name:
            entry.fields[name].append(_unquoted(stripped))
        elif stripped.startswith("#,") and "fuzzy" in stripped:
            entry.fuzzy = True
    if entry.fields:
        yield entry


def _unquoted(text: str) -> str:
    match = _STRING.match(text)
    return (
        _ESCAPE.sub(lambda one: _PLAIN.get(one[1], one[1] if not one[1].isdigit() else ""), match[1]) if match else ""
    )
