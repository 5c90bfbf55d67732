"""A Dataset version's description in the Croissant format, for the loaders of other tools."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from baray.core import digest_file
from baray.data.pipeline.output import ROWS

if TYPE_CHECKING:
    from baray.runs import Input

_NO_LICENCE = "NOASSERTION"
_SPDX = re.compile(r"[A-Za-z0-9.+-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """One of the Sources that a Dataset is made of, as its description tells of it."""

    title: str
    """Any script."""
    ref: str
    """For example source:letters@v1."""
    digest: str
    """Identity of the version."""
    licences: tuple[str, ...]
    """SPDX identifiers, or whatever text its owner gave; NOASSERTION for none."""
    owner: str
    """Who answers for it."""


def origins_of(inputs: Mapping[str, Input]) -> list[Origin]:
    """What a Run's inputs say of where they came from."""
    return [
        Origin(title=one.title or one.ref, ref=one.ref, digest=one.digest, licences=one.licences, owner=one.owner)
        for _, one in sorted(inputs.items())
    ]


def croissant(
    *,
    name: str,
    digest: str,
    folder: Path,
    report: dict[str, Any],
    date: str,
    origins: list[Origin],
    schema: pa.Schema = ROWS,
) -> dict[str, Any]:
    """Metadata in the Croissant format 1.0 (MLCommons), which loaders of other tools read; `schema`: of the rows."""
    titles = list(dict.fromkeys(origin.title for origin in origins if origin.title)) or [name]
    owners = list(dict.fromkeys(origin.owner for origin in origins if origin.owner)) or [name]
    parts = {"@type": "cr:FileSet", "@id": "parts", "name": "parts", "includes": "data/*.parquet"}
    parts |= {"encodingFormat": "application/x-parquet"}
    return {
        "@context": _CROISSANT_CONTEXT,
        "@type": "sc:Dataset",
        "name": name,
        "alternateName": titles,
        "description": f"{report['kept']} cleaned and deduplicated Documents of: {', '.join(titles)}.",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "version": f"1.0.0+{digest.replace(':', '.')}",
        "identifier": digest,
        "url": f"urn:baray:dataset:{name}",
        "license": sorted({_licence(one) for origin in origins for one in origin.licences}) or [_NO_LICENCE],
        "creator": [{"@type": "sc:Organization", "name": owner} for owner in owners],
        "citeAs": f"{', '.join(owners)}: {', '.join(titles)} ({name}), {date}, {digest}",
        "isBasedOn": [
            {
                "@type": "sc:CreativeWork",
                "name": origin.title,
                "identifier": origin.digest,
                "url": f"urn:baray:{origin.ref}",
            }
            for origin in origins
        ],
        "datePublished": date,
        "inLanguage": sorted(language for language in report["languages"] if language != "other"),
        "distribution": [*_files(folder), parts],
        "recordSet": [{"@type": "cr:RecordSet", "@id": "documents", "name": "documents", "field": _fields(schema)}],
    }


def _files(folder: Path) -> list[dict[str, Any]]:
    return [
        {
            "@type": "cr:FileObject",
            "@id": path.name,
            "name": path.name,
            "contentUrl": f"data/{path.name}",
            "encodingFormat": "application/x-parquet",
            "sha256": digest_file(path).removeprefix("sha256:"),
            "contentSize": f"{path.stat().st_size} B",
        }
        for path in sorted((folder / "data").glob("*.parquet"))
    ]


def _licence(text: str) -> str:
    """The address that SPDX gives an identifier; other text stays as its owner wrote it."""
    known = text != _NO_LICENCE and _SPDX.fullmatch(text) is not None
    return f"https://spdx.org/licenses/{text}" if known else text


def _fields(schema: pa.Schema) -> list[dict[str, Any]]:
    types = {pa.string(): "sc:Text", pa.int32(): "sc:Integer", pa.int64(): "sc:Integer", pa.float64(): "sc:Float"}
    types |= {pa.bool_(): "sc:Boolean", pa.date32(): "sc:Date", pa.timestamp("us"): "sc:DateTime"}
    return [
        {
            "@type": "cr:Field",
            "@id": f"documents/{column.name}",
            "name": column.name,
            "dataType": types.get(column.type, "sc:ImageObject"),
            "source": {"fileSet": {"@id": "parts"}, "extract": {"column": column.name}}
            | ({"transform": {"jsonPath": "bytes"}} if pa.types.is_struct(column.type) else {}),
        }
        for column in schema
    ]


_CROISSANT_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "equivalentProperty": "cr:equivalentProperty",
    "samplingRate": "cr:samplingRate",
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
