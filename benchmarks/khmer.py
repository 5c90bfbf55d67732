"""Khmer: how fast text is brought to its one encoding, and how many tokens it costs.

`normalise`: text of our own, the sample's Khmer papers, many times over. Two inputs: clean text, which is the common case and
only has to be looked at, and the same text with every tenth line typed vowel first, as old keyboards made it. The figure
is the mean of the two, weighed by bytes.

`fertility`: tokens for each character on every tenth paragraph of an encyclopaedia, for tokenizers of 32,768 tokens that learnt
from the others and from sentences of other kinds, joined as people write them. The text is not ours and lies beside the
checkout; without it there is no such figure. The peer is byte-level BPE of the same size with the words of GPT-2.
"""

from __future__ import annotations

import importlib
import re
import time
from collections.abc import Callable, Iterator, Sized
from pathlib import Path

from figures import Context, Figure

import baray
from baray.text import normalise

SAMPLE = Path(baray.__file__).parent / "samples" / "one-window" / "documents"
TEXTS = Path(__file__).resolve().parents[2] / "shared" / "data" / "khmer"
VOWEL_LAST = re.compile("([\u1780-\u17a2])((?:\u17d2[\u1780-\u17a2])+)([\u17b7-\u17c5])")


def measure(context: Context) -> Iterator[Figure]:
    """Yield megabytes of UTF-8 a second."""
    texts = [path.read_text(encoding="utf-8") for path in sorted(SAMPLE.rglob("*.txt"))]
    clean = [normalise(text) for text in texts if re.search("[\u1780-\u17b3]", text)]
    repeats = 20 if context.quick else 100
    lines = [line for text in clean for line in text.split("\n")] * repeats
    typed = [swapped(line) if number % 10 == 0 else line for number, line in enumerate(lines)]
    num_bytes = sum(len(line.encode()) for line in lines + typed)
    started = time.perf_counter()
    for line in lines + typed:
        normalise(line)
    seconds = time.perf_counter() - started
    yield Figure(name="normalise.mb_per_s", value=num_bytes / seconds / 1e6, unit="MB/s")
    yield from fertility(context)


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


def swapped(line: str) -> str:
    """Put each vowel before the coengs that belong before it."""
    return VOWEL_LAST.sub(r"\1\3\2", line)
