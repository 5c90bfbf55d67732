"""From files to Datasets, and from a Dataset to an Index.

Owns: readers of file formats and OCR, the steps of recipe `text` (normalise, redact, filter, deduplicate), the files of
a Dataset version, its identity, the recipe `desk` that writes an Index, the reader process for sample rows.
Does not own: the rules of Khmer and English text and the Index format (`text`), versions and lineage (`catalog`),
queueing and retries (`runs`).

Everything heavy lies behind dotted strings, for an attempt's own process.
"""

from baray.data.recipes import (
    ALL_CPUS,
    HANDLERS,
    MOUNTS,
    MOUNTS_IF_GIVEN,
    QUERY_MODULE,
    READER_MODULE,
    RECIPES,
    TAKES,
    DeskIndexRecipe,
    ImagesRecipe,
    OptionHelp,
    TableRecipe,
    TextRecipe,
    TokensRecipe,
    describe,
    read_options,
)

__all__ = [
    "ALL_CPUS",
    "HANDLERS",
    "MOUNTS",
    "MOUNTS_IF_GIVEN",
    "QUERY_MODULE",
    "READER_MODULE",
    "RECIPES",
    "TAKES",
    "DeskIndexRecipe",
    "ImagesRecipe",
    "OptionHelp",
    "TableRecipe",
    "TextRecipe",
    "TokensRecipe",
    "describe",
    "read_options",
]
