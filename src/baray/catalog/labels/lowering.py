"""Lowering a label: asked by one, signed by two others, done once, and looked at again at that moment.

The effect is another version of the same bytes under the lower label; the one it came from stays as it is. A request
names exact digests and ends after 72 hours. What no longer holds when the second person signs (somebody lost the role or
the clearance, the label was raised, the bytes are not the ones that were named) is not lowered.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from baray.access import (
    Actor,
    Label,
    Site,
    Subject,
    actor_by_id,
    blocked,
    decide,
    flows,
    load_actor,
    members,
    parse_label,
    require,
)
from baray.catalog import records as catalog_records
from baray.catalog.labels import passkeys, records
from baray.catalog.labels.raising import check_reason
from baray.catalog.labels.records import Approval, Lowering
from baray.catalog.labels.signing import check_key, signed_by, statement_digest
from baray.catalog.nouns import FileEntry, VersionRow
from baray.catalog.provenance import licences
from baray.catalog.versions import read_manifest, sign_files
from baray.core import NotFound, Refused, canonical_json, iso_time
from baray.ledger import ModelFacts
from baray.store import Tx

LOWERING_SECONDS = 72 * 3600.0
NEEDED = 2
"""People who have to sign, none of whom asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """One person's signed word on a request."""

    lowering_id: str
    """The request."""
    verdict: str
    """`approve` or `refuse`."""
    signature: str
    """`ed25519.HEX` or `webauthn.HEX`, over `signing.message`."""
    way: str = ""
    """The passkey that signed, `webauthn.HEX`; empty: the actor's own key."""


def ask_lowering(tx: Tx, site: Site, actor: Actor, version: VersionRow, *, to: Label, reason: str) -> Lowering:
    """Ask two others to lower a version's label. Raises Refused `not_lower`, `no_reason`."""
    check_reason(reason)
    if str(to) == version.label or not flows(to, parse_label(version.label)):
        raise Refused(
            "not_lower",
            f"{to} is not below {version.label}, the label of {version.ref}.",
            fix=f"To raise it: baray label raise {version.ref} --to LABEL --reason TEXT",
        )
    now = site.clock.now()
    asked = Lowering(
        id=site.ids.new("lw"),
        project_id=version.project_id,
        version_id=version.id,
        digest=version.digest,
        manifest_digest=version.manifest_digest,
        source_label=version.label,
        target_label=str(to),
        reason=reason,
        actor_id=actor.id,
        created=now,
        expires=now + LOWERING_SECONDS,
        state="pending",
        made_version=None,
    )
    records.add_lowering(tx, asdict(asked))
    facts: dict[str, Any] = {"version": version.id, "digest": version.digest, "statement": statement_digest(asked)}
    facts |= {"to": str(to), "reason": site.ledger.commitment(tx, reason), "expires": int(asked.expires)}
    site.ledger.append(
        tx,
        "label.asked",
        actor=actor.id,
        subject=asked.id,
        project=version.project_id,
        label=version.label,
        facts=facts,
    )
    return asked


def set_key(tx: Tx, site: Site, actor: Actor, public: str) -> None:
    """Sign with another key from now on; what the old one signed on pending requests counts no more."""
    key_id = site.ids.new("ak")
    row = {"id": key_id, "actor_id": actor.id, "public": check_key(public), "created": site.clock.now()}
    records.put_key(tx, row | {"revoked": None})
    site.ledger.append(tx, "approval.key", actor=actor.id, subject=key_id, facts={"key": public})


def give_word(tx: Tx, site: Site, actor: Actor, word: Word) -> tuple[Lowering, VersionRow | None]:
    """Take one person's signed word; with the second approval the version is made.

    Raises NotFound, and Refused `self_approval`, `signed_already`, `not_pending`, `expired`, `bad_signature`, `no_key`,
    `not_a_person`, `changed_since`, or what `require` refuses.
    """
    asked = find_lowering(tx, word.lowering_id)
    subject = subject_of(asked)
    require(tx, site, actor, "label.approve", subject)
    _check_request(tx, site, asked)
    _check_person(tx, actor, asked)
    public = word.way or records.live_key(tx, actor.id)
    if public is None or public not in _ways(tx, actor.id):
        raise Refused("no_key", f"{actor.name} has no key to sign with.", fix="Make one: baray label key", status=409)
    digest = statement_digest(asked)
    if not signed_by(public, word.verdict, digest, word.signature):
        raise Refused(
            "bad_signature",
            f"This is not {actor.name}'s signature on '{word.verdict}' of request {asked.id} as it stands here.",
            fix="Look at it again and sign what you see: baray label approve ID",
            status=409,
        )
    row = {"lowering_id": asked.id, "actor_id": actor.id, "verdict": word.verdict, "way": public, "signed": digest}
    records.add_approval(tx, row | {"signature": word.signature, "created": site.clock.now()})
    kind = "label.approved" if word.verdict == "approve" else "label.refused"
    facts = {"statement": digest, "verdict": word.verdict, "key": public, "signature": word.signature}
    site.ledger.append(
        tx, kind, actor=actor.id, subject=asked.id, project=asked.project_id, label=asked.source_label, facts=facts
    )
    if word.verdict == "refuse":
        records.set_lowering(tx, asked.id, {"state": "refused"})
        return replace(asked, state="refused"), None
    if len(counting(tx, asked)) < NEEDED:
        return asked, None
    made = _use(tx, site, asked, actor)
    return replace(asked, state="used", made_version=made.id), made


def counting(tx: Tx, asked: Lowering) -> list[Approval]:
    """The approvals of a request that hold as of now: role, clearance, key and signature are looked at again."""
    digest = statement_digest(asked)
    subject = subject_of(asked)
    return [one for one in records.approvals(tx, asked.id) if _holds(tx, asked, one, digest, subject)]


def find_lowering(tx: Tx, lowering_id: str) -> Lowering:
    """The request with an id. Raises NotFound."""
    found = records.get_lowering(tx, lowering_id)
    if found is None:
        raise NotFound("request", lowering_id)
    return found


def subject_of(asked: Lowering) -> Subject:
    """A request is as sensitive as what it would lower."""
    return Subject(ref=f"request:{asked.id}", project=asked.project_id, label=parse_label(asked.source_label))


def _holds(tx: Tx, asked: Lowering, one: Approval, digest: str, subject: Subject) -> bool:
    row = actor_by_id(tx, one.actor_id)
    if one.verdict != "approve" or one.actor_id == asked.actor_id or row is None or row.disabled is not None:
        return False
    # Its proof was fresh when it was given; what counts now is that the person still may.
    person = replace(load_actor(tx, one.actor_id), fresh=True)
    may = decide(person, "label.approve", subject).allowed and person.kind == "person"
    signed = one.signed == digest and one.way in _ways(tx, one.actor_id)
    return may and signed and signed_by(one.way, one.verdict, digest, one.signature)


def _ways(tx: Tx, actor_id: str) -> set[str]:
    """What an actor signs with as of now: their own key, and their passkeys."""
    own = records.live_key(tx, actor_id)
    return {*([own] if own else []), *(passkeys.way_of(key) for key in records.live_passkeys(tx, actor_id))}


def _check_request(tx: Tx, site: Site, asked: Lowering) -> None:
    if asked.state != "pending":
        raise Refused(
            "not_pending",
            f"Request {asked.id} is {asked.state} already.",
            fix="Each is used once; ask again: baray label lower REF --to LABEL --reason TEXT",
            status=409,
        )
    if site.clock.now() >= asked.expires:
        raise Refused(
            "expired",
            f"Request {asked.id} ended at {iso_time(asked.expires)}.",
            fix="Ask again: baray label lower REF --to LABEL --reason TEXT",
            status=409,
        )
    version = catalog_records.by_id(tx, asked.version_id)
    found = () if version is None else (version.digest, version.manifest_digest, version.label)
    if found != (asked.digest, asked.manifest_digest, asked.source_label):
        raise Refused(
            "changed_since",
            f"What request {asked.id} was asked for has changed since: its label or its bytes are not those it names.",
            fix="Look at it, and ask again: baray label show REF",
            status=409,
        )


def _check_person(tx: Tx, actor: Actor, asked: Lowering) -> None:
    if actor.kind != "person":
        raise Refused("not_a_person", f"{actor.name} is a program.", fix="Two people have to sign.", status=403)
    if actor.id == asked.actor_id:
        raise blocked(
            "self_approval",
            what=f"{actor.name} cannot sign request {asked.id}.",
            why="They asked for it themselves: lowering takes two other people.",
            ask=_others(tx, asked, actor),
            change="Let two of them sign.",
            status=403,
        )
    if any(one.actor_id == actor.id for one in records.approvals(tx, asked.id)):
        raise blocked(
            "signed_already",
            what=f"{actor.name} has signed request {asked.id} already.",
            why="Each person counts once.",
            ask=_others(tx, asked, actor),
            change="Let another of them sign.",
        )


def _others(tx: Tx, asked: Lowering, actor: Actor) -> str:
    subject = subject_of(asked)
    people = [load_actor(tx, row.id) for row in members(tx, asked.project_id) if row.kind == "person"]
    able = [
        one.name
        for one in people
        if one.id not in (actor.id, asked.actor_id)
        and decide(replace(one, fresh=True), "label.approve", subject).allowed
    ]
    return ", ".join(able) or "an owner of the project, to name stewards who are cleared for it"


def _use(tx: Tx, site: Site, asked: Lowering, actor: Actor) -> VersionRow:
    """Make the lower version: same digest, same files (a Model's signed anew), a manifest that names the request."""
    before = catalog_records.by_id(tx, asked.version_id)
    assert before is not None
    target = parse_label(asked.target_label)
    version_id = site.ids.new("v")
    if not records.set_lowering(tx, asked.id, {"state": "used", "made_version": version_id}):
        raise Refused("not_pending", f"Request {asked.id} was used a moment ago.", status=409)
    manifest = read_manifest(site, before)
    files = []
    if before.kind == "source":
        files = [replace(one, label=_capped(one.label, target)) for one in catalog_records.source_files(tx, before.id)]
        manifest["files"] = [asdict(one) for one in files]
    if before.kind == "model":
        facts = ModelFacts(
            name=before.name,
            digest=before.digest,
            label=asked.target_label,
            licences=licences(tx, [before.id]),
            run=before.run_id or "",
        )
        signed = sign_files(site, facts, [FileEntry(**one) for one in manifest["files"]])
        manifest["files"] = [asdict(one) for one in signed]
    manifest |= {"label": asked.target_label, "lowered": {"request": asked.id, "from": before.id}}
    manifest_digest = site.blobs.put_bytes(canonical_json(manifest))
    owner = records.owner_of(tx, before.id)
    row: dict[str, Any] = {"id": version_id, "digest": before.digest, "manifest_digest": manifest_digest, **owner}
    row |= {"label": asked.target_label, "run_id": before.run_id, "bytes": before.bytes, "created": site.clock.now()}
    catalog_records.add_version(tx, row | {"summary": canonical_json(before.summary).decode()})
    if files:
        catalog_records.add_source_files(tx, version_id, files)
    catalog_records.add_edges(tx, version_id, [before.id], "lowered-from")
    _tell(tx, site, asked, actor, row)
    made = catalog_records.by_id(tx, version_id)
    assert made is not None
    return made


def _tell(tx: Tx, site: Site, asked: Lowering, actor: Actor, row: dict[str, Any]) -> None:
    named = {"digest": row["digest"], "manifest": row["manifest_digest"]}
    site.ledger.append(
        tx, "version.published", actor=actor.id, subject=row["id"], project=asked.project_id, label=asked.target_label,
        facts=named | {"lowered_from": asked.version_id},
    )  # fmt: skip
    people = sorted(one.actor_id for one in counting(tx, asked))
    facts = {"request": asked.id, "statement": statement_digest(asked), "from": asked.source_label, "people": people}
    site.ledger.append(
        tx, "label.lowered", actor=actor.id, subject=row["id"], project=asked.project_id, label=asked.target_label,
        facts=facts | {"version": asked.version_id},
    )  # fmt: skip


def _capped(label: str, target: Label) -> str:
    return label if flows(parse_label(label), target) else str(target)
