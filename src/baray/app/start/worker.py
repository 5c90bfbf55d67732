"""Start this machine's worker."""

from __future__ import annotations

from argparse import Namespace

from baray.app.layout import Layout
from baray.runs import worker


def start(arguments: Namespace) -> None:
    """Run the worker until it is told to stop; what it started lives on."""
    layout = Layout(arguments.home)
    worker.main(
        layout.home,
        layout.worker_socket,
        arguments.slots,
        allow_reduced=arguments.allow_reduced,
        clearance=arguments.clearance,
    )
