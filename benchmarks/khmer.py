"""Khmer: how well and how fast it is cut into words, brought to its one encoding and redacted, and how many tokens it costs.

`segment.f1`: word F1 on sentences that people cut into words, each field read with a lexicon counted from the other fields'
sentences alone; the mean over the fields, then each. `segment.chars_per_s`: the same sentences through the compiled pass, on
one core, with the tables made and the functions compiled. The text is not ours and lies beside the checkout; without it there
are no such figures.

`normalise`: text of our own, the sample's Khmer papers, many times over, through the compiled gate. Two inputs: clean text,
which is the common case and only has to be looked at, and the same text with every tenth line typed vowel first, as old
keyboards made it. The figure is the mean of the two, weighed by bytes. The peer is our own rules, text by text.

`redact`: precision and recall on labelled lines that we made up ourselves, with as many lines that only look like personal
numbers; so they say that the rules do what they were written for, and no more. And megabytes a second through the sample's papers.

`fertility`: tokens for each character on every tenth paragraph of an encyclopaedia, for tokenizers of 32,768 tokens that learnt
from the others and from sentences of other kinds, joined as people write them. The text is not ours and lies beside the
checkout; without it there is no such figure. The peer is byte-level BPE of the same size with the words of GPT-2.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sized
from pathlib import Path
from statistics import mean
from types import ModuleType

from figures import Context, Figure

import baray
from baray.text import WordModel, normalise, read_names, redact, word_model, words

SAMPLE = Path(baray.__file__).parent / "samples" / "one-window" / "documents"
TESTS = Path(__file__).resolve().parents[1] / "tests"
TEXTS = Path(__file__).resolve().parents[2] / "shared" / "data" / "khmer"
VOWEL_LAST = re.compile("([\u1780-\u17a2])((?:\u17d2[\u1780-\u17a2])+)([\u17b7-\u17c5])")
ROUNDS = 5
"""Of each measured time, the fastest counts: other work on the machine only ever adds."""


def measure(context: Context) -> Iterator[Figure]:
    """Yield all figures."""
    yield from segmentation(context)
    yield from normalisation(context)
    yield from redaction(context)
    yield from fertility(context)


def segmentation(context: Context) -> Iterator[Figure]:
    """Yield word F1 of fields that no lexicon knows, and characters a second; nothing where the sentences are missing."""
    fields = {path.stem: gold(path) for path in sorted((TEXTS / "segmentation").glob("*.tsv"))}
    if not fields:
        return
    khmer = importlib.import_module("baray.data.kernel.khmer")
    pa = importlib.import_module("pyarrow")
    step = 10 if context.quick else 1
    scores, characters, seconds = {}, 0, 0.0
    for field, sentences in fields.items():
        model = word_model(
            Counter(word for other, lines in fields.items() if other != field for line in lines for word in line)
        )
        held = sentences[::step]
        scores[field] = f1(held, lambda text, model=model: words(text, model))
        texts = pa.array(["".join(line) for line in held], pa.large_string())
        tables = khmer.word_tables(model)
        khmer.segment(texts[:1], tables)
        characters += sum(len(word) for line in held for word in line)
        seconds += fastest(lambda texts=texts, tables=tables: khmer.segment(texts, tables))
    yield Figure(name="segment.f1", value=mean(scores.values()), unit="")
    for field, score in scores.items():
        yield Figure(name=f"segment.f1.{field}", value=score, unit="")
    yield Figure(
        name="segment.chars_per_s",
        value=characters / seconds,
        unit="1/s",
        peer="the same model in Python",
        peer_value=pace(fields, model),
    )


def gold(path: Path) -> list[list[str]]:
    """Sentences as people cut them; parts of a compound are one word."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [words for line in lines if (words := re.sub("[_~^]", "", line.partition("\t")[2]).split())]


def f1(sentences: list[list[str]], cut: Callable[[str], list[str]]) -> float:
    """Harmonic mean of precision and recall of words, told by where they begin and end."""
    hit = found = there = 0
    for sentence in sentences:
        got, right = spans(cut("".join(sentence))), spans(sentence)
        hit, found, there = hit + len(got & right), found + len(got), there + len(right)
    return 2 * hit / (found + there)


def spans(pieces: list[str]) -> set[tuple[int, int]]:
    """Where each piece begins and ends."""
    found, at = set(), 0
    for piece in pieces:
        found.add((at, at + len(piece)))
        at += len(piece)
    return found


def pace(fields: dict[str, list[list[str]]], model: WordModel) -> float:
    """Characters a second of the model without the compiled pass."""
    texts = ["".join(line) for sentences in fields.values() for line in sentences[::20]]
    return sum(map(len, texts)) / fastest(lambda: [words(text, model) for text in texts])


def normalisation(context: Context) -> Iterator[Figure]:
    """Yield megabytes of UTF-8 a second."""
    normal = importlib.import_module("baray.data.kernel.normal")
    polars = importlib.import_module("polars")
    texts = [path.read_text(encoding="utf-8") for path in sorted(SAMPLE.rglob("*.txt"))]
    clean = [normalise(text) for text in texts if re.search("[\u1780-\u17b3]", text)] * (20 if context.quick else 200)
    typed = ["\n".join(swap_some(text.split("\n"))) for text in clean]
    both = clean + typed
    column = polars.Series(both)
    num_bytes = sum(len(text.encode()) for text in both)
    normal.normalise_all(column[:1])
    value = num_bytes / fastest(lambda: normal.normalise_all(column)) / 1e6
    peer = num_bytes / fastest(lambda: [normalise(text) for text in both]) / 1e6
    yield Figure(
        name="normalise.mb_per_s", value=value, unit="MB/s", peer="the same rules text by text", peer_value=peer
    )


def swap_some(lines: list[str]) -> list[str]:
    """Put each vowel before the coengs that belong before it, in every tenth line."""
    return [VOWEL_LAST.sub(r"\1\3\2", line) if number % 10 == 0 else line for number, line in enumerate(lines)]


def redaction(context: Context) -> Iterator[Figure]:
    """Yield precision and recall on labelled lines, and megabytes a second."""
    labelled = load(TESTS / "personal_numbers.py")
    names = read_names(labelled.NAMES)
    right = wrong = there = 0
    for line in labelled.lines():
        text, counts = redact(line.text, names)
        exact = line.kind in labelled.PLACEHOLDERS and text == line.redacted
        there += line.kind in labelled.PLACEHOLDERS
        right += exact
        wrong += 0 if exact else sum(counts.values())
    yield Figure(name="redact.precision", value=right / (right + wrong), unit="")
    yield Figure(name="redact.recall", value=right / there, unit="")
    batch = importlib.import_module("baray.data.kernel.redaction")
    texts = [path.read_text(encoding="utf-8") for path in sorted(SAMPLE.rglob("*.txt"))] * (
        20 if context.quick else 200
    )
    column = importlib.import_module("polars").Series(texts)
    num_bytes = sum(len(text.encode()) for text in texts)
    batch.redact_all(column[:1])
    value = num_bytes / fastest(lambda: batch.redact_all(column)) / 1e6
    peer = num_bytes / fastest(lambda: [redact(text) for text in texts]) / 1e6
    yield Figure(name="redact.mb_per_s", value=value, unit="MB/s", peer="the same rules text by text", peer_value=peer)


def load(path: Path) -> ModuleType:
    """A module by its file."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # its dataclasses look for their module
    spec.loader.exec_module(module)
    return module


def fastest(work: Callable[[], object]) -> float:
    """Seconds of processor time."""
    times = []
    for _ in range(ROUNDS):
        started = time.process_time()
        work()
        times.append(time.process_time() - started)
    return min(times)


def fertility(context: Context) -> Iterator[Figure]:
    """Yield tokens for each character of both kinds of tokenizer; nothing where the text is missing."""
    if not TEXTS.exists():
        return
    paragraphs = [
        part for part in (TEXTS / "text" / "wiki.txt").read_text(encoding="utf-8").split("\n\n") if part.strip()
    ]
    held = paragraphs[::10]
    learnt = [part for number, part in enumerate(paragraphs) if number % 10]
    for path in [] if context.quick else sorted((TEXTS / "segmentation").glob("*.tsv")):
        lines = path.read_text(encoding="utf-8").splitlines()
        learnt += [line.partition("\t")[2].translate(dict.fromkeys(map(ord, " _~^"))) for line in lines]
    vocab = 8192 if context.quick else 32_768
    learning = importlib.import_module("baray.train.tokenizer.learning")
    peer = rate(learning.byte_pairs(learnt, vocab, None).encode_batch_fast, held)
    for kind in ("bpe", "unigram"):
        value = rate(learning.learn(kind, learnt, vocab).encode_batch_fast, held)
        yield Figure(
            name=f"fertility.{kind}", value=value, unit="tokens/character", peer="GPT-2's words", peer_value=peer
        )


def rate(encode: Callable[[list[str]], list[Sized]], texts: list[str]) -> float:
    """Tokens for each character."""
    return sum(map(len, encode(texts))) / sum(map(len, texts))
