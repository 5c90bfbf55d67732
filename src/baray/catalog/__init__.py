"""Named, versioned, content-addressed things and the lineage between them.

Owns: Sources, Datasets, Indexes, Models, Evaluations, their versions, files and edges.
Does not own: how they are made (`data`, `train`), who may see them (`access`), when they are published (`runs.apply`).
"""

from baray.catalog.labels.lowering import (
    NEEDED,
    Word,
    ask_lowering,
    counting,
    find_lowering,
    give_word,
    set_key,
    subject_of,
)
from baray.catalog.labels.passkeys import challenge_of, pack, way_of
from baray.catalog.labels.raising import Raise, Reached, impact, inherit_floor, raise_label
from baray.catalog.labels.records import Approval, Lowering, approvals, live_key, lowerings, raised_versions, raises_of
from baray.catalog.labels.signing import check_entry, message, statement, statement_digest
from baray.catalog.lineage import lineage
from baray.catalog.nouns import FileEntry, Lineage, Output, SourceFile, VersionRow
from baray.catalog.provenance import PROVENANCE_FILE, Making, attest, licences, provenance
from baray.catalog.records import add_edges, all_versions, by_id, evaluations_of, holdings, known_digests, newest
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
    "NEEDED",
    "PROVENANCE_FILE",
    "Approval",
    "FileEntry",
    "Lineage",
    "Lowering",
    "Making",
    "Output",
    "Publication",
    "Raise",
    "Reached",
    "SourceFile",
    "SourceRequest",
    "VersionRow",
    "Word",
    "add_edges",
    "add_source",
    "all_versions",
    "approvals",
    "ask_lowering",
    "attest",
    "by_id",
    "challenge_of",
    "check_entry",
    "check_signature",
    "counting",
    "evaluations_of",
    "find_lowering",
    "give_word",
    "holdings",
    "impact",
    "inherit_floor",
    "known_digests",
    "licences",
    "lineage",
    "live_key",
    "lowerings",
    "message",
    "newest",
    "pack",
    "provenance",
    "publish",
    "raise_label",
    "raised_versions",
    "raises_of",
    "read_manifest",
    "resolve",
    "set_key",
    "statement",
    "statement_digest",
    "subject_of",
    "version_files",
    "way_of",
]
