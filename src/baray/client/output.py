"""What the commands print: one JSON document or lines on stdout, prose and progress on stderr."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TextIO

from baray.client.problems import in_khmer
from baray.client.strings import translate
from baray.core import BarayError, Clock

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
_PLAIN_LINE_SECONDS = 5.0
_DRAW_SECONDS = 0.05
_BAR_CELLS = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Screen:
    """Where a command's words go."""

    out: TextIO
    """Results."""
    err: TextIO
    """Prose, progress, errors."""
    clock: Clock
    """Paces the progress lines."""
    language: str = "en"
    """`en` or `km`."""
    colour: bool = False
    """Whether stderr and stdout take colours (both are terminals)."""
    as_json: bool = False
    """Whether stdout carries one JSON document."""

    def tr(self, text: str, /, **values: object) -> str:
        """`text` in the screen's language, with `values` filled in."""
        return translate(self.language, text).format(**values) if values else translate(self.language, text)

    def say(self, text: str, /, **values: object) -> None:
        """One line of prose on stderr."""
        print(clean(self.tr(text, **values)), file=self.err, flush=True)

    def show(self, document: object, lines: Callable[[], Iterable[str]]) -> None:
        """The result: `document` as JSON, or the `lines` for people."""
        if self.as_json:
            print(json.dumps(document, ensure_ascii=False, indent=2), file=self.out, flush=True)
            return
        for line in lines():
            print(clean(line), file=self.out, flush=True)

    def style(self, text: str, *names: str) -> str:
        """`text` in colours where they are taken. The text itself is cleaned first."""
        if not self.colour:
            return text
        return f"\x1b[{';'.join(_STYLES[name] for name in names)}m{clean(text)}\x1b[0m"

    def error(self, error: BarayError) -> None:
        """What happened, then how to mend it, on stderr; with --json also a document on stdout."""
        heading = self.tr(f"error.{error.code}")
        heading = self.tr("Error") if heading.startswith("error.") else heading
        khmer = in_khmer(error) if self.language == "km" else None
        says, fix = khmer or (error.message, error.fix)
        print(f"{self.style(heading, 'bold', 'red')}: {clean(says)} [{error.code}]", file=self.err)
        if fix:
            print(f"  {self.tr('To mend it')}: {clean(fix)}", file=self.err, flush=True)
        if khmer:  # the translation is general where the message is not: its exact words stay in sight
            print(f"  {self.style(clean(str(error)), 'dim')}", file=self.err, flush=True)
        if self.as_json:
            document = {"error": {"code": error.code, "detail": error.message, "fix": error.fix}}
            print(json.dumps(document, ensure_ascii=False, indent=2), file=self.out, flush=True)

    def progress(self, label: str) -> Progress:
        """A progress line for long work; use as a context manager."""
        return Progress(screen=self, label=label)


class Progress:
    """A bar on a terminal; in a pipe a plain line now and then."""

    def __init__(self, *, screen: Screen, label: str) -> None:
        """Name the work with `label`."""
        self._screen = screen
        self._label = label
        self._tty = screen.colour
        self._last_line = ""
        self._last_seconds = screen.clock.monotonic()

    def __enter__(self) -> Self:
        """Begin; nothing is printed until there is something to say."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the bar away: the command says itself what came of it."""
        if self._tty and self._last_line:
            print("\r\x1b[K", end="", file=self._screen.err, flush=True)

    def update(self, done: float, total: float | None, unit: str = "") -> None:
        """Tell how far it is."""
        share = f"{min(1.0, done / total):4.0%}" if total else ""
        counts = f"{done:,.0f}/{total:,.0f} {unit}" if total else f"{done:,.0f} {unit}"
        if not self._tty:
            self._plain(f"{self._label}: {share} {counts}".replace("  ", " ").strip())
            return
        full = round(_BAR_CELLS * min(1.0, done / total)) if total else 0
        bar = "█" * full + "░" * (_BAR_CELLS - full) if total else ""
        self._draw(f"{self._label} {bar} {share} {counts}")

    def note(self, text: str) -> None:
        """Tell a state that has no numbers."""
        if self._tty:
            self._draw(f"{self._label} {text}")
        else:
            self._plain(f"{self._label}: {text}")

    def above(self, text: str) -> None:
        """Print lines that stay; the bar stands below them again with its next news."""
        if self._tty and self._last_line:
            print("\r\x1b[K", end="", file=self._screen.err)
            self._last_line = ""
        print(clean(text), end="" if text.endswith("\n") else "\n", file=self._screen.err, flush=True)

    def _draw(self, line: str) -> None:
        now = self._screen.clock.monotonic()
        if line != self._last_line and (not self._last_line or now - self._last_seconds >= _DRAW_SECONDS):
            print(f"\r\x1b[K{clean(line)}", end="", file=self._screen.err, flush=True)
            self._last_line, self._last_seconds = line, now

    def _plain(self, line: str) -> None:
        now = self._screen.clock.monotonic()
        if line != self._last_line and now - self._last_seconds >= _PLAIN_LINE_SECONDS:
            print(clean(line), file=self._screen.err, flush=True)
            self._last_line, self._last_seconds = line, now


def clean(text: str) -> str:
    """`text` without control characters other than our own colours: a Document must not steer the terminal."""
    kept = re.split(r"(\x1b\[[0-9;]*m)", text)
    return "".join(part if index % 2 else _CONTROL.sub("", part) for index, part in enumerate(kept))


def width(text: str) -> int:
    """Cells that `text` takes on a terminal: Khmer vowels and signs above or below take none."""
    cells = 0
    for character in re.sub(r"\x1b\[[0-9;]*m", "", text):
        if unicodedata.category(character) in {"Mn", "Me", "Cf"}:
            continue
        cells += 2 if unicodedata.east_asian_width(character) in {"W", "F"} else 1
    return cells


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Aligned columns with a line of headings; only that line when there are no rows."""
    cells = [list(heads)] + [["" if value is None else str(value) for value in row] for row in rows]
    widths = [max(width(row[column]) for row in cells) for column in range(len(heads))]
    return [
        "  ".join(cell + " " * (widths[column] - width(cell)) for column, cell in enumerate(row)).rstrip()
        for row in cells
    ]


def fields(pairs: Iterable[tuple[str, object]]) -> list[str]:
    """`name   value` lines; empty values are left out."""
    kept = [(name, _words(value)) for name, value in pairs if value not in (None, "", [], (), {})]
    widest = max((width(name) for name, _ in kept), default=0)
    return [f"{name}{' ' * (widest - width(name))}  {value}" for name, value in kept]


def _words(value: object) -> str:
    return ", ".join(str(one) for one in value) if isinstance(value, list | tuple) else str(value)
