"""How many tokens a tokenizer needs, language by language: its fertility."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from tokenizers import Tokenizer

from baray.train.tokenizer.corpus import Document

_BATCH = 256


@dataclass(slots=True, kw_only=True)
class Count:
    """What was counted in one language."""

    documents: int = 0
    characters: int = 0
    bytes: int = 0
    tokens: int = 0

    def numbers(self) -> dict[str, float]:
        """Counts and the two rates: fewer tokens a character are better, more bytes a token too."""
        return {
            "documents": self.documents,
            "characters": self.characters,
            "bytes": self.bytes,
            "tokens": self.tokens,
            "tokens_per_character": round(self.tokens / max(1, self.characters), 4),
            "bytes_per_token": round(self.bytes / max(1, self.tokens), 4),
        }


def fertility(tokenizer: Tokenizer, documents: Iterable[Document]) -> dict[str, Any]:
    """Counts by language, and of `all`."""
    tokenizer.encode_special_tokens = True  # a Document that spells a special token is text
    counts: dict[str, Count] = {}
    for batch in _batches(documents):
        encoded = tokenizer.encode_batch_fast([one.part.text for one in batch], add_special_tokens=False)
        for document, found in zip(batch, encoded, strict=True):
            for key in (document.language, "all"):
                count = counts.setdefault(key, Count())
                count.documents += 1
                count.characters += len(document.part.text)
                count.bytes += len(document.part.text.encode())
                count.tokens += len(found)
    return {language: counts[language].numbers() for language in sorted(counts)}


def lossless(tokenizer: Tokenizer, documents: Iterable[Document]) -> int:
    """How many Documents come back from their tokens with another letter than they had."""
    tokenizer.encode_special_tokens = True
    changed = 0
    for document in documents:
        text = document.part.text
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        changed += tokenizer.decode(ids, skip_special_tokens=False) != text
    return changed


def _batches(documents: Iterable[Document]) -> Iterator[list[Document]]:
    batch: list[Document] = []
    for document in documents:
        batch.append(document)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
