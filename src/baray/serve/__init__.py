"""Service -> Answer: desks and model services, the router that answers, and the receipts of what was answered.

Owns: Services, Revisions and Answers; the snapshot that routers serve from; the router process with its pages; the
engines that are light enough to run in it (desk, linear model).
Does not own: how an Index or a Model is made (data, train), the ledger's format, who may do what (access decides).

The names below are loaded when they are first used: the router imports `baray.serve.router` in a process of its own,
which must stay free of the database and its library.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from baray.serve.answers import (
        Ingested,
        count_answers,
        get_answer,
        ingest,
        list_answers,
        receipt_of,
        receipts_root,
        usage,
    )
    from baray.serve.desk import evaluate
    from baray.serve.records import holdings
    from baray.serve.replicas.hosting import roll_back, scale, standing
    from baray.serve.replicas.reconcile import Reconciler
    from baray.serve.services import (
        Service,
        ServiceRequest,
        create_desk,
        deploy_model,
        get_service,
        list_revisions,
        list_services,
        snapshot,
        stop_service,
    )

__all__ = [
    "Ingested",
    "Reconciler",
    "Service",
    "ServiceRequest",
    "count_answers",
    "create_desk",
    "deploy_model",
    "evaluate",
    "get_answer",
    "get_service",
    "holdings",
    "ingest",
    "list_answers",
    "list_revisions",
    "list_services",
    "receipt_of",
    "receipts_root",
    "roll_back",
    "scale",
    "snapshot",
    "standing",
    "stop_service",
    "usage",
]

_MODULES = {
    "baray.serve.answers": (
        "Ingested",
        "count_answers",
        "get_answer",
        "ingest",
        "list_answers",
        "receipt_of",
        "receipts_root",
        "usage",
    ),
    "baray.serve.desk": ("evaluate",),
    "baray.serve.records": ("holdings",),
    "baray.serve.replicas.hosting": ("roll_back", "scale", "standing"),
    "baray.serve.replicas.reconcile": ("Reconciler",),
    "baray.serve.services": (
        "Service",
        "ServiceRequest",
        "create_desk",
        "deploy_model",
        "get_service",
        "list_revisions",
        "list_services",
        "snapshot",
        "stop_service",
    ),
}
_PLACES = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _PLACES:
        raise AttributeError(f"module 'baray.serve' has no attribute '{name}'")
    return getattr(importlib.import_module(_PLACES[name]), name)
