"""HTTP API and console of control.

Owns: routes, JSON shapes, the boundary (who asks, origin, errors), pages, the reader child.
Does not own: any rule of a room: a route parses, names the actor, calls a room, and shapes the answer.
"""

from baray.web.application import make_app
from baray.web.house import House
from baray.web.reader import QueryChildren, ReaderChild
from baray.web.uploads import Uploads

__all__ = ["House", "QueryChildren", "ReaderChild", "Uploads", "make_app"]
