"""What the web needs from the application, wired once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import BoundedSemaphore
from typing import Any

from baray import runs
from baray.access import Site
from baray.signin import Reception
from baray.web.reader import QueryChildren, ReaderChild
from baray.web.uploads import Uploads


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """The wiring of the control process."""

    site: Site
    """Adapters of the home."""
    home: Path
    """The home's directory."""
    reader: ReaderChild
    """The child that reads Parquet, so that this process never loads it."""
    queries: QueryChildren
    """Children that answer SQL over Datasets."""
    hosts: frozenset[str]
    """Host names under which the server may be asked."""
    reception: Reception
    """Where people sign in."""
    public_url: str
    """Address of the console as people reach it, without a slash at the end; empty: the one that was asked."""
    default_project: str
    """Project of a request that names none."""
    router_url: Callable[[], str]
    """Base address of the router, empty while it starts."""
    control_key: str
    """Shared with the router through the snapshot: lets control ask on behalf of an actor."""
    uploads: Uploads
    """Who sent which blob."""
    push: Callable[[], None]
    """Writes the router's snapshot anew; called after a commit that changes it."""
    recipes: dict[str, dict[str, Any]]
    """Recipe name -> `{kind, handler, title, options}`."""
    status: Callable[[], dict[str, Any]]
    """State of the process tree."""
    ingest: Callable[[], int]
    """Takes the receipts that wait in the spool; returns how many."""
    waiters: BoundedSemaphore
    """How many requests may wait at once for an Answer to come in."""
    bell: runs.Bell
    """Rung when there is work for a worker."""
    pace: runs.Pace
    """How often Runs report."""
    touch: Callable[[], None]
    """Called with every request, for leaving when idle."""
