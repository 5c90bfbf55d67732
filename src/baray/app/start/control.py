"""Start control."""

from __future__ import annotations

from argparse import Namespace

from baray.app.control import ControlOptions, run_control


def start(arguments: Namespace) -> None:
    """Run control until it is told to stop."""
    options = ControlOptions(
        host=arguments.host,
        port=arguments.port,
        behind_proxy=arguments.behind_proxy,
        idle_exit_seconds=arguments.idle_exit,
        public_url=arguments.public_url,
        proxy=arguments.proxy,
        clearance=arguments.clearance,
    )
    run_control(arguments.home, options)
