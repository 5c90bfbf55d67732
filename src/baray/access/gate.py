"""The one decision at every gate: may this actor read what carries this label; and what a block tells.

Every list, count, log, metric, stream, export and error text asks `may_read`; every action asks `require`, which decides
by the same test. What is above the actor's clearance is left out or does not exist (404): the words of a block are only
for those who may know what is blocked.
"""

from __future__ import annotations

from baray.access.labels import PUBLIC, Label, cleared, flows, parse_label
from baray.access.policy import Actor
from baray.core import Refused


def may_read(actor: Actor, label: str | Label) -> bool:
    """Whether `actor` may read, count or be told of something labelled `label`."""
    return cleared(parse_label(label) if isinstance(label, str) else label, actor.clearance, actor.projects)


def may_stand_for(actor: Actor, other: Actor) -> bool:
    """Whether everything that `other` may read may be read by `actor` too: only then may it act in their place."""
    return (
        other.clearance.level <= actor.clearance.level
        and other.clearance.categories <= actor.clearance.categories
        and other.projects <= actor.projects
    )


def held_by(label: Label, clearance: Label | None, name: str) -> bool:
    """Whether something labelled `label` may be kept by a project or a node called `name` with `clearance` (None: all)."""
    released = label.releasable_to is None or name in label.releasable_to
    bare = Label(level=label.level, categories=label.categories)
    return released and (
        clearance is None or flows(bare, Label(level=clearance.level, categories=clearance.categories))
    )


MOST_EGRESS_LEVEL = 1
"""Level above which no command has a way out, whatever leave was given."""


def may_leave(label: Label, leave: Label | None) -> bool:
    """Whether a command that holds `label` may reach a target outside for which there is leave up to `leave` (None: none).

    The outside is no project: what is released to named ones only never goes there.
    """
    return label.level <= MOST_EGRESS_LEVEL and held_by(label, PUBLIC if leave is None else leave, "")


def blocked(code: str, *, what: str, why: str, ask: str, change: str, status: int = 409) -> Refused:
    """The error of a label's block: what is blocked, why, whom to ask, and what would change it."""
    error = Refused(code, f"{what} {why}", fix=f"{change} Ask: {ask}.", status=status)
    error.more = {"what": what, "why": why, "ask": ask, "change": change}
    return error
