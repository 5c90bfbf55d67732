"""The handler of recipe `tokens`: a text Dataset and a tokenizer become shards that a language model learns from.

Documents stream through a batch at a time; the tokenizer encodes a batch on all cores that the process may use.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from tokenizers import Tokenizer

from baray.catalog import Output
from baray.core import Fault, Refused
from baray.data.pipeline.output import DROPPED, entries, write_json
from baray.data.recipes import TokensRecipe, percent, read_options
from baray.data.tokens.documents import HELD_OUT_FILE, Document, TextDataset, open_text
from baray.data.tokens.shards import FORMAT, SPLITS, Identity, Writer

if TYPE_CHECKING:
    from baray.runs import AttemptContext, Input

BOUNDARY = "<|endoftext|>"
_BATCH_CHARACTERS = 2_000_000
_BATCH_DOCUMENTS = 1024
_HELD_OUT = pa.schema([(name, pa.string()) for name in ("id", "text", "language", "label", "path")])


def build(context: AttemptContext) -> list[Output]:
    """Make the tokens that `context.spec` asks for. Raises Refused `not_text`, `no_tokenizer`, `too_few_documents`."""
    recipe = read_options(TokensRecipe, context.spec.get("options") or {})
    text = open_text(_input(context, "dataset"))
    model = _input(context, "tokenizer")
    name = context.spec["name"]
    folder = context.out / name
    with _Maker(folder, _Cutter(model), recipe, model.digest) as maker:
        _stream(context, text, maker, percent(recipe.held_out))
    shutil.copyfile(_file(model, "tokenizer.json"), folder / "tokenizer.json")
    report = maker.tally.report()
    manifest = maker.manifest(model)
    accounted = report["kept"] + sum(report["dropped"].values())
    if report["in"] != accounted:
        raise Fault("documents_lost", f"{report['in']} Documents came in, but {accounted} are accounted for.")
    for split in SPLITS:
        told = manifest["splits"][split]
        context.log(
            f"{split}: {told['tokens']} tokens of {told['documents']} Documents in {len(told['shards'])} shards"
        )
    write_json(folder / "manifest.json", manifest)
    write_json(folder / "report.json", report | {"splits": manifest["splits"], "digest": maker.identity.digest()})
    return [
        Output(
            kind="dataset",
            name=name,
            digest=maker.identity.digest(),
            labels=tuple(sorted({text.label, model.label})),
            files=entries(folder),
            summary={
                "recipe": "tokens",
                "in": report["in"],
                "kept": report["kept"],
                "tokens": manifest["splits"]["train"]["tokens"],
                "held_out_tokens": manifest["splits"]["held_out"]["tokens"],
                "vocab": manifest["vocab"],
                "tokenizer": model.ref,
            },
        )
    ]


def _input(context: AttemptContext, name: str) -> Input:
    if name not in context.inputs:
        raise Refused(
            "no_tokenizer" if name == "tokenizer" else "no_dataset",
            f"Recipe tokens has no {name} to work with.",
            fix="baray dataset build tokens --dataset NAME --set tokenizer=model:NAME --name NAME",
        )
    return context.inputs[name]


def _file(model: Input, path: str) -> Path:
    for file in model.files:
        if file.path == path:
            return file.blob
    raise Refused(
        "no_tokenizer",
        f"{model.ref} has no {path}.",
        fix="Give a tokenizer, or a language model that has one: --set tokenizer=model:NAME",
    )


class _Cutter:
    """A tokenizer, and how its ids are kept."""

    def __init__(self, model: Input) -> None:
        self._tokenizer = Tokenizer.from_file(str(_file(model, "tokenizer.json")))
        # A Document that spells a special token is text: nobody may end another's Document by writing so.
        self._tokenizer.encode_special_tokens = True
        self._tokenizer.no_truncation()
        eos = self._tokenizer.token_to_id(BOUNDARY)
        if eos is None:
            raise Refused(
                "no_tokenizer",
                f"The tokenizer of {model.ref} has no token {BOUNDARY}, which ends a Document.",
                fix="Take one that has: baray train tokenizer --dataset NAME --name NAME",
            )
        self.eos: int = eos
        self.vocab: int = self._tokenizer.get_vocab_size()
        self.dtype = "uint16" if self.vocab <= 1 << 16 else "uint32"

    def cut(self, texts: list[str]) -> list[NDArray[np.uint32]]:
        """Ids of each text, on all cores."""
        encoded = self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        return [np.array(found.ids, dtype=np.uint32) for found in encoded]


@dataclass(slots=True, kw_only=True)
class _Tally:
    """Counts that become `report.json`. In = kept + dropped."""

    documents: int = 0
    kept: int = 0
    parts: int = 0
    characters: int = 0
    bytes: Counter[str] = field(default_factory=Counter)
    """Split -> bytes of text."""
    dropped: Counter[str] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)

    def take(self, parts: list[Document]) -> None:
        """Count one row of the Dataset."""
        self.documents += 1
        self.parts += len(parts)
        if parts:
            self.kept += 1
            self.languages[parts[0].language] += 1
            self.characters += sum(len(one.part.text) for one in parts)
        else:
            self.dropped["no_text"] += 1

    def report(self) -> dict[str, Any]:
        """Content of `report.json`."""
        dropped = dict(sorted(self.dropped.items()))
        return {
            "in": self.documents,
            "kept": self.kept,
            "dropped": dropped,
            "refused": {},
            "redacted": 0,
            "steps": [{"step": "encode", "in": self.documents, "kept": self.kept, "dropped": dropped, "refused": {}}],
            "languages": dict(sorted(self.languages.items())),
            "sizes": {"characters": self.characters, "bytes": sum(self.bytes.values()), "parts": self.parts},
        }


class _Maker:
    """Takes batches of Documents with their side, and writes all files but manifest and report."""

    def __init__(self, folder: Path, cutter: _Cutter, recipe: TokensRecipe, tokenizer_digest: str) -> None:
        self.tally = _Tally()
        self.identity = Identity(tokenizer_digest)
        self._cutter = cutter
        self._writers = {
            split: Writer(folder, split, dtype=cutter.dtype, eos=cutter.eos, shard_tokens=recipe.shard_tokens)
            for split in SPLITS
        }
        (folder / "dropped").mkdir(parents=True, exist_ok=True)
        self._held = pq.ParquetWriter(folder / HELD_OUT_FILE, _HELD_OUT, compression="zstd")
        self._dropped = pq.ParquetWriter(folder / "dropped/part-00000.parquet", DROPPED, compression="zstd")

    def __enter__(self) -> _Maker:
        return self

    def __exit__(self, *_: object) -> None:
        for file in (*self._writers.values(), self._held, self._dropped):
            file.close()

    def take(self, batch: list[tuple[str, Document]]) -> None:
        """Cut a batch and write it."""
        cut = self._cutter.cut([document.part.text for _, document in batch])
        by_split: dict[str, list[NDArray[np.uint32]]] = {split: [] for split in SPLITS}
        for (split, document), ids in zip(batch, cut, strict=True):
            by_split[split].append(ids)
            self.identity.add(split, document.part.id, document.label, ids)
            self.tally.bytes[split] += len(document.part.text.encode())
        for split, found in by_split.items():
            self._writers[split].write(found)
        rows = [_row(document) for split, document in batch if split == "held_out"]
        if rows:
            self._held.write_table(pa.Table.from_pylist(rows, schema=_HELD_OUT))

    def drop(self, row: dict[str, str | None], label: str) -> None:
        """Write down a Document that has no text."""
        told = {"id": row["id"], "path": row.get("path"), "label": row.get("label") or label, "fate": "dropped"}
        told |= {"step": "encode", "reason": "no_text"}
        self._dropped.write_table(pa.Table.from_pylist([told], schema=DROPPED))

    def manifest(self, model: Input) -> dict[str, Any]:
        """Content of `manifest.json`."""
        return {
            "format": FORMAT,
            "dtype": self._cutter.dtype,
            "vocab": self._cutter.vocab,
            "eos": self._cutter.eos,
            "splits": {
                split: {
                    "tokens": writer.tokens,
                    "documents": writer.documents,
                    "shards": [asdict(shard) for shard in writer.shards],
                }
                for split, writer in self._writers.items()
            },
            "tokenizer": {"ref": model.ref, "digest": model.digest},
            "bytes": {split: self.tally.bytes[split] for split in SPLITS},
        }


def _stream(context: AttemptContext, text: TextDataset, maker: _Maker, held_percent: float) -> None:
    held = text.held_out(held_percent)
    for batch in _batches(text, maker):
        maker.take([("held_out" if held.holds(one.part.key) else "train", one) for one in batch])
        context.progress(maker.tally.documents, text.num_documents, "documents")


def _batches(text: TextDataset, maker: _Maker) -> Iterator[list[Document]]:
    batch: list[Document] = []
    characters = 0
    for row, found in text.rows():
        maker.tally.take(found)
        if not found:
            maker.drop(row, text.label)
        batch += found
        characters += sum(len(one.part.text) for one in found)
        if characters >= _BATCH_CHARACTERS or len(batch) >= _BATCH_DOCUMENTS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _row(document: Document) -> dict[str, str]:
    return {
        "id": document.part.id,
        "text": document.part.text,
        "language": document.language,
        "label": document.label,
        "path": document.path,
    }
