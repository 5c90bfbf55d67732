"""The data plane: `/v1/*` and the desks' pages, in one light process without a database.

Owns: HTTP of the router, who may ask (on control's snapshot), engines that run in it, the spool of receipts.
Does not own: what a Service is (control writes the snapshot), where receipts end up (control ingests the spool).
"""

from baray.serve.router.server import RouterConfig, main, make_app, read_config

__all__ = ["RouterConfig", "main", "make_app", "read_config"]
