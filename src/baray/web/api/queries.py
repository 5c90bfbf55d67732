"""Route of SQL questions over Dataset versions."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import Field

from baray.access import join, parse_label
from baray.catalog import VersionRow, version_files
from baray.store import Tx
from baray.web.api.shapes import Body
from baray.web.api.sources import find_version
from baray.web.boundary import Caller, caller, house_of, site_of

router = APIRouter(tags=["datasets"])
Who = Annotated[Caller, Depends(caller)]
_DROPPED = "/dropped"
_MOST_CHARACTERS = 100_000
_MOST_ROWS = 10_000


class QueryBody(Body):
    """One SQL statement that reads; a table is `NAME`, `"NAME@v2"`, or `"NAME/dropped"` for what was left out."""

    sql: str = Field(min_length=1, max_length=_MOST_CHARACTERS)
    n: int = Field(default=1000, ge=1, le=_MOST_ROWS)


@router.post("/queries")
def post_query(request: Request, who: Who, body: QueryBody) -> dict[str, Any]:
    """Rows that a SELECT over Datasets gives, of the rows that the caller is cleared for; state stays as it is.

    The answer's label is the join of the Datasets it was read from.
    """
    queries = house_of(request).queries
    found = {name: _table(request, who, name) for name in queries.tables(body.sql)}
    asker = {"clearance": str(who.actor.clearance), "projects": sorted(who.actor.projects)}
    tables = {name: table for name, (_, table) in found.items()}
    answer = queries.ask({"op": "query", "sql": body.sql, "tables": tables, "n": body.n} | asker)
    versions = [version for version, _ in found.values()]
    label = str(join(parse_label(version.label) for version in versions)) if versions else "public"
    return answer | {"datasets": sorted({version.ref for version in versions}), "label": label}


def _table(request: Request, who: Caller, name: str) -> tuple[VersionRow, dict[str, Any]]:
    """The version that a table's name means, and where its rows lie."""
    folder = "dropped/" if name.endswith(_DROPPED) else "data/"
    site = site_of(request)

    def read(tx: Tx) -> tuple[VersionRow, dict[str, Any]]:
        version = find_version(tx, request, who, "dataset", name.removesuffix(_DROPPED))
        files = version_files(tx, site, version)
        rows = [file.digest for file in files if file.path.startswith(folder) and file.path.endswith(".parquet")]
        lowered = version.label if version.ceiling is not None else ""
        return version, {"paths": [str(site.blobs.path(digest)) for digest in rows], "lowered": lowered}

    return site.store.read(read)
