"""Roles, actions, clearance: the whole table, and what a refusal leaves behind."""

from __future__ import annotations

import dataclasses
import json

import pytest

from baray import access
from baray.access import (
    ACTIONS,
    PUBLIC_ACTOR,
    ROLES,
    SCOPES,
    SITE_ROLES,
    Actor,
    Subject,
    decide,
    parse_label,
    refusal,
    require,
)
from baray.core import NotFound, Refused

MATRIX = """
action            viewer member steward owner | auditor operator | scope  proof
read              yes    yes    yes     yes   | -       -        | read   -
ask               yes    yes    yes     yes   | -       -        | ask    -
source.add        no     yes    yes     yes   | -       -        | run    -
run.submit        no     yes    yes     yes   | -       -        | run    -
run.cancel        no     yes    yes     yes   | -       -        | run    -
service.change    no     yes    yes     yes   | -       -        | run    -
export            no     yes    yes     yes   | -       -        | read   above-internal
service.publish   no     no     yes     yes   | -       -        | run    -
label.lower       no     yes    yes     yes   | -       -        | run    -
label.raise       no     no     yes     yes   | -       -        | run    -
label.approve     no     no     yes     yes   | -       -        | admin  always
project.clear     no     no     no      yes   | -       -        | admin  always
egress.change     no     no     yes     yes   | -       -        | admin  always
member.change     no     no     no      yes   | -       -        | admin  always
actor.invite      no     no     no      yes   | -       -        | admin  always
impersonate       no     no     no      yes   | -       -        | admin  -
token.manage      yes    yes    yes     yes   | yes     yes      | admin  -
account.change    yes    yes    yes     yes   | yes     yes      | admin  always
audit             -      -      -       -     | yes     yes      | read   -
actor.change      -      -      -       -     | no      yes      | admin  always
node.clear        -      -      -       -     | no      yes      | admin  always
project.create    -      -      -       -     | no      yes      | admin  -
witness.change    -      -      -       -     | no      yes      | admin  -
"""
"""Written out, so that a change of the code's table is seen here. `-`: that kind of role does not give it."""
TABLE = {row[0]: row[1:] for row in (line.replace("|", " ").split() for line in MATRIX.strip().splitlines())}
WHO = TABLE.pop("action")
CASES = [(action, who, row[WHO.index(who)] == "yes") for action, row in TABLE.items() for who in (*ROLES, *SITE_ROLES)]
IN_PROJECT = [action for action, row in TABLE.items() if row[WHO.index("auditor")] == "-"]
SITE_ACTIONS = [action for action, row in TABLE.items() if row[0] == "-"]


def actor(role="owner", clearance="secret", project="p_1", **more):
    site_role = role if role in SITE_ROLES else ""
    roles = {project: role} if role and not site_role else {}
    more = {"site_role": site_role, "fresh": True} | more
    return Actor(
        id="u_1",
        name="sok",
        kind="person",
        clearance=parse_label(clearance),
        roles=roles,
        projects=frozenset({"main"}),
        **more,
    )


def strongest(action):
    return "operator" if action in SITE_ACTIONS else "owner"


def subject(label="internal", project="p_1"):
    return Subject(ref="dataset:letters", project=project, label=parse_label(label))


def test_the_table_names_every_action_and_role():
    assert set(TABLE) == set(ACTIONS)
    assert tuple(WHO[:6]) == (*ROLES, *SITE_ROLES)
    assert {(action, row[6], row[7].strip("-")) for action, row in TABLE.items()} == {
        (action, rule.scope, rule.proof) for action, rule in ACTIONS.items()
    }


@pytest.mark.parametrize(("action", "who", "may"), CASES)
def test_what_a_role_may_do(action, who, may):
    decision = decide(actor(who), action, subject())
    nowhere = "not-member" if who in SITE_ROLES else "site-role"
    refused_by = nowhere if TABLE[action][WHO.index(who)] == "-" else ("site-role" if who in SITE_ROLES else "role")
    assert (decision.allowed, decision.rule) == ((True, "allowed") if may else (False, refused_by))


@pytest.mark.parametrize("action", sorted(ACTIONS))
def test_the_public_may_do_nothing_here_and_nothing_exists_for_it(action):
    decision = decide(PUBLIC_ACTOR, action, subject("public"))
    assert (decision.allowed, decision.rule) == (False, "not-member")
    assert isinstance(refusal(PUBLIC_ACTOR, action, subject("public"), decision), NotFound)


@pytest.mark.parametrize("action", IN_PROJECT)
def test_without_a_role_in_the_project_nothing_exists_whoever_one_is_on_the_home(action):
    for nobody in (actor(None), actor(project="p_other"), actor("auditor"), actor("operator")):
        decision = decide(nobody, action, subject("public"))
        assert (decision.allowed, decision.rule) == (False, "not-member")
        assert isinstance(refusal(nobody, action, subject("public"), decision), NotFound)


@pytest.mark.parametrize("action", sorted(ACTIONS))
@pytest.mark.parametrize("role", [*ROLES, *SITE_ROLES])
def test_above_ones_clearance_nothing_exists_whatever_the_role(action, role):
    if role in SITE_ROLES and action in IN_PROJECT:
        return  # nothing exists for them there at all: the test above
    caller = actor(role, clearance="internal:land")
    for label in ("restricted", "internal:health", "internal@court", "public@"):
        decision = decide(caller, action, subject(label))
        assert (decision.allowed, decision.rule) == (False, "clearance")
        error = refusal(caller, action, subject(label), decision)
        assert (error.code, error.status) == ("not_found", 404)


@pytest.mark.parametrize("action", sorted(ACTIONS))
@pytest.mark.parametrize("lacking", SCOPES)
def test_a_token_does_only_what_its_scopes_name(action, lacking):
    caller = actor(strongest(action), scopes=access.ALL_SCOPES - {lacking})
    decision = decide(caller, action, subject())
    assert decision.rule == ("scope" if TABLE[action][6] == lacking else "allowed")
    if not decision.allowed:
        error = refusal(caller, action, subject(), decision)
        assert (error.code, error.status) == ("scope_missing", 403)
        assert f"--scope {lacking}" in error.fix


@pytest.mark.parametrize("action", sorted(ACTIONS))
@pytest.mark.parametrize("label", ["public", "internal", "internal:health", "internal@main", "restricted", "secret"])
def test_dangerous_acts_need_a_fresh_proof(action, label):
    caller = actor(strongest(action), clearance="secret:health", fresh=False)
    dangerous = {"-": False, "always": True, "above-internal": label not in ("public", "internal")}
    decision = decide(caller, action, subject(label))
    assert decision.rule == ("proof" if dangerous[TABLE[action][7]] else "allowed")
    if not decision.allowed:
        assert refusal(caller, action, subject(label), decision).code == "proof_needed"


def test_above_ones_clearance_looks_like_not_being_there():
    caller = actor(clearance="internal")
    hidden = refusal(caller, "read", subject("secret"), decide(caller, "read", subject("secret")))
    assert str(hidden) == str(NotFound("dataset", "letters"))


def test_a_weak_role_is_told_what_is_needed_and_whom_to_ask():
    error = refusal(actor("viewer"), "export", subject(), decide(actor("viewer"), "export", subject()))
    assert (error.code, error.status) == ("role_too_weak", 403)
    assert error.message == "sok is viewer here; 'export' on dataset:letters needs member."
    assert "owner" in error.fix
    error = refusal(actor("auditor"), "actor.change", subject(), decide(actor("auditor"), "actor.change", subject()))
    assert (error.code, error.status) == ("site_role_needed", 403)
    assert "needs operator" in error.message


def test_what_is_limited_to_a_label_never_administers():
    limited = access.narrowed(actor(), scopes=access.ALL_SCOPES, limit=parse_label("internal"))
    assert (str(limited.clearance), limited.scopes) == ("internal", {"read", "ask", "run"})
    cleared = actor(clearance="restricted:health,land")
    assert (
        str(access.narrowed(cleared, scopes=access.ALL_SCOPES, limit=parse_label("secret:land")).clearance)
        == "restricted:land"
    )


def test_an_action_that_the_table_does_not_have_is_never_allowed():
    with pytest.raises(KeyError):
        decide(actor(), "destroy", subject())


def denials(site):
    found = site.store.read(lambda tx: site.ledger.entries(tx, limit=1000))
    return [json.loads(entry.data) for entry in found if entry.kind == "access.denied"]


def test_what_is_allowed_leaves_no_denial(site, operator, main_project):
    site.store.write(lambda tx: require(tx, site, operator, "export", subject(project=main_project)))
    assert denials(site) == []


def test_a_denial_is_an_entry_and_the_action_is_gone(site, main_project):
    caller = actor("viewer", project=main_project)

    def act(tx):
        access.create_actor(tx, site, name="mallory", kind="person", clearance=access.TOP, by=caller.id)
        require(tx, site, caller, "actor.change", Subject(ref="actor:sok", project=main_project, label=access.PUBLIC))

    with pytest.raises(Refused) as refused:
        site.store.write(act)
    assert refused.value.status == 403
    assert site.store.read(lambda tx: access.actor_named(tx, "mallory")) is None
    (entry,) = denials(site)
    entry.pop("t")
    assert entry == {
        "kind": "access.denied",
        "actor": "u_1",
        "subject": "actor:unnamed",
        "project": main_project,
        "decision": "refuse",
        "facts": {"action": "actor.change", "rule": "site-role"},
        "v": 1,
    }


@pytest.mark.parametrize(
    ("ref", "subject_told"),
    [
        ("dataset:letters@v3", "dataset:unnamed"),
        ("run:r_01jzk3v8m0abcdefghjkmnpqrs", "run:r_01jzk3v8m0abcdefghjkmnpqrs"),
        ("ministry/dataset:letters", "dataset:unnamed"),
        ("dataset:Sok Sophea's file", "dataset:unnamed"),
        ("actor:សុខ សុភា", "actor:unnamed"),
        ("source:" + "a" * 300, "source:unnamed"),
        ("a name of one's own:x", "unnamed"),
        ("", "unnamed"),
    ],
)
def test_a_denial_holds_no_text_that_the_caller_made_up(site, main_project, ref, subject_told):
    with pytest.raises(Refused):
        site.store.write(
            lambda tx: require(
                tx,
                site,
                actor("viewer", project=main_project),
                "export",
                Subject(ref=ref, project=main_project, label=access.PUBLIC),
            )
        )
    assert [entry["subject"] for entry in denials(site)] == [subject_told]


def test_what_concerns_the_home_is_not_for_the_owner_of_a_project(site, main_project):
    def make(tx):
        person = access.create_actor(tx, site, name="sok", kind="person", clearance=access.TOP, by="system")
        access.set_member(tx, site, project_id=main_project, actor_id=person, role="owner", by="system")
        return access.load_actor(tx, person)

    sok = dataclasses.replace(site.store.write(make), fresh=True)
    there = Subject(ref="actor:operator", project=main_project, label=access.PUBLIC)
    site.store.read(lambda tx: require(tx, site, sok, "member.change", there))
    for action in SITE_ACTIONS:
        with pytest.raises(Refused) as refused:
            site.store.read(lambda tx, action=action: require(tx, site, sok, action, there))
        assert refused.value.code == "site_role_needed"
