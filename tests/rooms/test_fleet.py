"""What a machine may hold: assigned by control, lowered by its own word, never raised by it; and what a change reaches."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from baray import fleet, runs
from baray.access import Label, flows, parse_label
from baray.fleet import Node
from label_house import LabelHouse, lift

LABELS = st.builds(
    lambda level, categories: Label(level=level, categories=frozenset(categories)),
    st.integers(0, 3),
    st.sets(st.sampled_from(["land", "health", "court"])),
)


@pytest.fixture
def house(site, tmp_path):
    house = LabelHouse(site=site, home=tmp_path)
    house.person("clerk", "internal", "viewer")
    house.person("sok", "secret", "owner")
    return house


def nodes(house):
    return {row["name"]: row for row in house.api("GET", "nodes")[1]["items"]}


def clear(house, label, name="w", **more):
    return house.api("POST", f"nodes/{name}/clearance", {"label": label, **more})


def why(house, run):
    return house.site.store.read(lambda tx: runs.why(tx, run.id))


def node(clearance):
    return Node(id="n_1", name="w", clearance=clearance, by="u_1", changed=1.0)


@given(LABELS, LABELS)
def test_what_counts_is_below_what_was_assigned_and_below_what_the_machine_says(assigned, said):
    counts = fleet.in_force(node(assigned), str(said))
    assert flows(counts, assigned)
    assert flows(counts, said)
    assert fleet.in_force(node(assigned), str(assigned)) == assigned


def test_a_machine_that_says_nothing_has_what_was_assigned_and_one_that_nobody_knows_what_is_public():
    internal = parse_label("internal")
    assert fleet.in_force(node(internal), "") == internal
    assert fleet.in_force(node(None), "") is None
    assert fleet.in_force(node(None), "restricted") == parse_label("restricted")
    for said in ("", "secret", "internal:land"):
        assert fleet.in_force(None, said) == parse_label("public")


def test_the_setting_is_taken_over_until_a_person_assigns_something(house):
    def admit(clearance):
        label = parse_label(clearance) if clearance else None
        house.site.store.write(lambda tx: fleet.admit(tx, house.site, name="local", clearance=label))
        return nodes(house)["local"]["clearance"], nodes(house)["local"]["by"]

    assert admit("internal") == ("internal", "the setting")
    assert admit("internal") == ("internal", "the setting")
    assert admit("restricted") == ("restricted", "the setting")
    told = [entry["facts"] for entry in house.entries("node.changed") if entry["actor"] == "system"]
    assert told[-2:] == [{"clearance": "internal"}, {"clearance": "restricted"}], "an entry for each change, no more"
    assert clear(house, "public", name="local")[0] == 200
    assert admit("secret") == ("public", "operator")


def test_a_machine_says_more_than_it_was_assigned_and_is_leased_no_more(house):
    run = house.submit("made", [house.source("letters", "restricted")])
    assert clear(house, "internal")[1]["clearance"] == "internal"
    for said in ("", "secret", "restricted:land"):
        house.tell_worker(clearance=said)
        assert house.lease(clearance=said) is None
    told = why(house, run)
    assert told["reason"] == "Its label is 'restricted', and no machine is cleared for that: w (internal)."
    assert "baray node clear w --to restricted" in told["fix"]
    assert clear(house, "restricted")[0] == 200
    assert house.lease(clearance="").run_id == run.id


def test_why_names_no_category_of_a_machine_that_the_run_has_not(house):
    run = house.submit("made", [house.source("letters", "restricted:land")])
    assert clear(house, "internal:land,covert")[0] == 200
    house.tell_worker(clearance="")
    assert house.lease(clearance="") is None
    told = why(house, run)
    assert "w (internal:land)" in told["reason"]
    assert "covert" not in str(told)


def test_a_machines_own_lower_word_counts_and_why_says_that_too(house):
    run = house.submit("made", [house.source("letters", "restricted")])
    clear(house, "secret")
    house.tell_worker(clearance="internal")
    assert house.lease(clearance="internal") is None
    assert "setting BARAY_CLEARANCE" in why(house, run)["fix"]
    row = nodes(house)["w"]
    assert (row["clearance"], row["assigned"], row["says"], row["by"]) == ("internal", "secret", "internal", "operator")


def test_a_machine_that_nobody_assigned_anything_to_is_leased_only_what_is_public(house):
    house.tell_worker(worker="new", clearance="secret")
    public = house.submit("open", [house.source("plans", "public")])
    house.submit("made", [house.source("letters", "internal")], priority=5)
    assert house.lease(worker="new", clearance="secret").run_id == public.id
    assert house.lease(worker="new", clearance="secret") is None
    assert (nodes(house)["new"]["clearance"], nodes(house)["new"]["by"]) == ("public", None)
    assert clear(house, "internal", name="new")[0] == 200
    assert house.lease(worker="new", clearance="secret") is not None


def test_what_may_not_be_here_stops_nothing_that_comes_after_it(house):
    source = house.source("letters", "restricted")
    for number in range(260):
        house.submit(f"made-{number}", [source])
    house.site.clock.advance(3600)  # long past the patience that lets a big Run wait for room
    later = house.submit("later", [house.source("plans", "internal")])
    clear(house, "internal")
    assert house.lease().run_id == later.id


@pytest.mark.parametrize("running", ["go-on", "cancel"])
def test_a_lower_clearance_shows_what_runs_above_it_and_does_as_asked(house, running):
    high = house.submit("high", [house.source("letters", "restricted")])
    low = house.submit("low", [house.source("plans", "internal")])
    assert {house.lease().run_id, house.lease().run_id} == {high.id, low.id}
    preview = house.api("GET", "nodes/w?to=internal")[1]
    assert [row["run"] for row in preview["above"]] == [high.id]
    assert preview["assigned"] is None, "a preview changes nothing"
    status, done = clear(house, "internal", running=running)
    assert (status, done["above"], done["above_hidden"]) == (200, preview["above"], 0)
    found = {run.id: house.site.store.read(lambda tx, run=run: runs.get_run(tx, run.id)) for run in (high, low)}
    assert {run.state for run in found.values()} == {"running"}
    assert (found[high.id].cancel_asked is not None) == (running == "cancel")
    assert found[low.id].cancel_asked is None
    entry = house.entries("node.changed")[-1]
    assert (entry["actor"], entry["facts"]) == (
        house.operator,
        {"clearance": "internal", "running": running, "above": 1},
    )


def test_of_runs_that_an_operator_may_not_read_they_learn_the_number(house):
    house.submit("high", [house.source("letters", "restricted:land")])
    assert house.lease() is not None
    done = clear(house, "internal")[1]
    assert (done["above"], done["above_hidden"]) == ([], 1)


def test_only_an_operator_changes_it_and_each_way_leaves_an_entry(house):
    assert house.api("POST", "nodes/w/clearance", {"label": "secret"}, by="sok")[1]["code"] == "site_role_needed"
    assert house.entries("access.denied")[-1]["actor"] == house.actor("sok").id
    assert house.api("GET", "nodes", by="clerk")[1]["code"] == "site_role_needed"
    assert clear(house, "top")[1]["code"] == "bad_label"
    assert clear(house, "internal", name="nosuch")[1]["code"] == "not_found"
    house.site.store.write(lambda _tx: None)  # failures are entered by the same writer, and nobody waits for them
    failed = [(entry["subject"], entry["decision"]) for entry in house.entries("action.failed")]
    assert failed == [("set_node_clearance", "bad_label"), ("set_node_clearance", "not_found")]
    assert nodes(house)["w"]["assigned"] is None


def test_status_and_the_report_tell_it(house):
    house.tell_worker(clearance="restricted")
    clear(house, "internal")
    assert house.api("GET", "status", by="clerk")[1]["machines"] == ["w may hold internal"]
    (machine,) = house.api("GET", "reports/sovereignty")[1]["machines"]
    assert (machine["clearance"], machine["assigned"], machine["says"]) == ("internal", "internal", "restricted")
    clear(house, "secret")
    text = house.api("GET", "reports/sovereignty?format=text")[1]
    assert "clearance restricted (assigned secret)" in text


def test_a_label_that_is_raised_while_the_run_waits_counts(house):
    source = house.source("letters", "internal")
    house.submit("made", [source])
    clear(house, "internal")
    lift(house, source, "restricted")
    assert house.lease() is None
