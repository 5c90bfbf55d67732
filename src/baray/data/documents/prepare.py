"""From one file to its prepared Documents: read, normalised, redacted, measured."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Generator
from dataclasses import replace

from baray.data.documents.nouns import Document, Paper, Preparation, Refused
from baray.data.readers import START, Record, Refusal, Start, read_file
from baray.text import language, language_shares, normalise, redact

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]+")
_BLANK_LINES = re.compile("\n{3,}")


def documents(
    paper: Paper,
    preparation: Preparation,
    *,
    start: Start = START,
    at_member: Callable[[int, str], None] | None = None,
) -> Generator[Document | Refused, None, None]:
    """Documents of one file, in order. The path of what lies in an archive goes on inside it."""
    for found in read_file(paper.file, preparation.read, start=start, at_member=at_member):
        key = document_id(paper, found.index)
        inside = replace(paper, path=f"{paper.path}/{found.part}") if found.part else paper
        if isinstance(found, Refusal):
            yield Refused(paper=inside, id=key, refusal=found)
        else:
            yield _prepare(inside, found, key, preparation)


def document_id(paper: Paper, record: int) -> str:
    """Stable id of a Document: of the bytes of its file and its number in it; of a copy, of its path too."""
    parts = [paper.digest, str(record), *([paper.path] if paper.twin else [])]
    return "doc_" + hashlib.sha256("\n".join(parts).encode()).hexdigest()[:24]


def _prepare(paper: Paper, record: Record, key: str, preparation: Preparation) -> Document:
    text = tidy(record.text)
    title = " ".join(tidy(record.title).split())
    counts: dict[str, int] = {}
    if preparation.redact:
        text, counts = redact(text)
        title, _ = redact(title)
    shares = language_shares(text)
    return Document(
        paper=paper,
        record=record.index,
        id=key,
        text=text,
        title=title,
        key=compared_digest(text),
        language=language(text),
        language_km=round(shares["km"], 4),
        language_en=round(shares["en"], 4),
        redactions=sum(counts.values()),
        redaction_kinds=tuple(sorted(counts.items())),
        notes=record.notes,
    )


def tidy(text: str) -> str:
    """Normalised text with plain line ends, without control characters, trailing spaces and runs of empty lines."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\f", "\n").replace("\v", "\n")
    # A lone surrogate (from a JSON escape) is no character and cannot be stored.
    text = normalise(_CONTROL.sub("", text).encode("utf-8", "replace").decode())
    return _BLANK_LINES.sub("\n\n", "\n".join(line.rstrip() for line in text.split("\n"))).strip()


def compared_digest(text: str) -> str:
    """Digest of a normalised text by which exact duplicates are found: coeng DA and coeng TA look the same."""
    folded = " ".join(text.replace("\u17d2\u178a", "\u17d2\u178f").split())
    return hashlib.sha256(folded.encode()).hexdigest()
