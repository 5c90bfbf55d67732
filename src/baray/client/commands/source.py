"""`baray source add`, and the upload that other commands share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from baray.client.cli import Cli, Leaf, argument, option
from baray.client.commands.watching import making
from baray.client.output import Progress
from baray.client.sdk.transport import Json
from baray.client.sdk.upload import Gathered, gather
from baray.core import format_bytes

_SKIPPED_SHOWN = 10
_SMALL_BYTES = 100_000


def add_source(
    cli: Cli, name: str, paths: Sequence[str], *, label: str = "", licence: str = "", title: str = ""
) -> tuple[Json, Gathered]:
    """Digest, send what is missing, register; says what was left out."""
    gathered = gather_files(cli, paths)
    return send_source(cli, name, gathered, label=label, licence=licence, title=title), gathered


def gather_files(cli: Cli, paths: Sequence[str]) -> Gathered:
    """Digest files and folders; says what was left out."""
    screen = cli.screen
    with screen.progress(screen.tr("Reading files")) as reading:
        gathered = gather([Path(path) for path in paths], progress=lambda done: reading.update(done, None, "files"))
    for skipped in gathered.skipped[:_SKIPPED_SHOWN]:
        screen.say("Left out: {path} ({reason})", path=skipped.path, reason=screen.tr(skipped.reason))
    if len(gathered.skipped) > _SKIPPED_SHOWN:
        screen.say("... and {number} more left out", number=len(gathered.skipped) - _SKIPPED_SHOWN)
    return gathered


def send_source(cli: Cli, name: str, gathered: Gathered, *, label: str, licence: str, title: str) -> Json:
    """Send what the server lacks, and register it."""
    screen = cli.screen
    with making(cli, "source", name, label=label), screen.progress(screen.tr("Sending")) as sending:
        return cli.client.add_source(
            name,
            gathered,
            title=title,
            label=label,
            licence=licence,
            progress=lambda done, total: _sent(sending, done, total),
        )


def _sent(progress: Progress, done: int, total: int) -> None:
    in_bytes = total < _SMALL_BYTES
    if total:
        progress.update(
            done if in_bytes else done / 1000, total if in_bytes else total / 1000, "B" if in_bytes else "kB"
        )


def told(cli: Cli, version: Json, gathered: Gathered, *, label: str = "") -> str:
    """One line about a Source version; where it is labelled otherwise than `label`, which was asked for, why."""
    if version.get("reused"):
        return cli.screen.tr("Nothing changed: reusing {refs}.", refs=version["ref"])
    size = format_bytes(sum(file.bytes for file in gathered.files))
    text = "{ref}: {number} files, {size}, label {label}."
    line = cli.screen.tr(text, ref=version["ref"], number=len(gathered.files), size=size, label=version["label"])
    if label in ("", version["label"]):
        return line
    counts = Counter(file["label"] for file in cli.client.thing(version["ref"])["files"])
    files = ", ".join(f"{name} {number}" for name, number in sorted(counts.items()))
    return f"{line} {cli.screen.tr('That is the highest label of its files: {files}.', files=files)}"


def _add(cli: Cli, name: str, paths: tuple[str, ...], **more: str | None) -> None:
    version, gathered = add_source(cli, name, paths, **{key: value or "" for key, value in more.items()})
    skipped = [{"path": skipped.path, "reason": skipped.reason} for skipped in gathered.skipped]
    cli.screen.show(
        {**version, "skipped": skipped}, lambda: [told(cli, version, gathered, label=more.get("label") or "")]
    )


ADD = Leaf(
    run=_add,
    params=(
        argument("name"),
        argument("paths", nargs=-1, required=True, metavar="PATH..."),
        option(
            "--label", metavar="LABEL", help="Who may see it: public, internal, restricted or secret (else internal)."
        ),
        option("--licence", metavar="SPDX", help="Licence of the files, such as CC-BY-4.0."),
        option("--title", help="Title in any script."),
    ),
    example="baray source add circulars ./circulars --label public",
)
