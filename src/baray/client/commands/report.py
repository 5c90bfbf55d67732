"""`baray report ...`: sheets for the people who answer for a home."""

from __future__ import annotations

import json
from pathlib import Path

from baray.client.cli import Cli, Leaf, option
from baray.core import Refused

_FORMATS = {".json": "json", ".txt": "text", ".html": "html", ".htm": "html"}


def _sovereignty(cli: Cli, out: str | None, days: int, language: str) -> None:
    asked = {"days": days, "lang": language or cli.screen.language}
    if out is None:
        if cli.screen.as_json:
            cli.screen.show(cli.client.get("reports/sovereignty", **asked), list)
            return
        text = cli.client.get_bytes("reports/sovereignty", format="text", **asked).decode()
        cli.screen.show({}, text.splitlines)
        return
    form = _FORMATS.get(Path(out).suffix.lower())
    if form is None:
        raise Refused(
            "bad_file", f"What {out} should be is not clear from its name.", fix="End it .html, .txt or .json."
        )
    data = cli.client.get_bytes("reports/sovereignty", format=form, **asked)
    if form == "json":
        data = json.dumps(json.loads(data), ensure_ascii=False, indent=2).encode() + b"\n"
    Path(out).write_bytes(data)
    cli.screen.show({"file": out, "bytes": len(data)}, lambda: [f"Wrote {out} ({len(data)} bytes)."])


def _reviewed(cli: Cli, upto: int) -> None:
    document = cli.client.post("reports/exports/reviewed", {"upto": upto})
    cli.screen.show(document, lambda: [f"Exports up to entry {document['upto']} were looked at by {document['by']}."])


SOVEREIGNTY = Leaf(
    run=_sovereignty,
    params=(
        option("--out", metavar="FILE", help="Write it there: .html to print, .txt or .json."),
        option("--days", default=30, help="How far back acts are counted; 0 means since the home was made."),
        option("--lang", "language", default="", metavar="km|en", help="Language of the page; default BARAY_LANG."),
    ),
    example="baray report sovereignty --lang km --out report.html",
)
REVIEWED = Leaf(
    run=_reviewed,
    params=(option("--upto", type=int, required=True, metavar="ENTRY", help="The last export that was looked at."),),
    example="baray report reviewed --upto 120",
)
