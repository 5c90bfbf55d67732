"""Rows and bytes.

Owns: the two ports, Records (`Store`: SQLite now) and Blobs (`DiskBlobs` now), the tables (`schema`) and their migrations.
Does not own: what a row means; each room keeps its statements in its own `records.py`.
"""

from baray.store import schema
from baray.store.blobs import Blobs, DiskBlobs
from baray.store.migrate import migrate, revision_of
from baray.store.records import Sealer, Store, Tx, open_store

__all__ = ["Blobs", "DiskBlobs", "Sealer", "Store", "Tx", "migrate", "open_store", "revision_of", "schema"]
