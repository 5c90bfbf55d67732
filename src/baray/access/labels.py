"""Labels: how sensitive something is, and where it may flow.

The lattice: level (0 to 3) x categories x releasable-to. Join is (max, union, intersection), after Denning,
"A lattice model of secure information flow", 1976.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from baray.core import Refused

LEVELS = ("public", "internal", "restricted", "secret")
"""Names of levels 0 to 3."""
_PART = re.compile(r"[a-z0-9][a-z0-9-]{0,62}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """What a thing's readers must be cleared for."""

    level: int = 0
    """0 (public) to 3 (secret)."""
    categories: frozenset[str] = frozenset()
    """Every one of these must be in a reader's clearance."""
    releasable_to: frozenset[str] | None = None
    """Names of projects it may be shared with; None means all, the empty set none."""

    def __str__(self) -> str:
        """Canonical text: `LEVEL[:CATEGORY,...][@PROJECT,...]`, parts sorted."""
        text = LEVELS[self.level]
        if self.categories:
            text += ":" + ",".join(sorted(self.categories))
        if self.releasable_to is not None:
            text += "@" + ",".join(sorted(self.releasable_to))
        return text


PUBLIC = Label()
INTERNAL = Label(level=1)
TOP = Label(level=3)


def parse_label(text: str) -> Label:
    """Read a label's text. Raises Refused `bad_label`."""
    head, at, releasable = text.strip().partition("@")
    level, colon, categories = head.partition(":")
    if level not in LEVELS or (colon and not categories):
        raise _bad(text)
    return Label(
        level=LEVELS.index(level),
        categories=frozenset(_parts(text, categories)),
        releasable_to=frozenset(_parts(text, releasable)) if at else None,
    )


def join(labels: Iterable[Label]) -> Label:
    """The least label that all of `labels` flow to; PUBLIC of nothing."""
    level, categories, releasable = 0, frozenset[str](), None
    for label in labels:
        level = max(level, label.level)
        categories |= label.categories
        if label.releasable_to is not None:
            releasable = label.releasable_to if releasable is None else releasable & label.releasable_to
    return Label(level=level, categories=categories, releasable_to=releasable)


def flows(source: Label, target: Label) -> bool:
    """Whether something labelled `source` may go where `target` is held: the one test at every gate."""
    return (
        source.level <= target.level
        and source.categories <= target.categories
        and (
            source.releasable_to is None
            or (target.releasable_to is not None and target.releasable_to <= source.releasable_to)
        )
    )


def cleared(label: Label, clearance: Label, projects: Iterable[str]) -> bool:
    """Whether a reader with `clearance`, acting in `projects` (names), may read something labelled `label`.

    A clearance names levels and categories; releasable-to is met by one of the reader's projects.
    """
    released = label.releasable_to is None or not label.releasable_to.isdisjoint(projects)
    return label.level <= clearance.level and label.categories <= clearance.categories and released


def _parts(text: str, part: str) -> list[str]:
    names = [name.strip() for name in part.split(",")] if part else []
    if not all(_PART.match(name) for name in names):
        raise _bad(text)
    return names


def _bad(text: str) -> Refused:
    return Refused(
        "bad_label",
        f"'{text}' is not a label.",
        fix=f"Write LEVEL[:CATEGORY,...][@PROJECT,...] with LEVEL one of {', '.join(LEVELS)}.",
    )
