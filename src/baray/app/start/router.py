"""Start the router."""

from __future__ import annotations

from argparse import Namespace

from baray.app.layout import Layout, read_json
from baray.serve.router import RouterConfig, main


def start(arguments: Namespace) -> None:
    """Run the router until it is told to stop; after a restart on port 0 it takes the port it had."""
    layout = Layout(arguments.home)
    before = read_json(layout.sockets / "router.json")
    port = arguments.port or (before["port"] if before else 0)
    main(
        RouterConfig(
            home=str(layout.home),
            host=arguments.host,
            port=port,
            utc_offset_minutes=arguments.utc_offset,
            workers=max(1, arguments.workers),
        )
    )
