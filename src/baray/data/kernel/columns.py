"""All that is done to Khmer columns in compiled passes, once: what `baray.text` does text by text."""

from __future__ import annotations

import polars as pl
import pyarrow as pa

from baray.data.kernel import khmer, languages, normal, redaction


def warm() -> None:
    """Compile everything, so that later processes only load it."""
    some = pl.Series(["ខែ្មរ\u200bថ្មី 012 345 678\n"])
    column = pa.array(some.to_list(), pa.large_string())
    tables = khmer.word_tables(None)
    khmer.segment(column, tables)
    khmer.count_words(column, tables)
    normal.normalise_all(some, record=True)
    redaction.redact_all(some)
    languages.languages_all(some)
