r"""A segment: the documents of one label, their passages, and two inverted tables, in one file.

File, little-endian: 16 bytes `baray segment 2\n`; 8 bytes length of the header; the header, canonical JSON
`{"documents","label","spans","sections":{name:[offset,bytes]}}`; then the sections, each at a multiple of 8:

- `rows`: canonical JSON list of the documents, without text, in the order of their ids;
- `texts`: their texts in UTF-8, one after the other; `text_ends`: u64, where each ends;
- `span_document`, `span_start`, `span_end`: u32, per passage, in document order; `span_first`: u32, the first passage of
  each document, and one more;
- `page_start`, `page_end`: u32, lines of the page that are no part of the matter; `page_first`: u32, as `span_first`;
- per table (`body`: passages, `head`: titles, paths and first lines by document) `NAME_keys`: u64, sorted;
  `NAME_ends`: u32, where the postings of each key end; `NAME_ids`: u32, increasing; `NAME_impacts`: u8.

A key is the first 8 bytes of BLAKE2b of a term. An impact is the term's BM25 part within the segment (k1 1.2, b 0.5), as
n/255 of its greatest value, so that statistics of other segments cannot enter.
"""

from __future__ import annotations

import json
import mmap
import struct
import sys
from array import array
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any, Literal

from baray.core import Fault, canonical_json, digest_bytes
from baray.text.index.lines import repeated_lines, without
from baray.text.index.passages import lead, passages
from baray.text.index.terms import terms

_MAGIC = b"baray segment 2\n"
_K1 = 1.2
_B = 0.5
_LARGEST = _K1 + 1
IMPACT_UNIT = _LARGEST / 255
"""An impact times this is the BM25 part of a term."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentRow:
    """A document as it enters an Index."""

    id: str
    """Id of the Document in its Dataset; unique in the Index."""
    path: str
    """Path below the folder that was given."""
    text: str
    """Normalised text; spans count its code points."""
    label: str
    """Canonical text of its label; names the segment."""
    title: str = ""
    """Title, or nothing."""
    language: str = "other"
    """`km`, `en` or `other`."""
    office: str | None = None
    """The office that answers for it."""
    valid_from: str | None = None
    """First day of validity, ISO date."""
    valid_until: str | None = None
    """Last day of validity, ISO date."""

    def facts(self) -> dict[str, Any]:
        """The canonical row: everything but the text, which its digest stands for."""
        return {
            "digest": digest_bytes(self.text.encode()),
            "id": self.id,
            "label": self.label,
            "language": self.language,
            "office": self.office,
            "path": self.path,
            "title": self.title,
            "valid_from": self.valid_from,
            "valid_until": self.valid_until,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentFacts:
    """What was written."""

    documents: int
    """Documents in it."""
    spans: int
    """Passages in it."""
    rows: str
    """Digest over canonical rows and spans, independent of the file's layout."""


def key(term: str) -> int:
    """The 64-bit key of a term."""
    return int.from_bytes(blake2b(term.encode(), digest_size=8).digest(), "little")


def encode_segment(label: str, documents: Sequence[DocumentRow]) -> tuple[bytes, SegmentFacts]:
    """The bytes of the segment of `documents`, and its facts; equal documents give equal bytes in any order."""
    ordered = sorted(documents, key=lambda document: document.id)
    rows = [document.facts() for document in ordered]
    texts = [document.text.encode() for document in ordered]
    page = repeated_lines([(document.path, document.title, document.text) for document in ordered])
    matter = [without(document.text, lines) for document, lines in zip(ordered, page, strict=True)]
    spans = [(index, passage) for index, text in enumerate(matter) for passage in passages(text)]
    body = [
        terms(_passage_text(matter[index], passage.start, passage.end, passage.heading)) for index, passage in spans
    ]
    head = [
        terms(f"{document.title} . {_words_of_path(document.path)} . {lead(text)}")
        for document, text in zip(ordered, matter, strict=True)
    ]
    places = [[index, passage.start, passage.end] for index, passage in spans]
    sections: dict[str, bytes] = {
        "rows": canonical_json(rows),
        "texts": b"".join(texts),
        "text_ends": _packed("Q", _running(map(len, texts))),
        "span_document": _packed("I", [place[0] for place in places]),
        "span_start": _packed("I", [place[1] for place in places]),
        "span_end": _packed("I", [place[2] for place in places]),
        "span_first": _packed("I", [0, *_running(_per_document(len(ordered), places))]),
        "page_start": _packed("I", [start for lines in page for start, _ in lines]),
        "page_end": _packed("I", [end for lines in page for _, end in lines]),
        "page_first": _packed("I", [0, *_running(map(len, page))]),
        **_table("body", body),
        **_table("head", head),
    }
    facts = SegmentFacts(documents=len(rows), spans=len(places), rows=digest_bytes(canonical_json([rows, places])))
    return _laid_out({"documents": len(rows), "label": label, "spans": len(places)}, sections), facts


class Table:
    """An inverted table: for a key, the slice of its postings in `ids` (increasing) and `impacts`."""

    __slots__ = ("_ends", "_keys", "ids", "impacts")

    def __init__(self, segment: Segment, name: str) -> None:
        """View the sections of table `name`."""
        self._keys = segment.numbers(f"{name}_keys", "Q")
        self._ends = segment.numbers(f"{name}_ends", "I")
        self.ids = segment.numbers(f"{name}_ids", "I")
        self.impacts = segment.numbers(f"{name}_impacts", "B")

    def postings(self, term_key: int) -> tuple[int, int]:
        """First posting of the key, and one behind its last; (0, 0) if there is none."""
        at = bisect_left(self._keys, term_key)
        if at == len(self._keys) or self._keys[at] != term_key:
            return 0, 0
        return (self._ends[at - 1] if at else 0), self._ends[at]


class Segment:
    """A segment file, mapped read-only."""

    def __init__(self, path: Path, *, name: str, digest: str) -> None:
        """Open `path`, which holds the index file `name`, and compare its digest. Raises Fault `index_damaged`."""
        try:
            with path.open("rb") as file:
                self._data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        except (OSError, ValueError) as error:
            raise damaged(name, f"it cannot be read ({error})") from error
        if f"sha256:{sha256(self._data).hexdigest()}" != digest or bytes(self._data[:16]) != _MAGIC:
            raise damaged(name, "its bytes are not those that were written")
        (length,) = struct.unpack_from("<Q", self._data, 16)
        header = json.loads(bytes(self._data[24 : 24 + length]))
        self._sections: dict[str, list[int]] = header["sections"]
        self.num_documents: int = header["documents"]
        self.num_spans: int = header["spans"]
        self.rows: list[dict[str, Any]] = json.loads(bytes(self._section("rows")))
        self._texts = self._section("texts")
        self._text_ends = self.numbers("text_ends", "Q")
        self.span_document = self.numbers("span_document", "I")
        self.span_start = self.numbers("span_start", "I")
        self.span_end = self.numbers("span_end", "I")
        self.span_first = self.numbers("span_first", "I")
        self._page_start = self.numbers("page_start", "I")
        self._page_end = self.numbers("page_end", "I")
        self._page_first = self.numbers("page_first", "I")
        self.body = Table(self, "body")
        self.head = Table(self, "head")

    def text(self, document: int) -> str:
        """The text of a document by its number in the segment."""
        start = self._text_ends[document - 1] if document else 0
        return str(self._texts[start : self._text_ends[document]], "utf-8")

    def page_lines(self, document: int) -> tuple[tuple[int, int], ...]:
        """Spans of a document's lines that are no part of its matter."""
        first, behind = self._page_first[document], self._page_first[document + 1]
        return tuple(zip(self._page_start[first:behind], self._page_end[first:behind], strict=True))

    def numbers(self, name: str, kind: Literal["B", "I", "Q"]) -> memoryview[int] | array[int]:
        """A section as numbers of the `array` type `kind`."""
        section = self._section(name)
        if sys.byteorder == "little":
            return section.cast(kind)
        numbers = array(kind, bytes(section))
        numbers.byteswap()
        return numbers

    def _section(self, name: str) -> memoryview:
        offset, length = self._sections[name]
        return self._data[offset : offset + length]


def damaged(name: str, why: str) -> Fault:
    """The Fault for a damaged index file."""
    return Fault(
        "index_damaged", f"The index file '{name}' is damaged: {why}.", fix="Build the Index again from its Dataset."
    )


def _passage_text(text: str, start: int, end: int, heading: str) -> str:
    passage = text[start:end]
    return passage if not heading or passage.startswith(heading) else f"{heading}\n.\n{passage}"


def _words_of_path(path: str) -> str:
    return path.rpartition(".")[0].replace("/", " . ").replace("-", " ").replace("_", " ")


def _per_document(count: int, places: list[list[int]]) -> list[int]:
    counts = Counter(place[0] for place in places)
    return [counts[index] for index in range(count)]


def _running(lengths: Any) -> list[int]:  # noqa: ANN401 - any iterable of int
    total = 0
    return [total := total + length for length in lengths]


def _table(name: str, units: list[list[str]]) -> dict[str, bytes]:
    """The sections of an inverted table over `units`, each a list of terms."""
    mean = sum(map(len, units)) / len(units) if units else 0.0
    postings: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for number, unit in enumerate(units):
        weight = _K1 * (1 - _B + _B * len(unit) / mean) if mean else _K1
        for term, count in Counter(unit).items():
            postings[key(term)].append((number, round(255 * count / (count + weight))))
    keys = sorted(postings)
    flat = [posting for term_key in keys for posting in sorted(postings[term_key])]
    return {
        f"{name}_keys": _packed("Q", keys),
        f"{name}_ends": _packed("I", _running(len(postings[term_key]) for term_key in keys)),
        f"{name}_ids": _packed("I", [number for number, _ in flat]),
        f"{name}_impacts": _packed("B", [impact for _, impact in flat]),
    }


def _packed(kind: str, numbers: list[int]) -> bytes:
    packed = array(kind, numbers)
    if sys.byteorder != "little":
        packed.byteswap()
    return packed.tobytes()


def _laid_out(header: dict[str, Any], sections: dict[str, bytes]) -> bytes:
    """Magic, header and sections; the header's length depends on the offsets it names, so it is padded to fit."""
    reserve = len(canonical_json(header | {"sections": {name: [10**15, 10**15] for name in sections}})) + 64
    offset = -(-(24 + reserve) // 8) * 8
    base = offset
    places: dict[str, list[int]] = {}
    body = bytearray()
    for name, data in sections.items():
        places[name] = [base + len(body), len(data)]
        body += data + bytes(-len(data) % 8)
    encoded = canonical_json(header | {"sections": places})
    padded = encoded + b" " * (base - 24 - len(encoded))
    return _MAGIC + struct.pack("<Q", len(padded)) + padded + bytes(body)
