"""What happened, in an order that nobody can change unseen.

Owns: entries and their kinds, the RFC 6962 tree and its tiles, signed heads, outside witnesses, proofs, offline checks,
and the key that statements about Runs and Models are signed with.
Does not own: when an event is worth an entry (each room decides), who may read entries (access), transactions (store).
"""

from baray.ledger.artifacts import (
    ArtifactKey,
    ArtifactSigner,
    FileArtifactSigner,
    open_envelope,
    parse_key,
    register_key,
    registered_key,
    registered_keys,
    seal,
)
from baray.ledger.artifacts.models import MODEL_SIG, Checked, ModelFacts, check_folder, check_model, sign_model
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
from baray.ledger.witness import ProofError

__all__ = [
    "KINDS",
    "MODEL_SIG",
    "ArtifactKey",
    "ArtifactSigner",
    "Checked",
    "Entry",
    "FileArtifactSigner",
    "FileSigner",
    "Finding",
    "Head",
    "Ledger",
    "ModelFacts",
    "ProofError",
    "Report",
    "Signer",
    "WitnessRow",
    "accept_cosignature",
    "add_witness",
    "batch_root",
    "check_folder",
    "check_model",
    "export",
    "open_envelope",
    "parse_key",
    "prove",
    "public_file",
    "register_key",
    "registered_key",
    "registered_keys",
    "request",
    "seal",
    "sign_model",
    "verify_bundle",
    "verify_home",
    "witnesses",
]
