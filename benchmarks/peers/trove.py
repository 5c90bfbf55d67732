"""What datatrove decides on texts, and what it costs: `python trove.py TASK` in an environment of its own.

It reads JSON lines on standard input (`text`; where words are to be injected `words` and `sentences` too) and writes JSON
lines on standard output. Tasks: `decide` gives the reason of each filter for each text, null where it stays; `inject` does
the same with the words and sentences that came along in the place of its own; `near` gives the number of the cluster of near
duplicates that each text is in; `time` runs all stages on all texts and gives processor seconds.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

from datatrove.data import Document
from datatrove.io import get_datafolder
from datatrove.pipeline.dedup import minhash
from datatrove.pipeline.filters import (
    c4_filters,
    fineweb_quality_filter,
    gopher_quality_filter,
    gopher_repetition_filter,
)
from datatrove.pipeline.filters.c4_filters import C4QualityFilter
from datatrove.pipeline.filters.fineweb_quality_filter import FineWebQualityFilter
from datatrove.pipeline.filters.gopher_quality_filter import GopherQualityFilter
from datatrove.pipeline.filters.gopher_repetition_filter import GopherRepetitionFilter
from datatrove.pipeline.formatters.pii import PIIFormatter
from datatrove.utils.binaryio import read_tuples_from_file

Filter: TypeAlias = Any
"""One of datatrove's."""
Rows = list[dict[str, Any]]
KHMER_WORDS = ["ជា", "នៅ", "ពី", "ថា", "ទៅ", "ឲ្យ", "ឱ្យ", "ក៏", "ទេ"]
KHMER_ENDS = ("។", "៕", "៚")
CODES = {"en": "eng", "km": "khm"}


def main(task: str, language: str) -> None:
    """Do one task."""
    rows = [json.loads(line) for line in sys.stdin]
    done: dict[str, Callable[[Rows, str], Iterator[Any]]] = {
        "decide": decide,
        "inject": inject,
        "near": near,
        "pii": personal,
        "time": timed,
    }
    for answer in done[task](rows, language):
        print(json.dumps(answer))


def filters(language: str) -> dict[str, Any]:
    """The filters as they come; lines of Khmer may also end as Khmer lines do."""
    code = CODES[language]
    if language == "km":
        c4_filters.END_PUNCTUATION = (*c4_filters.END_PUNCTUATION, *KHMER_ENDS)
    words = {"stop_words": KHMER_WORDS, "min_stop_words": 1} if language == "km" else {}
    return {
        "gopher_repetition": GopherRepetitionFilter(language=code),
        "gopher_quality": GopherQualityFilter(language=code, **words),
        "c4": C4QualityFilter(language=code),
        "fineweb": FineWebQualityFilter(language=code),
    }


def decide(rows: Rows, language: str) -> Iterator[dict[str, str | None]]:
    """Reasons of each filter, which sees the whole text."""
    made = filters(language)
    for row in rows:
        yield {name: reason(one, row["text"]) for name, one in made.items()}


def reason(one: Filter, text: str) -> str | None:
    """Why a filter drops a text."""
    try:
        found = one.filter(Document(text=text, id="1"))
    except ZeroDivisionError:  # a text without words or lines
        return "error"
    return None if found is True else found[1]


def inject(rows: Rows, language: str) -> Iterator[dict[str, str | None]]:
    """The same, with the words and sentences of another."""
    made = filters(language)
    given: dict[str, Any] = {}
    for module in (gopher_repetition_filter, gopher_quality_filter, fineweb_quality_filter):
        module.split_into_words = lambda _text, _language: given["words"]
    c4_filters.split_into_sentences = lambda line, _language: range(given["sentences"].get(line, 0))
    for row in rows:
        given = row
        yield {name: reason(one, row["text"]) for name, one in made.items()}


def near(rows: Rows, language: str) -> Iterator[int]:
    """For each text the first text of its cluster, by 14 bands of 8 rows."""
    with tempfile.TemporaryDirectory() as place:
        documents = (Document(text=row["text"], id=str(number)) for number, row in enumerate(rows))
        first = minhash.MinhashDedupSignature(f"{place}/a", language=CODES[language])
        if rows and "words" in rows[0]:
            queue = iter(rows)
            first.word_tokenizer.word_tokenize = lambda _text: next(queue)["words"]
        first.run(documents, rank=0, world_size=1)
        for rank in range(14):
            minhash.MinhashDedupBuckets(f"{place}/a", f"{place}/b").run(rank=rank, world_size=14)
        parents = list(range(len(rows)))

        def root(one: int) -> int:
            while parents[one] != one:
                one = parents[one]
            return one

        folder = get_datafolder(f"{place}/b")
        for file in folder.list_files(glob_pattern="*.dups"):
            with folder.open(file, "rb") as opened:
                for _, left, _, right in read_tuples_from_file(opened, "4I", lines_to_buffer=5):
                    low, high = sorted((root(left), root(right)))
                    parents[high] = low
        yield from (root(one) for one in range(len(rows)))


def personal(rows: Rows, _language: str) -> Iterator[bool]:
    """Whether an address of mail or of the Internet is replaced."""
    cleaner = PIIFormatter()
    for row in rows:
        yield cleaner.format(row["text"]) != row["text"]


def timed(rows: Rows, language: str) -> Iterator[dict[str, float]]:
    """Processor seconds of every stage on every text; its language filter needs a model of the network and is left out."""
    made = filters(language)
    if not rows:
        return
    signer = minhash.MinhashDedupSignature(tempfile.mkdtemp(), language=CODES[language])
    cleaner = PIIFormatter()
    signer.get_shingles(rows[0]["text"])  # what is loaded at first use is not measured
    seconds: dict[str, float] = {}
    for name, one in made.items():
        started = time.process_time()
        for row in rows:
            reason(opened(one), row["text"])
        seconds[name] = time.process_time() - started
    started = time.process_time()
    for row in rows:
        cleaner.format(row["text"])
    seconds["pii"] = time.process_time() - started
    started = time.process_time()
    for row in rows:
        shingles = signer.get_shingles(row["text"])
        if shingles.size:
            signer.get_signature(shingles)
    seconds["minhash"] = time.process_time() - started
    yield seconds


def opened(one: Filter) -> Filter:
    """A filter whose thresholds nothing breaks, so that it does all its work on every text."""
    wide = 1e9
    if isinstance(one, GopherRepetitionFilter):
        one.dup_line_frac = one.dup_para_frac = one.dup_line_char_frac = one.dup_para_char_frac = wide
        one.top_n_grams = tuple((size, wide) for size, _ in one.top_n_grams)
        one.dup_n_grams = tuple((size, wide) for size, _ in one.dup_n_grams)
    elif isinstance(one, GopherQualityFilter):
        one.min_doc_words = one.max_doc_words = one.min_avg_word_length = one.max_avg_word_length = None
        one.max_symbol_word_ratio = one.max_bullet_lines_ratio = one.max_ellipsis_lines_ratio = wide
        one.max_non_alpha_words_ratio, one.min_stop_words = 1e-9, 1e-9
    elif isinstance(one, C4QualityFilter):
        one.min_num_sentences, one.filter_curly_bracket, one.filter_lorem_ipsum = 0, False, False
    else:
        one.line_punct_thr, one.short_line_threshold, one.char_duplicates_ratio, one.new_line_ratio = (
            -1,
            wide,
            wide,
            wide,
        )
    return one


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
