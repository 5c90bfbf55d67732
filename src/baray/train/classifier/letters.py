"""Reading labelled letters from an input, and splitting them.

Every row of the input is either a letter or counted under the reason why it is not: rows = letters + left out.
"""

from __future__ import annotations

import csv
import importlib
import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from baray.core import Refused, digest_bytes
from baray.runs import Input, InputFile
from baray.text import language, normalise
from baray.train.config import TextClassifier

MIN_LETTERS_PER_CLASS = 8
_LETTER_FILES = (".csv", ".jsonl")
_BESIDE_LETTERS = frozenset({"documents.csv"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """One labelled text."""

    id: str
    """Id of the row in its file."""
    text: str
    """Normalised text."""
    target: str
    """Name of its class."""
    language: str
    """`km`, `en` or `other`."""
    label: str
    """Label of the file or row it stands in."""
    digest: str
    """Digest of the normalised text: decides its part of the split."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Letters:
    """What was read."""

    letters: tuple[Letter, ...]
    """Sorted by digest, so that the order of files and rows changes nothing."""
    left_out: dict[str, int]
    """Reason -> number of rows that are no letters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Three parts without a text in common."""

    train: tuple[Letter, ...]
    validation: tuple[Letter, ...]
    test: tuple[Letter, ...]


def read_letters(source: Input, config: TextClassifier) -> Letters:
    """Read the letters of a Source (CSV, JSONL) or a Dataset (Parquet). Raises Refused on a missing column."""
    left_out: Counter[str] = Counter()
    by_digest: dict[str, Letter] = {}
    for row, label in _rows(source, config):
        letter = _letter(row, label, config)
        if letter is None:
            left_out["no text or no class"] += 1
        elif letter.digest in by_digest:
            same_class = by_digest[letter.digest].target == letter.target
            left_out["same text again" if same_class else "same text again, other class"] += 1
        else:
            by_digest[letter.digest] = letter
    letters = tuple(by_digest[digest] for digest in sorted(by_digest))
    _check_enough(letters, config)
    return Letters(letters=letters, left_out=dict(sorted(left_out.items())))


def split_letters(letters: Iterable[Letter], config: TextClassifier) -> Split:
    """Split each class by the order of its letters' digests: the same letters always give the same parts."""
    train: list[Letter] = []
    validation: list[Letter] = []
    test: list[Letter] = []
    for members in _by_class(letters).values():
        num_test = max(2, round(len(members) * config.test_percent / 100))
        num_validation = max(1, round(len(members) * config.validation_percent / 100))
        test += members[:num_test]
        validation += members[num_test : num_test + num_validation]
        train += members[num_test + num_validation :]
    return Split(train=tuple(train), validation=tuple(validation), test=tuple(test))


def _by_class(letters: Iterable[Letter]) -> dict[str, list[Letter]]:
    classes: dict[str, list[Letter]] = {}
    for letter in sorted(letters, key=lambda letter: (letter.target, letter.digest)):
        classes.setdefault(letter.target, []).append(letter)
    return classes


def _rows(source: Input, config: TextClassifier) -> Iterator[tuple[dict[str, Any], str]]:
    """Rows as dicts, each with its label."""
    if source.kind == "dataset":
        yield from _dataset_rows(source, config)
        return
    files = [file for file in source.files if file.path.endswith(_LETTER_FILES) and file.path not in _BESIDE_LETTERS]
    if not files:
        raise Refused(
            "no_letters",
            f"{source.ref} holds no CSV or JSONL file.",
            fix="Add a file letters.csv with the columns id,language,unit,text.",
        )
    for file in sorted(files, key=lambda file: file.path):
        for row in _csv_rows(file) if file.path.endswith(".csv") else jsonl_rows(file):
            _check_columns(row, file.path, config)
            yield row, file.label or source.label


def _csv_rows(file: InputFile) -> Iterator[dict[str, Any]]:
    reader = csv.DictReader(io.StringIO(_decode(file), newline=""))
    for number, row in enumerate(reader, start=1):
        yield {"id": str(number), **row}


def jsonl_rows(file: InputFile) -> Iterator[dict[str, Any]]:
    """Objects of a JSONL file, each with its line's number as `id` unless it has one. Raises Refused `bad_jsonl`, `not_utf8`."""
    for number, line in enumerate(_decode(file).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise Refused(
                "bad_jsonl", f"{file.path}, line {number}: {error}.", fix="Write one JSON object a line."
            ) from error
        if not isinstance(row, dict):
            raise Refused(
                "bad_jsonl", f"{file.path}, line {number} is not a JSON object.", fix="Write one JSON object a line."
            )
        yield {"id": str(number), **row}


def _dataset_rows(source: Input, config: TextClassifier) -> Iterator[tuple[dict[str, Any], str]]:
    # pyarrow is loaded only where a Dataset is read: a Source of letters needs none of it.
    parquet = importlib.import_module("pyarrow.parquet")
    for file in sorted(source.files, key=lambda file: file.path):
        if not (file.path.startswith("data/") and file.path.endswith(".parquet")):
            continue
        known = parquet.read_schema(str(file.blob)).names
        _check_columns(dict.fromkeys(known), source.ref, config)
        wanted = [name for name in (config.id, config.text, config.target, config.language, "label") if name in known]
        for row in parquet.read_table(str(file.blob), columns=wanted).to_pylist():
            yield row, row.get("label") or source.label


def _decode(file: InputFile) -> str:
    try:
        return str(file.blob.read_bytes(), "utf-8-sig")
    except UnicodeDecodeError as error:
        raise Refused(
            "not_utf8",
            f"{file.path} is not UTF-8 (byte {error.start}).",
            fix="Save the file as UTF-8 and add the Source again.",
        ) from error


def _check_columns(row: dict[str, Any], where: str, config: TextClassifier) -> None:
    for column in (config.text, config.target):
        if column not in row:
            raise Refused(
                "missing_column",
                f"{where} has no column '{column}'; it has {', '.join(sorted(str(name) for name in row))}.",
                fix="Name the columns: --set text=COLUMN --set target=COLUMN.",
            )


def _letter(row: dict[str, Any], label: str, config: TextClassifier) -> Letter | None:
    text = normalise(str(row[config.text] or "")).strip()
    target = str(row[config.target] or "").strip()
    if not text or not target:
        return None
    return Letter(
        id=str(row.get(config.id) or ""),
        text=text,
        target=target,
        language=str(row.get(config.language) or "") or language(text),
        label=label,
        digest=digest_bytes(text.encode()),
    )


def _check_enough(letters: tuple[Letter, ...], config: TextClassifier) -> None:
    counts = Counter(letter.target for letter in letters)
    if len(counts) < 2:
        raise Refused(
            "too_few_classes",
            f"The letters have {len(counts)} class in the column '{config.target}'; a classifier needs two or more.",
            fix="Add letters of another class, or name the column: --set target=COLUMN.",
        )
    for target, count in sorted(counts.items()):
        if count < MIN_LETTERS_PER_CLASS:
            raise Refused(
                "too_few_letters",
                f"The class '{target}' has {count} different letters; {MIN_LETTERS_PER_CLASS} are needed.",
                fix=f"Add letters of '{target}', or leave the class out.",
            )
