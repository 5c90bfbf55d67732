"""The handler of recipe `text`: files of a Source become one Dataset version.

Two passes over Arrow batches, with flat memory. Pass 1 reads, normalises, redacts and filters; survivors and drops go to
disk, and only keys, band keys and labels stay in memory (about 0.5 kB a Document). Deduplication decides on those. Pass 2
copies the rows that stay, in the order of (source digest, record), which is the order of the identity.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from baray.access import Label, flows, join, parse_label
from baray.catalog import Output
from baray.core import Fault
from baray.core import Refused as RefusedRun
from baray.data.documents import Document, Paper, Preparation, Refused, papers_of, prepared
from baray.data.duplicates.minhash import BANDS, Words, band_keys
from baray.data.duplicates.rules import Drop, NearRule, exact, near, preference
from baray.data.pipeline.croissant import croissant, origins_of
from baray.data.pipeline.filters import apply_filters
from baray.data.pipeline.output import (
    DROP_COLUMNS,
    ROWS,
    Identity,
    Parts,
    Preview,
    Spill,
    Tally,
    entries,
    write_dropped,
    write_json,
)
from baray.data.pipeline.profile import Profile, write_page
from baray.data.pipeline.steps import judge, steps_of
from baray.data.readers import ReadOptions, find_ocr
from baray.data.recipes import TextRecipe, read_options

if TYPE_CHECKING:
    from baray.runs import AttemptContext

_BATCH_DOCUMENTS = 512
_BATCH_CHARACTERS = 2_000_000
_LISTED_REFUSALS = 500
_LETTERHEAD_FILES = 3
_READERS_SHARE = 0.6
"""Of the Run's memory, for the processes that read packed files."""
_LEAST_READER_BYTES = 512_000_000
_TITLE_CHARACTERS = 160
_FACTS = dict.fromkeys(("key", "label", "valid_from", "valid_until", "path", "head"), pl.String) | {"record": pl.Int32}
_SPILL = {
    **dict.fromkeys(("id", "text", "path", "source_digest", "title", "language", "key", "kinds"), pl.String),
    **dict.fromkeys(("label", "valid_from", "valid_until", "office"), pl.String),
    "record": pl.Int32,
    "redactions": pl.Int32,
    "language_km": pl.Float64,
    "language_en": pl.Float64,
}


def build(context: AttemptContext) -> list[Output]:
    """Make the Dataset that `context.spec` asks for. Raises Refused `nothing_kept` when no Document is left."""
    recipe = read_options(TextRecipe, context.spec.get("options") or {})
    name = context.spec["name"]
    folder = context.out / name
    folder.mkdir(parents=True, exist_ok=True)
    sieve = _gather(context, recipe, papers_of(context.inputs))
    drops = _duplicates(sieve, recipe, context.today)
    profile = Profile()
    identity = _write(sieve, drops, folder, profile)
    report = sieve.tally.report(steps_of(recipe))
    _check_sum(report)
    _log(context, report)
    if sieve.tally.kept == 0:
        reasons = ", ".join(f"{reason} {count}" for reason, count in (report["dropped"] | report["refused"]).items())
        raise RefusedRun(
            "nothing_kept",
            f"None of {report['in']} Documents could be kept: {reasons}.",
            fix="Look at the log for each file.",
        )
    report["digest"] = identity.digest()
    report["refusals"] = _refusals(sieve)
    report["profile"] = profile.told(drops, sieve.facts()["path"], folder)
    write_page(folder / "report.html", name, report)
    write_json(folder / "report.json", report)
    write_json(
        folder / "croissant.json",
        croissant(
            name=name,
            digest=identity.digest(),
            folder=folder,
            report=report,
            date=context.today,
            origins=origins_of(context.inputs),
        ),
    )
    return [_output(name, identity.digest(), folder, sieve.tally, report)]


class _Sieve:
    """Pass 1: takes Documents, judges them by batches, and keeps what pass 2 needs."""

    def __init__(self, work: Path, recipe: TextRecipe) -> None:
        work.mkdir(parents=True, exist_ok=True)
        self.tally = Tally()
        self.survivors = Spill(work / "survivors.arrow")
        self.dropped = Spill(work / "dropped.arrow")
        self.bands: list[Words] = []
        self._recipe = recipe
        self._facts: list[pl.DataFrame] = []
        self._batch: list[Document] = []
        self._characters = 0
        self._refused: list[dict[str, Any]] = []

    def take(self, found: Document | Refused) -> None:
        """One Document, or what was refused in its place."""
        self.tally.documents += 1
        if isinstance(found, Refused):
            self.tally.refused[found.refusal.reason] += 1
            self._refused.append(_refused_row(found))
        else:
            self._batch.append(found)
            self._characters += len(found.text)
        full = len(self._batch) >= _BATCH_DOCUMENTS or self._characters >= _BATCH_CHARACTERS
        if full or len(self._refused) >= _BATCH_DOCUMENTS:
            self.flush()

    def flush(self) -> None:
        """Judge what has come since the last time."""
        self.dropped.write(pl.DataFrame(self._refused, schema=DROP_COLUMNS))
        if self._batch:
            judged = judge(pl.DataFrame([_row(one) for one in self._batch], schema=_SPILL), self._recipe)
            judged = apply_filters(judged, self._recipe)
            self.drop(judged.filter(pl.col("step").is_not_null()))
            stay = judged.filter(pl.col("step").is_null()).drop("step", "reason", "detail")
            self.survivors.write(stay)
            head = pl.when(pl.col("text").str.starts_with(pl.col("title").str.strip_suffix("…"))).then("title")
            self._facts.append(stay.with_columns(head=head).select(_FACTS.keys()))
            self.bands.append(self._band_keys(stay))
        self._batch, self._refused, self._characters = [], [], 0

    def drop(self, frame: pl.DataFrame) -> None:
        """Put rows with step, reason and detail among the dropped ones."""
        for step, reason, count in frame.group_by("step", "reason").len().iter_rows():
            self.tally.dropped[(step, reason)] += count
        self.dropped.write(frame.with_columns(fate=pl.lit("dropped"), fix=pl.lit("")).select(DROP_COLUMNS.keys()))

    def facts(self) -> pl.DataFrame:
        """What deduplication needs of all survivors."""
        return pl.concat(self._facts) if self._facts else pl.DataFrame(schema=_FACTS)

    def _band_keys(self, stay: pl.DataFrame) -> Words:
        if self._recipe.near_duplicates <= 0 or stay.height == 0:
            return np.zeros((stay.height, BANDS), dtype=np.uint64)
        keys, comparable = band_keys(stay["text"].to_list())
        keys[~comparable] = 0
        return keys


def _gather(context: AttemptContext, recipe: TextRecipe, papers: Sequence[Paper]) -> _Sieve:
    options = ReadOptions(
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
    sieve = _Sieve(context.work, recipe)
    sieve.tally.files = len(papers)
    reading = prepared(papers, Preparation(read=options, redact=recipe.redact), cpus=context.cpus)
    for done, (_, documents) in enumerate(reading, 1):
        for found in documents:
            sieve.take(found)
            if isinstance(found, Refused):
                context.log(
                    f"refused {found.paper.path}: {found.refusal.reason}: {found.refusal.detail} {found.refusal.fix}".rstrip()
                )
            else:
                for note in found.notes:
                    context.log(f"note {found.paper.path}: {note}")
        context.progress(done, len(papers), "files")
    sieve.flush()
    return sieve


def _duplicates(sieve: _Sieve, recipe: TextRecipe, today: str) -> dict[int, tuple[str, Drop]]:
    """Row of each duplicate -> its step and what stands in for it."""
    facts = sieve.facts()
    if facts.height == 0:
        return {}
    ranks = preference(facts, today)
    drops = {drop.row: ("exact_duplicates", drop) for drop in exact(facts, ranks, today)}
    if recipe.near_duplicates > 0:
        keys = np.concatenate(sieve.bands)
        sieve.bands.clear()  # of a million rows the copy is 160 MB
        keys[list(drops)] = 0
        rule = NearRule(threshold=recipe.near_duplicates, numbers_must_agree=recipe.numbers_must_agree, today=today)
        drops |= {drop.row: ("near_duplicates", drop) for drop in near(facts, keys, ranks, sieve.survivors.text, rule)}
    return drops


def _retitled(frame: pl.DataFrame, letterheads: list[str]) -> pl.DataFrame:
    """Where the title is a letterhead, the first line below it that is none becomes the title."""
    lines = pl.col("text").str.split("\n").list.eval(pl.element().str.strip_chars(" #").replace("", None).drop_nulls())
    below = (
        lines.list.eval(pl.element().filter(~pl.element().is_in(letterheads)))
        .list.first()
        .str.slice(0, _TITLE_CHARACTERS)
    )
    is_letterhead = pl.col("title").is_in(letterheads)
    return frame.with_columns(
        title=pl.when(is_letterhead).then(pl.coalesce(below, pl.col("title"))).otherwise(pl.col("title"))
    )


def _letterheads(facts: pl.DataFrame) -> list[str]:
    """Titles that are the first line of several files: the name of the office, and not of the paper."""
    files = facts.filter(pl.col("head").is_not_null()).group_by("head").agg(files=pl.col("path").n_unique())
    return sorted(files.filter(pl.col("files") >= _LETTERHEAD_FILES)["head"].to_list())


def _write(sieve: _Sieve, drops: dict[int, tuple[str, Drop]], folder: Path, profile: Profile) -> Identity:
    """Pass 2: rows that stay into `data`, the others into `dropped`."""
    facts = sieve.facts()
    paths, letterheads = facts["path"], _letterheads(facts)
    table = pl.DataFrame(
        [(row, *_reason(step, drop, paths[drop.kept])) for row, (step, drop) in sorted(drops.items())],
        schema={"row": pl.UInt32, "step": pl.String, "reason": pl.String, "detail": pl.String},
        orient="row",
    )
    identity, preview, data = Identity(), Preview(folder / "preview.jsonl"), Parts(folder / "data", ROWS)
    start = 0
    for frame in sieve.survivors.frames():
        decided = frame.with_row_index("row", offset=start).join(table, on="row", how="left", maintain_order="left")
        start += frame.height
        sieve.drop(decided.filter(pl.col("step").is_not_null()))
        stay = _retitled(decided.filter(pl.col("step").is_null()), letterheads)
        rows = stay.select(ROWS.names).to_dicts()
        identity.add(rows)
        preview.add(rows)
        sieve.tally.keep(stay)
        profile.take(stay)
        data.write(stay)
    data.close()
    preview.close()
    write_dropped(sieve.dropped, sieve.tally.labels, folder)
    return identity


def _refusals(sieve: _Sieve) -> list[dict[str, str]]:
    """The first refused files with reason and fix, for the report; none above the Dataset's label."""
    whole = _whole_label(sieve)
    found: list[dict[str, str]] = []
    for frame in sieve.dropped.frames():
        for row in frame.filter(pl.col("fate") == "refused").iter_rows(named=True):
            if flows(parse_label(row["label"]), whole) and len(found) < _LISTED_REFUSALS:
                found.append({name: row[name] for name in ("path", "reason", "detail", "fix")})
    return found


def _whole_label(sieve: _Sieve) -> Label:
    return join(parse_label(label) for label in sieve.tally.labels)


def _check_sum(report: dict[str, Any]) -> None:
    accounted = report["kept"] + sum(report["dropped"].values()) + sum(report["refused"].values())
    if report["in"] != accounted:
        raise Fault("documents_lost", f"{report['in']} Documents came in, but {accounted} are accounted for.")


def _log(context: AttemptContext, report: dict[str, Any]) -> None:
    for step in report["steps"]:
        gone = ", ".join(f"{reason} {count}" for reason, count in (step["dropped"] | step["refused"]).items())
        context.log(f"{step['step']}: {step['in']} in, {step['kept']} kept" + (f" ({gone})" if gone else ""))
    for name in ("in", "kept", "redacted"):
        context.metric(f"documents.{name}", report[name], step=0)


def _output(name: str, digest: str, folder: Path, tally: Tally, report: dict[str, Any]) -> Output:
    return Output(
        kind="dataset",
        name=name,
        digest=digest,
        labels=tuple(sorted(tally.labels)),
        files=entries(folder),
        summary={
            "rows": tally.kept,
            "in": report["in"],
            "kept": report["kept"],
            "dropped": report["dropped"],
            "refused": report["refused"],
            "redacted": report["redacted"],
            "languages": report["languages"],
            "text_bytes": tally.text_bytes,
        },
    )


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


def _reason(step: str, drop: Drop, path: str) -> tuple[str, str, str]:
    if step == "exact_duplicates":
        return step, "exact_duplicate", f"Same text as {path}."
    return step, "near_duplicate", f"{drop.similarity:.2f} like {path}."
