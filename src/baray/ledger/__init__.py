"""What happened, in an order that nobody can change unseen.

Owns: entries and their kinds, the RFC 6962 tree and its tiles, signed heads, outside witnesses, proofs, offline checks.
Does not own: when an event is worth an entry (each room decides), who may read entries (access), transactions (store).
"""

from baray.ledger.entries import Entry
from baray.ledger.keys import FileSigner, Signer
from baray.ledger.kinds import KINDS
from baray.ledger.ledger import Head, Ledger

__all__ = ["KINDS", "Entry", "FileSigner", "Head", "Ledger", "Signer"]
