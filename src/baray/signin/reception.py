"""Reception: what signing in needs and keeps, wired once by the application."""

from __future__ import annotations

from dataclasses import dataclass

from baray.access import Site
from baray.signin.codes import SealKey
from baray.signin.limits import Limits
from baray.signin.outside import Outside
from baray.signin.passwords import Hasher
from baray.signin.pending import Pending


@dataclass(frozen=True, slots=True, kw_only=True)
class Reception:
    """The state of all sign-ins of one process."""

    site: Site
    """Adapters of the home."""
    hasher: Hasher
    """Passwords, a few at a time."""
    limits: Limits
    """Failures."""
    pending: Pending
    """Ceremonies that have begun."""
    seal: SealKey
    """Seals what has to be read again."""
    outside: Outside | None
    """The provider of outside accounts, if one is set up."""


def open_reception(site: Site, *, lanes: int, seal: SealKey, outside: Outside | None = None) -> Reception:
    """A reception that checks at most `lanes` passwords at once."""
    return Reception(
        site=site,
        hasher=Hasher(lanes),
        limits=Limits(site.clock),
        pending=Pending(site.clock),
        seal=seal,
        outside=outside,
    )
