"""The files of format `baray-tokens/1`, and the identity of what they hold.

`data/SPLIT-00000.bin`: token ids, little-endian, uint16 or uint32; each Document is its tokens, then the boundary token.
`data/SPLIT-00000.idx`: uint64, little-endian: where each Document of the shard begins, and at the end how many tokens it has.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from baray.core import canonical_json, digest_file

FORMAT = "baray-tokens/1"
SPLITS = ("train", "held_out")
_IDENTITY_HEAD = b"baray tokens 1\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """One finished shard, as the manifest tells of it."""

    path: str
    """`data/train-00000.bin`; its index beside it ends in `.idx`."""
    tokens: int
    """Ids in it, boundaries included."""
    digest: str
    """Of the file of ids."""


class Identity:
    """SHA-256 over the tokenizer's identity and every Document's split, id, label and token ids; whatever the shards."""

    def __init__(self, tokenizer_digest: str) -> None:
        """No Document yet."""
        self._hash = hashlib.sha256(_IDENTITY_HEAD + tokenizer_digest.encode() + b"\n")

    def add(self, split: str, document_id: str, label: str, ids: NDArray[np.uint32]) -> None:
        """Take the next Document; `ids` without the boundary."""
        self._hash.update(canonical_json([split, document_id, label, len(ids)]) + b"\n")
        self._hash.update(ids.astype("<u4", copy=False).tobytes())

    def digest(self) -> str:
        """Of all Documents so far."""
        return "sha256:" + self._hash.hexdigest()


class Writer:
    """Writes one split, shard after shard; holds one shard's index in memory."""

    def __init__(self, folder: Path, split: str, *, dtype: str, eos: int, shard_tokens: int) -> None:
        """Write below `folder`/data."""
        (folder / "data").mkdir(parents=True, exist_ok=True)
        self._folder, self._split, self._shard_tokens = folder, split, shard_tokens
        self._dtype = np.dtype(dtype).newbyteorder("<")
        self._end = np.array([eos], dtype=self._dtype).tobytes()
        self._file: BinaryIO | None = None
        self._starts: list[int] = []
        self._tokens = 0
        self.shards: list[Shard] = []
        """Finished ones."""
        self.documents = 0
        """Documents so far."""

    @property
    def tokens(self) -> int:
        """Ids in finished shards and the one that is written, boundaries included."""
        return sum(shard.tokens for shard in self.shards) + self._tokens

    def write(self, documents: Iterable[NDArray[np.uint32]]) -> None:
        """Add Documents; a shard ends with the Document that fills it."""
        for ids in documents:
            if self._file is None:
                self._file = self._path().open("wb")
            self._starts.append(self._tokens)
            self._file.write(ids.astype(self._dtype).tobytes() + self._end)
            self._tokens += len(ids) + 1
            self.documents += 1
            if self._tokens >= self._shard_tokens:
                self.close()

    def close(self) -> None:
        """Finish the shard that is written; with no Document at all there is none."""
        if self._file is None:
            return
        self._file.close()
        path = self._path()
        np.array([*self._starts, self._tokens], dtype="<u8").tofile(path.with_suffix(".idx"))
        told = Shard(path=f"data/{path.name}", tokens=self._tokens, digest=digest_file(path))
        self.shards.append(told)
        self._file, self._starts, self._tokens = None, [], 0

    def _path(self) -> Path:
        return self._folder / "data" / f"{self._split}-{len(self.shards):05d}.bin"
