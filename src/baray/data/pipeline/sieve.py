"""The first pass: Documents are judged by batches, and what the second pass needs goes to shards on disk."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

import baray
from baray.core import canonical_json
from baray.data.documents import Document, Paper, Preparation, Refused, papers_of, prepared
from baray.data.duplicates.minhash import band_keys
from baray.data.pipeline.filters import apply_filters
from baray.data.pipeline.output import DROP_COLUMNS, Tally, drop_rows
from baray.data.pipeline.pace import Count, Pace
from baray.data.pipeline.shards import Shard, Shards, Survivors
from baray.data.pipeline.steps import judge
from baray.data.readers import ReadOptions, find_ocr
from baray.data.recipes import TextRecipe

if TYPE_CHECKING:
    from baray.runs import AttemptContext

_BATCH_DOCUMENTS = 512
_BATCH_CHARACTERS = 2_000_000
SHARD_BYTES = 16_000_000
"""Of files, after which a shard is closed: what a second Attempt has to read again at most, and the file under way."""
_FORMAT = 1
_READERS_SHARE = 0.6
"""Of the Run's memory, for the processes that read packed files."""
_LEAST_READER_BYTES = 512_000_000
SPILL = {
    **dict.fromkeys(("id", "text", "path", "source_digest", "title", "language", "key", "kinds"), pl.String),
    **dict.fromkeys(("label", "valid_from", "valid_until", "office"), pl.String),
    "record": pl.Int32,
    "redactions": pl.Int32,
    "language_km": pl.Float64,
    "language_en": pl.Float64,
}
"""Columns of a Document before it is judged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """What the first pass left."""

    tally: Tally
    """Counts of what came, was refused and was dropped."""
    survivors: Survivors
    """Rows that the filters left."""
    dropped: list[Path]
    """Spills of those that they did not, and of what was refused."""


def gather(context: AttemptContext, recipe: TextRecipe) -> Gathered:
    """Read and judge the files of `context`, from where an earlier Attempt of the Run stopped."""
    papers = papers_of(context.inputs)
    options = _reading(context, recipe)
    shards = Shards(context.checkpoints / "text", _fingerprint(papers, recipe, ocr=options.ocr is not None))
    sieve = _Sieve(shards, recipe)
    sieve.tally.files = len(papers)
    begun = int(shards.told.get("papers", 0))
    if begun:
        context.log(f"{begun} of {len(papers)} files were read by an earlier Attempt.")
    done_bytes = sum(paper.file.bytes for paper in papers[:begun])
    total = sum(paper.file.bytes for paper in papers)
    pace = Pace(context, files=len(papers), total_bytes=total, begun=sieve.count(done_bytes))
    reading = prepared(papers[begun:], Preparation(read=options, redact=recipe.redact), cpus=context.cpus)
    for done, (paper, documents) in enumerate(reading, begun + 1):
        for found in _told(context, documents):
            sieve.take(found)
            pace.tell(done - 1, sieve.count(done_bytes), sieve.drops)
        done_bytes += paper.file.bytes
        sieve.end_file(done, paper)
        pace.tell(done, sieve.count(done_bytes), sieve.drops)
    sieve.end()
    return Gathered(
        tally=sieve.tally,
        survivors=Survivors(shards.folders),
        dropped=[folder / "dropped.arrow" for folder in shards.folders],
    )


class _Sieve:
    """Takes Documents, judges them by batches, and writes them into shards."""

    def __init__(self, shards: Shards, recipe: TextRecipe) -> None:
        told = shards.told
        self.tally = Tally(
            documents=told.get("documents", 0),
            refused=Counter(told.get("refused", {})),
            dropped=Counter({(step, reason): number for step, reason, number in told.get("dropped", [])}),
        )
        self._recipe = recipe
        self._shards = shards
        self._shard: Shard | None = None
        self._batch: list[Document] = []
        self._characters = 0
        self._refused: list[dict[str, Any]] = []
        self._papers = int(told.get("papers", 0))
        self._bytes = 0
        self._text = 0

    def take(self, found: Document | Refused) -> None:
        """One Document, or what was refused in its place."""
        self.tally.documents += 1
        if isinstance(found, Refused):
            self.tally.refused[found.refusal.reason] += 1
            self._refused.append(_refused_row(found))
        else:
            self._batch.append(found)
            self._characters += len(found.text)
            self._text += len(found.text)
        full = len(self._batch) >= _BATCH_DOCUMENTS or self._characters >= _BATCH_CHARACTERS
        if full or len(self._refused) >= _BATCH_DOCUMENTS:
            self._flush()

    def end_file(self, papers: int, paper: Paper) -> None:
        """A file is read to its end; `papers` are, with it."""
        self._papers, self._text = papers, 0
        self._bytes += paper.file.bytes
        if self._bytes >= SHARD_BYTES:
            self._finish()

    def end(self) -> None:
        """Close the last shard. It is not told as whole: to read it again is quicker than to wait for the disk in every Run."""
        self._flush()
        if self._shard is not None:
            self._shard.close(durable=False)
            self._shards.folders.append(self._shard.folder)
        self._shard = None

    def _finish(self) -> None:
        """Close a shard that a next Attempt need not read again."""
        self._flush()
        if self._shard is not None:
            told = {
                "papers": self._papers,
                "documents": self.tally.documents,
                "refused": dict(self.tally.refused),
                "dropped": [[step, reason, number] for (step, reason), number in self.tally.dropped.items()],
            }
            self._shard.close(durable=True)
            self._shards.finish(self._shard, told)
        self._shard, self._bytes = None, 0

    def count(self, done_bytes: int) -> Count:
        """How far it is."""
        return Count(documents=self.tally.documents, bytes=done_bytes, text=self._text)

    def drops(self) -> dict[str, int]:
        """Documents that each step dropped so far."""
        found: Counter[str] = Counter({"read": self.tally.refused.total()} if self.tally.refused else {})
        for (step, _), number in self.tally.dropped.items():
            found[step] += number
        return dict(found)

    def _flush(self) -> None:
        """Judge what has come since the last time."""
        if not self._batch and not self._refused:
            return
        self._shard = self._shard or self._shards.begin()
        self._shard.dropped.write(pl.DataFrame(self._refused, schema=DROP_COLUMNS))
        if self._batch:
            judged = judge(pl.DataFrame([_row(one) for one in self._batch], schema=SPILL), self._recipe)
            judged = apply_filters(judged, self._recipe)
            gone = judged.filter(pl.col("step").is_not_null())
            self.tally.drop(gone)
            self._shard.dropped.write(drop_rows(gone))
            stay = judged.filter(pl.col("step").is_null()).drop("step", "reason", "detail")
            head = pl.when(pl.col("text").str.starts_with(pl.col("title").str.strip_suffix("…"))).then("title")
            self._shard.write(stay.with_columns(head=head), band_keys(stay["text"].to_list())[0])
        self._batch, self._refused, self._characters = [], [], 0


def _told(context: AttemptContext, documents: Iterable[Document | Refused]) -> Iterator[Document | Refused]:
    for found in documents:
        if isinstance(found, Refused):
            refusal = found.refusal
            line = f"refused {found.paper.path}: {refusal.reason}: {refusal.detail} {refusal.fix}"
            context.log(line.rstrip())
        else:
            for note in found.notes:
                context.log(f"note {found.paper.path}: {note}")
        yield found


def _reading(context: AttemptContext, recipe: TextRecipe) -> ReadOptions:
    return ReadOptions(
        rows=recipe.rows,
        text_field=recipe.text_field,
        max_bytes=recipe.max_file_megabytes * 1_000_000,
        ocr=find_ocr() if recipe.ocr else None,
        ocr_pages=recipe.ocr_pages,
        cpus=context.cpus,
        most_memory=max(_LEAST_READER_BYTES, int(context.memory_bytes * _READERS_SHARE / max(1, context.cpus))),
        most_unpacked=recipe.max_unpacked_megabytes * 1_000_000,
        scratch=str(context.work),
    )


def _fingerprint(papers: Sequence[Paper], recipe: TextRecipe, *, ocr: bool) -> str:
    """What a shard depends on: all of it, so that none is taken for another's, or for one from before a label was raised."""
    what = {"format": _FORMAT, "software": baray.__version__, "options": asdict(recipe), "ocr": ocr}
    found = hashlib.sha256(canonical_json(what))
    for paper in papers:
        about = [paper.path, paper.digest, paper.label, paper.valid_from, paper.valid_until, paper.office]
        found.update(b"\n" + canonical_json(about))
    return found.hexdigest()


def _row(document: Document) -> dict[str, Any]:
    paper = document.paper
    return {
        "id": document.id,
        "text": document.text,
        "path": paper.path,
        "source_digest": paper.digest,
        "record": document.record,
        "title": document.title,
        "language": document.language,
        "language_km": document.language_km,
        "language_en": document.language_en,
        "key": document.key,
        "redactions": document.redactions,
        "kinds": json.dumps(dict(document.redaction_kinds)),
        "label": paper.label,
        "valid_from": paper.valid_from,
        "valid_until": paper.valid_until,
        "office": paper.office,
    }


def _refused_row(found: Refused) -> dict[str, Any]:
    refusal = found.refusal
    return {
        "id": found.id,
        "path": found.paper.path,
        "step": "read",
        "reason": refusal.reason,
        "text": None,
        "detail": refusal.detail,
        "fix": refusal.fix,
        "fate": "refused",
        "label": found.paper.label,
        "record": refusal.index,
    }
