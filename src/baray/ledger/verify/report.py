"""What a check says: findings that name the damaged thing, and how much was looked at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

MAX_SHOWN = 200
"""Findings that are listed; the rest is counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One damaged thing."""

    where: str
    """The thing's name, for example `entry 17` or `manifest of dataset:letters@v1`."""
    what: str
    """What is wrong with it."""

    def __str__(self) -> str:
        """One line."""
        return f"{self.where}: {self.what}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The outcome of a check."""

    ok: bool
    """No findings."""
    entries: int
    """Entries that are covered by the newest head."""
    findings: tuple[Finding, ...]
    """What is damaged, in the order of looking."""
    witnessed: bool
    """Whether an outsider cosigned a head of exactly this history. Without one a rollback cannot be seen."""
    checked: dict[str, Any]
    """How much was looked at, by kind."""
    not_checked: tuple[str, ...] = ()
    """What was found in the home and no entry binds, or what can no longer be compared."""
    proves: dict[str, Any] = field(default_factory=dict)
    """Of a proof bundle, what it proves."""

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        findings = [{"where": finding.where, "what": finding.what} for finding in self.findings]
        shown = {"ok": self.ok, "entries": self.entries, "witnessed": self.witnessed, "checked": self.checked}
        proves = {"proves": self.proves} if self.proves else {}
        return shown | {"findings": findings, "not_checked": list(self.not_checked)} | proves

    def lines(self) -> list[str]:
        """For people: what is damaged, what was checked or proved, and what was not."""
        found = [f"DAMAGED  {finding}" for finding in self.findings]
        looked = ", ".join(f"{count} {kind}" for kind, count in self.checked.items() if isinstance(count, int))
        verdict = "Verified" if self.ok else f"{len(self.findings)} damaged things found"
        if self.proves:
            looked = "It proves:"
        found.append(f"{verdict}: {self.entries} entries. {looked}".rstrip())
        found += [f"  {name}: {value}" for name, value in _flat(self.proves)]
        if self.not_checked:
            found.append(f"Not covered: {'; '.join(self.not_checked)}.")
        if not self.witnessed:
            found.append("No outside witness has cosigned: a rollback of the whole home could not be seen.")
        return found


@dataclass(slots=True, kw_only=True)
class Notebook:
    """Findings and counts while a check is running."""

    findings: list[Finding] = field(default_factory=list)
    more: int = 0
    checked: dict[str, Any] = field(default_factory=dict)
    not_checked: tuple[str, ...] = ()
    proves: dict[str, Any] = field(default_factory=dict)

    def add(self, where: str, what: str) -> None:
        """Note a damaged thing, once."""
        finding = Finding(where=where, what=what)
        if len(self.findings) >= MAX_SHOWN:
            self.more += 1
        elif finding not in self.findings:
            self.findings.append(finding)

    def leave(self, what: str) -> None:
        """Note something that is not checked, once."""
        if what not in self.not_checked:
            self.not_checked += (what,)

    def count(self, kind: str, number: int = 1) -> None:
        """Note that `number` things of a kind were looked at."""
        self.checked[kind] = self.checked.get(kind, 0) + number

    def report(self, *, entries: int, witnessed: bool) -> Report:
        """Close the notebook."""
        if self.more:
            self.findings.append(Finding(where="more", what=f"{self.more} further findings are not listed."))
        return Report(
            ok=not self.findings,
            entries=entries,
            findings=tuple(self.findings),
            witnessed=witnessed,
            checked=self.checked,
            not_checked=self.not_checked,
            proves=self.proves,
        )


def _flat(proved: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Names and values of what is proved, one line each."""
    for name, value in proved.items():
        if isinstance(value, dict):
            yield from ((f"{name} {inner}", str(text)) for inner, text in value.items())
        else:
            yield name, str(value)
