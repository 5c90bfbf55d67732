"""The handler of recipe `images`: pictures become rows that `datasets`, Polars and DuckDB read as they are."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from baray.catalog import Output
from baray.core import Fault, Refused, canonical_json
from baray.data.documents import Paper, papers_of
from baray.data.pipeline.croissant import croissant, origins_of
from baray.data.pipeline.output import DROP_COLUMNS, Preview, entries, write_dropped, write_json
from baray.data.pipeline.shards import Spill
from baray.data.readers import REASONS
from baray.data.recipes import ImagesRecipe, read_options
from baray.data.tables.pictures import Picture, open_picture
from baray.data.tables.tally import RowTally, facts_of

if TYPE_CHECKING:
    from baray.runs import AttemptContext

STEPS = ("read", "size", "exact_duplicates", "near_duplicates")
_IDENTITY_HEAD = b"baray images 1\n"
_NOT_PICTURES = frozenset([".csv", ".txt", ".md", ".json"])
_PART_BYTES = 256_000_000
_GROUP_ROWS = 64
_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_FEATURES = {"info": {"features": {"image": {"_type": "Image"}}}}
"""What the library `datasets` reads, so that the column opens as pictures."""
_TEXTS = (
    "id",
    "text",
    "path",
    "source_digest",
    "format",
    "class",
    "dhash",
    "label",
    "valid_from",
    "valid_until",
    "office",
)
ROWS = pa.schema(
    [
        *[(name, pa.string()) for name in _TEXTS[:4]],
        ("record", pa.int32()),
        ("image", _IMAGE),
        ("width", pa.int32()),
        ("height", pa.int32()),
        *[(name, pa.string()) for name in _TEXTS[4:]],
    ],
    metadata={"huggingface": json.dumps(_FEATURES)},
)


def build(context: AttemptContext) -> list[Output]:
    """Make the Dataset that `context.spec` asks for. Raises Refused `nothing_kept`."""
    recipe = read_options(ImagesRecipe, context.spec.get("options") or {})
    name = context.spec["name"]
    folder = context.out / name
    folder.mkdir(parents=True, exist_ok=True)
    maker = _Maker(context, recipe, folder)
    papers = papers_of(context.inputs)
    for done, paper in enumerate(papers, 1):
        maker.take(paper)
        context.progress(done, len(papers), "pictures")
    report = maker.finish()
    if not report["kept"]:
        reasons = ", ".join(f"{reason} {count}" for reason, count in (report["dropped"] | report["refused"]).items())
        told = f"None of {report['in']} pictures could be kept: {reasons}."
        raise Refused("nothing_kept", told, fix="Look at the log for each file.")
    write_json(folder / "report.json", report)
    origins = origins_of(context.inputs)
    described = croissant(
        name=name,
        digest=report["digest"],
        folder=folder,
        report=report,
        date=context.today,
        origins=origins,
        schema=ROWS,
    )
    write_json(folder / "croissant.json", described)
    summary = {key: report[key] for key in ("in", "kept", "dropped", "refused")}
    summary |= {"recipe": "images", "rows": report["kept"], "classes": sorted(report["classes"])}
    labels = tuple(sorted(maker.tally.labels))
    return [
        Output(
            kind="dataset", name=name, digest=report["digest"], labels=labels, files=entries(folder), summary=summary
        )
    ]


class _Maker:
    """Takes the pictures in the order of the identity and writes them as they come; only hashes stay in memory."""

    def __init__(self, context: AttemptContext, recipe: ImagesRecipe, folder: Path) -> None:
        context.work.mkdir(parents=True, exist_ok=True)
        self.tally = RowTally()
        self._context, self._recipe, self._folder = context, recipe, folder
        self._parts, self._preview = _Parts(folder / "data"), Preview(folder / "preview.jsonl")
        self._dropped = Spill(context.work / "dropped.arrow")
        self._hash = hashlib.sha256(_IDENTITY_HEAD)
        self._bytes: set[tuple[str, bytes]] = set()
        self._alike: dict[str, _Hashes] = {}
        """Label -> difference hashes of kept pictures."""
        self._classes: dict[str, int] = {}
        self._rewritten = 0

    def take(self, paper: Paper) -> None:
        """Keep a picture, or write down why not."""
        recipe = self._recipe
        if PurePosixPath(paper.path).suffix.lower() in _NOT_PICTURES:
            return  # what a folder of pictures has beside them: labels, a licence, a note
        self.tally.files += 1
        self.tally.documents += 1
        try:
            picture = open_picture(
                paper.file,
                most_pixels=recipe.max_megapixels * 1_000_000,
                longest_side=recipe.longest_side,
                most_bytes=recipe.max_file_megabytes * 1_000_000,
            )
        except Refused as refused:
            if refused.code not in REASONS:
                raise
            self.tally.refused[refused.code] += 1
            self._context.log(f"refused {paper.path}: {refused.code}: {refused.message} {refused.fix}".rstrip())
            self._drop(paper, ("read", refused.code, refused.message), fix=refused.fix, fate="refused")
            return
        fault = self._fault(paper.label, picture)
        if fault:
            self.tally.dropped[fault[0], fault[1]] += 1
            self._drop(paper, fault)
        else:
            self._keep(paper, picture)

    def finish(self) -> dict[str, Any]:
        """Close the files; content of `report.json`."""
        self._parts.close()
        self._preview.close()
        write_dropped(self._dropped.read().frames(), self.tally.labels, self._folder)
        report = self.tally.report(STEPS)
        accounted = report["kept"] + sum(report["dropped"].values()) + sum(report["refused"].values())
        if report["in"] != accounted:
            raise Fault("documents_lost", f"{report['in']} pictures came in, but {accounted} are accounted for.")
        for step in report["steps"]:
            gone = ", ".join(f"{reason} {count}" for reason, count in (step["dropped"] | step["refused"]).items())
            self._context.log(f"{step['step']}: {step['in']} in, {step['kept']} kept" + (f" ({gone})" if gone else ""))
        return report | {
            "classes": dict(sorted(self._classes.items())),
            "rewritten": self._rewritten,
            "digest": "sha256:" + self._hash.hexdigest(),
        }

    def _fault(self, label: str, picture: Picture) -> tuple[str, str, str] | None:
        """Step, reason and words; pictures of another label never stand in for each other."""
        if min(picture.width, picture.height) < self._recipe.least_side:
            return "size", "too_small", f"It has {picture.width} x {picture.height} pixels."
        digest = (label, hashlib.sha256(picture.data).digest())
        if digest in self._bytes:
            return "exact_duplicates", "exact_duplicate", "The same picture is kept."
        near = self._recipe.near_duplicates
        alike = self._alike.setdefault(label, _Hashes())
        if near and alike.least(picture.dhash) <= near:
            return "near_duplicates", "near_duplicate", f"A picture is kept that differs in at most {near} of 64 bits."
        self._bytes.add(digest)
        alike.add(picture.dhash)
        return None

    def _keep(self, paper: Paper, picture: Picture) -> None:
        inside = PurePosixPath(paper.path)
        named = inside.parent.name if self._recipe.classes == "folders" else ""
        row = facts_of(paper, 0) | {
            "text": inside.stem.replace("_", " ").replace("-", " "),
            "width": picture.width,
            "height": picture.height,
            "format": picture.format,
            "class": named,
            "dhash": f"{picture.dhash:016x}",
        }
        # What is kept follows from the file and the size it was brought to; bytes written anew differ from library to library.
        told = [row["id"], row["source_digest"], row["label"], named, picture.width, picture.height]
        self._hash.update(canonical_json(told) + b"\n")
        self._preview.add([{**row, "image": _thumbnail(picture)}])
        self._parts.write(row | {"image": {"bytes": picture.data, "path": inside.name}})
        self.tally.kept += 1
        self.tally.labels.add(paper.label)
        self._classes[named] = self._classes.get(named, 0) + 1
        self._rewritten += picture.rewritten

    def _drop(self, paper: Paper, why: tuple[str, str, str], *, fix: str = "", fate: str = "dropped") -> None:
        told = {name: value for name, value in facts_of(paper, 0).items() if name in DROP_COLUMNS}
        told |= dict(zip(("step", "reason", "detail"), why, strict=True))
        self._dropped.write(pl.DataFrame([told | {"text": "", "fix": fix, "fate": fate}], schema=DROP_COLUMNS))


class _Hashes:
    """Hashes of 64 bits, compared all at once."""

    def __init__(self) -> None:
        self._room: NDArray[np.uint64] = np.zeros(1024, dtype=np.uint64)
        self._count = 0

    def add(self, found: int) -> None:
        """Keep one."""
        if self._count == len(self._room):
            self._room = np.concatenate([self._room, np.zeros_like(self._room)])
        self._room[self._count] = found
        self._count += 1

    def least(self, found: int) -> int:
        """Bits in which the nearest one differs; more than 64 where there is none."""
        if not self._count:
            return 65
        return int(np.bitwise_count(self._room[: self._count] ^ np.uint64(found)).min())


def _thumbnail(picture: Picture) -> str:
    """The picture as a `data:` address where it is small enough to stand in a line of JSON; else its size."""
    if len(picture.data) > 20_000:
        return f"{picture.width} x {picture.height}"
    return f"data:image/{picture.format.lower()};base64,{base64.b64encode(picture.data).decode()}"


class _Parts:
    """Parquet files of bounded size, written a few pictures at a time."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._waiting: list[dict[str, Any]] = []
        self._files = self._files_of()
        self._writer: pq.ParquetWriter | None = None
        self._written = 0

    def _files_of(self) -> Iterator[Path]:
        number = 0
        while True:
            yield self._folder / f"part-{number:05d}.parquet"
            number += 1

    def write(self, row: dict[str, Any]) -> None:
        """Add one row."""
        self._waiting.append(row)
        self._written += len(row["image"]["bytes"])
        if len(self._waiting) >= _GROUP_ROWS or self._written >= _PART_BYTES:
            self._flush()

    def close(self) -> None:
        """Finish the last file; without a row there is one that is empty."""
        self._flush()
        if self._writer is not None:
            self._writer.close()

    def _flush(self) -> None:
        if self._writer is None:
            self._writer = pq.ParquetWriter(next(self._files), ROWS, compression="zstd")
        self._writer.write_table(pa.Table.from_pylist(self._waiting, schema=ROWS))
        self._waiting = []
        if self._written >= _PART_BYTES:
            self._writer.close()
            self._writer, self._written = None, 0
