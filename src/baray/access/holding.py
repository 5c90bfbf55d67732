"""What a person may read, and what a project and a machine may hold at most: checked before anything of that label is made."""

from __future__ import annotations

from baray.access import records
from baray.access.gate import blocked, held_by
from baray.access.labels import LEVELS, Label, cleared, parse_label
from baray.access.policy import Actor
from baray.access.sessions import revoke_token
from baray.access.site import Site
from baray.core import Refused
from baray.store import Tx


def set_actor_clearance(tx: Tx, site: Site, *, actor_id: str, clearance: Label, by: Actor) -> int:
    """Say what somebody else may read; returns how many of their sessions, links and tokens ended.

    Whoever runs the home may clear others for categories that they are not cleared for themselves: else nobody could be the
    first. So that a link or a session which they made for that person before is no way in for them, all of these end
    when the new clearance goes beyond their own. Raises Refused `clearance_too_low` for a level above theirs.
    """
    if clearance.level > by.clearance.level:
        raise Refused(
            "clearance_too_low",
            f"Level '{LEVELS[clearance.level]}' is above yours, '{LEVELS[by.clearance.level]}'.",
            fix="Ask an operator who is cleared for as much.",
            status=403,
        )
    records.set_actor(tx, actor_id, {"clearance": str(clearance)})
    site.ledger.append(tx, "actor.changed", actor=by.id, subject=actor_id, label=str(clearance))
    if cleared(clearance, by.clearance, ()):
        return 0
    open_ways = [row.id for row in records.tokens_of(tx, actor_id) if row.revoked is None]
    for token_id in open_ways:
        revoke_token(tx, site, token_id=token_id, by=by)
    return len(open_ways)


def set_project_clearance(tx: Tx, site: Site, *, project_id: str, clearance: Label | None, by: str) -> None:
    """Say what a project may hold at most; None takes the limit away. What it holds already stays."""
    records.set_project(tx, project_id, {"clearance": None if clearance is None else str(clearance)})
    facts = {"clearance": "none" if clearance is None else str(clearance)}
    site.ledger.append(tx, "project.changed", actor=by, subject=project_id, project=project_id, facts=facts)


def check_holding(tx: Tx, project_id: str, label: Label, what: str) -> None:
    """Refuse `what` (in words) where its label is above the project's clearance or not released to the project.

    An empty releasable-to is found here, before any work, and not at the end of a Run. Raises Refused
    `label_blocks_project` with whom to ask and what would change it.
    """
    row = records.project_by_id(tx, project_id)
    clearance = parse_label(row.clearance) if row.clearance else None
    if held_by(label, clearance, row.name):
        return
    over = held_by(label, None, row.name)
    raise blocked(
        "label_blocks_project",
        what=f"{what} would be '{label}'.",
        why=f"Project {row.name} may hold '{clearance}' at most."
        if over
        else f"That is not released to project {row.name}, so nobody here could read it.",
        ask=owners(tx, project_id),
        change=f"Let an owner clear the project for it: baray project clear {row.name} LABEL."
        if over
        else "Leave out the inputs that are released to others only, or have their labels lowered.",
    )


def owners(tx: Tx, project_id: str) -> str:
    """Names of those who decide about a project's labels."""
    names = [str(row.name) for row in records.members(tx, project_id) if row.role in ("steward", "owner")]
    return ", ".join(names) or "an operator of the home"
