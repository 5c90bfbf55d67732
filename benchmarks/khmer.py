"""Khmer: how fast text is brought to its one encoding, on text of our own: the sample's Khmer papers, many times over.

Two inputs: clean text, which is the common case and only has to be looked at, and the same text with every tenth line
typed vowel first, as old keyboards made it. The figure is the mean of the two, weighed by bytes.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

from figures import Context, Figure

import baray
from baray.text import normalise

SAMPLE = Path(baray.__file__).parent / "samples" / "one-window" / "documents"
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


def swapped(line: str) -> str:
    """Put each vowel before the coengs that belong before it."""
    return VOWEL_LAST.sub(r"\1\3\2", line)
