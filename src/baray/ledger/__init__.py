"""What happened, in an order that nobody can change unseen.

Owns: entries and their kinds, the RFC 6962 tree and its tiles, signed heads, outside witnesses, proofs, offline checks.
Does not own: when an event is worth an entry (each room decides), who may read entries (access), transactions (store).
"""

from baray.ledger.entries import Entry
from baray.ledger.evidence import (
    WitnessRow,
    accept_cosignature,
    add_witness,
    batch_root,
    export,
    prove,
    public_file,
    request,
    witnesses,
)
from baray.ledger.keys import FileSigner, Signer
from baray.ledger.kinds import KINDS
from baray.ledger.ledger import Head, Ledger
from baray.ledger.verify import Finding, Report, verify_bundle, verify_home

__all__ = [
    "KINDS",
    "Entry",
    "FileSigner",
    "Finding",
    "Head",
    "Ledger",
    "Report",
    "Signer",
    "WitnessRow",
    "accept_cosignature",
    "add_witness",
    "batch_root",
    "export",
    "prove",
    "public_file",
    "request",
    "verify_bundle",
    "verify_home",
    "witnesses",
]
