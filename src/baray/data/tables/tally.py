"""Counts of rows, and where a row came from: what recipes share whose rows are no texts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from baray.data.documents import Paper, document_id


@dataclass(slots=True, kw_only=True)
class RowTally:
    """Counts that become `report.json`. In = kept + dropped + refused; an unreadable file is one refused row."""

    files: int = 0
    documents: int = 0
    kept: int = 0
    dropped: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(step, reason) -> rows."""
    refused: Counter[str] = field(default_factory=Counter)
    labels: set[str] = field(default_factory=set)
    """Labels of kept rows."""

    def report(self, steps_in_order: tuple[str, ...]) -> dict[str, Any]:
        """Content of `report.json`."""
        steps: list[dict[str, Any]] = []
        left = self.documents
        for step in steps_in_order:
            reasons = {reason: count for (at, reason), count in sorted(self.dropped.items()) if at == step}
            refused = dict(sorted(self.refused.items())) if step == "read" else {}
            kept = left - sum(reasons.values()) - sum(refused.values())
            steps.append({"step": step, "in": left, "kept": kept, "dropped": reasons, "refused": refused})
            left = kept
        dropped = {reason: count for one in steps for reason, count in one["dropped"].items()}
        return {
            "in": self.documents,
            "kept": self.kept,
            "dropped": dict(sorted(dropped.items())),
            "refused": dict(sorted(self.refused.items())),
            "redacted": 0,
            "steps": steps,
            "languages": {},
            "sizes": {"files": self.files, "rows": self.kept},
        }


def facts_of(paper: Paper, index: int) -> dict[str, Any]:
    """Id, place and label of a row."""
    return {
        "id": document_id(paper, index),
        "path": paper.path,
        "source_digest": paper.digest,
        "record": index,
        "label": paper.label,
        "valid_from": paper.valid_from,
        "valid_until": paper.valid_until,
        "office": paper.office,
    }
