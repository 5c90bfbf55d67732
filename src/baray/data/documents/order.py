"""The files of a Run's Sources, in the order of the identity."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from baray.access import parse_label
from baray.data.documents.nouns import Paper
from baray.data.readers import SourceFile

if TYPE_CHECKING:
    from baray.runs import Input


def papers_of(inputs: Mapping[str, Input]) -> list[Paper]:
    """Files of all Sources in the order of the identity. With several Sources, the path begins with the Source's name."""
    sources = {name: found for name, found in sorted(inputs.items()) if found.kind == "source"}
    found = [
        (file.digest, f"{source}/{file.path}" if len(sources) > 1 else file.path, file)
        for source, version in sources.items()
        for file in version.files
    ]
    papers: list[Paper] = []
    for digest, path, file in sorted(found, key=lambda one: one[:2]):
        papers.append(
            Paper(
                path=path,
                digest=digest,
                file=SourceFile(path=path, blob=Path(file.blob), bytes=file.bytes),
                label=str(parse_label(file.label)),
                valid_from=file.valid_from,
                valid_until=file.valid_until,
                office=file.office,
                twin=bool(papers) and papers[-1].digest == digest,
            )
        )
    return papers
