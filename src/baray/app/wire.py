"""Choose the adapters of a home."""

from __future__ import annotations

from baray.access import Site
from baray.app.layout import Layout
from baray.core import Clock, Ids, SystemClock
from baray.ledger import FileArtifactSigner, FileSigner, Ledger
from baray.store import DiskBlobs, open_store

ORIGIN_FILE = "ledger.origin"
_PARTS_SECONDS = 7 * 86_400.0  # how long what came of a broken upload waits to be gone on with


def open_site(layout: Layout) -> Site:
    """Open a migrated home. Raises Refused `not_migrated`, Fault `damaged`."""
    clock: Clock = SystemClock()
    ids = Ids(clock)
    signer = FileSigner(layout.keys / "ledger.key", name=_origin(layout, ids))
    ledger = Ledger(origin=signer.name, signer=signer, clock=clock)
    artifacts = FileArtifactSigner(layout.keys / "artifacts.key")
    store = open_store(layout.database, sealer=ledger)
    blobs = DiskBlobs(layout.blobs)
    blobs.forget_parts(clock.now() - _PARTS_SECONDS)
    return Site(store=store, blobs=blobs, ledger=ledger, artifacts=artifacts, clock=clock, ids=ids)


def _origin(layout: Layout, ids: Ids) -> str:
    """The ledger's name, made once: `baray.home/` and an id, so that no two homes share one."""
    path = layout.keys / ORIGIN_FILE
    if not path.exists():
        path.write_text(f"baray.home/{ids.new('h')}\n", encoding="ascii")
    return path.read_text(encoding="ascii").strip()
