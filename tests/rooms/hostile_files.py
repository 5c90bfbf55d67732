"""Over four hundred files that are made to do harm, or were damaged: each of another kind, each with what may become of it.

What must never happen is a crash, a hang, or a Document that is lost.
"""

from __future__ import annotations

from hostile_archives import crawls, streams, tars, zips
from hostile_papers import books, office, open_documents, pages, pdfs, pictures
from hostile_rows import catalogues, columns, damaged, jsons, misnamed, rich_texts, tables, texts

GROUPS = (
    zips, tars, streams, jsons, tables, office, open_documents, books, pages, pdfs, pictures, columns, crawls, catalogues,
    rich_texts, texts, misnamed, damaged,
)  # fmt: skip


def hostile_files() -> dict[str, tuple[bytes, set[str]]]:
    """All of them: name -> its bytes, and what may become of it; the names tell what is wrong."""
    found: dict[str, tuple[bytes, set[str]]] = {}
    for group in GROUPS:
        for name, data, outcomes in group():
            assert name not in found, name
            found[name] = (data, outcomes)
    return found
