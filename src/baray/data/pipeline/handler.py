"""The handler of recipe `text`: files of a Source become one Dataset version.

Passes over Arrow batches, with flat memory. The first (`sieve`) reads, normalises, redacts and filters into shards that
outlive the Attempt. Deduplication (`alike`) decides on about 0.1 kB a Document. The last copies the rows that stay, in
the order of (source digest, record), which is the order of the identity.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from baray.access import Label, flows, join, parse_label
from baray.catalog import Output
from baray.core import Fault
from baray.core import Refused as RefusedRun
from baray.data.duplicates.index import INDEX, index_table
from baray.data.pipeline.alike import Alike, find_alike
from baray.data.pipeline.croissant import croissant, origins_of
from baray.data.pipeline.lines import without_common_lines
from baray.data.pipeline.output import (
    ROWS,
    Identity,
    Parts,
    Preview,
    Tally,
    drop_rows,
    entries,
    write_dropped,
    write_json,
)
from baray.data.pipeline.profile import Profile, write_page
from baray.data.pipeline.shards import Spill, Spilled, Survivors, hashes_of
from baray.data.pipeline.sieve import Gathered, gather
from baray.data.pipeline.steps import steps_of
from baray.data.recipes import TextRecipe, read_options

if TYPE_CHECKING:
    from baray.runs import AttemptContext

_LISTED_REFUSALS = 500
_LETTERHEAD_FILES = 3
_READERS_SHARE = 0.6
"""Of the Run's memory, for the processes that read packed files."""
_LEAST_READER_BYTES = 512_000_000
_TITLE_CHARACTERS = 160


def build(context: AttemptContext) -> list[Output]:
    """Make the Dataset that `context.spec` asks for. Raises Refused `nothing_kept` when no Document is left."""
    recipe = read_options(TextRecipe, context.spec.get("options") or {})
    name = context.spec["name"]
    folder = context.out / name
    folder.mkdir(parents=True, exist_ok=True)
    gathered, lines = _without_lines(gather(context, recipe), recipe, context.work)
    alike = find_alike(context, gathered.survivors, recipe)
    profile = Profile()
    identity = _write(gathered, alike, context, profile)
    report = gathered.tally.report(steps_of(recipe, against=[ref for ref, _ in alike.earlier])) | lines
    _check_sum(report)
    _log(context, report)
    if gathered.tally.kept == 0:
        reasons = ", ".join(f"{reason} {count}" for reason, count in (report["dropped"] | report["refused"]).items())
        raise RefusedRun(
            "nothing_kept",
            f"None of {report['in']} Documents could be kept: {reasons}.",
            fix="Look at the log for each file.",
        )
    whole = join(parse_label(label) for label in gathered.tally.labels)
    report["digest"] = identity.digest()
    report["refusals"] = _refusals(gathered, whole)
    report["profile"] = profile.told(alike, whole, folder)
    write_page(folder / "report.html", name, report)
    write_json(folder / "report.json", report)
    sources = {key: found for key, found in context.inputs.items() if found.kind == "source"}
    about = croissant(
        name=name,
        digest=identity.digest(),
        folder=folder,
        report=report,
        date=context.today,
        origins=origins_of(sources),
    )
    write_json(folder / "croissant.json", about)
    return [_output(name, identity.digest(), folder, gathered.tally, report)]


def _without_lines(gathered: Gathered, recipe: TextRecipe, work: Path) -> tuple[Gathered, dict[str, Any]]:
    """What is left without lines that stand in many Documents, and what the report says of them."""
    if not recipe.duplicate_lines:
        return gathered, {}
    left = without_common_lines(
        gathered.survivors, work / "lines", most=recipe.duplicate_lines, min_letters=recipe.min_letters
    )
    for frame in Spilled([left.dropped]).frames():
        gathered.tally.drop(frame)
    return replace(gathered, survivors=left.survivors, dropped=[*gathered.dropped, left.dropped]), {
        "common_lines": left.report
    }


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


def _letterheads(survivors: Survivors) -> list[str]:
    """Titles that are the first line of several files: the name of the office, and not of the paper."""
    told = [
        frame.lazy().filter(pl.col("head").is_not_null()).select(pl.col("head").hash(), pl.col("path").hash()).unique()
        for frame in survivors.frames()
    ]
    if not told:
        return []
    files = pl.concat(pl.collect_all(told)).unique().group_by("head").len()
    wanted = files.filter(pl.col("len") >= _LETTERHEAD_FILES)["head"].implode()
    found = {
        head
        for frame in survivors.frames()
        for head in frame.filter(pl.col("head").hash().is_in(wanted))["head"].unique()
        if head is not None
    }
    return sorted(found)


def _write(gathered: Gathered, alike: Alike, context: AttemptContext, profile: Profile) -> Identity:
    """Pass 2: rows that stay into `data` and the band index, the others into `dropped`."""
    folder = context.out / context.spec["name"]
    letterheads, duplicates = _letterheads(gathered.survivors), Spill(context.work / "duplicates.arrow")
    identity, preview, data = Identity(), Preview(folder / "preview.jsonl"), Parts(folder / "data", ROWS)
    bands = Parts(folder / "bands", INDEX)
    start = 0
    for frame in gathered.survivors.frames():
        decided = frame.hstack(alike.reasons(start, frame.height))
        gone = decided["step"].is_not_null()
        gathered.tally.drop(decided.filter(gone))
        duplicates.write(drop_rows(decided.filter(gone)))
        stay = _retitled(decided.filter(~gone), letterheads)
        rows = stay.select(ROWS.names).to_dicts()
        identity.add(rows)
        preview.add(rows)
        gathered.tally.keep(stay)
        profile.take(stay)
        data.write(stay)
        first = alike.settled + start
        keys = alike.keys.rows(first, first + frame.height)[~gone.to_numpy()]
        bands.write_table(index_table(stay, hashes_of(stay["key"]), keys))
        start += frame.height
    duplicates.close()
    for part in (data, bands, preview):
        part.close()
    dropped = Spilled([*gathered.dropped, duplicates.path])
    write_dropped(dropped.frames(), gathered.tally.labels, folder)
    return identity


def _refusals(gathered: Gathered, whole: Label) -> list[dict[str, str]]:
    """The first refused files with reason and fix, for the report; none above the Dataset's label."""
    found: list[dict[str, str]] = []
    for frame in Spilled(gathered.dropped).frames():
        for row in frame.filter(pl.col("fate") == "refused").iter_rows(named=True):
            if flows(parse_label(row["label"]), whole) and len(found) < _LISTED_REFUSALS:
                found.append({name: row[name] for name in ("path", "reason", "detail", "fix")})
    return found


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
