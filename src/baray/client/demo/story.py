"""The demo's narration: one screen, in the language of the screen."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TextIO

from baray.client.output import Screen, clean
from baray.client.sdk.transport import Json

_ANSWER_CHARACTERS = 150


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """Tells what happens, act by act."""

    screen: Screen
    """Language and colours."""
    out: TextIO
    """Where it is told: stderr when stdout carries the document."""

    def line(self, text: str = "") -> None:
        """One line."""
        print(clean(text), file=self.out, flush=True)

    def act(self, number: int, title: str, about: str) -> None:
        """The heading of an act."""
        heading = self.screen.style(f"{number} {self.screen.tr(title)}", "bold", "cyan")
        self.line(f"{heading}  {self.screen.style(self.screen.tr(about), 'dim')}")

    def fact(self, text: str, /, **values: object) -> None:
        """A line within an act."""
        self.line("  " + self.screen.tr(text, **values))

    def documents(self, counts: Json) -> None:
        """What became of the Documents."""
        self.fact(
            "in {count} = kept {kept} + dropped {dropped} + refused {refused}; personal numbers taken out of {redacted}",
            count=counts["in"],
            kept=counts["kept"],
            dropped=sum(counts["dropped"].values()),
            refused=sum(counts["refused"].values()),
            redacted=counts["redacted"],
        )
        reasons = [*counts["dropped"].items(), *counts["refused"].items()]
        if reasons:
            self.line("    " + ", ".join(f"{reason} {number}" for reason, number in reasons))

    def routing(self, routing: Json) -> None:
        """The classifier's Score, plainly."""
        low, high = routing["interval"]
        verdict = "It beats keyword rules" if routing["beats_baseline"] else "It did not beat keyword rules"
        self.fact(
            "{model}: score {score:.3f} [{low:.3f}, {high:.3f}]",
            model=routing["model"],
            score=routing["score"],
            low=low,
            high=high,
        )
        self.line(f"  {self.screen.tr(verdict)} ({routing['baseline']:.3f}).")

    def question(self, row: Json, said: str) -> None:
        """A question and what was said to it."""
        style = self.screen.style
        colours = {"answered": "green", "hidden": "yellow", "expired": "yellow", "out-of-scope": "yellow"}
        who = self.screen.tr(row["as"])
        self.line(
            f"  {style(row['outcome'], colours.get(row['outcome'], 'red'))}  {style(row['asked'], 'bold')}  ({who})"
        )
        answer = " ".join(said.split())
        self.line("    " + (answer if len(answer) <= _ANSWER_CHARACTERS else answer[:_ANSWER_CHARACTERS] + "…"))
        for citation in row["citations"][:1]:
            start, end = citation["span"]
            self.line(style(f"    [{citation['document']} {start}-{end}]", "dim"))

    def times(self, seconds: Json) -> None:
        """Where the time went."""
        parts = ", ".join(
            f"{self.screen.tr(name)} {value:.1f}" for name, value in seconds.items() if name != "total" and value
        )
        self.fact("{total:.1f} s in all ({parts})", total=seconds["total"], parts=parts)

    def end(self, lines: Iterable[tuple[str, str]]) -> None:
        """What to do next."""
        self.line()
        for name, value in lines:
            self.line(f"{self.screen.style(self.screen.tr(name), 'bold')}: {value}")
