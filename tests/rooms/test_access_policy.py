"""Roles, actions, clearance: the whole table, and what a refusal leaves behind."""

from __future__ import annotations

import json

import pytest

from baray import access
from baray.access import ACTIONS, PUBLIC_ACTOR, ROLES, Actor, Subject, decide, parse_label, refusal, require
from baray.core import NotFound, Refused

MATRIX = """
action            viewer  member  manager  owner
read              yes     yes     yes      yes
ask               yes     yes     yes      yes
token.manage      yes     yes     yes      yes
source.add        no      yes     yes      yes
run.submit        no      yes     yes      yes
run.cancel        no      yes     yes      yes
service.change    no      yes     yes      yes
export            no      yes     yes      yes
service.publish   no      no      yes      yes
audit             no      no      yes      yes
member.change     no      no      no       yes
actor.change      no      no      no       yes
project.create    no      no      no       yes
witness.change    no      no      no       yes
impersonate       no      no      no       yes
"""
"""Written out, so that a change of the code's table is seen here."""
HEAD, *ROWS = [line.split() for line in MATRIX.strip().splitlines()]
CASES = [(row[0], role, word == "yes") for row in ROWS for role, word in zip(HEAD[1:], row[1:], strict=True)]
HOME_ACTIONS = ("actor.change", "project.create", "witness.change")


def actor(role="owner", clearance="secret", project="p_1"):
    roles = {project: role} if role else {}
    return Actor(
        id="u_1", name="sok", kind="person", clearance=parse_label(clearance), roles=roles, projects=frozenset({"main"})
    )


def subject(label="internal", project="p_1"):
    return Subject(ref="dataset:letters", project=project, label=parse_label(label))


def test_the_table_names_every_action_and_role():
    assert {row[0] for row in ROWS} == set(ACTIONS)
    assert tuple(HEAD[1:]) == ROLES
    assert len(CASES) == len(ACTIONS) * len(ROLES)


@pytest.mark.parametrize(("action", "role", "may"), CASES)
def test_what_a_role_may_do(action, role, may):
    decision = decide(actor(role), action, subject())
    assert (decision.allowed, decision.rule) == ((True, "allowed") if may else (False, "role"))


@pytest.mark.parametrize("action", sorted(ACTIONS))
def test_without_a_role_nothing_is_allowed_and_nothing_exists(action):
    for nobody in (actor(None), actor(project="p_other"), PUBLIC_ACTOR):
        decision = decide(nobody, action, subject("public"))
        assert (decision.allowed, decision.rule) == (False, "not-member")
        assert isinstance(refusal(nobody, action, subject("public"), decision), NotFound)


@pytest.mark.parametrize("action", sorted(ACTIONS))
@pytest.mark.parametrize("role", ROLES)
def test_above_ones_clearance_nothing_exists_whatever_the_role(action, role):
    caller = actor(role, clearance="internal:land")
    for label in ("restricted", "internal:health", "internal@court", "public@"):
        decision = decide(caller, action, subject(label))
        assert (decision.allowed, decision.rule) == (False, "clearance")
        error = refusal(caller, action, subject(label), decision)
        assert (error.code, error.status) == ("not_found", 404)


def test_above_ones_clearance_looks_like_not_being_there():
    caller = actor(clearance="internal")
    hidden = refusal(caller, "read", subject("secret"), decide(caller, "read", subject("secret")))
    assert str(hidden) == str(NotFound("dataset", "letters"))


def test_a_weak_role_is_told_what_is_needed_and_whom_to_ask():
    error = refusal(actor("viewer"), "export", subject(), decide(actor("viewer"), "export", subject()))
    assert (error.code, error.status) == ("role_too_weak", 403)
    assert error.message == "sok is viewer here; 'export' on dataset:letters needs member."
    assert "owner" in error.fix


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
        "subject": "actor:sok",
        "project": main_project,
        "decision": "refuse",
        "facts": {"action": "actor.change", "rule": "role"},
        "v": 1,
    }


@pytest.mark.parametrize(
    ("ref", "subject_told"),
    [
        ("dataset:letters@v3", "dataset:letters@v3"),
        ("ministry/dataset:letters", "ministry/dataset:letters"),
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


@pytest.mark.parametrize("action", HOME_ACTIONS)
def test_what_concerns_the_home_is_not_for_the_owner_of_another_project(site, operator, action):
    def other(tx):
        project = access.create_project(tx, site, name="other", title="", label=access.INTERNAL, by=operator.id)
        person = access.create_actor(tx, site, name="sok", kind="person", clearance=access.TOP, by=operator.id)
        access.set_member(tx, site, project_id=project, actor_id=person, role="owner", by=operator.id)
        return project, person

    project, person = site.store.write(other)
    sok = site.store.read(lambda tx: access.load_actor(tx, person))
    there = Subject(ref="actor:operator", project=project, label=access.PUBLIC)
    site.store.read(lambda tx: require(tx, site, sok, "member.change", there))
    with pytest.raises(NotFound):
        site.store.read(lambda tx: require(tx, site, sok, action, there))


@pytest.mark.parametrize("action", HOME_ACTIONS)
def test_the_owner_of_the_home_needs_the_role_in_the_project_too(site, operator, main_project, action):
    site.store.read(
        lambda tx: require(
            tx, site, operator, action, Subject(ref="actor:all", project=main_project, label=access.PUBLIC)
        )
    )
    with pytest.raises(NotFound):
        site.store.read(
            lambda tx: require(tx, site, operator, action, Subject(ref="actor:all", project="p_x", label=access.PUBLIC))
        )
