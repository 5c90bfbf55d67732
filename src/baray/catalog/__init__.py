"""Named, versioned, content-addressed things and the lineage between them.

Owns: Sources, Datasets, Indexes, Models, their versions, files and edges.
Does not own: how they are made (`data`, `train`), who may see them (`access`), when they are published (`runs.apply`).
"""

from baray.catalog.lineage import lineage
from baray.catalog.nouns import FileEntry, Lineage, Output, SourceFile, VersionRow
from baray.catalog.provenance import PROVENANCE_FILE, Making, attest, licences, provenance
from baray.catalog.records import add_edges, all_versions, by_id, holdings, known_digests, newest
from baray.catalog.versions import (
    Publication,
    SourceRequest,
    add_source,
    check_signature,
    publish,
    read_manifest,
    resolve,
    version_files,
)

__all__ = [
    "PROVENANCE_FILE",
    "FileEntry",
    "Lineage",
    "Making",
    "Output",
    "Publication",
    "SourceFile",
    "SourceRequest",
    "VersionRow",
    "add_edges",
    "add_source",
    "all_versions",
    "attest",
    "by_id",
    "check_signature",
    "holdings",
    "known_digests",
    "licences",
    "lineage",
    "newest",
    "provenance",
    "publish",
    "read_manifest",
    "resolve",
    "version_files",
]
