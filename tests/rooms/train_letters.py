"""Made-up letters, and an attempt's context, for the tests of training."""

from __future__ import annotations

import csv
import io
import random
from pathlib import Path
from typing import Any

from baray.core import digest_bytes
from baray.runs import AttemptContext, Input, InputFile

SUBJECTS = {
    "land": ("land title", "plot boundary", "hard title", "ប្លង់ដី", "ព្រំដី"),
    "water": ("water pipe", "broken meter", "leaking tap", "ទុយោទឹក", "កុងទ័រទឹក"),
    "civil": ("birth certificate", "family book", "marriage paper", "សំបុត្រកំណើត", "សៀវភៅគ្រួសារ"),
}
FILLERS = ("Thank you for your help", "I come from the village", "សូមជួយខ្ញុំផង", "Please write back", "ខ្ញុំរង់ចាំចម្លើយ")


def make_rows(number: int = 120, seed: int = 7) -> list[dict[str, str]]:
    """Letters of three classes that keywords tell apart."""
    chance = random.Random(seed)
    rows = []
    for index in range(number):
        unit = sorted(SUBJECTS)[index % 3]
        subject, filler = chance.choice(SUBJECTS[unit]), chance.choice(FILLERS)
        text = f"{filler}. {subject} {chance.randrange(10_000)}. {chance.choice(FILLERS)}."
        rows.append({"id": f"l{index}", "language": "", "unit": unit, "text": text})
    return rows


def to_csv(rows: list[dict[str, str]]) -> bytes:
    """The rows as a CSV file."""
    out = io.StringIO()
    writer = csv.DictWriter(out, fieldnames=list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


def make_input(folder: Path, files: dict[str, bytes], *, kind: str = "source", label: str = "public") -> Input:
    """A mounted version with these files."""
    mounted = []
    for name, data in files.items():
        blob = folder / digest_bytes(data)[7:20]
        blob.write_bytes(data)
        mounted.append(InputFile(path=name, digest=digest_bytes(data), bytes=len(data), blob=blob, label=label))
    digest = digest_bytes(b"".join(sorted(files.values())))
    return Input(name="letters", ref=f"{kind}:letters@v1", kind=kind, digest=digest, label=label, files=tuple(mounted))


def make_context(out: Path, source: Input, options: dict[str, Any] | None = None) -> AttemptContext:
    """An attempt that trains `router` from `source`."""
    out.mkdir(parents=True, exist_ok=True)
    return AttemptContext(
        run_id="r_test",
        spec={"recipe": "text-classifier", "options": options or {}, "name": "router"},
        inputs={"letters": source},
        out=out,
        work=out,
        run_dir=out,
        cpus=1,
        memory_bytes=1 << 30,
        print_line=lambda text: None,
        now=lambda: 1_790_000_000.0,
    )
