"""Khmer and English text, and the Index that is searched.

Owns: normalisation, clusters and words of Khmer, digits, languages, sentences, redaction, line breaks for HTML; search terms,
passages, the Index format, ranking; which Documents are held out. Standard library only.
Does not own: reading files, which documents enter an Index, what is answered to whom.
"""

from baray.text.breaks import break_lines
from baray.text.filters import (
    LINE_BY_LINE,
    Fast,
    Filter,
    Result,
    Wanted,
    check_options,
    decoded,
    learn_model,
    make_filter,
    parted,
    read_blocks,
)
from baray.text.holding import FEW_DOCUMENTS, HeldOut, Part, choose, parts
from baray.text.index.files import IndexFacts, IndexFile, open_index, write_index
from baray.text.index.query import Intent, Query, read_question
from baray.text.index.quotes import quote_spans
from baray.text.index.search import Hit, Index
from baray.text.index.segment import DocumentRow
from baray.text.index.terms import search_form, terms
from baray.text.khmer import Digits, Recorded, clusters, fold_digits, normalise, normalise_recorded
from baray.text.language import Quality, language, language_shares, quality
from baray.text.redact import Names, read_names, redact
from baray.text.segmentation.learning import learn_lexicon
from baray.text.segmentation.lexicon import read_lexicon, word_model
from baray.text.segmentation.reading import WordModel, segment, words
from baray.text.sentences import sentences

__all__ = [
    "FEW_DOCUMENTS",
    "LINE_BY_LINE",
    "Digits",
    "DocumentRow",
    "Fast",
    "Filter",
    "HeldOut",
    "Hit",
    "Index",
    "IndexFacts",
    "IndexFile",
    "Intent",
    "Names",
    "Part",
    "Quality",
    "Query",
    "Recorded",
    "Result",
    "Wanted",
    "WordModel",
    "break_lines",
    "check_options",
    "choose",
    "clusters",
    "decoded",
    "fold_digits",
    "language",
    "language_shares",
    "learn_lexicon",
    "learn_model",
    "make_filter",
    "normalise",
    "normalise_recorded",
    "open_index",
    "parted",
    "parts",
    "quality",
    "quote_spans",
    "read_blocks",
    "read_lexicon",
    "read_names",
    "read_question",
    "redact",
    "search_form",
    "segment",
    "sentences",
    "terms",
    "word_model",
    "words",
    "write_index",
]
