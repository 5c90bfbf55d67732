"""Every gate of the API asks the one decision: lists, counts, pages of lists, names, digests, streams, stand-ins."""

from __future__ import annotations

import json

import pytest

from label_house import LabelHouse

CANARY = "plan-heron"


@pytest.fixture
def house(site, tmp_path):
    return LabelHouse(site=site, home=tmp_path)


def texts(house, by, *paths):
    return [json.dumps(house.ask("GET", path, by=by), ensure_ascii=False) for path in paths]


LISTS = (
    "/api/v1/sources", "/api/v1/datasets", "/api/v1/indexes", "/api/v1/models", "/api/v1/runs", "/api/v1/services",
    "/api/v1/status", "/api/v1/usage", "/metrics", "/", "/datasets", "/runs", "/models", "/desks",
)  # fmt: skip


def test_a_name_above_ones_clearance_is_in_no_list_count_or_page(house):
    house.person("visitor", "public", "viewer")
    before = texts(house, "visitor", *LISTS)
    source = house.source(CANARY, "secret")
    model = house.made(CANARY, [source], "model")
    house.submit(CANARY + "-2", [source])
    house.service(CANARY, model)
    after = texts(house, "visitor", *LISTS)
    assert not [text for text in after if CANARY in text]
    size = house.site.store.read(house.site.ledger.size)
    same = [text for text in after if "entr" not in text and "Entr" not in text]
    assert len(same) >= 10, "only the size of the ledger, which is public, may differ"
    assert [text for text in same if text not in before] == []
    assert all(CANARY in text for text in texts(house, "operator", "/api/v1/sources", "/runs", "/models", "/desks"))
    assert size > 0


def test_pages_of_runs_are_filled_so_that_gaps_tell_nothing(house):
    house.person("clerk", "internal")
    secret, plain = house.source("s", "secret"), house.source("p", "internal")
    shown = []
    for number in range(6):
        house.submit(f"hidden-{number}", [secret])
        house.site.clock.advance(1.0)  # ids sort by time
        shown.append(house.submit(f"plain-{number}", [plain]).id)
    first = house.api("GET", "runs?limit=4", by="clerk")[1]
    assert [run["id"] for run in first["items"]] == shown[:1:-1]
    assert first["next"] == shown[2]
    last = house.api("GET", f"runs?limit=4&after={first['next']}", by="clerk")[1]
    assert [run["id"] for run in last["items"]] == shown[1::-1]
    assert last["next"] is None


def test_a_name_means_the_newest_version_that_one_may_read(house):
    house.person("clerk", "internal")
    house.source("letters", "internal", b"first")
    house.source("letters", "secret", b"second")
    assert house.api("GET", "sources/letters", by="operator")[1]["number"] == 2
    status, found = house.api("GET", "sources/letters", by="clerk")
    assert (status, found["number"], found["versions"]) == (200, 1, ["source:letters@v1"])
    assert [row["number"] for row in house.api("GET", "sources", by="clerk")[1]["items"]] == [1]
    hidden = house.api("GET", "sources/letters@v2", by="clerk")
    missing = house.api("GET", "sources/letters@v3", by="clerk")
    assert (hidden[0], hidden[1]["detail"].replace("v2", "v3")) == (404, missing[1]["detail"])


def test_a_refused_change_is_one_entry_whether_its_thing_is_hidden_or_missing(house):
    house.person("clerk", "internal", "owner")
    source = house.source("plans", "secret")
    house.service(CANARY, house.made(CANARY, [source], "model"))
    run = house.submit("hidden", [source]).id
    missing = run[:-4] + "0000"

    def size():
        house.site.store.write(lambda _tx: None)  # what nobody waits for is entered by the same writer
        return house.site.store.read(house.site.ledger.size)

    for path in ("services/{}/stop", "runs/{}/cancel", "runs/{}/retry"):
        for name in (CANARY, "nothing-here") if "services" in path else (run, missing):
            before = size()
            assert house.api("POST", path.format(name), by="clerk")[0] == 404
            assert size() == before + 1, path.format(name)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("datasets", {"name": "x", "recipe": "text", "source": "{}"}),
        ("runs", {"command": ["true"], "inputs": ["source:{}"]}),
        ("models", {"name": "x", "recipe": "text-classifier", "source": "{}"}),
        ("services", {"name": "x", "kind": "desk", "index": "{}"}),
    ],
)
@pytest.mark.parametrize("version", ["", "@v1"])
def test_hidden_and_missing_inputs_read_the_same(house, path, body, version):
    house.person("clerk", "internal")
    house.source(CANARY, "secret")

    def told(name):
        sent = json.loads(json.dumps(body).replace("{}", name + version))
        status, found = house.api("POST", path, sent, by="clerk")
        return status, json.dumps(found).replace(name, "NAME")

    assert told(CANARY) == told("nothing-there")
    assert told(CANARY)[0] == 404


def test_a_digest_above_ones_clearance_is_not_held_by_knowing_it(house):
    house.person("clerk", "internal")
    secret = house.source("plans", "secret", b"the plan")
    digest = house.api("GET", f"sources/{secret.name}")[1]["files"][0]["digest"]
    assert house.api("POST", "blobs/missing", {"digests": [digest]}, by="clerk")[1]["missing"] == [digest]
    taken = {"name": "taken", "label": "internal", "files": [{"path": "a", "digest": digest, "bytes": 8}]}
    status, found = house.api("POST", "sources", taken, by="clerk")
    assert (status, found["code"]) == (409, "missing_blobs")
    assert house.api("POST", "blobs/missing", {"digests": [digest]})[1]["missing"] == []


def test_a_run_cannot_come_after_one_that_is_hidden(house):
    house.person("clerk", "internal")
    hidden = house.submit("hidden", [house.source("s", "secret")]).id
    bodies = [{"command": ["true"], "after": [run]} for run in (hidden, "r_" + "0" * 26)]
    told = [house.api("POST", "runs", body, by="clerk") for body in bodies]
    assert [status for status, _ in told] == [404, 404]
    assert told[0][1]["detail"].replace(hidden, "") == told[1][1]["detail"].replace("r_" + "0" * 26, "")


def test_an_owner_cannot_stand_for_somebody_who_may_read_more(house):
    house.person("boss", "internal", "owner")
    house.person("keeper", "secret", "member")
    house.person("clerk", "internal", "member")
    index = house.made("papers", [house.source("s", "internal")], "index")
    house.service("counter", index)
    asked = {"question": "what?", "as": "keeper"}
    status, found = house.api("POST", "services/counter/ask", asked, by="boss")
    assert (status, found["detail"]) == (404, "There is no actor 'keeper'.")
    assert house.api("POST", "services/counter/ask", asked | {"as": "nobody"}, by="boss")[1]["code"] == "not_found"
    assert house.api("POST", "services/counter/ask", asked | {"as": "clerk"}, by="boss")[0] == 503  # no router here


def test_a_desk_tells_its_project_nothing_of_what_it_holds_above_them(house):
    house.person("visitor", "public", "viewer")
    house.service("counter", house.made(CANARY, [house.source("s", "secret")], "index"), ("public",))
    (shown,) = house.api("GET", "services", by="visitor")[1]["items"]
    assert (shown["name"], shown["label"], shown["artefact"]) == ("counter", "", None)
    assert house.api("GET", "services/counter", by="visitor")[1]["revisions"] == []
    assert house.ask("GET", "/desks/counter", by="visitor")[0] == 200


def test_reading_at_a_high_level_is_an_entry_before_the_answer_leaves(house):
    plans = house.source("plans", "restricted")
    house.source("papers", "internal")
    assert house.api("GET", "sources/papers")[0] == 200
    assert house.entries("access.read") == []
    assert house.api("GET", "sources/plans")[0] == 200
    assert house.api("GET", "sources/plans@v1")[0] == 200
    told = [(entry["actor"], entry["subject"], entry["label"]) for entry in house.entries("access.read")]
    assert told == [(house.operator, plans.id, "restricted")] * 2
