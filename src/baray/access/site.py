"""Site: what the rooms above need to act, wired once by the application."""

from __future__ import annotations

from dataclasses import dataclass

from baray.core import Clock, Ids
from baray.ledger import ArtifactSigner, Ledger
from baray.store import Blobs, Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One home's adapters."""

    store: Store
    """Rows."""
    blobs: Blobs
    """Bytes."""
    ledger: Ledger
    """History."""
    artifacts: ArtifactSigner
    """Signs what is said of Runs and Models."""
    clock: Clock
    """Time."""
    ids: Ids
    """Ids."""
