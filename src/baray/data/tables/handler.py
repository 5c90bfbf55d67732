"""The handler of recipe `table`: files with rows become one Dataset version with typed columns.

Two passes with flat memory: the first reads rows, leaves out those without a key or with one that was there, puts the rest aside as
text and learns what each column is; the second makes values, leaves out rows with a value that is not of its column's type,
and writes Parquet in the order of (source digest, row), which is the order of the identity.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa

from baray.access import join, parse_label
from baray.catalog import Output
from baray.core import Fault, Refused, canonical_json
from baray.data.documents import Paper, papers_of
from baray.data.pipeline.croissant import croissant, origins_of
from baray.data.pipeline.output import DROP_COLUMNS, Parts, Preview, entries, write_dropped, write_json
from baray.data.pipeline.shards import Spill
from baray.data.readers import REASONS
from baray.data.recipes import TableRecipe, read_options
from baray.data.tables.columns import ARROW, PARSERS, Column, Quality, Value, cleaned
from baray.data.tables.rows import Row, rows_of
from baray.data.tables.tally import RowTally, facts_of

if TYPE_CHECKING:
    from baray.runs import AttemptContext

STEPS = ("read", "key", "types")
_IDENTITY_HEAD = b"baray table rows 1\n"
_BEFORE = ("id", "text", "path", "source_digest", "record")
_AFTER = ("label", "valid_from", "valid_until", "office")
_BATCH_ROWS = 8192
_FACTS = {**dict.fromkeys(("id", "path", "source_digest", *_AFTER), pl.String), "record": pl.Int32}
_LONGEST_LINE = 500


def build(context: AttemptContext) -> list[Output]:
    """Make the Dataset that `context.spec` asks for. Raises Refused `nothing_kept`, `bad_option`."""
    recipe = read_options(TableRecipe, context.spec.get("options") or {})
    name = context.spec["name"]
    folder = context.out / name
    folder.mkdir(parents=True, exist_ok=True)
    first = _First(context.work, recipe)
    papers = papers_of(context.inputs)
    for done, paper in enumerate(papers, 1):
        first.read(paper, context)
        context.progress(done, len(papers), "files")
    first.flush()
    second = _Second(first, recipe, folder)
    second.write()
    report = first.tally.report(STEPS) | {"columns": second.columns(), "candidate_keys": second.candidate_keys()}
    accounted = report["kept"] + sum(report["dropped"].values()) + sum(report["refused"].values())
    if report["in"] != accounted:
        raise Fault("documents_lost", f"{report['in']} rows came in, but {accounted} are accounted for.")
    if not report["kept"]:
        reasons = ", ".join(f"{reason} {count}" for reason, count in (report["dropped"] | report["refused"]).items())
        raise Refused(
            "nothing_kept",
            f"None of {report['in']} rows could be kept: {reasons}.",
            fix="Look at the log for each file.",
        )
    report["digest"] = second.digest()
    _log(context, report)
    write_json(folder / "report.json", report)
    described = croissant(
        name=name, digest=report["digest"], folder=folder, report=report, date=context.today,
        origins=origins_of(context.inputs), schema=second.schema,
    )  # fmt: skip
    write_json(folder / "croissant.json", described)
    summary = {key: report[key] for key in ("in", "kept", "dropped", "refused")}
    summary |= {"recipe": "table", "rows": report["kept"], "columns": [one["name"] for one in report["columns"]]}
    labels = tuple(sorted(first.tally.labels))
    return [
        Output(
            kind="dataset", name=name, digest=report["digest"], labels=labels, files=entries(folder), summary=summary
        )
    ]


@dataclass(slots=True)
class _Rows:
    """Rows on their way to disk."""

    facts: list[dict[str, Any]] = field(default_factory=list)
    cells: list[dict[str, str | None]] = field(default_factory=list)


class _First:
    """Pass 1: reads, finds rows without a key or with one that was there, learns the columns."""

    def __init__(self, work: Path, recipe: TableRecipe) -> None:
        work.mkdir(parents=True, exist_ok=True)
        self.tally = RowTally()
        self.rows = Spill(work / "rows.arrow")
        self.dropped = Spill(work / "dropped.arrow")
        self.known: dict[str, Column] = {}
        """Column as the files call it -> what is known of it, in the order of appearance."""
        self._recipe = recipe
        self._keys = names_of(recipe.key)
        self._seen: set[bytes] = set()
        self._waiting = _Rows()
        self._out: list[dict[str, Any]] = []

    def read(self, paper: Paper, context: AttemptContext) -> None:
        """Take the rows of one file; where it cannot be read on, it is one refusal behind the rows that came."""
        index = 0
        self.tally.files += 1
        try:
            for row in rows_of(paper.file, self._recipe.sheet, self._recipe.max_file_megabytes * 1_000_000):
                self._take(paper, index, row)
                index += 1
        except Refused as refused:
            if refused.code not in REASONS:
                raise
            self.tally.documents += 1
            self.tally.refused[refused.code] += 1
            context.log(f"refused {paper.path}: {refused.code}: {refused.message} {refused.fix}".rstrip())
            self._drop(paper, index, ("read", refused.code, refused.message), fix=refused.fix, fate="refused")

    def flush(self) -> None:
        """Put rows aside that came since the last time."""
        if self._waiting.facts:
            facts = pl.DataFrame(self._waiting.facts, schema=_FACTS)
            cells = pl.Series(
                "cells", [json.dumps(one, ensure_ascii=False) for one in self._waiting.cells], dtype=pl.String
            )
            self.rows.write(facts.with_columns(cells))
        if self._out:
            self.dropped.write(pl.DataFrame(self._out, schema=DROP_COLUMNS))
        self._waiting, self._out = _Rows(), []

    def drop(self, rows: list[dict[str, Any]]) -> None:
        """Write down rows that pass 2 leaves out."""
        for row in rows:
            self.tally.dropped[row["step"], row["reason"]] += 1
        self._out += rows
        self.flush()

    def _take(self, paper: Paper, index: int, row: Row) -> None:
        self.tally.documents += 1
        cells = {name: cleaned(value) for name, value in row.items()}
        for name in row:
            self.known.setdefault(name, Column(name=name))
        fault = self._fault(paper.label, cells)
        if fault:
            self.tally.dropped["key", fault[0]] += 1
            self._drop(paper, index, ("key", *fault), text=line_of(cells))
            return
        for name, value in cells.items():
            self.known[name].take(value, paper.label)
        self._waiting.facts.append(facts_of(paper, index))
        self._waiting.cells.append(cells)
        if len(self._waiting.facts) >= _BATCH_ROWS:
            self.flush()

    def _fault(self, label: str, cells: dict[str, str | None]) -> tuple[str, str] | None:
        """Why a row is left out, and in words. Rows of another label never stand in for each other."""
        without = [name for name in self._keys if cells.get(name) is None]
        if without:
            return "no_key", f"It has no value in {without[0]}."
        if not self._keys and self._recipe.duplicates == "keep":
            return None
        values = {name: cells[name] for name in self._keys} if self._keys else cells
        digest = hashlib.sha256(canonical_json([label, values])).digest()[:16]
        if digest in self._seen:
            key = ", ".join(f"{name} {value}" for name, value in values.items())
            return ("duplicate_key", f"The key {key} was there.") if self._keys else ("duplicate_row", "It was there.")
        self._seen.add(digest)
        return None

    def _drop(
        self,
        paper: Paper,
        index: int,
        why: tuple[str, str, str],
        *,
        text: str = "",
        fix: str = "",
        fate: str = "dropped",
    ) -> None:
        told = {name: value for name, value in facts_of(paper, index).items() if name in DROP_COLUMNS}
        told |= dict(zip(("step", "reason", "detail"), why, strict=True))
        self._out.append(told | {"text": text, "fix": fix, "fate": fate})
        if len(self._out) >= _BATCH_ROWS:
            self.flush()


class _Second:
    """Pass 2: makes values of texts, and writes."""

    def __init__(self, first: _First, recipe: TableRecipe, folder: Path) -> None:
        self._first, self._folder = first, folder
        self._asked, self._units = pairs_of("types", recipe.types), pairs_of("units", recipe.units)
        self._keys = names_of(recipe.key)
        for option, names in (("types", self._asked), ("units", self._units), ("key", self._keys)):
            for name in names:
                _check_column(option, name, first.known)
        for kind in self._asked.values():
            if kind not in PARSERS:
                raise Refused(
                    "bad_option", f"'{kind}' is no type of a column.", fix=f"Choose from: {', '.join(PARSERS)}."
                )
        self._types = {name: self._asked.get(name) or column.type() for name, column in first.known.items()}
        self._called = called(first.known)
        self._quality = {name: Quality() for name in first.known}
        self._hash = hashlib.sha256(
            _IDENTITY_HEAD + canonical_json([[self._called[n], t] for n, t in self._types.items()]) + b"\n"
        )
        self.schema = self._schema()

    def write(self) -> None:
        """`data/*.parquet`, `preview.jsonl`, `dropped/*.parquet`."""
        data, preview = Parts(self._folder / "data", self.schema), Preview(self._folder / "preview.jsonl")
        for frame in self._first.rows.read().frames():
            kept = list(self._valued(frame))
            self._first.tally.kept += len(kept)
            self._first.tally.labels.update(row["label"] for row in kept)
            preview.add([{name: _told(value) for name, value in row.items()} for row in kept[:100]])
            if kept:
                data.write(pl.DataFrame(pa.Table.from_pylist(kept, schema=self.schema)))
        data.close()
        preview.close()
        write_dropped(self._first.dropped.read().frames(), self._first.tally.labels, self._folder)

    def digest(self) -> str:
        """Identity of what was written."""
        return "sha256:" + self._hash.hexdigest()

    def columns(self) -> list[dict[str, Any]]:
        """For `report.json`: type, unit, nulls, extremes and what nearly was another type, by column."""
        found = []
        whole = join(parse_label(label) for label in self._first.tally.labels)
        for name, kind in self._types.items():
            told: dict[str, Any] = {"name": self._called[name], "type": kind, "key": name in self._keys}
            told |= {"unit": self._units[name]} if name in self._units else {}
            told |= self._quality[name].told(kind)
            almost = self._first.known[name].almost(whole) if name not in self._asked else None
            found.append(told | ({"almost": almost} if almost else {}))
        return found

    def candidate_keys(self) -> list[str]:
        """Columns that have a value in each row, and each another."""
        return [
            self._called[name]
            for name, one in self._quality.items()
            if one.values and not one.nulls and not one.more and len(one.counts) == one.values
        ]

    def _schema(self) -> pa.Schema:
        given = [
            pa.field(
                self._called[name], ARROW[kind], metadata={"unit": self._units[name]} if name in self._units else None
            )
            for name, kind in self._types.items()
        ]
        ours = {name: pa.field(name, pa.int32() if name == "record" else pa.string()) for name in (*_BEFORE, *_AFTER)}
        return pa.schema([*(ours[name] for name in _BEFORE), *given, *(ours[name] for name in _AFTER)])

    def _valued(self, frame: pl.DataFrame) -> Iterator[dict[str, Any]]:
        """Rows of a batch with typed values; those with a value that is none of its type are dropped."""
        wrong: list[dict[str, Any]] = []
        for facts in frame.iter_rows(named=True):
            cells: dict[str, str | None] = json.loads(facts.pop("cells"))
            try:
                values = {name: self._value(name, cells.get(name)) for name in self._types}
            except _MisfitError as misfit:
                left_out = {name: facts[name] for name in facts if name in DROP_COLUMNS}
                left_out |= {"step": "types", "reason": "bad_value", "detail": str(misfit), "text": line_of(cells)}
                wrong.append(left_out | {"fate": "dropped", "fix": ""})
                continue
            for name, value in values.items():
                self._quality[name].take((value,))
            self._hash.update(
                canonical_json([facts["id"], facts["label"], *(_told(one) for one in values.values())]) + b"\n"
            )
            yield facts | {"text": line_of(cells)} | {self._called[name]: value for name, value in values.items()}
        self._first.drop(wrong)

    def _value(self, name: str, text: str | None) -> Value:
        if text is None:
            return None
        try:
            return PARSERS[self._types[name]](text)
        except ValueError as error:
            raise _MisfitError(f"{name}: '{text[:80]}' is no {self._types[name]}.") from error


class _MisfitError(Exception):
    """A value is not of the type that was asked for."""


def names_of(text: str) -> list[str]:
    """`a, b` as names."""
    return [part.strip() for part in text.split(",") if part.strip()]


def pairs_of(option: str, text: str) -> dict[str, str]:
    """`fee=KHR, days=d` as names and words. Raises Refused `bad_option`."""
    found: dict[str, str] = {}
    for part in names_of(text):
        name, sign, word = (one.strip() for one in part.partition("="))
        if not (name and sign and word):
            raise Refused(
                "bad_option",
                f"'{part}' in option '{option}' is not COLUMN=WORD.",
                fix=f"Write it like {option}=fee=KHR,days=d",
            )
        found[name] = word
    return found


def called(names: Collection[str]) -> dict[str, str]:
    """Name in the files -> name in the Dataset, none of which is ours or another's in other capitals: SQL knows no difference.

    One that is taken, such as `id` or `Label`, gets a `_`, or as many as make it another.
    """
    taken = {*_BEFORE, *_AFTER}
    found: dict[str, str] = {}
    for name in names:
        if name.casefold() not in taken:
            found[name] = name
            taken.add(name.casefold())
    for name in names:
        free = name
        while name not in found and free.casefold() in taken:
            free += "_"
        taken.add(found.setdefault(name, free).casefold())
    return found


def line_of(cells: dict[str, str | None]) -> str:
    """A row as a line of text: `Fee: 5000; Days: 3`."""
    return "; ".join(f"{name}: {' '.join(value.split())}" for name, value in cells.items() if value is not None)


def _check_column(option: str, name: str, known: dict[str, Column]) -> None:
    if name not in known:
        some = ", ".join(list(known)[:20])
        raise Refused(
            "bad_option", f"Option '{option}' names a column '{name}' that no file has.", fix=f"Choose from: {some}."
        )


def _told(value: Value) -> bool | int | float | str | None:
    """A value as JSON has it."""
    return value if value is None or isinstance(value, bool | int | float | str) else value.isoformat()


def _log(context: AttemptContext, report: dict[str, Any]) -> None:
    for step in report["steps"]:
        gone = ", ".join(f"{reason} {count}" for reason, count in (step["dropped"] | step["refused"]).items())
        context.log(f"{step['step']}: {step['in']} in, {step['kept']} kept" + (f" ({gone})" if gone else ""))
    for one in report["columns"]:
        unit = f" in {one['unit']}" if "unit" in one else ""
        context.log(f"column {one['name']}: {one['type']}{unit}, {one['values']} values, {one['nulls']} without")
        if "almost" in one:
            almost = one["almost"]
            context.log(
                f"  all but {almost['misfits']} are {almost['type']}, for example not '{almost['example'][:80]}': mend them,"
                f" or drop them with --set types={one['name']}={almost['type']}"
            )
    for name in ("in", "kept"):
        context.metric(f"rows.{name}", report[name], step=0)
