"""The gate `egress`: what is public goes by the Run's own list, what is internal by its project's leave, the rest never."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from baray import access, runs
from baray.access import Label, may_leave, parse_label
from label_house import LabelHouse, lift

TARGET = "registry.example:443"
BLOCK = {"what", "why", "ask", "change"}
LABELS = st.builds(
    lambda level, categories, released: Label(
        level=level, categories=frozenset(categories), releasable_to=None if released is None else frozenset(released)
    ),
    st.integers(0, 3),
    st.sets(st.sampled_from(["land", "health"])),
    st.none() | st.sets(st.sampled_from(["main", "court"])),
)


@pytest.fixture
def house(site, tmp_path):
    house = LabelHouse(site=site, home=tmp_path)
    for name, role in (("clerk", "viewer"), ("maker", "member"), ("sok", "steward")):
        house.person(name, "secret:land", role)
    house.tell_worker()
    return house


def fetch(house, source, targets=(TARGET,), by="maker"):
    body = {"command": ["/bin/true"], "inputs": [source.ref], "allow_egress": list(targets)}
    return house.api("POST", "runs", body, by=by)


def allow(house, up_to="internal", by="sok", target=TARGET):
    return house.api("POST", "projects/main/egress", {"target": target, "up_to": up_to}, by=by)


def revoke(house, by="sok", target=TARGET):
    return house.api("POST", "projects/main/egress/revoke", {"target": target}, by=by)


def why(house, run_id):
    return house.site.store.read(lambda tx: runs.why(tx, run_id))


@given(LABELS, LABELS | st.none())
def test_nothing_above_internal_leaves_nor_what_is_released_to_projects_only_whatever_leave_there_is(label, leave):
    if label.level >= 2 or label.releasable_to is not None:
        assert not may_leave(label, leave)
    elif leave is None:
        assert may_leave(label, leave) == (label == Label())
    else:
        assert may_leave(label, leave) == (label.level <= leave.level and label.categories <= leave.categories)


def test_what_is_public_needs_no_leave_and_what_is_internal_is_refused_without_one(house):
    assert fetch(house, house.source("plans", "public"))[0] == 202
    status, refused = fetch(house, house.source("letters", "internal"))
    assert (status, refused["code"]) == (409, "egress_label")
    assert BLOCK <= set(refused)
    assert refused["why"] == f"Project main gave no leave up to 'internal' for {TARGET}."
    assert refused["ask"] == "operator, sok"
    assert f"baray project egress allow main {TARGET} --up-to internal" in refused["change"]
    assert refused["fix"].endswith("Ask: operator, sok.")


def test_with_leave_it_goes_to_that_target_and_no_other(house):
    letters = house.source("letters", "internal")
    status, given_ = allow(house)
    assert (status, given_["target"], given_["up_to"], given_["by"]) == (201, TARGET, "internal", "sok")
    status, run = fetch(house, letters)
    assert status == 202
    assert house.lease().run_id == run["id"]
    refused = fetch(house, letters, (TARGET, "other.example:443"))[1]
    assert "other.example:443" in refused["why"]
    assert TARGET not in refused["why"]
    assert fetch(house, house.source("plots", "internal:land"))[1]["code"] == "egress_label", (
        "a category needs leave too"
    )
    assert allow(house, "internal:land")[0] == 201
    assert fetch(house, house.source("plots", "internal:land"))[0] == 202
    assert len(house.api("GET", "projects/main/egress", by="clerk")[1]["items"]) == 1, "the newer leave for it counts"


@pytest.mark.parametrize("label", ["restricted", "secret:land"])
def test_from_level_restricted_up_there_is_no_leave_and_no_way_out(house, label):
    for asked in (label, "internal@main"):
        status, refused = allow(house, asked)
        assert (status, refused["code"]) == (409, "egress_label")
        assert BLOCK <= set(refused)
    allow(house, "internal:land")
    house.person("chief", label, "member")
    status, refused = fetch(house, house.source("files", label), by="chief")
    assert (status, refused["code"]) == (409, "egress_label")
    assert refused["why"].startswith("Nothing above level 'internal'")


def test_a_leave_that_was_taken_back_refuses_new_leases_and_says_so(house):
    letters = house.source("letters", "internal")
    allow(house)
    first, second = fetch(house, letters)[1]["id"], fetch(house, letters)[1]["id"]
    assert house.lease().run_id == first
    assert revoke(house)[0] == 200
    assert house.lease() is None
    found = house.site.store.read(lambda tx: runs.get_run(tx, first))
    assert (found.state, found.cancel_asked) == ("running", None), "what runs goes on to its end"
    told = why(house, second)
    assert told["reason"].startswith("It may not reach what it asks for.")
    assert f"baray project egress allow main {TARGET}" in told["fix"]
    assert "Ask: operator, sok." in told["fix"]
    assert fetch(house, letters)[1]["code"] == "egress_label"
    assert allow(house)[0] == 201
    assert house.lease().run_id == second


def test_a_label_that_is_raised_while_the_run_waits_closes_the_way_out(house):
    plans = house.source("plans", "public")
    run = fetch(house, plans)[1]
    lift(house, plans, "restricted")
    assert house.lease() is None
    assert "Nothing above level 'internal'" in why(house, run["id"])["reason"]


def test_who_gives_and_takes_it(house):
    for name in ("clerk", "maker"):
        assert allow(house, by=name)[1]["code"] == "role_too_weak"
        assert revoke(house, by=name)[1]["code"] == "role_too_weak"
    house.person("boss", "secret", None)
    by = house.actor("boss").id
    house.site.store.write(lambda tx: _operator(tx, house, by))
    assert allow(house, by="boss")[1]["code"] == "not_found", "an operator of the home has no say in a project"
    assert house.api("GET", "projects/main/egress", by="boss")[0] == 404
    assert allow(house, target="10.0.0.1:443")[1]["code"] == "bad_target"
    assert revoke(house)[1]["code"] == "not_found"
    assert house.api("GET", "projects/main/egress", by="clerk")[1]["items"] == []


def test_who_may_not_read_a_label_neither_lets_it_out_nor_learns_of_its_leaves(house):
    house.person("dara", "internal", "steward")
    status, told = allow(house, up_to="internal:land", by="dara")
    assert (status, told["code"]) == (403, "clearance_too_low")
    assert allow(house, up_to="internal:land", by="sok")[0] == 201
    assert allow(house, target="other.example:443", by="dara")[0] == 201
    shown = {name: house.api("GET", "projects/main/egress", by=name)[1]["items"] for name in ("dara", "sok")}
    assert {name: [one["target"] for one in items] for name, items in shown.items()} == {
        "dara": ["other.example:443"],
        "sok": ["other.example:443", TARGET],
    }


def _operator(tx, house, actor_id):
    access.set_site_role(tx, house.site, actor_id=actor_id, role="operator", by=house.operator)


def test_entries_hold_a_commitment_and_no_name(house):
    allow(house)
    allow(house, "public")
    revoke(house)
    given_, taken = house.entries("leave.given"), house.entries("leave.revoked")
    assert [entry["facts"]["up_to"] for entry in given_] == ["internal", "public"]
    assert [entry["subject"] for entry in taken] == [entry["subject"] for entry in given_]
    assert {entry["project"] for entry in given_ + taken} == {house.project}
    assert "registry" not in json.dumps(given_ + taken)


def test_the_report_names_the_leaves_that_stand(house):
    assert house.api("GET", "reports/sovereignty")[1]["leaves"] == []
    allow(house)
    (row,) = house.api("GET", "reports/sovereignty")[1]["leaves"]
    assert (row["project"], row["target"], row["up_to"], row["by"]) == ("main", TARGET, "internal", "sok")
    assert f"{TARGET} (main, up to internal, sok" in house.api("GET", "reports/sovereignty?format=text")[1]
    revoke(house)
    assert house.api("GET", "reports/sovereignty")[1]["leaves"] == []


def test_a_label_with_categories_is_no_longer_public_for_the_gate():
    assert not may_leave(parse_label("public:land"), None)
    assert may_leave(parse_label("public"), None)
