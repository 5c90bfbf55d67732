"""A project's leave to let commands reach a target outside: given by name, up to a label, revocable, never above internal.

What is public needs none. Without a leave nothing above public has a way out of a sandbox; from level restricted up nothing
has one, whatever was given. Who gives leave trusts the target with all that a Run of that label may read.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row

from baray.access import records
from baray.access.gate import MOST_EGRESS_LEVEL, blocked, may_leave
from baray.access.holding import owners
from baray.access.labels import LEVELS, Label, parse_label
from baray.access.site import Site
from baray.core import NotFound
from baray.store import Tx


@dataclass(frozen=True, slots=True, kw_only=True)
class Leave:
    """One target that a project's commands may reach."""

    id: str
    """`el_...`."""
    project_id: str
    """Whose commands."""
    target: str
    """`host:port`."""
    up_to: Label
    """The highest label of a Run that may reach it."""
    by: str
    """Id of who gave it."""
    created: float
    """When, seconds since 1970."""


def leaves(tx: Tx, project_id: str | None = None) -> list[Leave]:
    """The leaves that stand, of a project or of all, by target."""
    return [_leave(row) for row in records.leaves(tx, project_id)]


def give_leave(tx: Tx, site: Site, *, project_id: str, target: str, up_to: Label, by: str) -> Leave:
    """Let commands of a project reach `target` up to a label; the leave for that target before it is revoked.

    The caller has checked the target's form. Raises Refused `egress_label` above level internal.
    """
    if not may_leave(up_to, up_to):
        raise blocked(
            "egress_label",
            what=f"'{up_to}' cannot be given a way out to {target}.",
            why=_NEVER,
            ask=owners(tx, project_id),
            change=f"Give leave up to '{LEVELS[MOST_EGRESS_LEVEL]}' at most, without @PROJECT.",
        )
    for known in leaves(tx, project_id):
        if known.target == target:
            _revoke(tx, site, known, by)
    leave_id = site.ids.new("el")
    row = {"id": leave_id, "project_id": project_id, "target": target, "label": str(up_to), "by": by}
    records.add_leave(tx, row | {"created": site.clock.now()})
    facts = {"up_to": str(up_to), "target": site.ledger.commitment(tx, target)}
    site.ledger.append(tx, "leave.given", actor=by, subject=leave_id, project=project_id, facts=facts)
    return next(one for one in leaves(tx, project_id) if one.id == leave_id)


def revoke_leave(tx: Tx, site: Site, *, project_id: str, target: str, by: str) -> None:
    """Take a leave away: from now on no Run above public is leased with that target. Raises NotFound."""
    known = next((one for one in leaves(tx, project_id) if one.target == target), None)
    if known is None:
        raise NotFound("leave", target, fix="See what was given: baray project egress list PROJECT")
    _revoke(tx, site, known, by)


def why_no_way_out(tx: Tx, project_id: str, label: Label, targets: Iterable[str]) -> tuple[str, str]:
    """(why, what would change it) if a Run of this label may not reach all of `targets` now; empty if it may."""
    if label.level > MOST_EGRESS_LEVEL or label.releasable_to is not None:
        return _NEVER, "Leave out --allow-egress, or mount only what is lower."
    given = {one.target: one.up_to for one in leaves(tx, project_id)}
    lacking = [target for target in targets if not may_leave(label, given.get(target))]
    if not lacking:
        return "", ""
    name = records.project_by_id(tx, project_id).name
    return (
        f"Project {name} gave no leave up to '{label}' for {', '.join(lacking)}.",
        f"Let a steward or owner give it: baray project egress allow {name} {lacking[0]} --up-to {label}"
        "; or mount only what is public, or leave out --allow-egress.",
    )


def check_way_out(tx: Tx, project_id: str, label: Label, targets: Iterable[str], what: str) -> None:
    """Refuse `what` (in words) where its label keeps it from its targets. Raises Refused `egress_label`."""
    why, change = why_no_way_out(tx, project_id, label, targets)
    if why:
        raise blocked(
            "egress_label",
            what=f"{what} would be '{label}' and asks for a way out of its sandbox.",
            why=why,
            ask=owners(tx, project_id),
            change=change,
        )


_NEVER = f"Nothing above level '{LEVELS[MOST_EGRESS_LEVEL]}', or released to named projects only, leaves a sandbox."


def _revoke(tx: Tx, site: Site, leave: Leave, by: str) -> None:
    records.end_leave(tx, leave.id, site.clock.now())
    site.ledger.append(tx, "leave.revoked", actor=by, subject=leave.id, project=leave.project_id)


def _leave(row: Row[Any]) -> Leave:
    said = {name: getattr(row, name) for name in ("id", "project_id", "target", "by", "created")}
    return Leave(**said, up_to=parse_label(row.label))
