"""`baray dataset query` and `dataset diff`: SQL over Datasets, and what changed between two versions, by Document."""

from __future__ import annotations

from typing import Any

from baray.client.cli import Cli, Leaf, argument, option
from baray.client.output import table
from baray.client.sdk.transport import Json
from baray.core import Refused

_WIDEST = 80
_COMPARED = ("title", "label", "language", "valid_from", "valid_until", "office")
_SAME = " AND ".join(f"b.{name} IS NOT DISTINCT FROM a.{name}" for name in _COMPARED)
_DIFF = """
    WITH b AS (SELECT *, row_number() OVER (PARTITION BY path, record ORDER BY id) AS twin FROM "{before}"),
         a AS (SELECT *, row_number() OVER (PARTITION BY path, record ORDER BY id) AS twin FROM "{after}")
    SELECT CASE WHEN a.id IS NULL THEN 'removed' WHEN b.id IS NULL THEN 'added'
                WHEN a.text <> b.text THEN 'text' ELSE 'facts' END AS change,
           coalesce(a.path, b.path) AS path, coalesce(a.record, b.record) AS record,
           length(b.text) AS before_characters, length(a.text) AS after_characters
    FROM b FULL JOIN a USING (path, record, twin)
    WHERE a.id IS NULL OR b.id IS NULL OR a.text <> b.text OR NOT ({same})
    ORDER BY change, path, record
"""
"""Documents meet by path and record: what a folder calls the same paper. Rows above the asker's clearance are in neither."""


def ask(cli: Cli, sql: str, number: int) -> Json:
    """Rows that `sql` gives, at most `number`."""
    document: Json = cli.client.post("queries", {"sql": sql, "n": number})
    return document


def _query(cli: Cli, sql: str, number: int) -> None:
    found = ask(cli, sql, number)

    def lines() -> list[str]:
        shown = table(
            [column["name"] for column in found["columns"]], [[_cell(one) for one in row] for row in found["rows"]]
        )
        read = ", ".join(found["datasets"]) or cli.screen.tr("no Dataset")
        more = cli.screen.tr("There are more: ask with -n, or group.") if found["more"] else ""
        return [*shown, "", f"{len(found['rows'])}  <-  {read}  ({found['label']})", *([more] if more else [])]

    cli.screen.show(found, lines)


def _cell(value: object) -> str:
    text = "" if value is None else " ".join(str(value).split())
    return text if len(text) <= _WIDEST else text[: _WIDEST - 1] + "…"


def _diff(cli: Cli, before: str, after: str, number: int) -> None:
    pair = [cli.client.dataset(ref) for ref in (before, after)]
    counts = [_counts(document) for document in pair]
    changed = {key: [counts[0].get(key), counts[1].get(key)] for key in sorted({*counts[0], *counts[1]})}
    document = {
        "before": pair[0]["ref"],
        "after": pair[1]["ref"],
        "same": pair[0]["digest"] == pair[1]["digest"],
        "counts": changed,
    } | _documents(cli, pair, number)

    def lines() -> list[str]:
        if document["same"]:
            return [f"{document['before']} and {document['after']} are the same version of the same Documents."]
        rows = [(key, old, new, "" if old == new else "*") for key, (old, new) in changed.items()]
        documents = [(one["change"], one["path"], one["record"]) for one in document["documents"] or ()]
        more = [cli.screen.tr("There are more: ask with -n, or group.")] if document["more"] else []
        return table(("", pair[0]["ref"], pair[1]["ref"], "changed"), rows) + (
            ["", *table(("change", "path", "record"), documents), *more] if documents else []
        )

    cli.screen.show(document, lines)


def _documents(cli: Cli, pair: list[Json], number: int) -> Json:
    """Documents that were added, removed, or changed in text or facts; null where the recipe has other rows."""
    if pair[0]["digest"] == pair[1]["digest"]:
        return {"documents": [], "more": False}
    names = dict(zip(("before", "after"), (one["ref"].removeprefix("dataset:") for one in pair), strict=True))
    try:
        found = ask(cli, _DIFF.format(**names, same=_SAME), number)
    except Refused as error:
        if error.code not in ("bad_query", "unreadable"):
            raise
        return {"documents": None, "more": False}  # tables and tokens have no paths
    heads = [column["name"] for column in found["columns"]]
    return {"documents": [dict(zip(heads, row, strict=True)) for row in found["rows"]], "more": found["more"]}


def _counts(document: Json) -> dict[str, Any]:
    report = document.get("report") or {}
    counts = {key: report[key] for key in ("in", "kept", "redacted") if key in report}
    for group in ("dropped", "refused", "languages"):
        counts |= {f"{group} {reason}": number for reason, number in (report.get(group) or {}).items()}
    return counts | {"digest": document["digest"], "label": document.get("label")}


QUERY = Leaf(
    run=_query,
    params=(argument("sql"), option("-n", "number", default=100, help="How many rows at most; 10000 is the most.")),
    example='baray dataset query "SELECT language, count(*) FROM circulars GROUP BY ALL"',
)
DIFF = Leaf(
    run=_diff,
    params=(
        argument("before"),
        argument("after"),
        option("-n", "number", default=100, help="How many Documents at most."),
    ),
    example="baray dataset diff circulars@v1 circulars@v2",
)
