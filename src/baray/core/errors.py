"""The one family of errors.

BarayError
├── Refused         the caller can mend it: bad input, not allowed, a limit
│   └── NotFound    it does not exist, or it lies above the caller's clearance (the two look the same)
├── Fault           ours: a broken invariant, a damaged file, a missing part
└── StateUnknown    an action may or may not have happened: stop, and let recovery decide
"""

from __future__ import annotations

from typing import Any

_WHERE_TO_LOOK = {
    **{what: f"See what there is: baray {what} list" for what in ("source", "dataset", "model", "service", "run")},
    "index": "See what there is: the console's page Datasets",
    "evaluation": "See those of a Model: baray model show NAME",
    "actor": "See who there is: baray user list",
    "project": "See yours: baray project list",
    "token": "See yours: baray token list",
    "answer": "See a desk's answers: baray desk show NAME",
}


class BarayError(Exception):
    """Something went wrong; `code` is stable, the message names values, `fix` says what to do.

    `status` is the HTTP status (RFC 9110) of a response that carries the error.
    `instead`, where set, is called by `store.write` with a transaction after the refused action was
    rolled back, so that a denial is committed in the action's place.
    `told` says that it was: whoever meets the error later does not tell of it again.
    `headers` go with a response that carries the error, such as Retry-After.
    `more` holds what the problem details say beside (RFC 9457, extension members).
    """

    status = 500

    def __init__(self, code: str, message: str, *, fix: str = "", status: int | None = None) -> None:
        """Take the stable `code`, the `message` with names and values, and the `fix`."""
        super().__init__(message)
        self.code = code
        self.message = message
        self.fix = fix
        self.status = status if status is not None else type(self).status
        self.instead: Any = None
        self.told = False
        self.more: dict[str, Any] = {}
        self.headers: dict[str, str] = {}

    def __str__(self) -> str:
        """Message, then the fix."""
        return f"{self.message} {self.fix}".strip()


class Refused(BarayError):  # noqa: N818 - what happened, as the API says it
    """The caller can mend it."""

    status = 400


class NotFound(Refused):
    """No such thing for this caller.

    What is missing and what is hidden must read the same, so the fix follows from the kind alone.
    """

    status = 404

    def __init__(self, what: str, name: str, *, fix: str = "") -> None:
        """Name the kind (`what`) and the `name` that was asked for, as `dataset:NAME@v1` or bare."""
        bare = name.removeprefix(f"{what}:")
        super().__init__("not_found", f"There is no {what} '{bare}'.", fix=fix or _WHERE_TO_LOOK.get(what, ""))


class Fault(BarayError):  # noqa: N818
    """Ours to mend."""

    status = 500


class StateUnknown(BarayError):  # noqa: N818
    """It may or may not have happened: nothing is repeated until recovery has looked."""

    status = 503
