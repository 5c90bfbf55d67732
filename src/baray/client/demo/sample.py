"""What the demo works on: the sample of a fictional one-window office, whole or small, or a folder of the caller's own."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from tempfile import TemporaryDirectory

from baray.core import Refused

DOCUMENTS_CSV = "documents.csv"
OUT_OF_SCOPE = "How much does a flight ticket to Japan cost?"
TINY_LETTERS = 120
SAMPLE_TITLE = "ការិយាល័យច្រកចេញចូលតែមួយ (គំរូ) · One-window office (sample)"
# One file of every format and of every trouble that is planted in the sample, and the answers to its questions.
TINY_DOCUMENTS = (
    "agriculture/animal-vaccination.txt",
    "announcements/circular-07-counter-conduct.md",
    "announcements/circular-07-reissued.md",
    "announcements/empty-notice.txt",
    "announcements/lorry-notice.md",
    "announcements/ម៉ោងធ្វើការ.txt",
    "business/signboard-tax-2019.docx",
    "business/trade-fees.xlsx",
    "civil-registry/birth-certificate.docx",
    "civil-registry/civil-fees.csv",
    "civil-registry/family-book.html",
    "civil-registry/residence-certificate.txt",
    "internal/safe-and-cash.docx",
    "land/first-land-registration.pdf",
    "land/parcel-map-request.docx",
    "transport/forms-archive.zip",
    "transport/goods-transport-permit.md",
    "utilities/utilities-faq.jsonl",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A question of the demo."""

    question: str
    """Khmer or English."""
    expect: str
    """`answered`, `expired`, `out-of-scope` or `hidden`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What one demo runs on."""

    name: str
    """Name of the Source, Dataset, Index and desk."""
    title: str = ""
    """Title of the Source."""
    own: bool = False
    """Whether it is a folder of the caller's own."""
    documents: Path
    """The folder."""
    public: bool
    """Whether the Source may be public: every file in the folder has a label of its own in documents.csv."""
    letters: Path | None
    """CSV of letters to route; None with a folder of the caller's own."""
    questions: tuple[Asked, ...] | None
    """None: they are made from the Documents."""


@contextmanager
def material(size: str, own: Path | None) -> Iterator[Material]:
    """The material of a demo; what is made for it lies in a temporary folder."""
    with TemporaryDirectory(prefix="baray-demo-") as folder:
        if own is not None:
            yield _own(own)
            return
        with resources.as_file(resources.files("baray") / "samples" / "one-window") as top:
            yield _tiny(top, Path(folder)) if size == "tiny" else _whole(top)


def _own(folder: Path) -> Material:
    if not folder.is_dir():
        raise Refused("no_such_folder", f"There is no folder {folder}.", fix="Give --source a folder with documents.")
    name = re.sub(r"[^a-z0-9]+", "-", folder.resolve().name.lower()).strip("-")[:50] or "own-folder"
    return Material(name=name, documents=folder, own=True, public=_all_labelled(folder), letters=None, questions=None)


def _all_labelled(folder: Path) -> bool:
    """Whether documents.csv gives every file a label; else nothing below the default label is claimed for any."""
    try:
        text = (folder / DOCUMENTS_CSV).read_text(encoding="utf-8-sig")
    except (FileNotFoundError, UnicodeDecodeError):
        return False
    labelled = {row.get("path") for row in csv.DictReader(io.StringIO(text)) if (row.get("label") or "").strip()}
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return files - {DOCUMENTS_CSV} <= labelled


def _whole(top: Path) -> Material:
    return Material(
        name="one-window",
        title=SAMPLE_TITLE,
        documents=top / "documents",
        public=True,
        letters=top / "letters.csv",
        questions=_questions(top / "questions.jsonl"),
    )


def _tiny(top: Path, folder: Path) -> Material:
    documents = folder / "documents"
    for name in TINY_DOCUMENTS:
        target = documents / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(top / "documents" / name, target)
    rows = (top / "documents" / DOCUMENTS_CSV).read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [row for number, row in enumerate(rows) if number == 0 or row.partition(",")[0] in TINY_DOCUMENTS]
    (documents / DOCUMENTS_CSV).write_text("".join(kept), encoding="utf-8")
    letters = folder / "letters.csv"
    letters.write_text(_some_letters(top / "letters.csv"), encoding="utf-8")
    return Material(
        name="one-window",
        title=SAMPLE_TITLE,
        documents=documents,
        public=True,
        letters=letters,
        questions=_questions(top / "questions.jsonl"),
    )


def _some_letters(path: Path) -> str:
    """The first letters of every unit and language, as many of each, TINY_LETTERS in all or a little fewer."""
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        names = list(reader.fieldnames or ())
        groups: dict[tuple[str, str], list[dict[str, str]]] = defaultdict(list)
        for row in reader:
            groups[row["unit"], row["language"]].append(row)
    each = max(1, TINY_LETTERS // len(groups))
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(row for group in sorted(groups) for row in groups[group][:each])
    return out.getvalue()


def _questions(path: Path) -> tuple[Asked, ...]:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return tuple(Asked(question=row["question"], expect=row["expect"]) for row in rows)
